"""One lake, opened: its stores, its keys, its log. Everything that acts on a lake starts here."""

from __future__ import annotations

import os
import secrets
import shutil
from contextlib import suppress
from pathlib import Path

from keys import unlock
from keys.broker import Broker
from keys.control import ControlKeys, create_control_secrets
from keys.errors import KeysError
from keys.hierarchy import ROOT_NAMES, Hierarchy
from keys.keystore import KeyStore
from keys.providers import KeyProvider
from keys.providers import local as local_provider
from keys.signing import NoteVerifier
from lake.clock import Clock, timestamp, utc_now
from lake.errors import IntegrityError, LakeError, UsageError
from lake.gateway.config import LakeConfig, read_config, write_config
from lake.gateway.directory import Directory
from lake.gateway.recorder import Actor, Recorder
from lake.rules import layout
from lake.sealed.audit import entries
from lake.sealed.audit.log import AuditLog
from lake.sealed.catalog import migrate
from lake.sealed.catalog.catalog import Catalog
from lake.sealed.catalog.chain import Head
from lake.sealed.catalog.database import Database
from lake.sealed.objects import ObjectStore
from lake.sealed.objects.local import LocalStore
from lake.settings import Secrets, Settings

CATALOG_NAME, KEY_STORE_NAME = "catalog", "key store"


def load_secret(paths: Secrets) -> unlock.UnlockSecret:
    """The operator's secret.

    Raises:
        UsageError: none or two were given.
    """
    if (paths.key_file is None) == (paths.passphrase_file is None):
        raise UsageError(
            "one secret is needed to open the key store",
            hint="give --key-file or --passphrase-file, or set LAKE_KEY_FILE or LAKE_PASSPHRASE_FILE",
        )
    if paths.key_file is not None:
        return unlock.from_key_file(paths.key_file)
    assert paths.passphrase_file is not None  # noqa: S101 - the check above; for the type checker
    return unlock.from_passphrase_file(paths.passphrase_file)


class Home:
    """An opened lake. Close it; it is also a context manager."""

    def __init__(
        self,
        root: Path,
        config: LakeConfig,
        provider: KeyProvider,
        *,
        settings: Settings,
        clock: Clock,
    ) -> None:
        self.root = root
        self.config = config
        self.settings = settings
        self.clock = clock
        self.objects: ObjectStore = LocalStore(root)
        self._key_database = Database.sqlite(_key_folder(root, config) / layout.KEY_STORE, KEY_STORE_NAME)
        migrate.check_version(self._key_database, migrate.KEY_STORE_HEAD)
        self.key_store = KeyStore(self._key_database)
        self.control = ControlKeys(config.lake, self.key_store, provider)
        database = Database.sqlite(root / layout.CATALOG, CATALOG_NAME)
        migrate.check_version(database, migrate.CATALOG_HEAD)
        self.catalog = Catalog(database, self.control.catalog_mac, clock)
        self.catalog.check_anchor(*self.key_store.anchor("catalog"))
        origin = layout.audit_origin(config.lake)
        signer = self.control.signer(origin)
        if signer.verifier_key != config.audit_key:
            raise IntegrityError(f"{layout.CONFIG} names another audit key", hint="restore it from a backup")
        notes = NoteVerifier([signer.verifier_key])
        self.log = AuditLog.open(root / layout.AUDIT, origin, signer=signer, opener=notes)
        self.check_log()
        self.hierarchy = Hierarchy(config.lake, self.key_store, provider)
        self.broker = Broker(self.hierarchy, self.key_store, origin=origin, notes=notes, clock=clock)
        self.recorder = Recorder(self.log, entries.Attachments(root / layout.AUDIT), self.control, clock)
        self.directory = Directory(self.catalog, self.control, self.broker, self.advance)

    @classmethod
    def open(cls, root: Path, secret: Secrets, *, settings: Settings | None = None, clock: Clock = utc_now) -> Home:
        """Open the lake in ``root``.

        Raises:
            UsageError: there is no lake, or no secret was given.
            KeysError: the key store does not open.
            IntegrityError: something is missing, damaged, or older than it should be.
        """
        config = read_config(root)
        provider = local_provider.LocalProvider(_key_folder(root, config), load_secret(secret))
        if provider.lake != config.lake:
            raise IntegrityError("the key store belongs to another lake", hint="check lake.json and the key store")
        return cls(root, config, provider, settings=settings or Settings(), clock=clock)

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
            self._key_database.close()

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


def create(root: Path, secret: Secrets, *, user: str, key_store: Path | None = None, clock: Clock = utc_now) -> None:
    """Make a new lake in ``root``, which must not exist or be empty. It is there wholly or not at all.

    A key file that does not exist is made.

    Raises:
        UsageError: ``root`` is not empty.
    """
    root = root.absolute()
    if root.exists() and (not root.is_dir() or any(root.iterdir())):
        raise UsageError(f"{root} exists and is not an empty folder", hint="choose another place for the lake")
    if secret.key_file is not None and secret.passphrase_file is None and not secret.key_file.exists():
        unlock.create_key_file(secret.key_file)
    opened = load_secret(secret)
    root.parent.mkdir(parents=True, exist_ok=True)
    draft = root.with_name(f".{root.name}.{secrets.token_hex(8)}")
    draft.mkdir(mode=0o700)
    leftovers = [draft] if key_store is None or key_store.exists() else [draft, key_store]
    try:
        _fill(draft, opened, key_store, clock)
        with Home.open(draft, secret, clock=clock) as home:
            home.recorder.record(entries.CREATED, home.actor(user), {"lake": home.config.lake})
            home.recorder.record_keys(home.actor(user), home.broker.take_events())
        if root.exists():
            root.rmdir()
        draft.rename(root)
        descriptor = os.open(root.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except BaseException:
        for folder in leftovers:
            shutil.rmtree(folder, ignore_errors=True)
        raise


def _fill(draft: Path, secret: unlock.UnlockSecret, key_store: Path | None, clock: Clock) -> None:
    lake = secrets.token_hex(16)
    folder = draft / layout.KEYS if key_store is None else key_store.absolute()
    local_provider.initialise(folder, secret, lake)
    provider = local_provider.LocalProvider(folder, secret)
    provider.create(ROOT_NAMES)
    key_database = Database.sqlite(folder / layout.KEY_STORE, KEY_STORE_NAME, create=True)
    migrate.upgrade(key_database, migrate.KEY_STORE_MIGRATIONS)
    store = KeyStore(key_database)
    create_control_secrets(lake, store, provider)
    control = ControlKeys(lake, store, provider)
    key_database.close()
    catalog = Database.sqlite(draft / layout.CATALOG, CATALOG_NAME, create=True)
    migrate.upgrade(catalog, migrate.CATALOG_MIGRATIONS)
    catalog.close()
    signer = control.signer(layout.audit_origin(lake))
    AuditLog.create(draft / layout.AUDIT, signer)
    place = layout.KEYS if key_store is None else str(folder)
    write_config(draft, LakeConfig(lake, timestamp(clock()), signer.verifier_key, place))


def _key_folder(root: Path, config: LakeConfig) -> Path:
    return root / config.key_store


def upgrade(root: Path) -> None:
    """Bring the catalog and the key store of a lake to the newest version; needs no key."""
    config = read_config(root)
    for path, name, migrations in (
        (_key_folder(root, config) / layout.KEY_STORE, KEY_STORE_NAME, migrate.KEY_STORE_MIGRATIONS),
        (root / layout.CATALOG, CATALOG_NAME, migrate.CATALOG_MIGRATIONS),
    ):
        database = Database.sqlite(path, name)
        migrate.upgrade(database, migrations)
        database.close()
