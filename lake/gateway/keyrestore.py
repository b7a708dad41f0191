"""Making a key store of a backup, in a folder of its own: what the operator does when the live one is lost."""

from __future__ import annotations

import shutil
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from keys.errors import KeyIntegrityError
from keys.operations import restore
from keys.operations.backup import Backup, BackupFolder
from keys.secretfiles import write_secret_file
from keys.signing import NoteVerifier
from lake.errors import LakeError, UsageError
from lake.gateway.config import LakeConfig, read_config
from lake.gateway.places import catalog_database, key_draft
from lake.sealed.catalog.draft import Draft
from lake.sealed.catalog.fence import next_generation, read_fence


def find_backup(folder: BackupFolder, config: LakeConfig, backup_id: str | None) -> Backup:
    """The newest backup of a lake in a folder, or the one that is named.

    Raises:
        UsageError: there is none.
        KeyIntegrityError: one is not whole, or is of another lake.
    """
    notes = NoteVerifier([config.audit_key])
    found = [folder.read(name, config.lake, notes) for name in ([backup_id] if backup_id else folder.list())]
    if not found:
        raise UsageError(f"there is no key backup in {folder.folder}")
    return max(found, key=lambda backup: (backup.at, backup.id))


def restore_keys(root: Path, place: Path, target: Path, backup_id: str | None = None) -> tuple[str, int]:
    """Write the newest (or a named) backup to a new folder: database and, of the local provider, its sealed file.

    A key store in PostgreSQL is written to the schema that ``lake.json`` names, which must be empty.

    The key epoch goes beyond every one that the lost store can have reached. Once a lake was opened with this one in
    its place, the catalog refuses what a process with the lost one would still commit.

    Returns:
        The backup's id and how many rows were written.

    Raises:
        UsageError: the folder exists, or the schema is not empty, or there is no backup.
        KeyIntegrityError: the backup is not whole, or is of another lake; or it is the newest, and older than the last
            shredding or rotation of KEKs, whose files it could not open and whose erased it would let back in.
    """
    config = read_config(root)
    folder = BackupFolder(place)
    backup = find_backup(folder, config, backup_id)
    if target.exists():
        raise UsageError(f"{target} exists", hint="name a folder that does not")
    catalog = catalog_database(root, config)
    with catalog.reading() as connection:
        fence = read_fence(connection)
    catalog.close()
    if backup_id is None and backup.epoch < fence:
        raise KeyIntegrityError(
            "the newest backup was made before the last shredding or rotation of KEKs",
            hint=f"look for a newer one; to take it all the same, name it: --id {backup.id}",
        )
    target.mkdir(parents=True, mode=0o700)
    made: list[Draft] = []
    try:
        made.append(key_draft(root, replace(config, key_store=str(target.absolute()))))
        rows = restore.restore(folder, backup, made[0].database, epoch=next_generation(max(fence, backup.epoch)))
        for name, (digest, length) in backup.provider_files.items():
            write_secret_file(target / name, folder.part(digest, length), replace=False)
        made[0].finish()
    except BaseException:
        for tables in made:
            with suppress(LakeError):  # the next restore clears what is left
                tables.discard()
        shutil.rmtree(target, ignore_errors=True)
        raise
    finally:
        for tables in made:
            tables.close()
    return backup.id, rows
