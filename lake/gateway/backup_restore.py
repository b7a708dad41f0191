"""A lake made of a unit of backup: keys first, as nothing else opens without them; then catalog and log, cut to fit.

What became of the lake after the unit was taken is lost, and what is known of it is said: entries of the log that a
surviving copy has are kept, employees who are known to be erased are erased again, objects are compared.
"""

from __future__ import annotations

import itertools
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from keys.errors import KeyIntegrityError
from keys.operations import restore
from keys.operations.backup import Backup
from keys.operations.unit import OpenUnit, Unit, UnitFolder
from keys.providers import KeyProvider
from keys.providers import local as local_provider
from keys.secretfiles import read_secret_file, write_secret_file
from keys.signing import NoteVerifier
from keys.tables import releases, subjects
from lake.clock import Clock, utc_now
from lake.errors import IntegrityError, LakeError, UsageError
from lake.gateway import key_services, places
from lake.gateway.backup import CONFIG, HEAD, RELEASES, attachments, catalog_rows, find_unit, key_backup_of, log_entries
from lake.gateway.config import LakeConfig, write_config
from lake.gateway.erased import Erased
from lake.gateway.home import Home
from lake.gateway.recorder import parse_entry
from lake.gateway.restoring import Restoring
from lake.rules import layout
from lake.sealed.audit import entries
from lake.sealed.audit.copying import fill
from lake.sealed.audit.log import AuditLog
from lake.sealed.catalog import dump, tables
from lake.sealed.catalog.draft import Draft
from lake.sealed.catalog.fence import next_generation
from lake.settings import Secrets

NAMED = 20
"""Objects that a report names; the others are counted."""
Progress = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class Target:
    """Where a lake is restored to, and what of the lost one is still there.

    Attributes:
        key_store: folder of the key store; none is the lake's own.
        catalog_url, keys_url: databases, whose schemas must be empty; none is a file.
        roots: of the local provider: folder with ``device.secret`` and, if it survived, ``keystore.bin``.
        audit: folder of a copy of the audit log that may be longer than the unit's.
    """

    root: Path
    key_store: Path | None = None
    catalog_url: str = ""
    keys_url: str = ""
    roots: Path | None = None
    audit: Path | None = None


def restore_unit(
    place: Path,
    target: Target,
    secret: Secrets,
    *,
    user: str,
    unit_id: str | None = None,
    clock: Clock = utc_now,
    progress: Progress = lambda _: None,
) -> dict[str, Any]:
    """Make a lake of the newest unit in a folder, or of the one that is named. It is there wholly or not at all.

    Made again after a crash it goes on or begins anew. The restoration is the lake's next audit entry.

    Returns:
        What was restored, what is missing, what is lost.

    Raises:
        UsageError: the target is taken, or what opens the roots is not named.
        KeyIntegrityError: a part was changed; or keys of the newest unit have been destroyed since: it must be named.
        IntegrityError: what was restored is not what the unit's manifest says.
    """
    site = Restoring(target.root, target.key_store)
    with site.exclusive():
        if site.is_whole():
            return site.put_in_place()
        folder = UnitFolder(place)
        unit = find_unit(folder, unit_id)
        backup = key_backup_of(folder, unit)
        site.begin()
        made: list[Draft] = []
        try:
            restoration = _Restoration(site, target, secret, folder, unit, backup, progress)
            report = restoration.run(made, user=user, clock=clock, named=unit_id is not None)
            for tables_made in made:
                if tables_made.database.is_sqlite:
                    tables_made.finish()
            site.declare_whole(report)
        except BaseException:
            if not site.is_whole():
                for tables_made in made:
                    with suppress(LakeError):  # the next attempt clears what is left
                        tables_made.discard()
                site.discard()
            raise
        finally:
            for tables_made in made:
                tables_made.close()
        return site.put_in_place()


@dataclass(frozen=True, slots=True)
class _Log:
    """The log that is restored: its head, and how many entries a surviving copy had beyond the unit's."""

    size: int
    root: bytes
    recovered: int
    erased: frozenset[int]


@dataclass(frozen=True, slots=True)
class _Restoration:
    """One restoration, from an empty draft to a lake that was opened."""

    site: Restoring
    target: Target
    secret: Secrets
    folder: UnitFolder
    unit: Unit
    backup: Backup
    progress: Progress

    @property
    def key_folder(self) -> Path:
        """Where the key store's own files go."""
        return self.site.key_store or self.site.draft / layout.KEYS

    @property
    def notes(self) -> NoteVerifier:
        """Opens what the lake has signed."""
        return NoteVerifier([self.unit.audit_key])

    def run(self, made: list[Draft], *, user: str, clock: Clock, named: bool) -> dict[str, Any]:
        """Everything up to the report; ``made`` takes what must be cleared if it fails."""
        provider = self._provider()
        with closing(provider):
            opened = self.folder.open(self.unit, provider)
            config = self._config(opened)
            wraps = self._wraps(provider, named=named)
            log = self._restore_log(opened)
            self._restore_keys(opened, config, log, made)
        self._restore_catalog(opened, config, made)
        write_config(self.site.draft, config)
        sys.audit("lake.step", "restore.config-written")
        with Home.open(self.site.draft, self.secret, clock=clock) as home:
            head = dump.verify(lambda name: catalog_rows(opened, name), home.control.catalog_mac)
            if (head.seq, head.mac) != (self.unit.catalog_seq, self.unit.catalog_mac):
                raise IntegrityError("the unit's catalog is not the one of its manifest", hint="use another unit")
            erased = self._erase_again(home, log, user)
            report = {
                "unit": self.unit.id,
                "at": self.unit.at,
                "lake": self.unit.lake,
                "folder": str(self.target.root.absolute()),
                "commits": head.seq,
                "entries": log.size,
                "entries_recovered": log.recovered,
                "erased_again": erased,
                **wraps,
                **self._compare_objects(home),
            }
            shown = ("unit", "at", "commits", "entries_recovered", "erased_again", "closed_keks", "missing", "orphans")
            fields = {name: report[name] for name in shown}
            home.recorder.record(entries.RESTORED, home.actor(user), {**fields, "size": self.unit.audit_size})
        sys.audit("lake.step", "restore.recorded")
        return report

    def _provider(self) -> KeyProvider:
        """The provider of the unit's roots; of a local one, its files in the new key store."""
        if self.unit.provider == key_services.LOCAL:
            roots = self.target.roots
            if roots is None:
                raise UsageError(
                    "the roots of this lake were in its own key store, whose device secret is in no backup",
                    hint="name the folder that has device.secret, and keystore.bin if it survived: --roots DIR",
                )
            self.key_folder.mkdir(exist_ok=True, mode=0o700)
            for name in (local_provider.DEVICE, local_provider.NEXT_DEVICE, local_provider.STORE):
                if (roots / name).exists():
                    write_secret_file(self.key_folder / name, read_secret_file(roots / name), replace=False)
            if not (self.key_folder / local_provider.STORE).exists():
                digest, length = self.backup.provider_files[local_provider.STORE]
                content = self.folder.keys.part(digest, length)
                write_secret_file(self.key_folder / local_provider.STORE, content, replace=False)
            sys.audit("lake.step", "restore.roots-written")
        return key_services.open_provider(self.unit.provider, self.key_folder, self.unit.lake, self.secret)

    def _config(self, opened: OpenUnit) -> LakeConfig:
        try:
            config = LakeConfig(**json.loads(opened.read(CONFIG)))
        except (ValueError, TypeError):
            raise IntegrityError("the lake.json of a unit is not one", hint="use another unit") from None
        if (config.lake, config.audit_key) != (self.unit.lake, self.unit.audit_key):
            raise IntegrityError("the lake.json of a unit is of another lake", hint="use another unit")
        place = layout.KEYS if self.target.key_store is None else str(self.target.key_store.absolute())
        target = self.target
        config = replace(config, key_store=place, catalog_url=target.catalog_url, keys_url=target.keys_url)
        places.check(config)
        return config

    def _wraps(self, provider: KeyProvider, *, named: bool) -> dict[str, int]:
        """What of the unit's keys opens; all of it, unless the unit was named: then whatever is left.

        Raises:
            KeyIntegrityError: keys have been destroyed since the unit was taken.
        """
        found = restore.count_openable(self.folder.keys, self.backup, provider, self.progress)
        if found["closed_bucket_keys"] and not named:
            raise KeyIntegrityError(
                f"{found['closed_bucket_keys']} bucket keys of the newest unit open no more: it was taken before"
                " the last shredding or destruction of old roots",
                hint=f"look for a newer unit; to restore what still opens, name it: --id {self.unit.id}",
            )
        return found

    def _restore_log(self, opened: OpenUnit) -> _Log:
        note, origin = opened.read(HEAD).decode(), layout.audit_origin(self.unit.lake)
        beyond: Iterator[bytes] = iter(())
        kept = attachments(opened)
        erased: set[int] = set()
        survivor = None
        size = self.unit.audit_size
        try:
            if self.target.audit is not None:
                survivor = AuditLog.open(self.target.audit, origin, signer=None, opener=self.notes)
                if survivor.size < size or survivor.root_at(size) != self.unit.audit_root:
                    raise IntegrityError(
                        f"the audit log in {self.target.audit} does not continue the unit's",
                        hint="it is older, of another lake, or was changed; restore without it",
                    )
                note = survivor.head()
                erased = _erased_since(survivor, size)
                beyond = (content for _, content in survivor.entries(size))
                kept = itertools.chain(kept, _attachments_of(self.target.audit))
            root = self.site.draft / layout.AUDIT
            head = fill(
                root,
                origin,
                self.notes,
                itertools.chain(log_entries(opened), beyond),
                note,
            )
        finally:
            if survivor is not None:
                survivor.close()
        store = entries.Attachments(root)
        for digest, content in kept:
            store.restore(digest, content)
        sys.audit("lake.step", "restore.log-written")
        return _Log(head.size, head.root, head.size - size, frozenset(erased))

    def _restore_keys(self, opened: OpenUnit, config: LakeConfig, log: _Log, made: list[Draft]) -> None:
        """The key store, with the anchors of what is restored beside it: its own have seen more than that."""
        unit = self.unit
        made.append(places.key_draft(self.site.draft, config))
        database = made[-1].database
        heads = {"catalog": (unit.catalog_seq, unit.catalog_mac), "audit": (log.size, log.root)}
        epoch = next_generation(max(unit.fence, unit.epoch))
        restore.restore(self.folder.keys, self.backup, database, epoch=epoch, heads=heads, progress=self.progress)
        for name in opened.names(RELEASES):
            rows = [row for row in dump.parse(opened.read(name), releases) if row["receipt"] < log.size]
            if rows:
                with database.writing() as connection:
                    connection.execute(releases.insert(), rows)
        sys.audit("lake.step", "restore.keys-written")

    def _restore_catalog(self, opened: OpenUnit, config: LakeConfig, made: list[Draft]) -> None:
        made.append(places.catalog_draft(self.site.draft, config))
        for table in dump.TABLES:
            for name in opened.names(f"catalog/{table.name}/"):
                rows = dump.parse(opened.read(name), table)
                with made[-1].database.writing() as connection:
                    connection.execute(table.insert(), rows)
                sys.audit("lake.step", "restore.page-written")
                self.progress(1)
        sys.audit("lake.step", "restore.catalog-written")

    def _erase_again(self, home: Home, log: _Log, user: str) -> int:
        """Employees whom a newer key backup or the log's later entries show as erased; gives how many."""
        names = restore.tombstoned(self.folder.keys, self.unit.lake, self.notes)
        with home.key_database.reading() as connection:
            living = sa.select(subjects).where(subjects.c.tombstoned.is_(False))
            found = {row.subject: row.number for row in connection.execute(living)}
        gone = {name: number for name, number in found.items() if name in names or number in log.erased}
        if gone:
            home.upkeep.fence(home.key_changes.tombstone(sorted(gone)))
            home.advance(home.upkeep.erase(sorted(gone.values())))
            Erased(home).erase(user, sorted(gone.values()), None)
        return len(gone)

    def _compare_objects(self, home: Home) -> dict[str, Any]:
        """Objects that the catalog names and the store lacks; and those that landed after the unit was taken."""
        stored = {found.key: found.length for found in home.objects.list()}
        files = tables.files.c
        live = sa.select(files.object_key, files.length).where(files.removed_seq.is_(None)).order_by(files.object_key)
        missing: list[str] = []
        count = 0
        with home.catalog.database.reading() as connection:
            for key, length in connection.execute(live):
                if stored.get(key) != length:
                    count += 1
                    missing += [key] if len(missing) < NAMED else []
        known = home.catalog.object_keys()
        orphans = sorted(key for key in stored if key not in known)
        named = {"missing_objects": missing, "orphan_objects": orphans[:NAMED]}
        return {"objects": self.unit.objects, "missing": count, "orphans": len(orphans), **named}


def _erased_since(log: AuditLog, start: int) -> set[int]:
    """Numbers of employees whose shredding a log announces from an entry on, those that failed left out."""
    begun: dict[int, set[int]] = {}
    for index, content in log.entries(start):
        entry = parse_entry(content)
        if entry["type"] != entries.KEY_OPERATION or entry["verb"] != "shred":
            continue
        if entry["step"] == "begin":
            begun[index] = entries.members(entry["emp"])
        elif entry["step"] == "failed":
            begun.pop(entry["ref"], None)
    return set().union(*begun.values())


def _attachments_of(root: Path) -> Iterator[tuple[str, bytes]]:
    for path in sorted((root / "sealed").rglob("*")):
        if path.is_file() and not path.name.startswith("."):
            yield path.name, path.read_bytes()
