"""What the door answers: commands of Flight SQL as calls of the gateway service."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.flight as fl

from lake.errors import UsageError
from lake.gateway.caller import Caller
from lake.gateway.flight import metadata
from lake.gateway.flight.calls import Call
from lake.gateway.flight.failures import NotOfferedError
from lake.gateway.flight.handles import Handles, Owner, Room
from lake.gateway.flight.limits import FlightLimits
from lake.gateway.flight.prepared import PreparedStatements, Statement, direct
from lake.gateway.flight.results import Running, leaving
from lake.gateway.observe.metrics import Metrics
from lake.gateway.observe.tracing import step
from lake.gateway.service import GatewayService
from lake.wire import flight_sql as wire
from lake.wire.names import RECEIPT

_SMALL = 100


@dataclass(frozen=True, slots=True)
class _Part:
    """A statement, or a part of it, that a ticket stands for."""

    statement: Statement
    files: frozenset[str] | None


@dataclass(frozen=True, slots=True)
class _Question:
    """A metadata command that a ticket stands for."""

    kind: str
    command: Any


class Desk:
    """Of one gateway, whatever ports it listens at; safe for many threads.

    Args:
        now: a clock that only goes forward, in seconds.

    Attributes:
        prepared: statements of all callers.
    """

    def __init__(
        self,
        service: GatewayService,
        limits: FlightLimits,
        metrics: Metrics,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._service = service
        self.limits = limits
        self._metrics = metrics
        room = Room(limits.tickets_each, limits.held_each, limits.held)
        self._tickets: Handles[_Part | _Question] = Handles("ticket", room, limits.ticket_seconds, now)
        self._running = Running()
        self.prepared = PreparedStatements(service, limits, now)

    def info(self, call: Call, caller: Caller, descriptor: Any) -> fl.FlightInfo:
        """Admit and describe what is asked for; tickets for it.

        Raises:
            LakeError: it may not be asked.
        """
        command = self._command(descriptor)
        kind = wire.name(command)
        call.kind = "metadata"
        schema = metadata.schema_of(kind, command)
        promises: list[_Part | _Question] = [_Question(kind, command)]
        size = len(descriptor.command)
        if schema is None:
            call.kind = "describe"
            statement = self._statement(caller, command)
            size = statement.size
            schema, promises = self._planned(call, caller, statement)
        owner = Owner.of(caller)
        # The parts of one statement share it.
        sizes = [size, *[_SMALL] * (len(promises) - 1)]
        handles = [self._tickets.put(owner, promise, own) for promise, own in zip(promises, sizes, strict=True)]
        return fl.FlightInfo(schema, descriptor, [_endpoint(handle) for handle in handles], -1, -1)

    def schema(self, call: Call, caller: Caller, descriptor: Any) -> fl.SchemaResult:
        """Columns of what is asked for.

        Raises:
            LakeError: it may not be asked.
        """
        command = self._command(descriptor)
        call.kind = "metadata"
        schema = metadata.schema_of(wire.name(command), command)
        if schema is None:
            call.kind = "describe"
            statement = self._statement(caller, command)
            with step("describe"):
                schema = self._service.describe(caller, statement.sql, statement.parameters).schema
        return fl.SchemaResult(schema)

    def get(self, call: Call, caller: Caller, context: Any, ticket: bytes) -> fl.FlightDataStream:
        """What a ticket stands for. Whether it may be read is decided now, whatever was when the ticket was given.

        Raises:
            LakeError: it may not, or the ticket is not good.
        """
        call.kind = "query"
        owner = Owner.of(caller)
        handle = _ticket_handle(ticket)
        promise = self._tickets.take(handle, owner)
        if isinstance(promise, _Question):
            call.kind = "metadata"
            return fl.RecordBatchStream(self._answer(promise, caller))
        wish = self._running.start(handle, owner)
        call.when_over(lambda: self._running.end(handle))
        call.run(context, wish)
        statement = promise.statement
        with step("start"):
            stream = self._service.run(
                caller, statement.sql, statement.parameters, files=promise.files, cancellation=wish
            )
        call.when_over(stream.close)
        self._metrics.stream(1)
        call.when_over(lambda: self._metrics.stream(-1))
        call.receipt = stream.receipt
        schema = stream.schema.with_metadata({RECEIPT: str(stream.receipt).encode()})
        return fl.GeneratorStream(schema, leaving(stream, call, self._metrics, self.limits.batch))

    def cancel(self, caller: Caller, tickets: list[bytes]) -> int:
        """Break off the queries of these tickets, those that have not started too.

        Returns:
            ``CANCELLED``, or ``NOT_CANCELLABLE`` if none is there for this caller.
        """
        owner = Owner.of(caller)
        found = False
        for ticket in tickets:
            handle = _ticket_handle(ticket)
            found |= self._tickets.drop(handle, owner) | self._running.cancel(handle, owner)
        return wire.CANCELLED if found else wire.NOT_CANCELLABLE

    def purge(self) -> None:
        """Forget what has lapsed."""
        self._tickets.purge()
        self.prepared.purge()

    def _planned(self, call: Call, caller: Caller, statement: Statement) -> tuple[pa.Schema, list[_Part | _Question]]:
        with step("describe"):
            described = self._service.describe(caller, statement.sql, statement.parameters)
        # Who reads all parts at once must have calls left beside them.
        wanted = min(call.headers.endpoints, max(1, self.limits.calls_each // 2))
        if wanted == 1 or not described.divisible:
            return described.schema, [_Part(statement, None)]
        with step("split", parts=wanted):
            shares = self._service.split(caller, statement.sql, statement.parameters, wanted)
        return described.schema, [_Part(statement, share) for share in shares]

    def _answer(self, question: _Question, caller: Caller) -> pa.Table:
        batch = metadata.answer(question.kind, question.command, lambda: self._service.tables(caller), self.limits)
        return pa.Table.from_batches([batch])

    def _command(self, descriptor: Any) -> Any:
        if descriptor.descriptor_type != fl.DescriptorType.CMD:
            raise UsageError("the gateway takes commands of Flight SQL, and no paths")
        return unpacked(descriptor.command, self.limits)

    def _statement(self, caller: Caller, command: Any) -> Statement:
        match wire.name(command):
            case "CommandStatementQuery":
                return direct(command, self.limits)
            case "CommandPreparedStatementQuery":
                return self.prepared.statement(caller, command.prepared_statement_handle)
        raise NotOfferedError(f"a lake is only read here: there is no {wire.name(command)}")


def unpacked(content: bytes, limits: FlightLimits) -> Any:
    """The message in a command or an action.

    Raises:
        UsageError: it is none, or too long.
    """
    if len(content) > limits.command:
        raise UsageError(f"a command has at most {limits.command} bytes")
    try:
        return wire.unpack(content)
    except wire.MalformedMessageError as error:
        raise UsageError(f"this is {error}") from None


def _endpoint(handle: bytes) -> fl.FlightEndpoint:
    return fl.FlightEndpoint(fl.Ticket(wire.pack(wire.TicketStatementQuery(statement_handle=handle))), [])


def _ticket_handle(ticket: bytes) -> bytes:
    """The handle in a ticket; of what is none, one that is good for nothing."""
    try:
        message = wire.unpack(ticket)
    except wire.MalformedMessageError:
        return b""
    return bytes(message.statement_handle) if wire.name(message) == "TicketStatementQuery" else b""
