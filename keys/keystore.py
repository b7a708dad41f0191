"""The key store as the broker uses it: reading keys in one snapshot, adding new ones under guards, keeping the books.

Holds no open key. It lies apart from the catalog, with its own credentials, so that who steals one has nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Protocol

import sqlalchemy as sa

from keys.errors import (
    EmployeeErasedError,
    KeyIntegrityError,
    KeyStateError,
    RateLimitedError,
    ReceiptRefusedError,
    StaleKeyError,
)
from keys.limits import BrokerLimits
from keys.refs import KeyState, SubjectRef
from keys.rows import (
    BucketKeyRow,
    BucketPlace,
    KekName,
    KekRow,
    KeyView,
    RootRow,
    bucket_row,
    chunks,
    kek_row,
    values_of,
)
from keys.stamps import touch_buckets, touch_subjects
from keys.tables import (
    anchors,
    backups,
    bucket_keys,
    control_secrets,
    counters,
    keks,
    releases,
    roots,
    settings,
    subjects,
)

KEY_EPOCH = "key-epoch"
PROVIDER = "provider"
MINUTE = 60_000_000
FEW_MONTHS = 24


class Transactions(Protocol):
    """The database that is handed in: one transaction per block, errors without values."""

    def reading(self) -> AbstractContextManager[sa.Connection]:
        """A consistent snapshot."""

    def writing(self) -> AbstractContextManager[sa.Connection]:
        """Excludes other writers from its start."""


class KeyStore:
    """Rows of the key store; wrapping and unwrapping is the hierarchy's."""

    def __init__(self, database: Transactions) -> None:
        self._database = database

    def create(self, provider: str, new_roots: Sequence[RootRow], secrets: Mapping[str, tuple[int, bytes]]) -> None:
        """Fill an empty key store: its provider's kind, the roots, the wrapped control secrets (root version, blob)."""
        rows = [{"name": name, "root_version": v, "wrapped": blob} for name, (v, blob) in secrets.items()]
        with self._database.writing() as connection:
            connection.execute(settings.insert(), [{"name": PROVIDER, "value": provider}])
            connection.execute(counters.insert(), [{"name": KEY_EPOCH, "value": 1}])
            connection.execute(roots.insert(), [values_of(row) for row in new_roots])
            connection.execute(control_secrets.insert(), rows)

    def provider(self) -> str:
        """The kind of the provider that holds the roots."""
        with self._database.reading() as connection:
            found = connection.execute(sa.select(settings.c.value).where(settings.c.name == PROVIDER)).scalar()
        if found is None:
            raise KeyIntegrityError("the key store names no provider", hint="restore it from a backup")
        return str(found)

    def control_secrets(self) -> dict[str, tuple[int, bytes]]:
        """(root version, blob) by name."""
        with self._database.reading() as connection:
            rows = connection.execute(sa.select(control_secrets))
            return {row.name: (row.root_version, row.wrapped) for row in rows}

    def epoch(self) -> int:
        """The key epoch."""
        with self._database.reading() as connection:
            return read_epoch(connection)

    def add_subjects(self, new: Sequence[tuple[str, int]]) -> list[SubjectRef]:
        """Enter employees' pseudonyms with their random buckets; gives each the next dense number."""
        with self._database.writing() as connection:
            top = connection.execute(sa.select(sa.func.max(subjects.c.number))).scalar()
            start = 0 if top is None else top + 1
            refs = [SubjectRef(name, start + i, bucket) for i, (name, bucket) in enumerate(new)]
            common = {"tombstoned": False, "disabled": False}
            rows = [{"subject": r.subject, "number": r.number, "bucket": r.bucket, **common} for r in refs]
            connection.execute(subjects.insert(), rows)
            touch_subjects(connection, {bucket for _, bucket in new})
        return refs

    def subjects(self, names: Collection[str]) -> dict[str, SubjectRef]:
        """Employees whose keys exist; one who is tombstoned or unknown is absent."""
        with self._database.reading() as connection:
            return _subjects(connection, names)

    def view_of_keks(self, names: Collection[str], wanted: Collection[tuple[str, int]]) -> KeyView:
        """What opening these KEKs (id, version) of these employees takes."""
        with self._database.reading() as connection:
            found: dict[tuple[str, int], KekRow] = {}
            for part in chunks(sorted({kek_id for kek_id, _ in wanted})):
                for row in connection.execute(sa.select(keks).where(keks.c.kek_id.in_(part))):
                    found[row[0], row[1]] = kek_row(row)
            kept = {key: found[key] for key in wanted if key in found}
            places = {(row.sensitivity, row.bucket) for row in kept.values()}
            return _view(connection, _subjects(connection, names), places, kept)

    def view_of_partitions(self, wanted: Collection[KekName]) -> KeyView:
        """What landing in these partitions takes: every KEK of theirs, and the bucket keys of those still to come."""
        names = {subject for subject, _, _ in wanted}
        months = {month for _, _, month in wanted}
        partitions = set(wanted)
        query = sa.select(keks)
        if len(months) <= FEW_MONTHS:
            query = query.where(keks.c.month.in_(sorted(months)))
        with self._database.reading() as connection:
            found: dict[tuple[str, int], KekRow] = {}
            for part in chunks(sorted(names)):
                for raw in connection.execute(query.where(keks.c.subject.in_(part))):
                    row = kek_row(raw)
                    if row.name in partitions:
                        found[row.kek_id, row.version] = row
            living = _subjects(connection, names)
            places = {(level, living[subject].bucket) for subject, level, _ in partitions if subject in living}
            places |= {(row.sensitivity, row.bucket) for row in found.values()}
            return _view(connection, living, places, found)

    def numbers(self, names: Collection[str]) -> dict[str, int]:
        """Dense numbers of employees, erased ones too."""
        with self._database.reading() as connection:
            where = subjects.c.subject.in_(sorted(names))
            return {row.subject: row.number for row in connection.execute(sa.select(subjects).where(where))}

    def adopt_root(self, name: str, version: int, now: int) -> None:
        """Let a new version of a root wrap, and its former ones only unwrap; nothing if it is adopted already."""
        with self._database.writing() as connection:
            where = (roots.c.name == name) & (roots.c.version == version)
            if connection.execute(sa.select(roots.c.version).where(where)).first():
                return
            former = (roots.c.name == name) & (roots.c.state == KeyState.ENABLED.value)
            connection.execute(roots.update().where(former), {"state": KeyState.DECRYPT_ONLY.value})
            connection.execute(roots.insert(), [values_of(RootRow(name, version, KeyState.ENABLED, now))])
            move_epoch(connection)

    def add_bucket_keys(self, new: Sequence[BucketKeyRow], root: str) -> None:
        """Store first versions of bucket keys of one level, leaving out those that another process stored first.

        Raises:
            StaleKeyError: the root version that wraps them has been retired; nothing is stored.
        """
        with self._database.writing() as connection:
            wanted = {row.root_version for row in new}
            where = (roots.c.name == root) & (roots.c.state == KeyState.ENABLED.value)
            if not wanted <= set(connection.execute(sa.select(roots.c.version).where(where)).scalars()):
                raise StaleKeyError("a root key has been retired meanwhile")
            taken = set(connection.execute(sa.select(bucket_keys.c.sensitivity, bucket_keys.c.bucket)))
            rows = [values_of(row) for row in new if row.place not in taken]
            if rows:
                connection.execute(bucket_keys.insert(), rows)

    def add_keks(self, new: Sequence[KekRow]) -> None:
        """Store first versions of KEKs, leaving out those that another process has stored meanwhile.

        The same transaction checks tombstones and that the bucket key still wraps: a late batch can't give a shredded
        employee a new key, and no KEK is wrapped under a key that is being retired.

        Raises:
            KeyStateError: an employee is erased or disabled; nothing is stored.
            StaleKeyError: a bucket key has been retired; nothing is stored, and asking again helps.
        """
        with self._database.writing() as connection:
            names = sorted({kek.subject for kek in new})
            check_subjects(names, _subjects(connection, names))
            wanted = {(kek.sensitivity, kek.bucket, kek.bucket_version) for kek in new}
            columns = (bucket_keys.c.sensitivity, bucket_keys.c.bucket, bucket_keys.c.version)
            rows = connection.execute(sa.select(*columns).where(bucket_keys.c.state == KeyState.ENABLED.value))
            if not wanted <= set(rows):
                raise StaleKeyError("a bucket key has been retired meanwhile")
            taken: set[KekName] = set()
            for part in chunks(names):
                name = sa.select(keks.c.subject, keks.c.sensitivity, keks.c.month)
                taken |= set(connection.execute(name.where(keks.c.subject.in_(part))))
            missing = [kek for kek in new if kek.name not in taken]
            if missing:
                connection.execute(keks.insert(), [values_of(kek) for kek in missing])
                touch_buckets(connection, {(kek.sensitivity, kek.bucket) for kek in missing})

    def anchor(self, name: str) -> tuple[int, bytes]:
        """What was last seen of the audit log (size, root) or the catalog (commit, MAC); (0, b"") at first."""
        with self._database.reading() as connection:
            row = connection.execute(sa.select(anchors).where(anchors.c.name == name)).one_or_none()
        return (0, b"") if row is None else (row.seq, row.value)

    def advance_anchor(self, name: str, seq: int, value: bytes) -> None:
        """Remember a newer state; an older one changes nothing."""
        with self._database.writing() as connection:
            _advance(connection, name, seq, value)

    def record_release(
        self,
        receipt: int,
        actor: str,
        deks: Mapping[int, int],
        *,
        at: int,
        anchor: tuple[int, bytes],
        limits: BrokerLimits | None = None,
    ) -> None:
        """Note that a receipt was used, for how many DEKs by level, and the log that it proved, in one transaction.

        Raises:
            ReceiptRefusedError: the receipt was used before.
            RateLimitedError: more DEKs than a limit allows in a minute; the receipt stays unused.
            KeyIntegrityError: the log at an anchored size has another root.
        """
        with self._database.writing() as connection:
            if connection.execute(sa.select(releases.c.receipt).where(releases.c.receipt == receipt)).first():
                raise ReceiptRefusedError("an audit receipt was used twice")
            if limits is not None:
                _check_limits(connection, limits, actor, deks, at)
            counts = {f"dss{level}": deks.get(level, 0) for level in (1, 2, 3, 4)}
            connection.execute(releases.insert(), [{"receipt": receipt, "actor": actor, "at": at, **counts}])
            _advance(connection, "audit", *anchor)

    def releases(self, after: int = -1, most: int | None = None) -> dict[int, tuple[str, dict[int, int]]]:
        """(actor, DEKs released by level) by index of the audit entry: the broker's own book, in order.

        Args:
            after: only later entries; ``most`` of them at most.
        """
        page = sa.select(releases).where(releases.c.receipt > after).order_by(releases.c.receipt).limit(most)
        with self._database.reading() as connection:
            return {
                row.receipt: (row.actor, {level: count for level, count in enumerate(row[3:], 1) if count})
                for row in connection.execute(page)
            }

    def counts(self) -> dict[str, int]:
        """How many bucket keys, KEKs, employees, releases and backups there are."""
        with self._database.reading() as connection:
            return {
                table.name: connection.execute(sa.select(sa.func.count()).select_from(table)).scalar_one()
                for table in (bucket_keys, keks, subjects, releases, backups)
            }


def check_subjects(names: Collection[str], living: Mapping[str, SubjectRef], *, suspended: bool = False) -> None:
    """Refuse what may have no new key.

    Args:
        suspended: somebody who is disabled may have one: for upkeep, from which no key comes out.

    Raises:
        KeyStateError: an employee is erased, unknown or disabled.
    """
    for name in names:
        found = living.get(name)
        if found is None:
            raise EmployeeErasedError("an employee of this batch has been erased", hint="no key is made for them")
        if found.disabled and not suspended:
            raise KeyStateError("the keys of an employee of this batch are disabled", hint="'lake keys enable'")


def read_epoch(connection: sa.Connection) -> int:
    """The key epoch inside a transaction."""
    return int(connection.execute(sa.select(counters.c.value).where(counters.c.name == KEY_EPOCH)).scalar_one())


def move_epoch(connection: sa.Connection) -> int:
    """The next key epoch, inside a write transaction."""
    epoch = read_epoch(connection) + 1
    connection.execute(counters.update().where(counters.c.name == KEY_EPOCH), {"value": epoch})
    return epoch


def _check_limits(
    connection: sa.Connection, limits: BrokerLimits, actor: str, deks: Mapping[int, int], at: int
) -> None:
    recent = releases.c.at > at - MINUTE
    for level, limit in limits.per_level.items():
        column = releases.c[f"dss{level}"]
        used = connection.execute(sa.select(sa.func.sum(column)).where(recent)).scalar() or 0
        if deks.get(level, 0) and used + deks[level] > limit:
            raise RateLimitedError(
                f"more than {limit} keys of sensitivity {level} in a minute", hint="wait a minute, or narrow the query"
            )
    if limits.per_principal is not None:
        total = sum((releases.c[f"dss{level}"] for level in (2, 3, 4)), start=releases.c.dss1)
        mine = sa.select(sa.func.sum(total)).where(recent, releases.c.actor == actor)
        if (connection.execute(mine).scalar() or 0) + sum(deks.values()) > limits.per_principal:
            raise RateLimitedError(
                f"more than {limits.per_principal} keys for one principal in a minute",
                hint="wait a minute, or narrow the query",
            )


def _subjects(connection: sa.Connection, names: Collection[str]) -> dict[str, SubjectRef]:
    found: dict[str, SubjectRef] = {}
    for part in chunks(sorted(names)):
        query = sa.select(subjects).where(subjects.c.subject.in_(part), subjects.c.tombstoned.is_(False))
        for row in connection.execute(query):
            found[row.subject] = SubjectRef(row.subject, row.number, row.bucket, disabled=row.disabled)
    return found


def _view(
    connection: sa.Connection,
    living: Mapping[str, SubjectRef],
    places: Collection[BucketPlace],
    found: Mapping[tuple[str, int], KekRow],
) -> KeyView:
    buckets: dict[tuple[int, int, int], BucketKeyRow] = {}
    if places:
        of_levels = [
            (bucket_keys.c.sensitivity == level)
            & bucket_keys.c.bucket.in_(sorted({bucket for of_level, bucket in places if of_level == level}))
            for level in sorted({level for level, _ in places})
        ]
        for row in connection.execute(sa.select(bucket_keys).where(sa.or_(*of_levels))):
            buckets[row.sensitivity, row.bucket, row.version] = bucket_row(row)
    states = {(row.name, row.version): KeyState(row.state) for row in connection.execute(sa.select(roots))}
    return KeyView(read_epoch(connection), living, states, buckets, found)


def _advance(connection: sa.Connection, name: str, seq: int, value: bytes) -> None:
    row = connection.execute(sa.select(anchors).where(anchors.c.name == name)).one_or_none()
    if row is None:
        connection.execute(anchors.insert(), [{"name": name, "seq": seq, "value": value}])
    elif row.seq == seq and row.value != value:
        raise KeyIntegrityError(f"two different states of the {name} claim the same position {seq}")
    elif row.seq < seq:
        connection.execute(anchors.update().where(anchors.c.name == name), {"seq": seq, "value": value})
