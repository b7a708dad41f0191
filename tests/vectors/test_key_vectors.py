"""Backups, certificates, provider blobs and broker messages against fixed bytes. The vectors are never made anew."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from keys import unlock
from keys.errors import KeyIntegrityError, ProviderAnswerError
from keys.operations import certificate, restore
from keys.operations.backup import Backup, BackupFolder
from keys.providers import committed
from keys.providers.aws_kms import _encryption_context
from keys.providers.local import DEVICE, STORE, LocalProvider
from keys.providers.openbao_transit import context
from keys.remote import wire
from keys.signing import NoteVerifier
from keys.tables import subjects
from lake.sealed.catalog import migrate
from lake.sealed.catalog.database import Database

_HERE = Path(__file__).parent
BACKUP: dict[str, Any] = json.loads((_HERE / "key_backup.json").read_text("utf-8"))
PROVIDERS: dict[str, Any] = json.loads((_HERE / "providers.json").read_text("utf-8"))
NOTES = NoteVerifier([BACKUP["verifier_key"]])


@pytest.fixture(name="folder")
def _folder(tmp_path: Path) -> BackupFolder:
    """The vector's backup in a folder."""
    (tmp_path / "parts").mkdir()
    (tmp_path / f"{BACKUP['backup_id']}.manifest").write_text(BACKUP["manifest"], "utf-8")
    for digest, content in BACKUP["parts"].items():
        (tmp_path / "parts" / digest).write_bytes(base64.b64decode(content))
    return BackupFolder(tmp_path)


@pytest.fixture(name="backup")
def _backup(folder: BackupFolder) -> Backup:
    return folder.read(BACKUP["backup_id"], BACKUP["lake"], NOTES)


@pytest.fixture(name="provider")
def _provider(tmp_path: Path, folder: BackupFolder, backup: Backup) -> LocalProvider:
    """The sealed file out of the backup, with the device secret and the key file that belong to it."""
    home = tmp_path / "home"
    home.mkdir()
    (digest, length) = backup.provider_files[STORE]
    for name, content in (
        (STORE, folder.part(digest, length)),
        (DEVICE, base64.b64decode(BACKUP["device_secret"])),
        ("key", base64.b64decode(BACKUP["key_file"])),
    ):
        (home / name).write_bytes(content)
        (home / name).chmod(0o600)
    return LocalProvider(home, unlock.from_key_file(home / "key"))


def test_a_backup_of_then_opens_now(folder: BackupFolder, backup: Backup, provider: LocalProvider) -> None:
    """Manifest, parts and every wrap in them."""
    assert (backup.provider, backup.epoch) == ("local", BACKUP["epoch"])
    assert restore.restore_test(folder, backup, provider) == BACKUP["counts"]


def test_a_backup_of_then_makes_a_key_store(tmp_path: Path, folder: BackupFolder, backup: Backup) -> None:
    """Its rows go into the tables of today; who was erased is erased there too."""
    database = Database.sqlite(tmp_path / "restored.db", "key store", create=True)
    migrate.upgrade(database, migrate.KEY_STORE_MIGRATIONS)
    restore.restore(folder, backup, database, epoch=1)
    with database.reading() as connection:
        found = {row.subject: row.tombstoned for row in connection.execute(subjects.select())}
    assert found == dict(zip(BACKUP["subjects"], (True, False), strict=True))
    database.close()


def _lines(text: str) -> Iterator[str]:
    """The note with one character of its signed text changed, for every seventh character."""
    signed = text.index("\n\n")
    for at in range(0, signed, 7):
        other = "0" if text[at] != "0" else "1"
        yield text[:at] + other + text[at + 1 :]


def test_a_manifest_is_taken_as_it_was_signed_or_not_at_all(folder: BackupFolder) -> None:
    """Any changed character, and there is no backup."""
    path = folder.folder / f"{BACKUP['backup_id']}.manifest"
    for changed in _lines(BACKUP["manifest"]):
        path.write_text(changed, "utf-8")
        with pytest.raises(KeyIntegrityError):
            folder.read(BACKUP["backup_id"], BACKUP["lake"], NOTES)


def test_a_certificate_of_then_verifies_now() -> None:
    """It names whom it erased, and with any character changed it is none."""
    data = certificate.open_certificate(BACKUP["certificate"], NOTES)
    assert data["subjects"] == BACKUP["subjects"][:1]
    assert (data["v"], data["provider"], len(data["keks"]), data["old_wraps_refused"]) == (1, "local", 4, 2)
    for changed in _lines(BACKUP["certificate"]):
        with pytest.raises(KeyIntegrityError):
            certificate.open_certificate(changed, NOTES)


def test_a_provider_blob() -> None:
    """``0x02 | commitment | ciphertext``, and the commitment is to the key and its context."""
    case = PROVIDERS["provider_blob"]
    key, bound_to, ciphertext, blob = (bytes.fromhex(case[n]) for n in ("key", "context", "ciphertext", "blob"))
    assert committed.pack(key, bound_to, ciphertext) == blob
    assert committed.ciphertext_of(blob) == ciphertext
    assert committed.checked(key, blob, bound_to) == key
    for other, place in ((bytes(32), bound_to), (key, bound_to + b"x"), (key[:31], bound_to)):
        with pytest.raises(ProviderAnswerError):
            committed.checked(other, blob, place)


def test_contexts_as_key_services_see_them() -> None:
    """A digest of the context: neither a name nor an id of the lake's."""
    bound_to = bytes.fromhex(PROVIDERS["provider_blob"]["context"])
    assert context(bound_to) == PROVIDERS["openbao_context"]
    assert _encryption_context(bound_to) == PROVIDERS["aws_encryption_context"]


def test_a_message_for_the_broker() -> None:
    """Length, and canonical JSON with bytes marked."""
    case = PROVIDERS["broker_frame"]
    assert wire.frame(case["value"]).hex() == case["hex"]
    assert wire.decode(bytes.fromhex(case["hex"])[4:]) == case["value"]
    case = PROVIDERS["broker_bytes_frame"]
    assert wire.decode(bytes.fromhex(case["hex"])[4:])["ok"][1] == bytes.fromhex(case["bytes"])
