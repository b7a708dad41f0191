"""AWS KMS as a case of the conformance suite. What answers is moto behind a proxy, not AWS: see `kms_service`."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from keys.providers.aws_kms import AwsKmsConfig, AwsKmsProvider
from tests.keys.providers.cases import Case
from tests.keys.providers.kms_service import KmsService
from tests.servers import descriptions  # noqa: F401

REGION = "eu-central-1"


@pytest.fixture(scope="session")
def kms_of_session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KmsService]:
    """One service for all tests; they keep apart by their prefixes."""
    service = KmsService(tmp_path_factory.mktemp("kms"))
    yield service
    service.stop()


@pytest.fixture
def kms(kms_of_session: KmsService, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> KmsService:
    """The service with nothing scripted, and credentials for it, which nobody checks."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "an-id")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "a-secret-access-key")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "a-session-token")
    # Neither this machine's own configuration nor a cloud's role may be found.
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "no-config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "no-credentials"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    kms_of_session.reset()
    return kms_of_session


class Clock:
    """A clock that stands until it is moved."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def kms_prefix() -> str:
    """Names of this test's own."""
    return f"test-{os.urandom(6).hex()}-"


@pytest.fixture
def kms_clock() -> Clock:
    """The clock of the test's providers."""
    return Clock()


@pytest.fixture
def kms_pauses() -> list[float]:
    """The pauses that the test's providers made, in seconds."""
    return []


@pytest.fixture
def open_kms(
    kms: KmsService, kms_prefix: str, kms_clock: Clock, kms_pauses: list[float]
) -> Iterator[Callable[..., AwsKmsProvider]]:
    """Makes providers on the test's keys, with changes of their configuration."""
    made: list[AwsKmsProvider] = []

    def build(**changes: Any) -> AwsKmsProvider:
        config = replace(AwsKmsConfig(REGION, prefix=kms_prefix, endpoint=kms.url), **changes)
        made.append(AwsKmsProvider(config, pause=kms_pauses.append, clock=kms_clock))
        return made[-1]

    yield build
    for provider in made:
        provider.close()


class AwsKmsCase(Case):
    """Keys under a prefix of the test's own."""

    name = "aws-kms"
    # Every item is a call: more of them than there are threads, and many times as many.
    sizes = (0, 1, 21, 90)
    destroys_now = False
    every_byte = False

    def __init__(self, request: pytest.FixtureRequest, folder: Path) -> None:
        self._service: KmsService = request.getfixturevalue("kms")
        self._prefix = f"suite-{os.urandom(6).hex()}-"
        self._request = request

    def open(self) -> AwsKmsProvider:
        config = AwsKmsConfig(REGION, prefix=self._prefix, endpoint=self._service.url)
        provider = AwsKmsProvider(config, pause=lambda _: None)
        self._request.addfinalizer(provider.close)
        return provider
