"""Flight SQL spoken by hand: commands, tickets, actions and the errors that come back."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pyarrow.flight as fl
import pytest

from lake.wire import flight_sql as wire

COUNT = "SELECT count(*) AS n FROM events"
LONG = "SELECT a.n, b.ts FROM events a, events b, range(400)"
"""A result of eight million rows."""


def command(message: Any) -> fl.FlightDescriptor:
    """A descriptor."""
    return fl.FlightDescriptor.for_command(wire.pack(message))


def query(sql: str) -> fl.FlightDescriptor:
    """A statement as a descriptor."""
    return command(wire.CommandStatementQuery(query=sql))


def ask(client: fl.FlightClient, options: fl.FlightCallOptions, message: Any) -> pa.Table:
    """The whole answer to a command."""
    info = client.get_flight_info(command(message), options)
    return pa.concat_tables(client.do_get(end.ticket, options).read_all() for end in info.endpoints)


def act(client: fl.FlightClient, options: fl.FlightCallOptions, kind: str, body: bytes) -> list[bytes]:
    """Answers to an action."""
    return [one.body.to_pybytes() for one in client.do_action(fl.Action(kind, body), options)]


def prepare(client: fl.FlightClient, options: fl.FlightCallOptions, sql: str) -> Any:
    """A prepared statement."""
    request = wire.ActionCreatePreparedStatementRequest(query=sql)
    (answer,) = act(client, options, "CreatePreparedStatement", wire.pack(request))
    return wire.unpack(answer)


def bind(client: fl.FlightClient, options: fl.FlightCallOptions, handle: bytes, *batches: pa.RecordBatch) -> None:
    """Send values for a statement's parameters."""
    descriptor = command(wire.CommandPreparedStatementQuery(prepared_statement_handle=handle))
    writer, reader = client.do_put(descriptor, batches[0].schema, options)
    with writer:
        for batch in batches:
            writer.write_batch(batch)
        writer.done_writing()
        answer = reader.read()
    assert wire.parse(wire.DoPutPreparedStatementResult, answer.to_pybytes()).prepared_statement_handle == handle


def cancel(client: fl.FlightClient, options: fl.FlightCallOptions, info: fl.FlightInfo) -> int:
    """Break a query off; what became of it."""
    request = wire.CancelFlightInfoRequest(info=wire.parse(wire.FlightInfo, info.serialize()))
    (answer,) = act(client, options, "CancelFlightInfo", request.SerializeToString())
    return int(wire.parse(wire.CancelFlightInfoResult, answer).status)


def refusal(ask: Callable[[], Any]) -> tuple[type[Exception], dict[str, Any]]:
    """How a call is refused: the class of the error, and what it says to programs.

    What it says to people says the same, and nothing of Python's.
    """
    with pytest.raises(fl.FlightError) as caught:
        ask()
    error = caught.value
    document = json.loads(error.extra_info)
    assert set(document) == {"error", "message", "hint", "id", "retryable"}
    assert str(error).startswith(document["message"])
    for word in ("Traceback", "Python exception", ".py", "/work", "/var"):
        assert word not in str(error) + json.dumps(document)
    return type(error), document
