"""Backups of the key store: parts named by their digests, and a signed manifest that says which belong together.

They hold wraps only, so who steals one has no key; and they are worth nothing once the provider has destroyed the root
version under which they stand. That is how shredding reaches them. Format: docs/formats.md, "Key backup".
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import sys
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from keys.errors import KeyIntegrityError, SecretFileError
from keys.hierarchy import Hierarchy
from keys.keystore import Transactions, read_epoch
from keys.operations import parts
from keys.secretfiles import sync_folder
from keys.signing import NoteSigner, NoteVerifier
from keys.tables import backups

TITLE = "telemetry-lake key backup v1"
MANIFEST = ".manifest"
Progress = Callable[[int], None]
Stamps = Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Backup:
    """A backup as its manifest states it; ``parts`` maps names to (digest in hex, bytes, stamp)."""

    id: str
    lake: str
    at: int
    epoch: int
    provider: str
    parts: Mapping[str, tuple[str, int, int]]
    provider_files: Mapping[str, tuple[str, int]]


class BackupFolder:
    """Backups of one lake in one folder; a part that has not changed is kept once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def write(
        self,
        hierarchy: Hierarchy,
        database: Transactions,
        signer: NoteSigner,
        provider_files: Mapping[str, bytes],
        progress: Progress = lambda _: None,
    ) -> tuple[Backup, list[str]]:
        """Write a backup of this moment.

        Returns:
            The backup, and the names of the parts that have changed since the newest backup here that was tested.

        Raises:
            SecretFileError: the folder cannot be written.
        """
        try:
            (self.folder / "parts").mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError:
            raise SecretFileError(f"the folder {self.folder} cannot be made") from None
        # Nothing is taken over from one that was not opened: its parts may be damaged.
        tested = {entry["id"] for entry in known_backups(database) if entry["tested"]}
        former = self._newest(hierarchy.lake, NoteVerifier([signer.verifier_key]), tested)
        kept: dict[str, tuple[str, int, int]] = {}
        changed: list[str] = []
        with database.reading() as connection:
            epoch = read_epoch(connection)
            now = {**parts.stamps(connection), parts.COMMON: 0}
            for name in sorted(now):
                same = former.parts.get(name) if former and name != parts.COMMON else None
                if same is not None and same[2] == now[name] and self._has(same):
                    kept[name] = same
                else:
                    kept[name] = (*self._put(parts.read_part(connection, name)), now[name])
                    changed.append(name)
                    sys.audit("lake.step", "keys.backup-part")
                progress(1)
        files = {name: self._put(content) for name, content in provider_files.items()}
        backup = Backup(
            secrets.token_hex(16), hierarchy.lake, hierarchy.now(), epoch, hierarchy.provider.kind, kept, files
        )
        sync_folder(self.folder / "parts")
        digest = self._publish(backup, signer)
        sys.audit("lake.step", "keys.backup-written")
        place = str(self.folder.absolute())
        row = {"id": backup.id, "at": backup.at, "place": place, "digest": digest, "tested": False}
        with database.writing() as connection:
            connection.execute(backups.insert(), [row])
        return backup, changed

    def list(self) -> list[str]:
        """Ids of the backups here.

        Raises:
            SecretFileError: the folder is missing or cannot be read.
        """
        try:
            names = [path.name for path in self.folder.iterdir()]
        except OSError:
            raise SecretFileError(f"the folder {self.folder} cannot be read") from None
        return sorted(name.removesuffix(MANIFEST) for name in names if name.endswith(MANIFEST))

    def read(self, backup_id: str, lake: str, notes: NoteVerifier) -> Backup:
        """A backup's manifest.

        Raises:
            KeyIntegrityError: it is not one, not signed by this lake, or of another lake.
        """
        try:
            text = notes.open((self.folder / f"{backup_id}{MANIFEST}").read_text("utf-8"))
            title, body, *_ = text.split("\n")
            fields: dict[str, Any] = json.loads(body)
            backup = Backup(
                str(fields["id"]),
                str(fields["lake"]),
                int(fields["at"]),
                int(fields["epoch"]),
                str(fields["provider"]),
                {name: (str(d), int(n), int(s)) for name, (d, n, s) in fields["parts"].items()},
                {name: (str(d), int(n)) for name, (d, n) in fields["provider_files"].items()},
            )
        except (OSError, ValueError, KeyError, TypeError):
            raise KeyIntegrityError(f"there is no whole backup {backup_id[:32]!r} in {self.folder}") from None
        if title != TITLE or backup.lake != lake or backup.id != backup_id:
            raise KeyIntegrityError("a key backup belongs to another lake, or is none")
        return backup

    def part(self, digest: str, length: int) -> bytes:
        """The bytes of a part.

        Raises:
            KeyIntegrityError: it is missing or changed.
        """
        try:
            content = (self.folder / "parts" / digest).read_bytes()
        except OSError:
            raise KeyIntegrityError("a part of a key backup is missing", hint="use another backup") from None
        if len(content) != length or hashlib.sha256(content).hexdigest() != digest:
            raise KeyIntegrityError("a part of a key backup was changed", hint="use another backup")
        return content

    def _newest(self, lake: str, notes: NoteVerifier, among: Collection[str]) -> Backup | None:
        found: list[Backup] = []
        for name in sorted(set(self.list()) & set(among)):
            with suppress(KeyIntegrityError):  # a damaged one is not built upon
                found.append(self.read(name, lake, notes))
        return max(found, key=lambda backup: (backup.at, backup.id), default=None)

    def _has(self, part: tuple[str, int, int]) -> bool:
        path = self.folder / "parts" / part[0]
        return path.is_file() and path.stat().st_size == part[1]

    def _put(self, content: bytes) -> tuple[str, int]:
        digest = hashlib.sha256(content).hexdigest()
        path = self.folder / "parts" / digest
        if not path.is_file() or path.read_bytes() != content:
            write_file(path, content)
        return digest, len(content)

    def _publish(self, backup: Backup, signer: NoteSigner) -> bytes:
        fields = {
            "v": 1,
            "id": backup.id,
            "lake": backup.lake,
            "at": backup.at,
            "epoch": backup.epoch,
            "provider": backup.provider,
            "parts": {name: list(part) for name, part in backup.parts.items()},
            "provider_files": {name: list(part) for name, part in backup.provider_files.items()},
        }
        body = json.dumps(fields, sort_keys=True, separators=(",", ":"))
        note = signer.sign(f"{TITLE}\n{body}\n").encode()
        write_file(self.folder / f"{backup.id}{MANIFEST}", note)
        sync_folder(self.folder)
        return hashlib.sha256(note).digest()


def mark_tested(database: Transactions, backup_id: str) -> None:
    """Note that a backup was opened as a whole."""
    with database.writing() as connection:
        connection.execute(backups.update().where(backups.c.id == backup_id), {"tested": True})


def known_backups(database: Transactions) -> list[dict[str, Any]]:
    """Backups that were ever written: id, at, place, tested; newest first."""
    with database.reading() as connection:
        query = sa.select(backups.c.id, backups.c.at, backups.c.place, backups.c.tested).order_by(backups.c.at.desc())
        return [dict(row) for row in connection.execute(query).mappings()]


def write_file(path: Path, content: bytes) -> None:
    """Write a file of a backup, whole or not at all, and durably once its folder is synced.

    Raises:
        SecretFileError: it cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.rename(path)
    except OSError:
        raise SecretFileError(
            f"{path.parent} cannot be written", hint="check the folder, its rights and the disk"
        ) from None
    finally:
        with suppress(OSError):
            temporary.unlink()
