"""Clients as they are: ADBC's driver, DuckDB and polars on top of it, and the lake's own."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import adbc_driver_flightsql as driver
import duckdb
import polars as pl
import pytest
from adbc_driver_flightsql import dbapi
from adbc_driver_manager import DatabaseError, OperationalError, ProgrammingError

from lake.client.remote import connect_remote
from lake.errors import DeniedError, QueryCancelledError, QueryRefusedError, UnauthenticatedError
from tests import world as w
from tests.gateway.flight.asking import LONG
from tests.gateway.flight.doors import Opened

GROUPS = "SELECT app, count(*) AS n FROM events GROUP BY app ORDER BY n DESC, app"


def connected(door: Opened, user: str = w.VERA, *purposes: str, **options: str) -> dbapi.Connection:
    """ADBC's driver with a token in a header."""
    header = {driver.DatabaseOptions.AUTHORIZATION_HEADER.value: f"Bearer {door.token(user, *purposes)}"}
    prefix = driver.DatabaseOptions.RPC_CALL_HEADER_PREFIX.value
    headers = {prefix + name.replace("_", "-"): value for name, value in options.items()}
    return dbapi.connect(door.url, db_kwargs=header | headers, autocommit=True)


@pytest.fixture
def connection(door: Opened) -> Iterator[dbapi.Connection]:
    """Who sees everything."""
    with connected(door) as found:
        yield found


@pytest.fixture
def cursor(connection: dbapi.Connection) -> Iterator[dbapi.Cursor]:
    """A cursor of theirs."""
    with connection.cursor() as found:
        yield found


def test_adbc_queries(cursor: dbapi.Cursor, lake: w.World) -> None:
    """Rows as the embedded lake gives them, in every form."""
    cursor.execute(GROUPS)
    expected = lake.rows(GROUPS)
    assert cursor.fetch_arrow_table().to_pylist() == expected
    cursor.execute(GROUPS)
    assert [tuple(one.values()) for one in expected] == cursor.fetchall()
    cursor.execute("SELECT * FROM events ORDER BY ts")
    assert w.same_rows(cursor.fetch_arrow_table().to_pylist(), w.landed(w.known_rows()))
    cursor.execute("SELECT n FROM events WHERE n > 140 ORDER BY n")
    assert cursor.fetch_df()["n"].tolist() == sorted(row["n"] for row in w.known_rows() if (row["n"] or 0) > 140)


def test_adbc_binds_values(cursor: dbapi.Cursor) -> None:
    """By position, again with others, and none that are a list of rows."""
    sql = "SELECT count(*) AS n FROM events WHERE n > ? AND app = ?"
    rows = w.known_rows()
    for low, app in ((3, "Mail-QX"), (10, "Editor-QX"), (0, "'; DROP TABLE events --")):
        cursor.execute(sql, (low, app))
        expected = sum(row["n"] is not None and row["n"] > low and row["app"] == app for row in rows)
        assert cursor.fetchall() == [(expected,)]
    with pytest.raises(DatabaseError, match="only read here"):
        cursor.executemany(sql, [(3, "Mail-QX"), (4, "Mail-QX")])


def test_adbc_sees_metadata(connection: dbapi.Connection, door: Opened) -> None:
    """Catalog, tables, columns, types, and what the server is."""
    assert connection.adbc_get_info()["vendor_name"] == "telemetry-lake"
    assert connection.adbc_get_table_types() == ["TABLE"]
    (catalog,) = connection.adbc_get_objects(depth="all").read_all().to_pylist()
    (schema,) = catalog["catalog_db_schemas"]
    assert (catalog["catalog_name"], schema["db_schema_name"]) == ("lake", "main")
    assert [table["table_name"] for table in schema["db_schema_tables"]] == ["events", "moods"]
    columns = {column["column_name"] for column in schema["db_schema_tables"][0]["table_columns"]}
    assert {"employee", "ts", "app", "note"} <= columns
    found = connection.adbc_get_table_schema("events", catalog_filter="lake", db_schema_filter="main")
    assert {"employee", "ts", "app", "note"} <= set(found.names)
    with connected(door, "stu", "study") as other:
        assert "flag" not in other.adbc_get_table_schema("events").names
        with pytest.raises(ProgrammingError):
            other.adbc_get_table_schema("moods")


def test_adbc_reads_partitions(cursor: dbapi.Cursor, door: Opened) -> None:
    """Each by a connection of its own; one is not read twice."""
    with connected(door, x_lake_endpoints="3") as divided, divided.cursor() as asking:
        partitions, schema = asking.adbc_execute_partitions("SELECT n FROM events")
    assert len(partitions) == 3
    assert schema is not None
    found: list[Any] = []
    for partition in partitions:
        cursor.adbc_read_partition(partition)
        found += cursor.fetch_arrow_table().column("n").to_pylist()
    assert sorted(map(str, found)) == sorted(str(row["n"]) for row in w.known_rows())
    with pytest.raises(DatabaseError, match="no such ticket"):
        cursor.adbc_read_partition(partitions[0])


def test_adbc_learns_what_it_asked_for_wrongly(cursor: dbapi.Cursor, door: Opened) -> None:
    """Before a row is read, with the gateway's words."""
    with pytest.raises(ProgrammingError, match="no table nowhere is available here"):
        cursor.execute("SELECT * FROM nowhere")
    with pytest.raises(DatabaseError, match="only SELECT"):
        cursor.execute("INSERT INTO events VALUES (1)")
    wrong = connected(door, "stu", "study", x_lake_purpose="incident")
    with wrong, wrong.cursor() as asking, pytest.raises(ProgrammingError, match="not authenticated"):
        asking.execute("SELECT 1")


def test_adbc_takes_user_and_password(door: Opened) -> None:
    """The token is the password."""
    given = {"username": "anything", "password": door.token("stu", "study")}
    with dbapi.connect(door.url, db_kwargs=given, autocommit=True) as found, found.cursor() as asking:
        asking.execute("SELECT count(*) FROM events")
        assert asking.fetchall() == [(66,)]
    with pytest.raises((DatabaseError, OperationalError), match="not authenticated"):
        dbapi.connect(door.url, db_kwargs=given | {"password": "guessed"}, autocommit=True)


def test_adbc_cancels(cursor: dbapi.Cursor, door: Opened) -> None:
    """A result under way; nothing of it stays."""
    cursor.execute(LONG)
    reader = cursor.fetch_record_batch()
    reader.read_next_batch()
    cursor.adbc_cancel()
    with pytest.raises(OSError, match="context canceled"):
        reader.read_all()
    assert door.door.gate.wait_empty(60)
    assert door.service.pool.used == 0


def test_duckdb_reads_on(cursor: dbapi.Cursor) -> None:
    """SQL on the reader's own side, over what came."""
    cursor.execute("SELECT app, n FROM events")
    reader = cursor.fetch_record_batch()  # noqa: F841 - DuckDB finds it by its name
    with duckdb.connect() as own:
        found = own.sql("SELECT sum(n) FROM reader").fetchall()
    assert found == [(sum(row["n"] for row in w.known_rows() if row["n"] is not None),)]


def test_polars_reads(connection: dbapi.Connection) -> None:
    """Through ADBC."""
    found = pl.read_database(GROUPS, connection)
    assert found["n"].sum() == 144
    assert found.columns == ["app", "n"]


def test_the_lakes_own_client(door: Opened) -> None:
    """Rows, parts, values, tables, typed errors."""
    with connect_remote(door.url, token=door.token()) as own:
        assert own.sql(GROUPS).arrow().column("n").to_pylist() == [56, 52, 24, 12]
        assert own.sql("SELECT n FROM events WHERE n > ?", [100], endpoints=4).arrow().num_rows > 0
        assert [table.name for table in own.tables()] == ["events", "moods"]
        result = own.sql(LONG)
        batches = iter(result.batches())
        next(batches)
        result.cancel()
        with pytest.raises(QueryCancelledError):
            list(batches)
        with pytest.raises(DeniedError):
            own.sql("SELECT * FROM nowhere")
        with pytest.raises(QueryRefusedError):
            own.sql("DELETE FROM events")
    with connect_remote(door.url, token="x.y.z") as nobody, pytest.raises(UnauthenticatedError):  # noqa: S106
        nobody.sql("SELECT 1")
    assert door.door.gate.wait_empty(60)


def test_many_clients_at_once(door: Opened) -> None:
    """Eight callers in two identities, each with their own rows, however their calls interleave."""
    wrong: list[Any] = []

    def asks(user: str, purpose: str, count: int) -> None:
        try:
            with connected(door, user, purpose) as found, found.cursor() as asking:
                for _ in range(5):
                    asking.execute("SELECT count(*) FROM events")
                    if asking.fetchall() != [(count,)]:
                        wrong.append(user)
        except Exception as error:  # noqa: BLE001 - told by the test's own thread
            wrong.append(error)

    callers = [(w.VERA, "incident", 144), ("stu", "study", 66)] * 4
    threads = [threading.Thread(target=asks, args=caller) for caller in callers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert door.door.gate.wait_empty(30)
