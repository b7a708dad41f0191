"""Queries and tables in the words of Flight SQL."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.flight as fl

from lake.client.door import Door
from lake.errors import LakeError, UsageError
from lake.wire import flight_sql

Parameters = Sequence[Any] | Mapping[str, Any]
"""Values of a query's parameters, by position or by name."""

_SHORT = 5.0


@dataclass(frozen=True, slots=True)
class ShownTable:
    """A table as a caller sees it."""

    name: str
    schema: pa.Schema
    description: str = ""


def ask(door: Door, sql: str, parameters: Parameters = (), endpoints: int = 1) -> Any:
    """Have a query admitted.

    Returns:
        The FlightInfo: columns, and one ticket for each of at most ``endpoints`` parts.

    Raises:
        LakeError: it is not, or a parameter has no form in Arrow.
    """
    if not parameters:
        return door.info(_command(flight_sql.CommandStatementQuery(query=sql)), endpoints)
    values = _bound(parameters)
    with _prepared(door, sql) as handle:
        query = flight_sql.CommandPreparedStatementQuery(prepared_statement_handle=handle)
        answer = door.put(_command(query), values)
        if answer:
            found = flight_sql.parse(flight_sql.DoPutPreparedStatementResult, answer)
            if found.HasField("prepared_statement_handle"):
                query.prepared_statement_handle = found.prepared_statement_handle
        return door.info(_command(query), endpoints)


def recall(door: Door, info: Any) -> None:
    """Tell the gateway that a query is not wanted any more; if it does not hear, it notices by the closed streams."""
    message = flight_sql.CancelFlightInfoRequest(info=flight_sql.parse(flight_sql.FlightInfo, info.serialize()))
    with suppress(LakeError):
        door.act("CancelFlightInfo", message.SerializeToString(), _SHORT)


def tables(door: Door) -> list[ShownTable]:
    """The tables that the caller may read, in order of name."""
    info = door.info(_command(flight_sql.CommandGetTables(include_schema=True)))
    found = []
    for endpoint in info.endpoints:
        reader = door.get(endpoint.ticket)
        with door.told():
            rows = reader.read_all().select(["table_name", "table_schema"]).to_pylist()
            found += [_shown(row["table_name"], pa.ipc.read_schema(pa.py_buffer(row["table_schema"]))) for row in rows]
    return sorted(found, key=lambda table: table.name)


def _shown(name: str, schema: pa.Schema) -> ShownTable:
    return ShownTable(name, schema.remove_metadata())


def _command(message: Any) -> Any:
    return fl.FlightDescriptor.for_command(flight_sql.pack(message))


@contextmanager
def _prepared(door: Door, sql: str) -> Iterator[bytes]:
    request = flight_sql.ActionCreatePreparedStatementRequest(query=sql)
    (answer,) = door.act("CreatePreparedStatement", flight_sql.pack(request))
    handle = flight_sql.unpack(answer).prepared_statement_handle
    try:
        yield handle
    finally:
        closing = flight_sql.ActionClosePreparedStatementRequest(prepared_statement_handle=handle)
        with suppress(LakeError):
            door.act("ClosePreparedStatement", flight_sql.pack(closing), _SHORT)


def _bound(parameters: Parameters) -> pa.RecordBatch:
    """One row of values, named as the query names them."""
    if isinstance(parameters, Mapping):
        named = {str(name): value for name, value in parameters.items()}
    else:
        named = {str(number): value for number, value in enumerate(parameters, 1)}
    return pa.record_batch({name: _one(name, value) for name, value in named.items()})


def _one(name: str, value: Any) -> pa.Array:
    if isinstance(value, int) and not isinstance(value, bool) and not -(2**63) <= value < 2**63:
        value = Decimal(value)
    try:
        return pa.array([value])
    except (pa.ArrowException, ValueError, TypeError, OverflowError):
        # The value is not shown: it may be what is looked for.
        raise UsageError(
            f"the parameter {name} cannot be sent", hint="give a text, a number, a time or bytes"
        ) from None
