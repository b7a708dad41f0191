"""Opening a backup: as a test that it would open every key, and to make a key store of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import suppress
from secrets import randbits
from typing import Any

import sqlalchemy as sa

from keys import control, envelope
from keys.errors import KeyIntegrityError, KeyStateError
from keys.keystore import KEY_EPOCH, Transactions
from keys.names import CONTROL_ROOT, bucket_row_context, kek_context, root_name
from keys.operations import parts
from keys.operations.backup import Backup, BackupFolder
from keys.providers import KeyProvider, WrappedKey
from keys.refs import KeyState
from keys.rows import BucketKeyRow, KekRow
from keys.signing import NoteVerifier
from keys.tables import anchors, bucket_keys, control_secrets, counters, keks

Progress = Callable[[int], None]


def rows_of(folder: BackupFolder, backup: Backup, name: str) -> Iterator[tuple[sa.Table, dict[str, Any]]]:
    """Rows of one part."""
    digest, length, _ = backup.parts[name]
    return parts.parse_part(folder.part(digest, length))


def bucket_rows_of(folder: BackupFolder, backup: Backup) -> list[BucketKeyRow]:
    """The bucket keys in a backup."""
    found = [values for table, values in rows_of(folder, backup, parts.COMMON) if table is bucket_keys]
    return [BucketKeyRow(**{**values, "state": KeyState(values["state"])}) for values in found]


def kek_rows_of(folder: BackupFolder, backup: Backup, name: str) -> list[KekRow]:
    """The KEKs in one part of a backup."""
    found = [values for table, values in rows_of(folder, backup, name) if table is keks]
    return [KekRow(**{**values, "state": KeyState(values["state"])}) for values in found]


def open_bucket_rows(
    lake: str, provider: KeyProvider, rows: Collection[BucketKeyRow]
) -> dict[tuple[int, int, int], bytes]:
    """Bucket keys by (sensitivity, bucket, version), those destroyed left out; nothing is cached."""
    opened: dict[tuple[int, int, int], bytes] = {}
    for level in sorted({row.sensitivity for row in rows}):
        living = [row for row in rows if row.sensitivity == level and row.state is not KeyState.DESTROYED]
        items = [WrappedKey(row.root_version, row.wrapped, bucket_row_context(lake, row)) for row in living]
        for row, key in zip(living, provider.unwrap(root_name(level), items), strict=True):
            opened[row.sensitivity, row.bucket, row.version] = key
    return opened


def open_kek(lake: str, row: KekRow, buckets: Mapping[tuple[int, int, int], bytes]) -> bytes:
    """One KEK under bucket keys that are open.

    Raises:
        KeyIntegrityError: it does not open, or its bucket key is not there.
    """
    parent = buckets.get((row.sensitivity, row.bucket, row.bucket_version))
    if parent is None:
        raise KeyIntegrityError(f"the key {row.kek_id} names a bucket key that is not there", hint="restore the store")
    return envelope.unseal(parent, row.wrapped, kek_context(lake, row))


def restore_test(
    folder: BackupFolder,
    backup: Backup,
    provider: KeyProvider,
    only: Collection[str] | None = None,
    progress: Progress = lambda _: None,
) -> dict[str, int]:
    """Open every wrap of a backup with the provider as it is now, and compare its copies of the provider's files.

    Args:
        only: KEKs of these parts only; the levels above are always opened as a whole.

    Returns:
        How many control secrets, bucket keys and KEKs opened.

    Raises:
        KeyIntegrityError, KeyStateError: the backup would not open every key.
    """
    counts: Counter[str] = Counter()
    for digest, length in backup.provider_files.values():
        folder.part(digest, length)
    secrets = [values for table, values in rows_of(folder, backup, parts.COMMON) if table is control_secrets]
    if {values["name"] for values in secrets} != set(control.NAMES):
        raise KeyIntegrityError("a key backup lacks a control secret", hint="use another backup")
    items = [
        WrappedKey(values["root_version"], values["wrapped"], control.bound_to(backup.lake, values["name"]))
        for values in secrets
    ]
    counts["control_secrets"] = len(provider.unwrap(CONTROL_ROOT, items))
    buckets = open_bucket_rows(backup.lake, provider, bucket_rows_of(folder, backup))
    counts["bucket_keys"] = len(buckets)
    for name in sorted(backup.parts if only is None else set(only) & set(backup.parts)):
        if name == parts.COMMON:
            continue
        for row in kek_rows_of(folder, backup, name):
            if row.state is KeyState.DESTROYED:
                continue
            open_kek(backup.lake, row, buckets)
            counts["keks"] += 1
        progress(1)
    return {name: counts[name] for name in ("control_secrets", "bucket_keys", "keks")}


def count_openable(
    folder: BackupFolder, backup: Backup, provider: KeyProvider, progress: Progress = lambda _: None
) -> dict[str, int]:
    """How much of a backup the provider opens, and how much it refuses: keys that were destroyed since.

    Raises:
        KeyIntegrityError, KeyStateError: a part was changed, or a control secret does not open: then nothing does.
    """
    counts: Counter[str] = Counter()
    secrets = [values for table, values in rows_of(folder, backup, parts.COMMON) if table is control_secrets]
    items = [
        WrappedKey(values["root_version"], values["wrapped"], control.bound_to(backup.lake, values["name"]))
        for values in secrets
    ]
    counts["control_secrets"] = len(provider.unwrap(CONTROL_ROOT, items))
    opened: dict[tuple[int, int, int], bytes] = {}
    living = [row for row in bucket_rows_of(folder, backup) if row.state is not KeyState.DESTROYED]
    by_root: dict[tuple[int, int], list[BucketKeyRow]] = {}
    for row in living:
        by_root.setdefault((row.sensitivity, row.root_version), []).append(row)
    for rows in by_root.values():
        try:
            opened |= open_bucket_rows(backup.lake, provider, rows)
        except (KeyStateError, KeyIntegrityError):
            counts["closed_bucket_keys"] += len(rows)
    counts["bucket_keys"] = len(opened)
    for name in sorted(set(backup.parts) - {parts.COMMON}):
        for kek in kek_rows_of(folder, backup, name):
            if kek.state is KeyState.DESTROYED:
                continue
            if (kek.sensitivity, kek.bucket, kek.bucket_version) in opened:
                open_kek(backup.lake, kek, opened)
                counts["keks"] += 1
            else:
                counts["closed_keks"] += 1
        progress(1)
    names = ("control_secrets", "bucket_keys", "keks", "closed_bucket_keys", "closed_keks")
    return {name: counts[name] for name in names}


def tombstoned(folder: BackupFolder, lake: str, notes: NoteVerifier) -> set[str]:
    """Pseudonyms that any backup of a lake in a folder shows as erased; one that is damaged says nothing."""
    found: set[str] = set()
    seen: set[str] = set()
    for backup_id in folder.list():
        with suppress(KeyIntegrityError):
            backup = folder.read(backup_id, lake, notes)
            for name in sorted(name for name in backup.parts if name.startswith("subjects-")):
                if backup.parts[name][0] not in seen:
                    rows = rows_of(folder, backup, name)
                    found |= {values["subject"] for _, values in rows if values["tombstoned"]}
                    seen.add(backup.parts[name][0])
    return found


def restore(
    folder: BackupFolder,
    backup: Backup,
    database: Transactions,
    *,
    epoch: int,
    heads: Mapping[str, tuple[int, bytes]] | None = None,
    progress: Progress = lambda _: None,
) -> int:
    """Fill an empty key store from a backup; its key epoch is at least ``epoch``.

    Args:
        heads: the anchors (position and value by name) of what is restored with it, instead of those of the backup.

    The book of releases and the list of operations are not restored: receipts that were used before are stale by then.

    Returns:
        How many rows were written.
    """
    written = 0
    with database.writing() as connection:
        for name in sorted(backup.parts):
            by_table: dict[sa.Table, list[dict[str, Any]]] = {}
            for table, values in rows_of(folder, backup, name):
                by_table.setdefault(table, []).append(values)
            for table, rows in by_table.items():
                connection.execute(table.insert(), rows)
                written += len(rows)
            progress(1)
        # The folder may hold later backups of the store that was lost: no stamp of theirs is met again.
        later = randbits(48)
        connection.execute(counters.update().where(counters.c.name != KEY_EPOCH).values(value=counters.c.value + later))
        own = counters.c.name == KEY_EPOCH
        connection.execute(counters.update().where(own), {"value": max(epoch, backup.epoch + 1)})
        if heads is not None:
            connection.execute(anchors.delete())
            found = [{"name": name, "seq": seq, "value": value} for name, (seq, value) in sorted(heads.items()) if seq]
            if found:
                connection.execute(anchors.insert(), found)
    return written
