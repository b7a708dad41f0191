"""Reading whole levels of the key store, page by page: for sweeps, verification and reports."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any, TypeVar

import sqlalchemy as sa

from keys.keystore import Transactions
from keys.names import BUCKETS, SENSITIVITIES, root_name
from keys.refs import KeyState
from keys.rows import BucketKeyRow, BucketPlace, KekRow, KekScope, RootRow, bucket_row, chunks, kek_row, root_row
from keys.tables import bucket_keys, control_secrets, keks, roots, subjects

PAGE = 20_000
"""Rows of one read and one commit: bounds memory and how long writers wait."""

_ROWID = sa.literal_column("keks.rowid", sa.Integer)
_PLACES = sa.select(bucket_keys.c.sensitivity, bucket_keys.c.bucket).distinct().subquery()


class Levels:
    """Roots, bucket keys and KEKs as they stand. Every call reads one snapshot."""

    def __init__(self, database: Transactions) -> None:
        self.database = database

    def roots(self) -> list[RootRow]:
        """Every version of every root."""
        with self.database.reading() as connection:
            return [
                root_row(row) for row in connection.execute(sa.select(roots).order_by(roots.c.name, roots.c.version))
            ]

    def buckets(self, sensitivity: int | None = None) -> list[BucketKeyRow]:
        """Every bucket key, of one level or of all, in order."""
        query = sa.select(bucket_keys).order_by(*bucket_keys.primary_key.columns)
        if sensitivity is not None:
            query = query.where(bucket_keys.c.sensitivity == sensitivity)
        with self.database.reading() as connection:
            return [bucket_row(row) for row in connection.execute(query)]

    def pages_of_keks(self) -> Iterator[list[KekRow]]:
        """Every KEK, a page at a time, in order of level and bucket; a row added meanwhile may be missing."""
        query = sa.select(keks).order_by(keks.c.sensitivity, keks.c.bucket)
        for places in self.groups({(level, bucket) for level in SENSITIVITIES for bucket in range(BUCKETS)}, PAGE):
            where = sa.tuple_(keks.c.sensitivity, keks.c.bucket).in_(places)
            with self.database.reading() as connection:
                yield [kek_row(row) for row in connection.execute(query.where(where))]

    def keks_under(self, old: Collection[tuple[int, int, int]], page: int = PAGE) -> Iterator[KekRow]:
        """Living KEKs of living employees under versions of bucket keys (sensitivity, bucket, version).

        They are read a page at a time, when its first is asked for: between pages they may be changed.
        """
        for where, erased in self._ranges({(level, bucket) for level, bucket, _ in old}, page):
            query = sa.select(keks).where(
                where, keks.c.state != KeyState.DESTROYED.value, keks.c.subject.not_in(erased)
            )
            with self.database.reading() as connection:
                rows = list(map(kek_row, connection.execute(query)))
            for row in rows:
                if (row.sensitivity, row.bucket, row.bucket_version) in old:
                    yield row

    def _ranges(
        self, places: Collection[BucketPlace], page: int
    ) -> Iterator[tuple[sa.ColumnElement[bool], sa.Select[tuple[str]]]]:
        """Parts of the table of about a page that hold these buckets' KEKs, and whose employees there are erased.

        A bucket's rows are scattered over the table. Where most buckets are wanted, the order of the table touches
        each of its pages once, and not once for every few buckets.
        """
        erased = sa.select(subjects.c.subject).where(subjects.c.tombstoned.is_(True))
        with self.database.reading() as connection:
            known = connection.execute(sa.select(sa.func.count()).select_from(_PLACES)).scalar_one()
            top = 0
            if connection.dialect.name == "sqlite" and 2 * len(places) > known:
                top = connection.execute(sa.select(sa.func.max(_ROWID)).select_from(keks)).scalar() or 0
        for start in range(1, top + 1, page):
            yield _ROWID.between(start, start + page - 1), erased
        for group in [] if top else self.groups(places, page):
            for level in sorted({level for level, _ in group}):
                buckets = [bucket for of_level, bucket in group if of_level == level]
                where = (keks.c.sensitivity == level) & keks.c.bucket.in_(buckets)
                yield where, erased.where(subjects.c.bucket.in_(buckets))

    def groups(self, places: Collection[BucketPlace], page: int) -> Iterator[list[BucketPlace]]:
        """Buckets in groups of about a page of KEKs; a single one may hold more."""
        found: list[tuple[int, int, int]] = []
        with self.database.reading() as connection:
            for level in sorted({level for level, _ in places}):
                buckets = sorted(bucket for of_level, bucket in places if of_level == level)
                query = sa.select(keks.c.bucket, sa.func.count()).group_by(keks.c.bucket).order_by(keks.c.bucket)
                where = (keks.c.sensitivity == level) & keks.c.bucket.in_(buckets)
                found += [(level, bucket, n) for bucket, n in connection.execute(query.where(where))]
        group: list[BucketPlace] = []
        size = 0
        for level, bucket, n in found:
            group.append((level, bucket))
            size += n
            if size >= page:
                yield group
                group, size = [], 0
        if group:
            yield group

    def count_keks(self, places: Collection[BucketPlace]) -> int:
        """How many living KEKs there are in some buckets."""
        with self.database.reading() as connection:
            return sum(
                connection.execute(
                    sa.select(sa.func.count()).where(
                        keks.c.sensitivity == sensitivity,
                        keks.c.bucket == bucket,
                        keks.c.state != KeyState.DESTROYED.value,
                    )
                ).scalar_one()
                for sensitivity, bucket in places
            )

    def root_is_free(self, name: str, below: int) -> bool:
        """Whether no living row is wrapped under a version of a root lower than ``below``."""
        living = bucket_keys.c.state != KeyState.DESTROYED.value
        level = {root_name(level): level for level in SENSITIVITIES}.get(name)
        with self.database.reading() as connection:
            if level is None:
                query = sa.select(control_secrets.c.name).where(control_secrets.c.root_version < below)
            else:
                query = sa.select(bucket_keys.c.bucket).where(
                    bucket_keys.c.sensitivity == level, bucket_keys.c.root_version < below, living
                )
            return connection.execute(query).first() is None

    def living_keks(self, partitions: KekScope, before: int, after: str = "", limit: int = 1_000) -> list[KekRow]:
        """KEKs that wrap and were made before a moment, in order of id from ``after`` on, a page at a time."""
        query = _within(sa.select(keks), partitions).where(
            keks.c.state == KeyState.ENABLED.value, keks.c.created_at < before, keks.c.kek_id > after
        )
        living = sa.select(subjects.c.subject).where(subjects.c.tombstoned.is_(False))
        query = query.where(keks.c.subject.in_(living)).order_by(keks.c.kek_id).limit(limit)
        with self.database.reading() as connection:
            return [kek_row(row) for row in connection.execute(query)]

    def superseded_keks(self, limit: int = 1_000) -> list[tuple[str, int]]:
        """Versions of KEKs (id, version) that only unwrap and have a newer one that wraps, oldest first."""
        newer = keks.alias("newer")
        has_newer = sa.exists().where(
            newer.c.kek_id == keks.c.kek_id,
            newer.c.version > keks.c.version,
            newer.c.state == KeyState.ENABLED.value,
        )
        states = [KeyState.DECRYPT_ONLY.value, KeyState.COMPROMISED.value]
        query = sa.select(keks.c.kek_id, keks.c.version).where(keks.c.state.in_(states), has_newer)
        with self.database.reading() as connection:
            return [(row[0], row[1]) for row in connection.execute(query.order_by(keks.c.kek_id).limit(limit))]

    def keks_of(self, names: Collection[str]) -> list[KekRow]:
        """KEKs of some employees that are not destroyed."""
        found: list[KekRow] = []
        with self.database.reading() as connection:
            for part in chunks(sorted(names)):
                query = sa.select(keks).where(keks.c.subject.in_(part), keks.c.state != KeyState.DESTROYED.value)
                found += [kek_row(row) for row in connection.execute(query)]
        return found

    def names_of(self, partitions: KekScope, state: KeyState) -> list[tuple[str, int]]:
        """KEKs (id, version) of a scope in one state."""
        query = _within(sa.select(keks.c.kek_id, keks.c.version), partitions).where(keks.c.state == state.value)
        with self.database.reading() as connection:
            return [(row[0], row[1]) for row in connection.execute(query)]

    def count_scope(self, partitions: KekScope) -> int:
        """How many KEKs of a scope wrap."""
        query = _within(sa.select(sa.func.count()), partitions).where(keks.c.state == KeyState.ENABLED.value)
        with self.database.reading() as connection:
            return int(connection.execute(query).scalar_one())


_Query = TypeVar("_Query", bound=sa.Select[Any])


def _within(query: _Query, partitions: KekScope) -> _Query:
    for column, wanted in (
        (keks.c.subject, partitions.subjects),
        (keks.c.sensitivity, partitions.sensitivities),
        (keks.c.month, partitions.months),
    ):
        if wanted is not None:
            query = query.where(column.in_(sorted(wanted)))
    return query
