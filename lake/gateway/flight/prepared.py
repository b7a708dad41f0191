"""Statements: SQL with its values, as a command brings them or as they were prepared before."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from lake.clear.sandbox.answers import Parameters
from lake.errors import QueryRefusedError, UsageError
from lake.gateway.caller import Caller
from lake.gateway.flight.binding import bound, parameter_schema, read_row
from lake.gateway.flight.failures import NotOfferedError
from lake.gateway.flight.handles import Handles, Owner, Room
from lake.gateway.flight.limits import FlightLimits
from lake.gateway.service import GatewayService
from lake.wire import flight_sql as wire


@dataclass(frozen=True, slots=True)
class Statement:
    """What is to be run. Its ``repr`` shows nothing of it.

    Attributes:
        size: bytes that it takes to keep.
    """

    sql: str = field(repr=False)
    parameters: Parameters = field(repr=False, default=())
    size: int = 0


@dataclass(slots=True)
class _Prepared:
    sql: str = field(repr=False)
    names: tuple[str, ...]
    values: Parameters | None = field(repr=False, default=None)
    size: int = 0

    def statement(self) -> Statement:
        values = self.values
        if values is None:
            if self.names:
                raise UsageError(f"the statement has {len(self.names)} parameters, and no values were sent")
            values = ()
        return Statement(self.sql, values, len(self.sql) + self.size)


def direct(command: Any, limits: FlightLimits) -> Statement:
    """The statement that a command brings.

    Raises:
        QueryRefusedError, UsageError: it is too long, or part of a transaction.
    """
    if command.HasField("transaction_id"):
        raise NotOfferedError("a lake is only read here, and has no transactions")
    if len(command.query) > limits.sql:
        # In the guard's own words, which is not reached: the text would be kept with its handle until then.
        raise QueryRefusedError(
            f"the query has {len(command.query)} characters, at most {limits.sql} are allowed",
            hint="join a table instead of a long list",
        )
    return Statement(command.query, (), len(command.query))


class PreparedStatements:
    """Those of all callers; safe for many threads."""

    def __init__(self, service: GatewayService, limits: FlightLimits, now: Callable[[], float]) -> None:
        room = Room(limits.statements_each, limits.held_each, limits.held)
        self._held: Handles[_Prepared] = Handles("statement", room, limits.statement_seconds, now)
        self._service = service
        self._limits = limits

    def __len__(self) -> int:
        return len(self._held)

    def purge(self) -> None:
        """Forget those that nobody has used for long."""
        self._held.purge()

    def create(self, caller: Caller, request: Any) -> Any:
        """Prepare a statement.

        Raises:
            LakeError: it may not be run, or the caller has too many.
        """
        sql = direct(request, self._limits).sql
        described = self._service.describe(caller, sql)
        names = described.parameters
        handle = self._held.put(Owner.of(caller), _Prepared(sql, names), len(sql))
        return wire.ActionCreatePreparedStatementResult(
            prepared_statement_handle=handle,
            dataset_schema=_serialized(described.schema),
            parameter_schema=_serialized(parameter_schema(names)) if names else b"",
            is_update=False,
        )

    def bind(self, caller: Caller, handle: bytes, reader: Any) -> None:
        """Take values for a statement's parameters, in place of those it has.

        Raises:
            LakeError: there is no such statement, or the values are not for it.
        """
        owner = Owner.of(caller)
        prepared = self._held.use(handle, owner)
        row = read_row(reader, self._limits)
        values = None if row is None else bound(prepared.names, row, self._limits)
        size = 0 if row is None else row.nbytes
        self._held.resize(handle, owner, len(prepared.sql) + size)
        prepared.values, prepared.size = values, size

    def statement(self, caller: Caller, handle: bytes) -> Statement:
        """A prepared statement with its values.

        Raises:
            LakeError: there is no such statement, or it has no values yet.
        """
        return self._held.use(handle, Owner.of(caller)).statement()

    def close(self, caller: Caller, handle: bytes) -> None:
        """Forget a statement; one that is not there is none of this caller's concern."""
        self._held.drop(handle, Owner.of(caller))


def _serialized(schema: pa.Schema) -> bytes:
    return bytes(schema.serialize())
