"""Planning time of a query over catalogs of growing size, on both databases: which files it may open.

A catalog holds a year of one dataset, of a hundred employees; the more files, the denser they lie. Each query selects
about as many files whatever the size, as its time shrinks: what grows with the files that exist would be seen.
"""

from __future__ import annotations

import os
import shutil
import statistics
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from bench.measure import Scale, check_equal, say, timed
from lake.sealed.catalog import tables
from lake.sealed.catalog.catalog import Catalog, Selection
from lake.sealed.catalog.database import Database
from lake.sealed.catalog.draft import Draft
from lake.sealed.catalog.migrate import CATALOG_MIGRATIONS, upgrade
from lake.sealed.catalog.postgresql import parse_address
from lake.sealed.catalog.rows import microseconds

SIZES = (1_000, 100_000, 1_000_000)
SELECTED = 100
"""Files that each query selects, or a few more, whatever the size."""
START = datetime(2025, 1, 1)  # noqa: DTZ001 - capture times are naive UTC
YEAR = timedelta(days=360)
LENGTH = timedelta(minutes=30)
PEOPLE, SOME = 100, 20
"""Employees, and those of the query by employee."""


def measure(scale: Scale, folder: Path) -> dict[str, Any]:
    """Median milliseconds, and files selected, by query, database and number of file rows."""
    folder.mkdir(parents=True)
    found: dict[str, Any] = {"milliseconds": {}, "selected": {}}
    with _servers(folder) as places:
        for kind, open_place in places.items():
            for size in (size for size in SIZES if size <= max(scale.rows, SIZES[0])):
                say(f"  {kind}, {size:,} files")
                database = open_place(f"catalog_{size}")
                _fill(database, size)
                catalog = Catalog(database, lambda _: bytes(32), lambda: datetime.now(UTC))
                for name, selection in _queries(size).items():
                    taken, count = _planning(catalog, selection, 10 * scale.repeat)
                    found["milliseconds"].setdefault(name, {}).setdefault(kind, {})[str(size)] = taken
                    check_equal(f"files of {name!r}", count, found["selected"].setdefault(f"{name}, {size}", count))
                database.close()
    shutil.rmtree(folder)
    return found


def _planning(catalog: Catalog, selection: Selection, repeat: int) -> tuple[float, int]:
    found = [timed(lambda: len(catalog.select(selection))) for _ in range(repeat)]
    return statistics.median(taken for _, taken in found) * 1000, found[0][0]


def _queries(size: int) -> dict[str, Selection]:
    """Shapes of a selection, each of ``SELECTED`` files."""
    everyone, step, start = frozenset({1, 2, 3, 4}), YEAR / size, START + YEAR / 2
    some = frozenset(range(SOME))
    # Files that overlap a time are those that begin in it, and those that began a file's length before it.
    shorter = timedelta(0) if step > LENGTH else LENGTH
    alone, together = SELECTED * step - shorter, SELECTED * PEOPLE / SOME * step - shorter
    return {
        "a time": Selection("desktop", everyone, None, start + LENGTH, start + LENGTH + max(alone, step)),
        "employees and a time": Selection("desktop", everyone, some, start + LENGTH, start + LENGTH + together),
        "the newest": Selection("desktop", everyone, None, START + YEAR - alone),
    }


def _row(index: int, size: int) -> tuple[Any, ...]:
    """A row of ``files``, in the order of its columns."""
    start = START + index * (YEAR / size)
    first = microseconds(start)
    return (
        f"{index * 2654435761 % 2**32:08x}{index:024x}",
        "desktop",
        f"subject-{index % PEOPLE:018d}",
        index % PEOPLE,
        index // 7 % 4 + 1,
        f"{start:%Y-%m}",
        f"data/desktop/{index}.parquet",
        "pme",
        1,
        1,
        100_000,
        index.to_bytes(32, "big"),
        1_000,
        first,
        first + LENGTH // timedelta(microseconds=1),
        f"batch-{index // 100}",
        index // 100 + 1,
        None,
        f"{index % 5000:032x}",
        1,
        index.to_bytes(100, "big"),
    )


def _fill(database: Database, size: int) -> None:
    """Through the drivers' own bulk calls, and the indexes afterwards: what is measured is not how it got there."""
    rows = (_row(index, size) for index in range(size))
    names = [column.name for column in tables.files.columns]
    with database.writing() as connection:
        for index in tables.files.indexes:
            index.drop(connection)
        cursor = connection.connection.cursor()
        if database.is_sqlite:
            connection.exec_driver_sql("PRAGMA cache_size = -500000")  # KiB
            cursor.executemany(f"INSERT INTO files VALUES ({', '.join('?' for _ in names)})", rows)  # type: ignore[arg-type] # noqa: S608
        else:
            with cursor.copy(f"COPY files ({', '.join(names)}) FROM STDIN") as copy:  # type: ignore[attr-defined]
                for row in rows:
                    copy.write_row(row)
        for index in tables.files.indexes:
            index.create(connection)
    if not database.is_sqlite:
        with database.session() as connection:
            connection.exec_driver_sql("ANALYZE files")  # as autovacuum does within a minute


@contextmanager
def _servers(folder: Path) -> Iterator[dict[str, Any]]:
    def sqlite(name: str) -> Database:
        database = Database.sqlite(folder / f"{name}.db", "catalog", create=True)
        upgrade(database, CATALOG_MIGRATIONS)
        return database

    url = os.environ.get("LAKE_BENCH_POSTGRES")
    if url is None:
        server = _own_server()
        if server is None:
            say("  no PostgreSQL here: SQLite alone (or set LAKE_BENCH_POSTGRES to a database's address)")
            yield {"sqlite": sqlite}
            return
        url = server.url(server.database())
    else:
        server = None

    def postgresql(name: str) -> Database:
        address = parse_address(url, name)
        draft = Draft(Database.postgresql(address, "catalog"), CATALOG_MIGRATIONS, address)
        draft.finish()
        draft.close()
        return Database.postgresql(parse_address(url, name), "catalog")

    try:
        yield {"sqlite": sqlite, "postgresql": postgresql}
    finally:
        if server is not None:
            server.stop()


def _own_server() -> Any:
    from tests.servers.postgres import PostgresServer, binaries

    return None if binaries() is None else PostgresServer()
