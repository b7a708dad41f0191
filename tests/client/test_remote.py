"""Queries through a gateway: the forms, parameters, parts and receipts of an embedded lake, and how they end."""

# ruff: noqa: S106 - made up
from __future__ import annotations

import gc
import threading
from collections.abc import Iterator
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest

import lake
from lake.client.remote import RemoteConnection
from lake.errors import (
    DeniedError,
    LakeError,
    LimitExceededError,
    QueryCancelledError,
    QueryFailedError,
    QueryRefusedError,
    UsageError,
)
from tests.client.door import Door
from tests.world import World

ROWS = "SELECT employee, ts, type, n, title FROM events ORDER BY ts"
MANY = "SELECT repeat('x', 150) AS text FROM events a, events b, events c"
"""Three million rows: more than a gateway holds back before it releases the first part."""


@pytest.fixture(scope="module")
def embedded(world: World) -> Iterator[Any]:
    """The same user on the same lake, embedded."""
    with world.connect() as found:
        yield found


def readers() -> list[str]:
    """Threads that read."""
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("lake-read")]


def test_every_form_is_that_of_an_embedded_lake(connection: RemoteConnection, embedded: Any) -> None:
    """Arrow, pandas, polars, DuckDB, a reader and batches: the same rows and columns."""
    expected = embedded.sql(ROWS).arrow()
    result = connection.sql(ROWS)
    assert result.schema == expected.schema
    assert result.arrow() == expected
    assert result.pandas().equals(expected.to_pandas())
    assert result.polars().to_arrow().num_rows == expected.num_rows
    assert result.duckdb().aggregate("count(*)").fetchall() == [(expected.num_rows,)]
    assert connection.sql(ROWS).reader().read_all() == expected
    assert pa.Table.from_batches(connection.sql(ROWS).batches()) == expected


def test_lake_connect_takes_an_address(door: Door) -> None:
    """By the same name as an embedded lake; what belongs to the other kind is refused."""
    with lake.connect(door.url, token="token-vera") as connection:
        assert connection.sql("SELECT count(*) AS n FROM events").arrow().to_pylist() == [{"n": 144}]
    with pytest.raises(TypeError, match="user"):
        lake.connect(door.url, user="vera", purpose="incident")  # a gateway knows who asks


def test_tables_are_those_of_an_embedded_lake(connection: RemoteConnection, embedded: Any) -> None:
    """Names and columns, in order."""
    shown = [(table.name, table.schema) for table in connection.tables()]
    assert shown == [(table.name, table.schema) for table in embedded.tables()]
    assert [name for name, _ in shown] == ["events", "moods"]


def test_a_receipt_is_the_entry_in_the_log(connection: RemoteConnection, world: World) -> None:
    """The index names the query's INTENT."""
    receipt = connection.sql("SELECT 4711 AS n FROM events LIMIT 1").receipt
    entry = next(entry for entry in world.entries("query.intent") if entry["index"] == receipt)
    assert entry["purpose"] == "incident"


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        -(2**63),
        2**80,
        1.5,
        Decimal("12.50"),
        "it's; -- text",
        b"\x00raw",
        date(2026, 1, 2),
        time(3, 4, 5),
        datetime(2026, 1, 2, 3, 4, 5, 6),  # noqa: DTZ001 - without a zone, as the lake's times
        datetime(2026, 1, 2, 3, tzinfo=UTC),
        [1, 2, None],
        {"a": 1, "b": "x"},
    ],
)
def test_a_parameter_arrives_as_it_is(connection: RemoteConnection, embedded: Any, value: Any) -> None:
    """By position and by name, as on an embedded lake."""
    by_place = connection.sql("SELECT ? AS v, ? AS w", [value, 7]).arrow().to_pylist()
    by_name = connection.sql("SELECT $v AS v, $w AS w", {"w": 7, "v": value}).arrow().to_pylist()
    assert by_place == by_name
    assert by_place == embedded.sql("SELECT ? AS v, ? AS w", [value, 7]).arrow().to_pylist()


def test_a_parameter_without_a_form_is_not_shown(connection: RemoteConnection) -> None:
    """It may be what is looked for."""
    with pytest.raises(UsageError, match="the parameter 2 cannot be sent") as caught:
        connection.sql("SELECT ?, ?", [1, object()])
    assert "object" not in str(caught.value)


def test_parts_together_are_the_whole(connection: RemoteConnection) -> None:
    """Each endpoint is a query of its own in the log; in order or as they come, every row comes once."""
    whole = connection.sql("SELECT ts, app FROM events").arrow().sort_by("ts")
    for ordered in (True, False):
        result = connection.sql("SELECT ts, app FROM events", endpoints=4, ordered=ordered)
        assert result.arrow().sort_by("ts") == whole
    stream: Any = connection.sql("SELECT ts FROM events", endpoints=4)._stream
    assert len(set(stream.receipts)) == 4
    assert stream.receipt == stream.receipts[0]
    stream.close()


def test_what_cannot_be_divided_comes_in_one_part(door: Door) -> None:
    """Asked for by the connection or by the call, it stays one query."""
    with lake.connect(door.url, token="token-vera", endpoints=4) as connection:
        result = connection.sql("SELECT count(*) AS n FROM events")
        assert result.arrow().to_pylist() == [{"n": 144}]
    assert {seen.get("x-lake-endpoints") for seen in door.seen} == {"4", None}
    with pytest.raises(UsageError, match="1 to 64 parts"):
        lake.connect(door.url, token="token-vera", endpoints=0)


@pytest.mark.parametrize(
    ("sql", "kind"),
    [
        ("SELECT * FROM nothing", DeniedError),
        ("DROP TABLE events", QueryRefusedError),
        ("SELECT nope FROM events", QueryRefusedError),
        ("SELECT title::INT FROM events WHERE title IS NOT NULL", QueryFailedError),
    ],
)
def test_errors_are_those_of_an_embedded_lake(
    connection: RemoteConnection, embedded: Any, sql: str, kind: type[LakeError]
) -> None:
    """Class, message and hint, where the query is asked; with the gateway's id of it."""
    with pytest.raises(kind) as remote:
        connection.sql(sql)
    with pytest.raises(kind) as local:
        embedded.sql(sql)
    assert type(remote.value) is kind
    assert (remote.value.message, remote.value.hint) == (local.value.message, local.value.hint)
    assert remote.value.details["id"] == "q-7"
    assert remote.value.__cause__ is None


def test_an_error_in_the_middle_is_typed_too(door: Door) -> None:
    """A limit that is reached in a later part, after rows have come."""
    with lake.connect(door.url, token="token-rolf") as connection, pytest.raises(LimitExceededError):
        connection.sql("SELECT * FROM events").arrow()
    assert readers() == []


def test_a_result_is_cancelled_from_another_thread(connection: RemoteConnection, door: Door) -> None:
    """Whoever reads is told, and the gateway stops."""
    result = connection.sql(MANY)
    batches = result.batches()
    next(batches)
    other = threading.Thread(target=result.cancel)
    other.start()
    with pytest.raises(QueryCancelledError):
        list(batches)
    other.join()
    assert readers() == []


def test_a_connection_cancels_what_has_not_answered(connection: RemoteConnection) -> None:
    """Before the first row is there, too."""
    started = threading.Event()
    errors: list[LakeError] = []

    def ask() -> None:
        started.set()
        try:
            connection.sql(
                "SELECT count(*) FROM events a, events b, events c, events d, events e WHERE a.n + b.n > c.n"
            )
        except LakeError as error:
            errors.append(error)

    asking = threading.Thread(target=ask)
    asking.start()
    started.wait()
    while not readers():
        assert asking.is_alive()
    connection.cancel()
    asking.join()
    assert [type(error) for error in errors] == [QueryCancelledError]


def test_a_finished_result_cannot_be_cancelled(connection: RemoteConnection) -> None:
    """It stays what it is."""
    result = connection.sql("SELECT count(*) AS n FROM events")
    assert result.arrow().to_pylist() == [{"n": 144}]
    result.cancel()
    assert result.arrow().to_pylist() == [{"n": 144}]


def test_reading_is_bounded(connection: RemoteConnection, door: Door) -> None:
    """A reader that is far ahead waits: the gateway holds the rest."""
    left = 0

    def count(batch: pa.RecordBatch) -> None:
        nonlocal left
        left += 1

    door.hold = count
    result = connection.sql(MANY)
    batches = result.batches()
    next(batches)
    result.close()
    total = 144**3 // 32
    assert left < total


@pytest.mark.parametrize("how", ["close", "forget", "begin and forget"])
def test_an_abandoned_result_leaves_nothing(connection: RemoteConnection, how: str) -> None:
    """Closed, or only let go of: no thread goes on reading."""
    result = connection.sql(MANY)
    if how == "close":
        result.close()
    elif how == "begin and forget":
        next(result.batches())
    del result
    gc.collect()
    assert readers() == []


def test_progress_counts_rows_and_bytes(connection: RemoteConnection) -> None:
    """After each batch, what has come so far."""
    calls: list[tuple[int, int]] = []
    table = connection.sql(ROWS, progress=lambda rows, size: calls.append((rows, size))).arrow()
    assert calls == sorted(calls)
    assert calls[-1][0] == table.num_rows
    assert len(calls) > 1
    with pytest.raises(UsageError, match="progress is a function"):
        connection.sql(ROWS, progress=7).arrow()  # type: ignore[arg-type]


def test_a_role_and_a_purpose_go_with_every_call(door: Door) -> None:
    """Chosen once; the gateway decides."""
    with lake.connect(door.url, token="token-dual", role="cohort", purpose="study") as connection:
        assert connection.sql("SELECT count(*) AS n FROM events").arrow().num_rows == 1
        connection.tables()
    assert {(seen["x-lake-role"], seen["x-lake-purpose"]) for seen in door.seen} == {("cohort", "study")}
    with lake.connect(door.url, token="token-vera", purpose="study") as connection, pytest.raises(DeniedError):
        connection.tables()
