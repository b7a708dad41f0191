"""Provider files: every field arrives, every mistake is named with its place, and nobody else may change the file."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from keys.errors import KeysError, KeyStoreLockedError, ProviderDeniedError
from lake.errors import DocumentError, IntegrityError, UsageError
from lake.gateway.key_services import load_secret, open_provider, read_service
from lake.settings import Secrets
from tests import world as w
from tests.gateway.keylakes import key_folder
from tests.world import World

LAKE = "0" * 32
OPENBAO = "kind: openbao\naddress: https://127.0.0.1:1\ntoken_file: token\n"
AWS = "kind: aws-kms\nregion: eu-central-1\n"
PKCS11 = "kind: pkcs11\nmodule: module.so\ntoken_label: a token\npin_file: pin\n"
Write = Callable[[str], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes a provider file."""

    def written(text: str) -> Path:
        path = tmp_path / "service.yaml"
        path.write_text(text)
        return path

    return written


def configuration(path: Path, lake: str = LAKE) -> dict[str, Any]:
    """What a provider was made with."""
    provider = read_service(path).connect(lake)
    config = provider._config  # type: ignore[attr-defined]
    provider.close()
    return {name: getattr(config, name) for name in type(config).__dataclass_fields__}


def test_every_field_of_openbao_arrives(write: Write, tmp_path: Path) -> None:
    """Paths are beside the file; what is left out has its default, and each lake a prefix of its own."""
    (tmp_path / "ca.pem").touch()
    fields = "mount: keys/transit\nca_file: ca.pem\nnamespace: ops\ntimeout: 2.5\nattempts: 7\nprefix: mine-\n"
    assert configuration(write(OPENBAO + fields + "snapshots_kept: 30d\n")) == {
        "address": "https://127.0.0.1:1",
        "token_file": tmp_path / "token",
        "mount": "keys/transit",
        "prefix": "mine-",
        "ca_file": tmp_path / "ca.pem",
        "namespace": "ops",
        "timeout": 2.5,
        "attempts": 7,
    }
    assert configuration(write(OPENBAO)) == {
        "address": "https://127.0.0.1:1",
        "token_file": tmp_path / "token",
        "mount": "transit",
        "prefix": f"tlake-{LAKE}-",
        "ca_file": None,
        "namespace": None,
        "timeout": 10.0,
        "attempts": 4,
    }


def test_every_field_of_aws_kms_arrives(write: Write) -> None:
    """The region is all that is needed; a profile must be one of this machine."""
    fields = "endpoint: http://127.0.0.1:1\ndeletion_days: 30\ntimeout: 3\nattempts: 2\nprefix: mine-\n"
    found = configuration(write(AWS + fields))
    assert found == {
        "region": "eu-central-1",
        "prefix": "mine-",
        "endpoint": "http://127.0.0.1:1",
        "deletion_days": 30,
        "timeout": 3.0,
        "attempts": 2,
        "profile": None,
    }
    assert configuration(write(AWS))["deletion_days"] == 7
    with pytest.raises(KeysError):
        configuration(write(AWS + "profile: nobody\n"))


def test_every_field_of_pkcs11_arrives(write: Write, tmp_path: Path) -> None:
    """The module is opened at once: one that is missing is said to be."""
    assert read_service(write(PKCS11)).kind == "pkcs11"
    with pytest.raises(KeysError) as failed:
        read_service(write(PKCS11)).connect(LAKE)
    assert failed.value.exit_code in {2, 5}
    assert "a token" in str(failed.value) or "module.so" in str(failed.value)


@pytest.mark.parametrize("text", [OPENBAO, AWS, PKCS11])
def test_how_long_backups_are_kept_is_a_number_of_days(write: Write, text: str) -> None:
    """Stated or not; for every kind."""
    assert read_service(write(text)).snapshot_days is None
    assert read_service(write(text + "snapshots_kept: 45d\n")).snapshot_days == 45


@pytest.mark.parametrize(
    ("text", "line", "column"),
    [
        ("", 1, 1),
        ("- kind: openbao\n", 1, 1),
        ("address: https://bao\n", 1, 1),
        ("kind: vault\n", 1, 7),
        ("kind: [openbao]\n", 1, 7),
        ("kind: openbao\naddress: https://bao\n", 1, 1),
        (OPENBAO + "token: s.secret\n", 4, 1),
        (OPENBAO + "address: https://twice\n", 4, 1),
        (OPENBAO + "timeout: soon\n", 4, 10),
        (OPENBAO + "timeout: 0\n", 4, 10),
        (OPENBAO + "timeout: -1\n", 4, 10),
        (OPENBAO + "timeout: .inf\n", 4, 10),
        (OPENBAO + "attempts: 0\n", 4, 11),
        (OPENBAO + "attempts: 21\n", 4, 11),
        (OPENBAO + "attempts: 2.5\n", 4, 11),
        (OPENBAO + "prefix: ''\n", 4, 9),
        (OPENBAO + "prefix: a/b\n", 4, 9),
        (OPENBAO + f"prefix: {'a' * 65}\n", 4, 9),
        (OPENBAO + "mount: ../sys\n", 4, 8),
        (OPENBAO + "mount: transit/\n", 4, 8),
        (OPENBAO + "snapshots_kept: 30\n", 4, 17),
        (OPENBAO + "snapshots_kept: 0d\n", 4, 17),
        (OPENBAO + "region: eu-central-1\n", 4, 1),
        (OPENBAO + "ca_file: 7\n", 4, 10),
        (AWS + "deletion_days: 6\n", 3, 16),
        (AWS + "deletion_days: 31\n", 3, 16),
        (AWS + "attempts: many\n", 3, 11),
        (AWS + "timeout: 0\n", 3, 10),
        (AWS + "prefix: 'a b'\n", 3, 9),
        ("kind: aws-kms\n", 1, 1),
        ("kind: aws-kms\nregion: 5\n", 2, 9),
        ("kind: pkcs11\nmodule: m.so\ntoken_label: x\n", 1, 1),
        (PKCS11 + "pin: '1234'\n", 5, 1),
        (PKCS11.replace("a token", "x" * 33), 3, 14),
        ("kind: openbao\naddress: *here\n", 2, 10),
        ("kind: openbao\n---\nkind: openbao\n", 2, 1),
    ],
)
def test_a_mistake_is_named_with_its_place(write: Write, text: str, line: int, column: int) -> None:
    """File, line and column; nothing connects."""
    with pytest.raises(DocumentError) as failed:
        read_service(write(text)).connect(LAKE)
    assert (failed.value.line, failed.value.column) == (line, column)
    assert failed.value.message.startswith(f"service.yaml:{line}:{column}: ")
    assert failed.value.exit_code == 2
    assert "s.secret" not in str(failed.value)


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        (OPENBAO.replace("https:", "http:").replace("127.0.0.1", "bao.example"), ProviderDeniedError),
        (OPENBAO.replace("https://127.0.0.1:1", "no address"), ProviderDeniedError),
        (OPENBAO + "ca_file: missing.pem\n", ProviderDeniedError),
        (AWS.replace("eu-central-1", "'no region'"), (UsageError, KeysError)),
        (AWS + "prefix: aws\nendpoint: 'not a url'\n", (UsageError, KeysError)),
    ],
)
def test_what_cannot_be_used_is_refused_before_any_request(write: Write, text: str, kind: Any) -> None:
    """A typed error that says what is wrong, and no library's own."""
    with pytest.raises(kind):
        read_service(write(text)).connect(LAKE)


@pytest.mark.parametrize("mode", [0o620, 0o602, 0o666, 0o777])
def test_a_file_that_others_can_change_is_refused(write: Write, mode: int) -> None:
    """They could send the keys elsewhere. That others can read it does no harm."""
    path = write(OPENBAO)
    path.chmod(mode)
    with pytest.raises(UsageError, match="others can change"):
        read_service(path)
    path.chmod(0o644)
    assert read_service(path).kind == "openbao"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_a_file_of_somebody_else_is_refused(write: Write) -> None:
    """Whatever its mode is."""
    path = write(OPENBAO)
    os.chown(path, 12_345, -1)
    path.chmod(0o600)
    with pytest.raises(UsageError, match="others can change"):
        read_service(path)


def test_a_file_that_is_none_is_refused(tmp_path: Path) -> None:
    """Missing, a folder, not text."""
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    for path in (tmp_path / "missing", tmp_path, tmp_path / "binary"):
        with pytest.raises(UsageError, match="cannot be read"):
            read_service(path)


@pytest.mark.parametrize(
    ("text", "module", "extra"),
    [
        (OPENBAO, "keys.providers.openbao", "openbao"),
        (AWS, "keys.providers.aws_kms", "aws"),
        (PKCS11, "keys.providers.pkcs11", "pkcs11"),
    ],
)
def test_a_missing_extra_is_named(
    write: Write, monkeypatch: pytest.MonkeyPatch, text: str, module: str, extra: str
) -> None:
    """What to install; reading the file alone needs nothing."""
    monkeypatch.setitem(sys.modules, module, None)
    service = read_service(write(text))
    with pytest.raises(UsageError) as failed:
        service.connect(LAKE)
    assert failed.value.hint == f"pip install 'telemetry-lake[{extra}]'"


def test_the_lake_says_which_kind_holds_its_keys(world: World, write: Write, tmp_path: Path) -> None:
    """No file, one of another kind, a key store of another lake, another secret: each said, and nothing opened."""
    folder = key_folder(world)
    ours = Secrets(key_file=world.key)
    with world.open() as lake:
        name = lake.home.config.lake
    with pytest.raises(UsageError, match="held by a provider of kind 'openbao'"):
        open_provider("openbao", folder, name, ours)
    with pytest.raises(UsageError, match="is of kind 'aws-kms'"):
        open_provider("openbao", folder, name, Secrets(provider_file=write(AWS)))
    with pytest.raises(IntegrityError):
        open_provider("local", folder, LAKE, ours)
    other = w.make(tmp_path / "other", rows=w.known_rows()[:1])
    with pytest.raises(KeyStoreLockedError):
        open_provider("local", folder, name, Secrets(key_file=other.key))


def test_one_secret_opens_a_key_store(world: World, tmp_path: Path) -> None:
    """None and two are mistakes."""
    (tmp_path / "words").write_text("a passphrase of some length")
    (tmp_path / "words").chmod(0o600)
    for secrets in (Secrets(), Secrets(world.key, tmp_path / "words")):
        with pytest.raises(UsageError, match="one secret"):
            load_secret(secrets)
