"""Prepared statements: values are bound, statements run again, closed, dropped when idle, and not too many."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.flight as fl
import pytest

from lake.gateway.service import GatewayService
from lake.wire import flight_sql as wire
from tests import world as w
from tests.gateway.flight.asking import COUNT, act, ask, bind, prepare, refusal
from tests.gateway.flight.doors import Opened, opened

ABOVE = "SELECT count(*) AS n FROM events WHERE n > ?"


def run(client: fl.FlightClient, options: fl.FlightCallOptions, handle: bytes) -> list[int]:
    """Execute a prepared statement."""
    message = wire.CommandPreparedStatementQuery(prepared_statement_handle=handle)
    found: list[int] = ask(client, options, message).column("n").to_pylist()
    return found


def test_a_statement_runs_again_with_other_values(door: Opened, client: fl.FlightClient) -> None:
    """Values stay until others come."""
    options = door.options()
    made = prepare(client, options, ABOVE)
    assert made.is_update is False
    assert pa.ipc.read_schema(pa.py_buffer(made.dataset_schema)) == pa.schema([("n", pa.int64())])
    assert pa.ipc.read_schema(pa.py_buffer(made.parameter_schema)) == pa.schema([("1", pa.null())])
    rows = w.known_rows()
    for bound in (3, 20):
        bind(client, options, made.prepared_statement_handle, pa.record_batch({"0": [bound]}))
        expected = sum(row["n"] is not None and row["n"] > bound for row in rows)
        for _ in range(2):
            assert run(client, options, made.prepared_statement_handle) == [expected]


def test_named_values(door: Opened, client: fl.FlightClient) -> None:
    """By the names of the query, in any order."""
    options = door.options()
    sql = "SELECT count(*) AS n FROM events WHERE n BETWEEN $low AND $high"
    handle = prepare(client, options, sql).prepared_statement_handle
    bind(client, options, handle, pa.record_batch({"high": [5], "low": [1]}))
    expected = sum(row["n"] is not None and 1 <= row["n"] <= 5 for row in w.known_rows())
    assert run(client, options, handle) == [expected]


def test_values_that_are_missing_are_an_error_early(door: Opened, client: fl.FlightClient) -> None:
    """Before anything is read; and so are too many, of a wrong name, or several rows."""
    options = door.options()
    handle = prepare(client, options, ABOVE).prepared_statement_handle
    _, document = refusal(lambda: run(client, options, handle))
    assert "no values were sent" in document["message"]
    for batches in (
        [pa.record_batch({"a": [1], "b": [2]})],
        [pa.record_batch({"a": [1, 2]})],
        [pa.record_batch({"a": [1]}), pa.record_batch({"a": [2]})],
        [pa.record_batch({"a": [{"x": 1}]})],
    ):
        _, document = refusal(lambda batches=batches: bind(client, options, handle, *batches))  # type: ignore[misc]
        assert document["error"] == "usage"
    bind(client, options, handle, pa.record_batch({"a": [200]}))
    assert run(client, options, handle) == [0]


def test_a_statement_is_its_owners(door: Opened, client: fl.FlightClient) -> None:
    """Others, and the owner for another purpose, find nothing, and cannot close it."""
    options = door.options("stu", "study")
    handle = prepare(client, options, COUNT).prepared_statement_handle
    message = wire.ActionClosePreparedStatementRequest(prepared_statement_handle=handle)
    for other in (door.options(), door.options("stu", "incident")):
        assert refusal(lambda other=other: run(client, other, handle))[0] is fl.FlightUnauthorizedError  # type: ignore[misc]
        assert act(client, other, "ClosePreparedStatement", wire.pack(message)) == []
    assert run(client, options, handle) == [66]
    assert act(client, options, "ClosePreparedStatement", wire.pack(message)) == []
    assert refusal(lambda: run(client, options, handle))[0] is fl.FlightUnauthorizedError
    assert act(client, options, "ClosePreparedStatement", wire.pack(message)) == []


@pytest.mark.parametrize(
    ("sql", "code"),
    [("SELECT * FROM nowhere", "denied"), ("DELETE FROM events", "query_refused"), ("SELECT nix FROM events", None)],
)
def test_what_may_not_run_is_not_prepared(door: Opened, client: fl.FlightClient, sql: str, code: str | None) -> None:
    """So that errors come early."""
    _, document = refusal(lambda: prepare(client, door.options(), sql))
    assert code is None or document["error"] == code
    assert len(door.door.desk.prepared) == 0


def test_there_are_so_many(service: GatewayService) -> None:
    """Of each user; another is not concerned, and closing makes room."""
    with opened(service, statements_each=2) as door, fl.connect(door.url) as client:
        options = door.options()
        handle = prepare(client, options, COUNT).prepared_statement_handle
        prepare(client, options, COUNT)
        kind, document = refusal(lambda: prepare(client, options, COUNT))
        assert (kind, document["retryable"]) == (fl.FlightUnavailableError, True)
        prepare(client, door.options("stu", "study"), COUNT)
        message = wire.ActionClosePreparedStatementRequest(prepared_statement_handle=handle)
        act(client, options, "ClosePreparedStatement", wire.pack(message))
        prepare(client, options, COUNT)


def test_there_are_no_transactions(door: Opened, client: fl.FlightClient) -> None:
    """Of any kind, and nothing is written."""
    options = door.options()
    part = wire.CommandStatementQuery(query=COUNT, transaction_id=b"t")
    for message in (
        part,
        wire.message("CommandStatementUpdate", query="DELETE FROM events"),
        wire.message("CommandPreparedStatementUpdate", prepared_statement_handle=b"x"),
        wire.message("CommandStatementIngest", table="events"),
        wire.message("CommandStatementSubstraitPlan"),
    ):
        _, document = refusal(lambda message=message: ask(client, options, message))  # type: ignore[misc]
        assert "only read here" in document["message"]
    for kind in ("BeginTransaction", "EndTransaction", "BeginSavepoint", "SetSessionOptions", "RenewFlightEndpoint"):
        _, document = refusal(lambda kind=kind: act(client, options, kind, b""))  # type: ignore[misc]
        assert document["message"].startswith("the gateway has no ")
    assert act(client, options, "CloseSession", b"")
