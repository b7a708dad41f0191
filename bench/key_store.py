"""Key stores of any size: every wrap is a real one, as of a lake that landed month after month. There is no data."""

from __future__ import annotations

import base64
import hashlib
import secrets
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from keys import envelope, unlock
from keys.changes import Changes
from keys.control import ControlKeys, new_control_secrets
from keys.hierarchy import Hierarchy
from keys.keystore import KeyStore
from keys.names import BUCKETS, ROOT_NAMES, SENSITIVITIES, kek_context, root_name
from keys.operations.journal import Journal
from keys.operations.keeper import Keeper
from keys.providers import KeyProvider, KeyToWrap, ProviderKey, WrappedKey, local
from keys.refs import KeyState, SubjectRef
from keys.rows import BucketKeyRow, KekRow, RootRow, chunks, values_of
from keys.stamps import touch_buckets
from keys.tables import keks
from lake.sealed.catalog import migrate
from lake.sealed.catalog.database import Database

LAKE = "lake-of-the-benchmark"
MONTHS = tuple(f"2025-{month:02d}" for month in range(1, 13))
BACKUPS, DATABASE = "backups", "keystore.db"
BATCH = 20_000
QUIET = BUCKETS - 1
PLACES = [(level, bucket) for level in SENSITIVITIES for bucket in range(BUCKETS)]


class Counted:
    """A provider that counts calls, and keys passed in them, by name."""

    def __init__(self, inner: KeyProvider) -> None:
        self.inner = inner
        self.kind = inner.kind
        self.calls: Counter[str] = Counter()
        self.keys: Counter[str] = Counter()

    def _count(self, call: str, keys: int = 0) -> None:
        self.calls[call] += 1
        self.keys[call] += keys

    def reset(self) -> None:
        """Count from zero."""
        self.calls.clear()
        self.keys.clear()

    def create(self, names: Collection[str]) -> None:
        """See KeyProvider."""
        self._count("create", len(names))
        self.inner.create(names)

    def describe(self, name: str) -> ProviderKey:
        """See KeyProvider."""
        self._count("describe")
        return self.inner.describe(name)

    def wrap(self, name: str, version: int, items: Sequence[KeyToWrap]) -> list[bytes]:
        """See KeyProvider."""
        self._count("wrap", len(items))
        return self.inner.wrap(name, version, items)

    def unwrap(self, name: str, items: Sequence[WrappedKey]) -> list[bytes]:
        """See KeyProvider."""
        self._count("unwrap", len(items))
        return self.inner.unwrap(name, items)

    def rewrap(self, name: str, version: int, items: Sequence[WrappedKey]) -> list[bytes]:
        """See KeyProvider."""
        self._count("rewrap", len(items))
        return self.inner.rewrap(name, version, items)

    def new_version(self, name: str, after: int) -> int:
        """See KeyProvider."""
        self._count("new_version")
        return self.inner.new_version(name, after)

    def trim(self, name: str, below: int) -> None:
        """See KeyProvider."""
        self._count("trim")
        self.inner.trim(name, below)

    def close(self) -> None:
        """See KeyProvider."""
        self.inner.close()


@dataclass(frozen=True, slots=True)
class Held:
    """A key store as a process that has just started holds it."""

    place: Path
    database: Database
    provider: Counted
    keeper: Keeper


def employees_for(wanted: int) -> int:
    """How many employees have this many KEKs, of every level and month."""
    return max(1, wanted // (len(SENSITIVITIES) * len(MONTHS)))


def pseudonym(number: int) -> str:
    """As long and as scattered as the real ones, and known to who asks again."""
    return base64.b32encode(hashlib.sha256(str(number).encode()).digest()[:16]).decode().rstrip("=").lower()


def make(place: Path, employees: int, *, quiet: int = 0, months: Sequence[str] = MONTHS) -> int:
    """A new key store with all 1,024 bucket keys and a KEK for every employee, level and month; gives their number.

    Args:
        quiet: this many employees, the first ones, have the bucket ``QUIET`` to themselves; the others share the rest
            evenly.
    """
    place.mkdir(parents=True)
    unlock.create_key_file(place / "key")
    local.initialise(place, unlock.from_key_file(place / "key"), LAKE)
    provider = local.LocalProvider(place, unlock.from_key_file(place / "key"))
    provider.create(ROOT_NAMES)
    database = Database.sqlite(place / DATABASE, "key store", create=True)
    migrate.upgrade(database, migrate.KEY_STORE_MIGRATIONS)
    made = int(_now().timestamp() * 1_000_000)
    roots = [RootRow(name, 1, KeyState.ENABLED, made) for name in ROOT_NAMES]
    KeyStore(database).create(provider.kind, roots, new_control_secrets(LAKE, provider))
    database.close()
    with opened(place) as held:
        return _fill(held, [QUIET if number < quiet else number % QUIET for number in range(employees)], months)


@contextmanager
def opened(place: Path) -> Iterator[Held]:
    """Open a key store."""
    database = Database.sqlite(place / DATABASE, "key store")
    try:
        provider = Counted(local.LocalProvider(place, unlock.from_key_file(place / "key")))
        store = KeyStore(database)
        hierarchy = Hierarchy(LAKE, store, provider, clock=_now)
        yield Held(
            place,
            database,
            provider,
            Keeper(
                hierarchy,
                database,
                Changes(database),
                Journal(database, hierarchy.now),
                ControlKeys(LAKE, store, provider).signer(f"telemetry-lake/{LAKE}"),
                place,
                lambda _: None,
                database.checkpoint,
                lambda: {local.STORE: (place / local.STORE).read_bytes()},
            ),
        )
    finally:
        database.close()


def _fill(held: Held, placed: Sequence[int], months: Sequence[str]) -> int:
    hierarchy = held.keeper.hierarchy
    for level in SENSITIVITIES:
        names = [(level, bucket, 1) for bucket in range(BUCKETS)]
        hierarchy.store.add_bucket_keys(hierarchy.new_bucket_keys(root_name(level), 1, names), root_name(level))
    people = hierarchy.store.add_subjects([(pseudonym(number), bucket) for number, bucket in enumerate(placed)])
    view = hierarchy.store.view_of_keks((), ())
    rows = held.keeper.changes.buckets()
    opened = hierarchy.open_parents(view.roots, view.epoch, rows)
    buckets = {row.place: row for row in rows}
    wanted = [(person, level, month) for month in months for person in people for level in SENSITIVITIES]
    for part in chunks(wanted, BATCH):
        made = [_kek(name, hierarchy.now(), buckets[name[1], name[0].bucket], opened) for name in part]
        with held.database.writing() as connection:
            connection.execute(keks.insert(), [values_of(row) for row in made])
            touch_buckets(connection, {(row.sensitivity, row.bucket) for row in made})
    held.keeper.checkpoint()
    return len(wanted)


def _kek(
    name: tuple[SubjectRef, int, str],
    now: int,
    bucket: BucketKeyRow,
    opened: Mapping[tuple[int, int, int], bytes],
) -> KekRow:
    person, level, month = name
    kek_id = secrets.token_hex(16)
    row = KekRow(kek_id, 1, person.subject, level, month, KeyState.ENABLED, bucket.bucket, bucket.version, b"", now)
    parent = opened[level, bucket.bucket, bucket.version]
    return replace(row, wrapped=envelope.seal(parent, envelope.new_key(), kek_context(LAKE, row)))


def _now() -> datetime:
    return datetime.now(UTC)
