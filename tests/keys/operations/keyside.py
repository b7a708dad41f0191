"""A lake's keys on disk, opened as a process opens them: a real key store and a local provider, without a lake."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import sqlalchemy as sa

from keys import unlock
from keys.changes import Changes
from keys.control import ControlKeys, new_control_secrets
from keys.errors import KeyIntegrityError, KeyStateError, KeyStoreLockedError
from keys.hierarchy import Hierarchy
from keys.keystore import KeyStore
from keys.names import ROOT_NAMES, bucket_row_context, root_name
from keys.operations import disclosure, verify
from keys.operations.backup import BackupFolder
from keys.operations.journal import Journal
from keys.operations.keeper import Keeper
from keys.providers import KeyProvider, WrappedKey, local
from keys.refs import KeyState
from keys.rows import BucketKeyRow, KekRow, RootRow
from keys.signing import NoteVerifier
from keys.tables import subjects
from lake.sealed.catalog import migrate
from lake.sealed.catalog.database import Database

LAKE = "lake-one"
ORIGIN = f"telemetry-lake/{LAKE}"
LEVELS = (1, 2, 3, 4)
MONTHS = ("2026-01", "2026-02")
HOME, OTHER, BACKUPS = "keys", "other", "backups"
_COMPILED: dict[object, object] = {}  # statements are compiled once, however many engines there are
Wrap = Callable[[KeyProvider], KeyProvider]
Opened = dict[tuple[str, int], bytes]


@dataclass
class Keys:
    """One process's hold on the key store in ``place``.

    Attributes:
        fenced: epochs that the catalog was told.
        home: folder of the provider's sealed file.
    """

    place: Path
    database: Database
    keeper: Keeper
    fenced: list[int]
    home: Path

    @property
    def moved(self) -> bool:
        """Whether the other provider holds the roots."""
        return self.home.name == OTHER

    @property
    def hierarchy(self) -> Hierarchy:
        return self.keeper.hierarchy

    @property
    def provider(self) -> KeyProvider:
        return self.keeper.hierarchy.provider

    @property
    def store(self) -> KeyStore:
        return self.keeper.hierarchy.store

    @property
    def changes(self) -> Changes:
        return self.keeper.changes

    @property
    def backups(self) -> Path:
        return self.place / BACKUPS

    def add_people(self, buckets: Sequence[int], levels: Sequence[int] = LEVELS) -> list[str]:
        """Employees in these buckets, with a KEK for every level and month."""
        start = self.store.counts()["subjects"]
        names = [pseudonym(start + i) for i in range(len(buckets))]
        self.store.add_subjects(list(zip(names, buckets, strict=True)))
        self.hierarchy.landing_view([(name, level, month) for name in names for level in levels for month in MONTHS])
        return names

    def rows(self) -> list[KekRow]:
        """Every KEK's row."""
        return [row for page in self.changes.pages_of_keks() for row in page]

    def living(self) -> Opened:
        """KEKs of employees who are not erased, opened as a fresh process would."""
        with self.database.reading() as connection:
            where = subjects.c.tombstoned.is_(False)
            names = set(connection.execute(sa.select(subjects.c.subject).where(where)).scalars())
        rows = [row for row in self.rows() if row.subject in names and row.state is not KeyState.DESTROYED]
        view = self.store.view_of_keks(names, [(row.kek_id, row.version) for row in rows])
        return fresh(self).open_keks(view, [row for row in rows if row.state.unwraps])

    def verify(self) -> dict[str, int]:
        """Every wrap, by a hierarchy that has nothing cached."""
        return verify.verify_keys(fresh(self), self.changes)

    def disclosure(self, *folders: Path) -> disclosure.Disclosure:
        """The search for keys of the erased, in the backup folder if no other is named."""
        return disclosure.verify_shred(self.keeper, folders or [self.backups])

    def notes(self) -> NoteVerifier:
        return NoteVerifier([self.keeper.signer.verifier_key])


def pseudonym(number: int) -> str:
    """As long as the real ones."""
    return f"subject-{number:018d}"


def fresh(keys: Keys) -> Hierarchy:
    """A hierarchy that has cached nothing."""
    return Hierarchy(LAKE, KeyStore(keys.database), keys.provider, clock=now)


def now() -> datetime:
    return datetime.now(UTC)


def secret_of(place: Path) -> unlock.UnlockSecret:
    return unlock.from_key_file(place / "key")


def make(place: Path, buckets: Sequence[int], wrap: Wrap = lambda inner: inner, levels: Sequence[int] = LEVELS) -> None:
    """A new key store with employees in these buckets, and the files of a provider that it can move to."""
    place.mkdir(parents=True, exist_ok=True)
    unlock.create_key_file(place / "key")
    for name in (HOME, OTHER):
        local.initialise(place / name, secret_of(place), LAKE)
    provider = wrap(local.LocalProvider(place / HOME, secret_of(place)))
    provider.create(ROOT_NAMES)
    database = Database.sqlite(place / "keystore.db", "key store", create=True)
    migrate.upgrade(database, migrate.KEY_STORE_MIGRATIONS)
    made = int(now().timestamp() * 1_000_000)
    rows = [RootRow(name, 1, KeyState.ENABLED, made) for name in ROOT_NAMES]
    KeyStore(database).create(provider.kind, rows, new_control_secrets(LAKE, provider))
    database.close()
    with opened(place, wrap) as keys:
        keys.add_people(buckets, levels)


@contextmanager
def opened(
    place: Path, wrap: Wrap = lambda inner: inner, database: type[Database] = Database, page: int = 8
) -> Iterator[Keys]:
    """The key store as a process that has just started holds it."""
    store = database.sqlite(place / "keystore.db", "key store")
    store.engine.update_execution_options(compiled_cache=_COMPILED)
    try:
        yield _hold(place, store, wrap, page)
    finally:
        store.close()


def _hold(place: Path, database: Database, wrap: Wrap, page: int) -> Keys:
    store = KeyStore(database)
    home, provider, control = _holder(place, store, wrap)
    hierarchy = Hierarchy(LAKE, store, provider, clock=now)
    fenced: list[int] = []
    keeper = Keeper(
        hierarchy,
        database,
        Changes(database),
        Journal(database, hierarchy.now),
        control.signer(ORIGIN),
        place,
        fenced.append,
        database.checkpoint,
        lambda: {local.STORE: (home / local.STORE).read_bytes()},
        page=page,
    )
    return Keys(place, database, keeper, fenced, home)


def _holder(place: Path, store: KeyStore, wrap: Wrap) -> tuple[Path, KeyProvider, ControlKeys]:
    """The provider that the key store stands under: the other one after a move."""
    provider = wrap(local.LocalProvider(place / HOME, secret_of(place)))
    try:
        return place / HOME, provider, ControlKeys(LAKE, store, provider)
    except (KeyIntegrityError, KeyStateError):
        provider = wrap(local.LocalProvider(place / OTHER, secret_of(place)))
        return place / OTHER, provider, ControlKeys(LAKE, store, provider)


def bucket_wraps(keys: Keys, names: Collection[str]) -> list[BucketKeyRow]:
    """The bucket keys above these employees' KEKs."""
    places = {(row.sensitivity, row.bucket) for row in keys.rows() if row.subject in names}
    return [row for row in keys.changes.buckets() if row.place in places]


def sealed_files(keys: Keys) -> list[bytes]:
    """The local provider's sealed file as it lies now and in every backup."""
    found = [(keys.home / local.STORE).read_bytes()]
    folder = BackupFolder(keys.backups)
    for name in folder.list():
        backup = folder.read(name, LAKE, keys.notes())
        found += [folder.part(*file) for file in backup.provider_files.values()]
    return found


def opens(provider: KeyProvider, row: BucketKeyRow) -> bool:
    """Whether a provider opens a bucket key's wrap."""
    item = WrappedKey(row.root_version, row.wrapped, bucket_row_context(LAKE, row))
    try:
        provider.unwrap(root_name(row.sensitivity), [item])
    except (KeyStateError, KeyIntegrityError):
        return False
    return True


def providers_of(keys: Keys, files: Collection[bytes], scratch: Path) -> list[KeyProvider]:
    """The provider, and all that can be made of sealed files with the device secret and the key file of today."""
    found = [keys.provider]
    for number, content in enumerate(files):
        folder = scratch / f"old-{number}"
        shutil.copytree(keys.home, folder)
        (folder / local.STORE).write_bytes(content)
        with suppress(KeyStoreLockedError):
            found.append(local.LocalProvider(folder, secret_of(keys.place)))
    return found
