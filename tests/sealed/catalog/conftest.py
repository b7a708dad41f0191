"""A catalog on disk with a few commits of every kind, and its rows as plain SQL sees them."""

# ruff: noqa: DTZ001 - capture times are naive UTC
from __future__ import annotations

import hashlib
import hmac
import os
import subprocess
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from lake.rules.model import DataFile, Partition, Subject
from lake.sealed.catalog import migrate, tables
from lake.sealed.catalog.catalog import BatchRecord, Catalog, Outcome
from lake.sealed.catalog.chain import Head
from lake.sealed.catalog.database import Database
from lake.sealed.catalog.draft import Draft
from lake.sealed.catalog.elevations import ElevationRow, add_row
from lake.sealed.catalog.postgresql import parse_address
from lake.sealed.catalog.upkeep import Upkeep
from tests import forking

MAC_KEY = b"m" * 32
START = datetime(2026, 3, 1)
_REPOSITORY = Path(__file__).resolve().parents[3]


def mac(message: bytes) -> bytes:
    """The chain's MAC under a key of the tests."""
    return hmac.digest(MAC_KEY, message, "sha256")


Place = Path | str
"""A file, or the URL of a PostgreSQL database."""


def open_database(place: Place) -> Database:
    """The database of a catalog, made if it is a file that is not there."""
    if str(place).startswith("postgresql"):
        return Database.postgresql(parse_address(str(place), "lake_catalog"), "catalog")
    new = not Path(place).exists()
    database = Database.sqlite(Path(place), "catalog", create=True)
    if new:
        tables.metadata.create_all(database.engine)
    return database


def open_catalog(place: Place) -> Catalog:
    """The catalog at a place."""
    return Catalog(open_database(place), mac, lambda: datetime(2026, 3, 14, tzinfo=UTC))


def empty_place(kind: str, request: pytest.FixtureRequest, folder: Path) -> Place:
    """Where an empty catalog lies, on the database of this kind."""
    if kind == "sqlite":
        return folder / "catalog.db"
    server = request.getfixturevalue("postgres")
    name = server.copy_of("catalog", lambda database: _fill_template(server.url(database)))
    request.addfinalizer(lambda: server.drop(name))
    return str(server.url(name))


def _fill_template(url: str) -> None:
    address = parse_address(url, "lake_catalog")
    made = Draft(Database.postgresql(address, "catalog"), migrate.CATALOG_MIGRATIONS, address)
    made.finish()
    made.close()


def data_file(
    name: str, *, subject: str = "a" * 26, level: int = 3, hours: int = 0, dataset: str = "desktop"
) -> DataFile:
    """A file with a name of its own, whose rows span one hour."""
    file_id = hashlib.md5(name.encode(), usedforsecurity=False).hexdigest()
    return DataFile(
        file_id=file_id,
        partition=Partition(dataset, subject, level, "2026-03"),
        object_key=f"data/{file_id}.parquet",
        format="pme",
        format_version=1,
        schema_version=1,
        length=4096,
        sha256=hashlib.sha256(name.encode()).digest(),
        rows=17,
        first_ts=START + timedelta(hours=hours),
        last_ts=START + timedelta(hours=hours + 1),
        kek_id="e" * 32,
        kek_version=1,
        wrapped_dek=hashlib.sha512(name.encode()).digest(),
    )


def batch_record(name: str, content: str = "sha256:1", dataset: str = "desktop") -> BatchRecord:
    """A landed batch."""
    levels = {"3": {"rows": 34, "files": 2}}
    outcome = Outcome(4711, "c" * 32, levels, {"EMAIL": 3}, "sha256:" + "9" * 64)
    return BatchRecord(dataset, name, content, 1, 34, {"unknown_type": 2, "bad_time": 1}, outcome)


def fill(catalog: Catalog) -> None:
    """One commit of every kind, and three batches of files, one of them replaced."""
    catalog.add_contract("desktop", 1, "sha256:" + "1" * 64, "dataset: desktop")
    catalog.add_policy("sha256:" + "2" * 64, b"sealed policy")
    catalog.add_employees(
        [(Subject(letter * 26, n), letter.encode() * 32, b"sealed id") for n, letter in enumerate("ab")]
    )
    introduce(catalog, "u:" + "3" * 32)
    for number in range(2):
        files = [(data_file(f"{number}-{part}", hours=10 * part), part) for part in range(2)]
        catalog.land(batch_record(f"batch-{number}"), files, key_epoch=1)
    remove_a_file(catalog)
    elevate(catalog, "4" * 32, "request")


MORE_EVENTS = (tables.holds, tables.retention)


def introduce(catalog: Catalog, actor: str) -> None:
    """An actor, and in the same commit an event of each kind that has no commit of its own here."""
    event = {"id": "5" * 32, "kind": "first", "sealed": b"sealed event", "at": 1_773_000_000_000_000}
    rows = {tables.actors: [{"actor": actor, "sealed": b"sealed name"}]}
    with catalog.database.writing() as connection:
        catalog.append(
            connection,
            "actor",
            rows | {table: [event] for table in (tables.halts, tables.devices, tables.contract_events, *MORE_EVENTS)},
        )


def elevate(catalog: Catalog, name: str, kind: str) -> Head:
    """An event of break-glass."""
    with catalog.database.writing() as connection:
        return add_row(
            catalog, connection, ElevationRow(name, kind, b"sealed " + kind.encode(), 1_773_000_000_000_000, 0)
        )


def remove_a_file(catalog: Catalog) -> None:
    """A file that lands, and another that takes its place."""
    old, new = data_file("2-0"), data_file("2-0-again")
    catalog.land(batch_record("batch-2"), [(old, 0)], key_epoch=1)
    Upkeep(catalog).replace([(old.file_id, new)], key_epoch=1)


def dump(place: Place) -> list[str]:
    """Every row of a catalog, sorted."""
    database = open_database(place)
    with database.reading() as connection:
        rows = [
            f"{table.name} {tuple(row)}"
            for table in tables.metadata.sorted_tables
            for row in connection.execute(sa.select(table))
        ]
    database.close()
    return sorted(rows)


def run_child(source: str, *arguments: object) -> subprocess.Popen[str]:
    """Start Python source in a process of its own that can import the project and this file as ``conftest``."""
    path = os.pathsep.join([str(_REPOSITORY), str(Path(__file__).parent)])
    return forking.python(
        source,
        *arguments,
        env={**os.environ, "PYTHONPATH": path},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the catalog lies: a file, for tests that are about files or change one by plain SQL."""
    return tmp_path / "catalog.db"


@pytest.fixture
def catalog(path: Place) -> Iterator[Catalog]:
    """A filled catalog."""
    opened = open_catalog(path)
    fill(opened)
    yield opened
    opened.database.close()


@pytest.fixture
def file() -> Callable[..., DataFile]:
    """Makes files: `data_file`."""
    return data_file


@pytest.fixture
def batch() -> Callable[..., BatchRecord]:
    """Makes batches: `batch_record`."""
    return batch_record


@pytest.fixture
def filling() -> Callable[[Catalog], None]:
    """Makes commits of every kind: `fill`."""
    return fill


@pytest.fixture
def event() -> Callable[[Catalog, str, str], Head]:
    """Adds an event of break-glass: `elevate`."""
    return elevate


@pytest.fixture
def place() -> Callable[[str, pytest.FixtureRequest, Path], Place]:
    """Finds a place on a kind of database: `empty_place`."""
    return empty_place


@pytest.fixture
def opened() -> Callable[[Place], Catalog]:
    """Opens a catalog: `open_catalog`."""
    return open_catalog


@pytest.fixture
def dumped() -> Callable[[Place], list[str]]:
    """Every row: `dump`."""
    return dump


@pytest.fixture
def child() -> Callable[..., subprocess.Popen[str]]:
    """Starts a process: `run_child`."""
    return run_child
