"""What key operations and jobs do to the catalog: wraps replaced in place, files replaced or left out.

A file that is removed keeps its row, so that the chain still accounts for it, and loses its wrap; a ``removals`` row of
the same commit says so.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from lake.rules.model import DataFile
from lake.sealed.catalog import chain, tables
from lake.sealed.catalog.catalog import Catalog
from lake.sealed.catalog.fence import check_fence, move_fence
from lake.sealed.catalog.leases import Lease, check_lease
from lake.sealed.catalog.rows import chunks, data_file, file_row, microseconds, moment

PAIRS = 500
"""(KEK, version) pairs in one SQL IN list."""


Place = tuple[str, int, int, str]
"""A partition: dataset, the employee's number, sensitivity, month."""


@dataclass(frozen=True, slots=True)
class Rewrap:
    """A file's new wrap; it replaces ``was`` and nothing else."""

    file_id: str
    was: bytes
    kek_id: str
    kek_version: int
    wrapped_dek: bytes


@dataclass(frozen=True, slots=True)
class FileScope:
    """Some live files; None for all.

    Attributes:
        partitions: numbers of employees by (dataset, sensitivity, month): what an audit entry's scope names.
        up_to: commit after which a file landed too late to be meant.
    """

    numbers: frozenset[int] | None = None
    sensitivities: frozenset[int] | None = None
    months: frozenset[str] | None = None
    partitions: Mapping[tuple[str, int, str], Collection[int]] | None = None
    up_to: int | None = None

    def admits(self, row: Any) -> bool:
        """Whether a row of ``files`` is meant; the bounds that SQL does not check."""
        if self.numbers is not None and row.number not in self.numbers:
            return False
        if self.partitions is None:
            return True
        return row.number in self.partitions.get((row.dataset, row.sensitivity, row.month), ())


class Upkeep:
    """Changes rows that have landed."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._database = catalog.database

    def fence(self, epoch: int) -> None:
        """Refuse commits whose keys were read before this key epoch."""
        with self._database.writing() as connection:
            move_fence(connection, epoch)

    def page(self, scope: FileScope, after: str, limit: int) -> list[tuple[DataFile, int]]:
        """Live files of a scope with their employees' numbers, in order of id from ``after`` on, a page at a time."""
        files = tables.files.c
        query = sa.select(tables.files).where(files.removed_seq.is_(None)).order_by(files.file_id)
        if scope.sensitivities is not None:
            query = query.where(files.sensitivity.in_(sorted(scope.sensitivities)))
        if scope.months is not None:
            query = query.where(files.month.in_(sorted(scope.months)))
        if scope.up_to is not None:
            query = query.where(files.seq <= scope.up_to)
        if scope.numbers is not None and len(scope.numbers) <= PAIRS:
            query = query.where(files.number.in_(sorted(scope.numbers)))
        found: list[tuple[DataFile, int]] = []
        with self._database.reading() as connection:
            rows = connection.execution_options(yield_per=1_000).execute(query.where(files.file_id > after))
            for row in rows:
                if scope.admits(row):
                    found.append((data_file(row), row.number))
                    if len(found) == limit:
                        break
        return found

    def pages(self, scope: FileScope, limit: int) -> Iterator[list[tuple[DataFile, int]]]:
        """Every page of a scope, each read on its own."""
        after = ""
        while page := self.page(scope, after, limit):
            yield page
            after = page[-1][0].file_id

    def landed_in(self, files: Sequence[str]) -> dict[str, int]:
        """The commits that these files came with."""
        found: dict[str, int] = {}
        with self._database.reading() as connection:
            for part in chunks(files):
                query = sa.select(tables.files.c.file_id, tables.files.c.seq).where(tables.files.c.file_id.in_(part))
                found |= {row.file_id: row.seq for row in connection.execute(query)}
        return found

    def crowded(self, *, rows: int, length: int, after: Place | None = None, limit: int = 10_000) -> list[Place]:
        """Partitions with more than one small file, in order, a page at a time.

        Args:
            rows, length: a file with fewer rows and bytes is small.
        """
        files = tables.files.c
        by = (files.dataset, files.number, files.sensitivity, files.month)
        query = (
            sa.select(*by, sa.func.count().label("small"))
            .where(files.removed_seq.is_(None), files.rows < rows, files.length < length)
            .group_by(*by)
            .having(sa.func.count() > 1)
            .order_by(*by)
            .limit(limit)
        )
        if after is not None:
            query = query.where(sa.tuple_(*by) > sa.tuple_(*map(sa.literal, after)))
        with self._database.reading() as connection:
            return [(row.dataset, row.number, row.sensitivity, row.month) for row in connection.execute(query)]

    def of_partition(self, place: Place) -> list[tuple[DataFile, datetime]]:
        """Live files of a partition in order of time, each with the time at which its batch landed (naive UTC)."""
        files, batches = tables.files.c, tables.batches.c
        dataset, number, sensitivity, month = place
        query = (
            sa.select(tables.files, batches.landed_at)
            .join(tables.batches, (batches.dataset == files.dataset) & (batches.batch_id == files.batch_id))
            .where(files.removed_seq.is_(None), files.number == number, files.dataset == dataset)
            .where(files.sensitivity == sensitivity, files.month == month)
            .order_by(files.first_ts, files.file_id)
        )
        with self._database.reading() as connection:
            return [(data_file(row[:-1]), moment(row.landed_at)) for row in connection.execute(query)]

    def head_at(self, at: datetime) -> int:
        """The newest commit made until a moment (naive UTC); 0 if there was none."""
        query = sa.select(sa.func.max(tables.commits.c.seq)).where(tables.commits.c.at <= microseconds(at))
        with self._database.reading() as connection:
            return int(connection.execute(query).scalar() or 0)

    def count(self, scope: FileScope) -> tuple[int, int]:
        """How many live files a scope has, and how many bytes."""
        files = size = 0
        for page in self.pages(scope, 10_000):
            files += len(page)
            size += sum(file.length for file, _ in page)
        return files, size

    def deks_of(self, keks: Collection[tuple[str, int]], after: str, limit: int) -> list[tuple[DataFile, int]]:
        """Live files whose DEKs are under these KEKs (id, version), in order of id from ``after`` on."""
        found: list[tuple[DataFile, int]] = []
        with self._database.reading() as connection:
            for query in _under(sa.select(tables.files), keks):
                ordered = query.where(tables.files.c.file_id > after).order_by(tables.files.c.file_id).limit(limit)
                found += [(data_file(row), row.number) for row in connection.execute(ordered)]
        return sorted(found, key=lambda item: item[0].file_id)[:limit]

    def count_under(self, keks: Collection[tuple[str, int]]) -> int:
        """How many live files name these KEKs."""
        with self._database.reading() as connection:
            return sum(
                connection.execute(query).scalar_one()
                for query in _under(sa.select(sa.func.count()).select_from(tables.files), keks)
            )

    def rewrap(self, changes: Sequence[Rewrap]) -> int:
        """Replace wraps, each only if it still is what was read; gives how many were."""
        if not changes:
            return 0
        statement = (
            tables.files.update()
            .where(tables.files.c.file_id == sa.bindparam("of"), tables.files.c.wrapped_dek == sa.bindparam("was"))
            .values(
                kek_id=sa.bindparam("to_kek"),
                kek_version=sa.bindparam("to_version"),
                wrapped_dek=sa.bindparam("blob"),
            )
        )
        parameters = [
            {
                "of": change.file_id,
                "was": change.was,
                "to_kek": change.kek_id,
                "to_version": change.kek_version,
                "blob": change.wrapped_dek,
            }
            for change in changes
        ]
        with self._database.writing() as connection:
            return connection.execute(statement, parameters).rowcount

    def replace(
        self, pairs: Sequence[tuple[str, DataFile]], *, key_epoch: int, lease: Lease | None = None
    ) -> chain.Head | None:
        """Put new files in the place of live ones, in one commit: a query sees the old ones or the new ones.

        Args:
            pairs: the id of the file that goes, and the file that comes, which holds the same rows.
            key_epoch: when the KEKs of the new files were read.
            lease: under which this is done.

        Returns:
            None if one of the old files is live no more; nothing was changed then.

        Raises:
            StaleKeysError: a KEK was retired since: wrap the DEKs anew.
            LeaseLostError: another process has taken the lease over.
        """
        return self.swap(
            "rekey", [old for old, _ in pairs], [(new, old) for old, new in pairs], key_epoch=key_epoch, lease=lease
        )

    def swap(
        self,
        kind: str,
        gone: Sequence[str],
        added: Sequence[tuple[DataFile, str]],
        *,
        key_epoch: int | None,
        lease: Lease | None = None,
        confirm: Callable[[sa.Connection], None] = lambda _: None,
    ) -> chain.Head | None:
        """Put any number of new files in the place of live ones, in one commit.

        Args:
            kind: what the commit is called.
            added: each with the file, of those that go, whose employee and batch it takes over.
            key_epoch: when the KEKs of the new files were read; None if there are none.
            confirm: what else belongs to the same transaction; nothing is changed if it raises.

        Returns, raises: see :meth:`replace`.
        """
        with self._database.writing() as connection:
            if lease is not None:
                check_lease(connection, lease)
            check_fence(connection, key_epoch)
            rows = {row.file_id: row for row in _live(connection, gone)}
            if len(rows) != len(set(gone)):
                return None
            confirm(connection)
            new = [file_row(file, rows[old].number, rows[old].batch_id) for file, old in added]
            return self._remove(connection, kind, gone, new)

    def live(self, files: Sequence[str]) -> list[tuple[DataFile, int]]:
        """Those of these files that are live, with their employees' numbers, in the order asked."""
        with self._database.reading() as connection:
            rows = {row.file_id: (data_file(row), row.number) for row in _live(connection, files)}
        return [rows[file_id] for file_id in files if file_id in rows]

    def erase(self, numbers: Collection[int]) -> chain.Head | None:
        """Leave out every file of employees, in one commit; None if there is none."""
        found: list[str] = []
        with self._database.writing() as connection:
            for part in chunks(sorted(numbers)):
                where = tables.files.c.number.in_(part) & tables.files.c.removed_seq.is_(None)
                found += connection.execute(sa.select(tables.files.c.file_id).where(where)).scalars()
            return self._remove(connection, "erase", found, ()) if found else None

    def _remove(
        self, connection: sa.Connection, kind: str, gone: Sequence[str], added: Sequence[Mapping[str, Any]]
    ) -> chain.Head:
        removed = [{"file_id": file_id} for file_id in gone]
        head = self._catalog.append(connection, kind, {tables.files: added, tables.removals: removed})
        for part in chunks(gone):
            where = tables.files.c.file_id.in_(part)
            connection.execute(tables.files.update().where(where), {"removed_seq": head.seq, "wrapped_dek": None})
        return head


def _live(connection: sa.Connection, files: Sequence[str]) -> Iterator[Any]:
    for part in chunks(files):
        where = tables.files.c.file_id.in_(part) & tables.files.c.removed_seq.is_(None)
        yield from connection.execute(sa.select(tables.files).where(where))


def _under(query: Any, keks: Collection[tuple[str, int]]) -> Iterator[Any]:
    files = tables.files.c
    pairs = sorted(keks)
    for start in range(0, len(pairs), PAIRS):
        part = pairs[start : start + PAIRS]
        yield query.where(
            files.kek_id.in_([kek_id for kek_id, _ in part]),
            sa.tuple_(files.kek_id, files.kek_version).in_(part),
            files.removed_seq.is_(None),
        )
