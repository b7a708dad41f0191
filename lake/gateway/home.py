"""One lake, opened: its stores, its keys, its log. Everything that acts on a lake starts here."""

from __future__ import annotations

import os
import secrets
import shutil
import sys
import threading
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path

from keys import unlock
from keys.changes import Changes
from keys.control import ControlKeys, new_control_secrets
from keys.errors import KeysError
from keys.hierarchy import Hierarchy
from keys.keystore import KeyStore
from keys.limits import BrokerLimits
from keys.names import ROOT_NAMES
from keys.providers import KeyProvider
from keys.providers import local as local_provider
from keys.refs import KeyState
from keys.rows import RootRow
from keys.signing import NoteVerifier
from lake.clock import Clock, timestamp, utc_now
from lake.errors import IntegrityError, LakeError, UsageError
from lake.gateway import key_services, places
from lake.gateway.config import Elsewhere, LakeConfig, read_config, write_config
from lake.gateway.directory import Directory
from lake.gateway.keyside import KeySide, log_signer, open_here, open_remote
from lake.gateway.recorder import Actor, Recorder
from lake.rules import layout
from lake.sealed.audit import entries
from lake.sealed.audit.log import AuditLog
from lake.sealed.catalog.catalog import Catalog
from lake.sealed.catalog.chain import Head
from lake.sealed.catalog.database import Database
from lake.sealed.catalog.draft import Draft
from lake.sealed.catalog.fence import GENERATION, read_fence
from lake.sealed.catalog.quarantine import Quarantine
from lake.sealed.catalog.upkeep import Upkeep
from lake.sealed.objects import ObjectStore
from lake.settings import Secrets, Settings

WAITING = 4
"""Threads to a processor that write to a store on the network."""


class Home:
    """An opened lake. Close it; it is also a context manager."""

    def __init__(
        self,
        root: Path,
        config: LakeConfig,
        keys: KeySide,
        *,
        settings: Settings,
        clock: Clock,
    ) -> None:
        self.root = root
        self.config = config
        self.settings = settings
        self.clock = clock
        self.objects: ObjectStore = places.object_store(root, config)
        self.snapshot_days: int | None = None
        self.archive_days: int | None = None
        self.keys = keys
        self.key_store, self.control, self.broker = keys.store, keys.control, keys.broker
        database = places.checked(places.catalog_database(root, config))
        try:
            self._build(database)
        except BaseException:
            database.close()
            raise

    def _build(self, database: Database) -> None:
        root, config, clock = self.root, self.config, self.clock
        self.catalog = Catalog(database, self.control.catalog_mac, clock)
        self.catalog.check_anchor(*self.key_store.anchor("catalog"))
        self.upkeep = Upkeep(self.catalog)
        self.quarantine = Quarantine(database)
        self._follow_restored()
        signer = log_signer(config, self.control)
        notes = NoteVerifier([signer.verifier_key])
        self.log = AuditLog.open(root / layout.AUDIT, signer.name, signer=signer, opener=notes)
        self.check_log()
        self.directory = Directory(self.catalog, self.control, self.broker, self.advance)
        self.recorder = Recorder(
            self.log, entries.Attachments(root / layout.AUDIT), self.control, self.directory, clock
        )
        self.releasing = threading.Lock()
        self.directory.refuse_erased = self._refuse_erased

    def _follow_restored(self) -> None:
        """Refuse commits under the key store that was lost, now that another is in its place."""
        if self.keys.local is None:
            return
        start = self.key_store.epoch() // GENERATION * GENERATION
        with self.catalog.database.reading() as connection:
            fence = read_fence(connection)
        if start > fence:
            self.upkeep.fence(start)

    @classmethod
    def open(cls, root: Path, secret: Secrets, *, settings: Settings | None = None, clock: Clock = utc_now) -> Home:
        """Open the lake in ``root``.

        Raises:
            UsageError: there is no lake, or no secret was given.
            KeysError: the key store does not open, or the broker that holds it gives no keys to this host.
            IntegrityError: something is missing, damaged, or older than it should be.
        """
        config = read_config(root)
        keys = open_keys(root, secret, clock=clock) if secret.broker is None else open_remote(config, secret.broker)
        try:
            home = cls(root, config, keys, settings=settings or Settings(), clock=clock)
        except BaseException:
            keys.close()
            raise
        home.snapshot_days, home.archive_days = key_services.copies_kept(secret)
        return home

    @property
    def writers(self) -> int:
        """Threads that encrypt and store: more than there are processors where storing is mostly waiting."""
        return self.settings.threads * (WAITING if self.objects.location().part else 1)

    @property
    def provider(self) -> KeyProvider:
        """Holds the roots. This and the next three raise UsageError where a broker holds the key store."""
        return self.keys.here().provider

    @property
    def key_database(self) -> Database:
        """The key store's database."""
        return self.keys.here().database

    @property
    def key_changes(self) -> Changes:
        """Changes the key store."""
        return self.keys.here().changes

    @property
    def hierarchy(self) -> Hierarchy:
        """The key levels."""
        return self.keys.here().hierarchy

    def __enter__(self) -> Home:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Publish the audit log and give everything back."""
        try:
            with suppress(LakeError, KeysError):  # the next command will say what is wrong
                self.anchor_log()
            self.log.close()
        finally:
            self.catalog.database.close()
            self.keys.close()
            self.objects.close()

    def _refuse_erased(self, tags: Collection[bytes]) -> None:
        from lake.gateway.erased import Erased  # noqa: PLC0415 - it is built on this

        Erased(self).refuse(tags)

    def check_log(self) -> None:
        """Refuse a log that ends before, or differs from, what the broker saw last.

        Raises:
            IntegrityError: it was cut off, replaced or rewritten.
        """
        size, root = self.key_store.anchor("audit")
        if size and (self.log.size < size or self.log.root_at(size) != root):
            raise IntegrityError(
                "the audit log is not the one that the broker saw last: it was cut off or replaced",
                hint="restore the newest copy; nothing is read or changed until then",
            )

    def anchor_log(self) -> None:
        """Remember the audit log as it stands in the key store, so that entries cut off later are missed."""
        size = self.log.size
        if size:
            self.key_store.advance_anchor("audit", size, self.log.root_at(size))

    def advance(self, head: Head | None) -> None:
        """Remember the catalog's newest commit in the key store, so that an older copy of the catalog is noticed."""
        if head is not None:
            self.key_store.advance_anchor("catalog", head.seq, head.mac)

    def actor(self, user: str, roles: tuple[str, ...] = ()) -> Actor:
        """A user as the audit log shows them; remembers the name behind the pseudonym, sealed."""
        tag = self.control.actor_tag(user)
        self.advance(self.catalog.add_actor(tag, self.control.seal_document("directory", tag, user.encode())))
        return Actor(tag, roles)

    def actor_names(self) -> dict[str, str]:
        """Names by audit pseudonym, for who may open the directory."""
        return {
            tag: self.control.open_document("directory", tag, sealed).decode()
            for tag, sealed in self.catalog.actors().items()
        }


def create(
    root: Path,
    secret: Secrets,
    *,
    user: str,
    key_store: Path | None = None,
    elsewhere: Elsewhere | None = None,
    clock: Clock = utc_now,
    first: Callable[[Home], None] = lambda _: None,
) -> None:
    """Make a new lake in ``root``, which must not exist or be empty. It is there wholly or not at all.

    A key file that does not exist is made. ``first`` is what to do with the lake before it is there.

    Raises:
        UsageError: ``root`` is not empty.
    """
    root = root.absolute()
    place = layout.KEYS if key_store is None else str(key_store.absolute())
    config = LakeConfig(secrets.token_hex(16), timestamp(clock()), "", place, **asdict(elsewhere or Elsewhere()))
    places.check(config)
    if root.exists() and (not root.is_dir() or any(root.iterdir())):
        raise UsageError(f"{root} exists and is not an empty folder", hint="choose another place for the lake")
    places.claim_store(config, root)
    fresh = secret.key_file is not None and secret.passphrase_file is None and secret.provider_file is None
    if fresh and secret.key_file is not None and not secret.key_file.exists():
        unlock.create_key_file(secret.key_file)
    service = None if secret.provider_file is None else key_services.read_service(secret.provider_file)
    opened = key_services.load_secret(secret) if service is None else None
    root.parent.mkdir(parents=True, exist_ok=True)
    draft = root.with_name(f".{root.name}.{secrets.token_hex(8)}")
    draft.mkdir(mode=0o700)
    leftovers = [draft] if key_store is None or key_store.exists() else [draft, key_store]
    made: list[Draft] = []
    there = False
    try:
        _fill(draft, config, opened, service, clock, made=made)
        with Home.open(draft, secret, clock=clock) as home:
            home.recorder.record(entries.CREATED, home.actor(user), {"lake": home.config.lake})
            home.recorder.record_keys(home.actor(user), home.broker.take_events())
            first(home)
        sys.audit("lake.step", "init.filled")
        for tables in made:
            tables.finish()
        sys.audit("lake.step", "init.finished")
        if root.exists():
            root.rmdir()
        draft.rename(root)
        there = True
        descriptor = os.open(root.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except BaseException:
        if not there:
            for tables in made:
                with suppress(LakeError):  # the next 'lake init' clears what is left
                    tables.discard()
            for folder in leftovers:
                shutil.rmtree(folder, ignore_errors=True)
            with suppress(LakeError):
                places.release_store(config, root)
        raise
    finally:
        for tables in made:
            tables.close()


def _fill(
    draft: Path,
    config: LakeConfig,
    secret: unlock.UnlockSecret | None,
    service: key_services.KeyService | None,
    clock: Clock,
    *,
    made: list[Draft],
) -> None:
    folder = places.key_folder(draft, config)
    provider: KeyProvider
    if service is not None:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        provider = service.connect(config.lake)
    else:
        assert secret is not None  # noqa: S101 - the caller has read one of the two
        local_provider.initialise(folder, secret, config.lake)
        provider = local_provider.LocalProvider(folder, secret)
    provider.create(ROOT_NAMES)
    made.append(places.key_draft(draft, config))
    sys.audit("lake.step", "init.keys-migrated")
    key_database = made[-1].database
    store = KeyStore(key_database)
    now = int(clock().timestamp() * 1_000_000)
    roots = [RootRow(name, provider.describe(name).current, KeyState.ENABLED, now) for name in ROOT_NAMES]
    store.create(provider.kind, roots, new_control_secrets(config.lake, provider))
    control = ControlKeys(config.lake, store, provider)
    sys.audit("lake.step", "init.keys-made")
    made.append(places.catalog_draft(draft, config))
    sys.audit("lake.step", "init.catalog-migrated")
    provider.close()
    signer = control.signer(layout.audit_origin(config.lake))
    AuditLog.create(draft / layout.AUDIT, signer)
    write_config(draft, replace(config, audit_key=signer.verifier_key))


def open_keys(root: Path, secret: Secrets, *, clock: Clock = utc_now, limits: BrokerLimits | None = None) -> KeySide:
    """The keys of a lake from its key store; of the lake's folder only ``lake.json`` is read."""
    config = read_config(root)
    database = places.checked(places.key_database(root, config))
    folder = places.key_folder(root, config)
    try:
        provider = key_services.open_provider(KeyStore(database).provider(), folder, config.lake, secret)
        return open_here(config, provider, database, clock=clock, limits=limits)
    except BaseException:
        database.close()
        raise


def upgrade(root: Path) -> None:
    """Bring the catalog and the key store of a lake to the newest version; needs no key."""
    config = read_config(root)
    for find in (places.key_database, places.catalog_database):
        database = find(root, config)
        try:
            places.upgrade(database)
        finally:
            database.close()
