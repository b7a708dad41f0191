"""Wrapped keys in SQL: control secrets, bucket keys, KEKs, employees' buckets, and what the broker remembers.

Holds no open key. It lies apart from the catalog, with its own credentials, so that who steals one has nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import sqlalchemy as sa

from keys.errors import KeyIntegrityError, KeyStateError, ReceiptRefusedError
from keys.refs import KeyState, SubjectRef

metadata = sa.MetaData()
_big = sa.BigInteger().with_variant(sa.Integer, "sqlite")

control_secrets = sa.Table(
    "control_secrets",
    metadata,
    sa.Column("name", sa.String(64), primary_key=True),
    sa.Column("root_version", sa.Integer, nullable=False),
    sa.Column("wrapped", sa.LargeBinary, nullable=False),
)

bucket_keys = sa.Table(
    "bucket_keys",
    metadata,
    sa.Column("sensitivity", sa.SmallInteger, primary_key=True),
    sa.Column("bucket", sa.SmallInteger, primary_key=True),
    sa.Column("version", sa.Integer, primary_key=True),
    sa.Column("state", sa.String(24), nullable=False),
    sa.Column("root_version", sa.Integer, nullable=False),
    sa.Column("wrapped", sa.LargeBinary, nullable=False),
)

subjects = sa.Table(
    "subjects",
    metadata,
    sa.Column("subject", sa.String(26), primary_key=True),
    sa.Column("number", sa.Integer, nullable=False, unique=True),
    sa.Column("bucket", sa.SmallInteger, nullable=False),
    sa.Column("tombstoned", sa.Boolean, nullable=False),
)

keks = sa.Table(
    "keks",
    metadata,
    sa.Column("kek_id", sa.String(32), primary_key=True),
    sa.Column("version", sa.Integer, primary_key=True),
    sa.Column("subject", sa.String(26), nullable=False),
    sa.Column("sensitivity", sa.SmallInteger, nullable=False),
    sa.Column("month", sa.String(7), nullable=False),
    sa.Column("state", sa.String(24), nullable=False),
    sa.Column("bucket", sa.SmallInteger, nullable=False),
    sa.Column("bucket_version", sa.Integer, nullable=False),
    sa.Column("wrapped", sa.LargeBinary, nullable=False),
    sa.UniqueConstraint("subject", "sensitivity", "month", "version"),
    sa.Index("ix_keks_bucket", "sensitivity", "bucket", "bucket_version"),
)

anchors = sa.Table(
    "anchors",
    metadata,
    sa.Column("name", sa.String(32), primary_key=True),
    sa.Column("seq", _big, nullable=False),
    sa.Column("value", sa.LargeBinary(32), nullable=False),
)

releases = sa.Table(
    "releases",
    metadata,
    sa.Column("receipt", _big, primary_key=True, autoincrement=False),
    sa.Column("deks", sa.Integer, nullable=False),
    sa.Column("at", sa.BigInteger, nullable=False),
)

IN_LIST = 5_000
_T = TypeVar("_T")


class Transactions(Protocol):
    """The database that is handed in: one transaction per block, errors without values."""

    def reading(self) -> AbstractContextManager[sa.Connection]:
        """A consistent snapshot."""

    def writing(self) -> AbstractContextManager[sa.Connection]:
        """Excludes other writers from its start."""


@dataclass(frozen=True, slots=True)
class BucketKeyRow:
    """A wrapped bucket key, one version."""

    sensitivity: int
    bucket: int
    version: int
    state: KeyState
    root_version: int
    wrapped: bytes


@dataclass(frozen=True, slots=True)
class KekRow:
    """A wrapped KEK, one version."""

    kek_id: str
    version: int
    subject: str
    sensitivity: int
    month: str
    state: KeyState
    bucket: int
    bucket_version: int
    wrapped: bytes


class KeyStore:
    """Rows of the key store; wrapping and unwrapping is the broker's."""

    def __init__(self, database: Transactions) -> None:
        self._database = database

    def add_control_secrets(self, secrets: Mapping[str, tuple[int, bytes]]) -> None:
        """Store wrapped control secrets (root version, blob) by name."""
        rows = [{"name": name, "root_version": v, "wrapped": blob} for name, (v, blob) in secrets.items()]
        with self._database.writing() as connection:
            connection.execute(control_secrets.insert(), rows)

    def control_secrets(self) -> dict[str, tuple[int, bytes]]:
        """(root version, blob) by name."""
        with self._database.reading() as connection:
            rows = connection.execute(sa.select(control_secrets))
            return {row.name: (row.root_version, row.wrapped) for row in rows}

    def add_subjects(self, new: Sequence[tuple[str, int]]) -> list[SubjectRef]:
        """Enter employees' pseudonyms with their random buckets; gives each the next dense number."""
        with self._database.writing() as connection:
            top = connection.execute(sa.select(sa.func.max(subjects.c.number))).scalar()
            start = 0 if top is None else top + 1
            refs = [SubjectRef(name, start + i, bucket) for i, (name, bucket) in enumerate(new)]
            rows = [{"subject": r.subject, "number": r.number, "bucket": r.bucket, "tombstoned": False} for r in refs]
            connection.execute(subjects.insert(), rows)
        return refs

    def subjects(self, names: Collection[str]) -> dict[str, SubjectRef]:
        """Employees whose keys may be used; one who is tombstoned or unknown is absent."""
        found: dict[str, SubjectRef] = {}
        with self._database.reading() as connection:
            for part in _chunks(sorted(names)):
                query = sa.select(subjects).where(subjects.c.subject.in_(part), subjects.c.tombstoned.is_(False))
                for row in connection.execute(query):
                    found[row.subject] = SubjectRef(row.subject, row.number, row.bucket)
        return found

    def add_bucket_keys(self, new: Sequence[BucketKeyRow]) -> list[BucketKeyRow]:
        """Store first versions of bucket keys; in place of one that another process stored first, that one."""
        with self._database.writing() as connection:
            existing = {
                (row.sensitivity, row.bucket, row.version): _bucket_row(row)
                for row in connection.execute(sa.select(bucket_keys))
            }
            stored = [existing.get((row.sensitivity, row.bucket, row.version), row) for row in new]
            rows = [_values(bucket_keys, row) for row, kept in zip(new, stored, strict=True) if kept is row]
            if rows:
                connection.execute(bucket_keys.insert(), rows)
        return stored

    def newest_keks(self, partitions: Collection[tuple[str, int, str]]) -> dict[tuple[str, int, str], KekRow]:
        """The KEK version that may wrap, by (subject, sensitivity, month); missing ones are absent."""
        wanted = set(partitions)
        found: dict[tuple[str, int, str], KekRow] = {}
        with self._database.reading() as connection:
            for part in _chunks(sorted({subject for subject, _, _ in wanted})):
                query = sa.select(keks).where(keks.c.subject.in_(part), keks.c.state == KeyState.ENABLED.value)
                for row in connection.execute(query.order_by(keks.c.version)):
                    if (key := (row.subject, row.sensitivity, row.month)) in wanted:
                        found[key] = _kek_row(row)
        return found

    def add_keks(self, new: Sequence[KekRow]) -> None:
        """Store first versions of KEKs, leaving out those that another process has stored meanwhile.

        The same transaction checks tombstones and that the bucket key still wraps: a late batch can't give a shredded
        employee a new key, and no KEK is wrapped under a key that is being retired.

        Raises:
            KeyStateError: an employee is shredded or a bucket key no longer wraps; nothing is stored.
        """
        with self._database.writing() as connection:
            names = sorted({kek.subject for kek in new})
            living: set[str] = set()
            for part in _chunks(names):
                where = subjects.c.subject.in_(part) & subjects.c.tombstoned.is_(False)
                living |= set(connection.execute(sa.select(subjects.c.subject).where(where)).scalars())
            if len(living) != len(names):
                raise KeyStateError("an employee of this batch has been erased", hint="no key is made for them")
            self._check_buckets(connection, new)
            taken: set[tuple[str, int, str]] = set()
            for part in _chunks(names):
                columns = (keks.c.subject, keks.c.sensitivity, keks.c.month)
                taken |= {tuple(row) for row in connection.execute(sa.select(*columns).where(keks.c.subject.in_(part)))}
            rows = [_values(keks, kek) for kek in new if (kek.subject, kek.sensitivity, kek.month) not in taken]
            if rows:
                connection.execute(keks.insert(), rows)

    @staticmethod
    def _check_buckets(connection: sa.Connection, new: Sequence[KekRow]) -> None:
        wanted = {(kek.sensitivity, kek.bucket, kek.bucket_version) for kek in new}
        columns = (bucket_keys.c.sensitivity, bucket_keys.c.bucket, bucket_keys.c.version)
        rows = connection.execute(sa.select(*columns).where(bucket_keys.c.state == KeyState.ENABLED.value))
        if not wanted <= {tuple(row) for row in rows}:
            raise KeyStateError("a bucket key has been retired meanwhile", hint="send the batch again")

    def keks(self, wanted: Collection[tuple[str, int]]) -> dict[tuple[str, int], KekRow]:
        """KEKs by (id, version); missing ones are absent."""
        found: dict[tuple[str, int], KekRow] = {}
        with self._database.reading() as connection:
            for part in _chunks(sorted({kek_id for kek_id, _ in wanted})):
                for row in connection.execute(sa.select(keks).where(keks.c.kek_id.in_(part))):
                    found[row.kek_id, row.version] = _kek_row(row)
        return {key: found[key] for key in wanted if key in found}

    def anchor(self, name: str) -> tuple[int, bytes]:
        """What was last seen of the audit log (size, root) or the catalog (commit, MAC); (0, b"") at first."""
        with self._database.reading() as connection:
            row = connection.execute(sa.select(anchors).where(anchors.c.name == name)).one_or_none()
        return (0, b"") if row is None else (row.seq, row.value)

    def advance_anchor(self, name: str, seq: int, value: bytes) -> None:
        """Remember a newer state; an older one changes nothing."""
        with self._database.writing() as connection:
            _advance(connection, name, seq, value)

    def record_release(self, receipt: int, deks: int, at: int, size: int, root: bytes) -> None:
        """Note that a receipt was used, and the log that it proved, in one transaction.

        Raises:
            ReceiptRefusedError: the receipt was used before.
            KeyIntegrityError: the log at an anchored size has another root.
        """
        with self._database.writing() as connection:
            if connection.execute(sa.select(releases.c.receipt).where(releases.c.receipt == receipt)).first():
                raise ReceiptRefusedError("an audit receipt was used twice")
            connection.execute(releases.insert(), [{"receipt": receipt, "deks": deks, "at": at}])
            _advance(connection, "audit", size, root)

    def releases(self) -> dict[int, int]:
        """DEKs released by index of the audit entry: the broker's own book."""
        with self._database.reading() as connection:
            return {row.receipt: row.deks for row in connection.execute(sa.select(releases))}

    def counts(self) -> dict[str, int]:
        """How many bucket keys, KEKs, employees and releases there are."""
        with self._database.reading() as connection:
            return {
                table.name: connection.execute(sa.select(sa.func.count()).select_from(table)).scalar_one()
                for table in (bucket_keys, keks, subjects, releases)
            }

    def every_bucket_key(self) -> list[BucketKeyRow]:
        """All bucket keys, for verification."""
        with self._database.reading() as connection:
            return [_bucket_row(row) for row in connection.execute(sa.select(bucket_keys))]

    def every_kek(self) -> list[KekRow]:
        """All KEKs, for verification."""
        with self._database.reading() as connection:
            return [_kek_row(row) for row in connection.execute(sa.select(keks))]


def _advance(connection: sa.Connection, name: str, seq: int, value: bytes) -> None:
    row = connection.execute(sa.select(anchors).where(anchors.c.name == name)).one_or_none()
    if row is None:
        connection.execute(anchors.insert(), [{"name": name, "seq": seq, "value": value}])
    elif row.seq == seq and row.value != value:
        raise KeyIntegrityError(f"two different states of the {name} claim the same position {seq}")
    elif row.seq < seq:
        connection.execute(anchors.update().where(anchors.c.name == name), {"seq": seq, "value": value})


def _chunks(values: Sequence[_T]) -> Iterator[Sequence[_T]]:
    for start in range(0, len(values), IN_LIST):
        yield values[start : start + IN_LIST]


def _values(table: sa.Table, row: BucketKeyRow | KekRow) -> dict[str, Any]:
    return {column.name: getattr(row, column.name) for column in table.columns}


def _bucket_row(row: Any) -> BucketKeyRow:
    return BucketKeyRow(row.sensitivity, row.bucket, row.version, KeyState(row.state), row.root_version, row.wrapped)


def _kek_row(row: Any) -> KekRow:
    return KekRow(
        row.kek_id,
        row.version,
        row.subject,
        row.sensitivity,
        row.month,
        KeyState(row.state),
        row.bucket,
        row.bucket_version,
        row.wrapped,
    )
