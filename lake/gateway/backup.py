"""Catalog, key store and audit log as one unit of backup, taken while the lake is in use.

The order makes them fit: the catalog's snapshot first, then the log, then the key store, so that each holds what the
one before it names. If a state of a key changed in between, all three are taken again; nothing is locked for it. See
docs/decisions/0025-one-unit-of-backup.md.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from keys.errors import KeyIntegrityError, KeysError, KeyStateError
from keys.operations.backup import Backup
from keys.operations.restore import kek_rows_of, restore_test
from keys.operations.unit import OpenUnit, Unit, UnitDraft, UnitFolder, newer
from keys.providers import KeyProvider
from keys.refs import KeyState
from keys.signing import NoteVerifier
from keys.tables import releases
from lake.errors import IntegrityError, LakeError, UnavailableError, UsageError
from lake.gateway.home import Home
from lake.gateway.keykeeping import KeyKeeping
from lake.gateway.recorder import Actor
from lake.rules import layout
from lake.sealed.audit import entries
from lake.sealed.audit.checkpoint import Checkpoint, open_checkpoint
from lake.sealed.audit.merkle import Frontier, leaf_hash
from lake.sealed.audit.tiles import TILE_WIDTH, decode_bundle, encode_bundle
from lake.sealed.catalog import chain, dump, tables
from lake.sealed.catalog.fence import read_fence

TRIES = 20
"""How often a unit is begun anew because keys changed in the moment between two snapshots."""
CONFIG, HEAD, TAIL = "lake.json", "audit/head", "audit/tail"
ENTRIES, ATTACHMENTS = "audit/entries/", "audit/sealed/"
RELEASES = "keys/releases/"
Progress = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class Taken:
    """A unit that was written: of its parts, how many are new; and what of the key backup opened."""

    unit: Unit
    parts: int
    written: int
    opened: dict[str, int]


class Backups:
    """Backups of one opened lake."""

    def __init__(self, home: Home, actor: Actor, progress: Progress = lambda _: None) -> None:
        self._home = home
        self._actor = actor
        self._progress = progress
        self._keeper = KeyKeeping(home, actor).keeper

    def take(self, place: Path) -> Taken:
        """Write a unit of this moment; it is there wholly or not at all.

        Raises:
            UnavailableError: keys were changed all the time.
            KeyOperationError: another process writes to this folder.
            KeysError, LakeError: it could not be written or would not open; former units are as they were.
        """
        folder = UnitFolder(place)
        with folder.exclusive():
            begun = self._home.recorder.record(entries.BACKUP, self._actor, {"step": "begin"})
            try:
                taken = self._take(folder)
            except (LakeError, KeysError) as error:
                fields = {"step": "failed", "ref": begun.index, "error": error.code}
                with suppress(LakeError):  # where the log's disk is full too, the first error says more
                    self._home.recorder.record(entries.BACKUP, self._actor, fields)
                raise
            unit = taken.unit
            fields = {"step": "done", "ref": begun.index, "unit": unit.id, "size": unit.audit_size}
            self._home.recorder.record(entries.BACKUP, self._actor, {**fields, "seq": unit.catalog_seq})
        return taken

    def _take(self, folder: UnitFolder) -> Taken:
        home = self._home
        former = folder.newest(home.config.audit_key, home.provider)
        for _ in range(TRIES):
            epoch = home.key_store.epoch()
            with home.catalog.database.reading() as connection:
                head, fence = chain.head(connection), read_fence(connection)
                sys.audit("lake.step", "backup.catalog-pinned")
                note = home.log.head()
                sys.audit("lake.step", "backup.log-pinned")
                try:
                    key_backup, opened = self._keeper.proven_backup(folder.keys.folder)
                except (KeyIntegrityError, KeyStateError):
                    if home.key_store.epoch() == epoch:
                        raise
                    continue  # keys were destroyed since it was read
                sys.audit("lake.step", "backup.keys-written")
                found = folder.keys.read(key_backup, home.config.lake, NoteVerifier([home.config.audit_key]))
                if found.epoch != epoch:
                    continue
                draft = UnitDraft(folder, home.config.lake, former)
                facts = {
                    "at": int(home.clock().timestamp() * 1_000_000),
                    "keys": found.id,
                    "keys_digest": folder.key_manifest(found.id),
                    "epoch": found.epoch,
                    "fence": fence,
                    "catalog_seq": head.seq,
                    "catalog_mac": head.mac,
                    **self._put_log(draft, note),
                    **self._put_catalog(draft, connection),
                }
                self._put_releases(draft)
                draft.put(CONFIG, json.dumps(asdict(home.config), sort_keys=True).encode())
            signer = home.control.signer(layout.audit_origin(home.config.lake))
            unit = draft.publish(home.provider, signer, facts)
            return Taken(unit, draft.parts, draft.written, opened)
        raise UnavailableError("keys are being changed all the time", hint="take the backup again")

    def _put_catalog(self, draft: UnitDraft, connection: sa.Connection) -> dict[str, Any]:
        objects = dump.ObjectsDigest()
        for table in dump.TABLES:
            for number, (page, rows) in enumerate(dump.pages(connection, table)):
                draft.put(f"catalog/{table.name}/{number:09}", page)
                if table is tables.files:
                    objects.add(rows)
                self._progress(1)
        return {"objects": objects.count, "objects_digest": objects.hexdigest()}

    def _put_log(self, draft: UnitDraft, note: str) -> dict[str, Any]:
        """The entries up to a head that was taken before; what was appended since is not in the unit."""
        head = _checkpoint(note, self._home.config.lake, self._home.config.audit_key)
        full = head.size // TILE_WIDTH * TILE_WIDTH
        for start in range(0, full, TILE_WIDTH):
            bundle = [content for _, content in self._home.log.entries(start, start + TILE_WIDTH)]
            draft.put(f"{ENTRIES}{start // TILE_WIDTH:09}", encode_bundle(bundle))
            self._progress(1)
        draft.put(TAIL, encode_bundle([content for _, content in self._home.log.entries(full, head.size)]))
        draft.put(HEAD, note.encode())
        folder = self._home.root / layout.AUDIT / "sealed"
        for path in sorted(folder.rglob("*")):
            if path.is_file() and not path.name.startswith("."):
                draft.put(f"{ATTACHMENTS}{path.name}", path.read_bytes())
        return {"audit_size": head.size, "audit_root": head.root}

    def _put_releases(self, draft: UnitDraft) -> None:
        """The broker's book, read after the log: it has every release of whose INTENT the log's part knows."""
        with self._home.key_database.reading() as connection:
            for number, (page, _) in enumerate(dump.pages(connection, releases)):
                draft.put(f"{RELEASES}{number:09}", page)

    def verify(self, place: Path, unit_id: str | None = None) -> dict[str, Any]:
        """Open everything of a unit, the newest if none is named, and write nothing but the audit entry.

        Returns:
            The unit's id, and what was checked, counted.

        Raises:
            KeyIntegrityError, KeyStateError, IntegrityError: names the part that is not what was written.
        """
        folder = UnitFolder(place)
        unit = find_unit(folder, unit_id, self._home.config.audit_key)
        checked = check_unit(folder, unit, self._home.provider, self._home.control.catalog_mac, self._progress)
        fields = {"step": "verify", "unit": unit.id, "size": unit.audit_size, "seq": unit.catalog_seq}
        self._home.recorder.record(entries.BACKUP, self._actor, fields)
        return {"unit": unit.id, "at": unit.at, **checked}


def find_unit(folder: UnitFolder, unit_id: str | None, audit_key: str | None = None) -> Unit:
    """The newest unit of a folder, or the one that is named.

    Raises:
        UsageError: there is none, or there are several lakes' and none is named.
        KeyIntegrityError: one is not whole, or is of another lake.
    """
    found = [folder.read(name, audit_key) for name in ([unit_id] if unit_id else folder.list())]
    if not found:
        raise UsageError(f"there is no backup in {folder.folder}")
    if len({unit.lake for unit in found}) > 1:
        raise UsageError(f"{folder.folder} has backups of several lakes", hint="name one with --id")
    return max(found, key=newer)


def key_backup_of(folder: UnitFolder, unit: Unit) -> Backup:
    """The key backup that a unit names.

    Raises:
        KeyIntegrityError: it is missing, or is not the one that the unit was written with.
    """
    backup = folder.keys.read(unit.keys, unit.lake, NoteVerifier([unit.audit_key]))
    if folder.key_manifest(unit.keys) != unit.keys_digest or backup.epoch != unit.epoch:
        raise KeyIntegrityError("the key backup of a unit is another one", hint="use another unit")
    return backup


def catalog_rows(opened: OpenUnit, name: str) -> Iterator[dict[str, Any]]:
    """Rows of a table of the catalog, as a unit has them."""
    table = tables.metadata.tables[name]
    for page in opened.names(f"catalog/{name}/"):
        yield from dump.parse(opened.read(page), table)


def log_entries(opened: OpenUnit) -> Iterator[bytes]:
    """The entries of the audit log, as a unit has them."""
    for name in opened.names(ENTRIES):
        yield from decode_bundle(opened.read(name), name)
    rest = opened.read(TAIL)
    while rest:
        end = 2 + int.from_bytes(rest[:2], "big")
        yield rest[2:end]
        rest = rest[end:]


def attachments(opened: OpenUnit) -> Iterator[tuple[str, bytes]]:
    """The audit log's attachments: digest in hex and bytes."""
    for name in opened.names(ATTACHMENTS):
        yield name.removeprefix(ATTACHMENTS), opened.read(name)


def check_unit(
    folder: UnitFolder,
    unit: Unit,
    provider: KeyProvider,
    mac: chain.Mac,
    progress: Progress = lambda _: None,
) -> dict[str, int]:
    """Open every part and every wrap of a unit, and recompute the chain and the log's root.

    Returns:
        Counts of what was checked.
    """
    opened = folder.open(unit, provider)
    backup = key_backup_of(folder, unit)
    counts = restore_test(folder.keys, backup, provider, progress=progress)
    head = dump.verify(lambda name: catalog_rows(opened, name), mac)
    if (head.seq, head.mac) != (unit.catalog_seq, unit.catalog_mac):
        raise IntegrityError("the catalog of a unit does not end where its manifest says", hint="use another unit")
    _check_files(folder, unit, opened, backup)
    tree = Frontier()
    for entry in log_entries(opened):
        tree.push(leaf_hash(entry))
    signed = _checkpoint(opened.read(HEAD).decode(), unit.lake, unit.audit_key)
    if not (tree.size, tree.root()) == (signed.size, signed.root) == (unit.audit_size, unit.audit_root):
        raise IntegrityError("the audit log of a unit does not lead to its signed head", hint="use another unit")
    others = [CONFIG, *opened.names(ATTACHMENTS), *opened.names(RELEASES), *opened.names("catalog/marks/")]
    for name in others:
        opened.read(name)
        progress(1)
    numbers = {"commits": head.seq, "objects": unit.objects, "entries": tree.size, "parts": len(opened.names())}
    return {**counts, **numbers}


def _check_files(folder: UnitFolder, unit: Unit, opened: OpenUnit, backup: Backup) -> None:
    """Every live file is under a KEK that the unit's key backup has, and all of them are those of the manifest."""
    living = {
        (row.kek_id, row.version)
        for name in backup.parts
        for row in kek_rows_of(folder.keys, backup, name)
        if row.state is not KeyState.DESTROYED
    }
    objects = dump.ObjectsDigest()
    for row in catalog_rows(opened, tables.files.name):
        objects.add([row])
        if row["removed_seq"] is None and (row["kek_id"], row["kek_version"]) not in living:
            raise IntegrityError(
                f"the file {row['file_id']} of a unit is under a key that the unit does not have",
                hint="use another unit",
            )
    if (objects.count, objects.hexdigest()) != (unit.objects, unit.objects_digest):
        raise IntegrityError("the files of a unit are not those of its manifest", hint="use another unit")


def _checkpoint(note: str, lake: str, audit_key: str) -> Checkpoint:
    return open_checkpoint(note, layout.audit_origin(lake), NoteVerifier([audit_key]), source="the backup's head")


def unit_document(unit: Unit) -> dict[str, Any]:
    """A unit as it is shown."""
    return {
        "unit": unit.id,
        "lake": unit.lake,
        "at": unit.at,
        "commits": unit.catalog_seq,
        "entries": unit.audit_size,
        "objects": unit.objects,
        "key_backup": unit.keys,
        "key_epoch": unit.epoch,
    }


def list_units(place: Path) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """The units of a folder, newest first, and what is wrong with others, by id. Needs no key: signatures only."""
    folder = UnitFolder(place)
    units: list[Unit] = []
    damaged: dict[str, str] = {}
    for name in folder.list():
        try:
            units.append(folder.read(name))
        except KeyIntegrityError as error:
            damaged[name] = error.message
    return [unit_document(unit) for unit in sorted(units, key=newer, reverse=True)], damaged
