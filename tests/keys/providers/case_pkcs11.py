"""PKCS#11 as a case of the conformance suite, with the software token of SoftHSM2."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from keys.providers.pkcs11 import Pkcs11Config, Pkcs11Provider
from tests.keys.providers.cases import Case

PIN = "2468-of-the-test"
LABEL = "token of the tests"
PLACES = (
    "/usr/lib/softhsm/libsofthsm2.so",
    "/usr/lib64/softhsm/libsofthsm2.so",
    "/usr/lib64/pkcs11/libsofthsm2.so",
    "/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so",
    "/usr/lib/aarch64-linux-gnu/softhsm/libsofthsm2.so",
    "/usr/local/lib/softhsm/libsofthsm2.so",
    "/opt/homebrew/lib/softhsm/libsofthsm2.so",
)
MODULE = next((Path(place) for place in PLACES if Path(place).exists()), None)


def missing() -> str:
    """Why there is no SoftHSM2 here; empty if there is."""
    return "" if MODULE and shutil.which("softhsm2-util") else "SoftHSM2 is not installed (Debian: softhsm2)"


@pytest.fixture(scope="session")
def softhsm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pkcs11Config]:
    """A new token. The module reads its configuration when it is loaded, which happens once in a process."""
    if MODULE is None or missing():
        pytest.skip(missing())
    folder = tmp_path_factory.mktemp("softhsm")
    (folder / "tokens").mkdir()
    (folder / "softhsm2.conf").write_text(
        f"directories.tokendir = {folder / 'tokens'}\nobjectstore.backend = file\nlog.level = ERROR\n"
    )
    pin_file = folder / "pin"
    pin_file.touch(mode=0o600)
    pin_file.write_text(PIN + "\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SOFTHSM2_CONF", str(folder / "softhsm2.conf"))
        command = ["softhsm2-util", "--init-token", "--free", "--label", LABEL, "--so-pin", PIN, "--pin", PIN]
        subprocess.run(command, check=True, capture_output=True)
        yield Pkcs11Config(MODULE, LABEL, pin_file)


@pytest.fixture
def token(softhsm: Pkcs11Config) -> Pkcs11Config:
    """The token, with a prefix of the test's own."""
    return replace(softhsm, prefix=f"test-{os.urandom(6).hex()}-")


class Pkcs11Case(Case):
    """Keys under a prefix of the test's own."""

    name = "pkcs11"

    def __init__(self, request: pytest.FixtureRequest, folder: Path) -> None:
        self._config: Pkcs11Config = request.getfixturevalue("token")
        self._request = request

    @classmethod
    def missing(cls) -> str:
        return missing()

    def open(self) -> Pkcs11Provider:
        provider = Pkcs11Provider(self._config)
        self._request.addfinalizer(provider.close)
        return provider
