"""A small Flight SQL door over the real service, which tests of the client can hold open, break and look at."""

from __future__ import annotations

import json
import secrets
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.flight as fl

from keys.errors import KeysError
from lake.errors import DeniedError, LakeError, UnauthenticatedError
from lake.gateway.caller import Caller
from lake.gateway.cancellation import Cancellation
from lake.gateway.service import GatewayService
from lake.wire import flight_sql
from lake.wire.names import ENDPOINTS, PURPOSE, RECEIPT, ROLE
from tests.gateway.served import caller

TOKENS = {"token-vera": caller(), "token-rolf": caller("rolf", "study"), "token-dual": caller("dual", "study")}
ROWS = 32


@dataclass(slots=True)
class Door:
    """A door that is open.

    Attributes:
        tokens: callers by token; a test may change them.
        seen: headers of each call.
        hold: called with each batch before it leaves.
    """

    url: str
    tokens: dict[str, Caller]
    seen: list[dict[str, str]] = field(default_factory=list)
    hold: Callable[[pa.RecordBatch], None] = lambda _batch: None


def as_flight(error: LakeError | KeysError) -> fl.FlightError:
    """The error as it goes over the wire."""
    about = {"error": error.code, "message": error.message, "hint": error.hint, "id": "q-7", "retryable": False}
    return fl.FlightServerError("not for people", json.dumps(about).encode())


def _told(method: Any) -> Any:
    def told(*arguments: Any) -> Any:
        try:
            return method(*arguments)
        except (LakeError, KeysError) as error:
            raise as_flight(error) from None

    return told


class _Headers(fl.ServerMiddleware):  # type: ignore[misc]
    def __init__(self, headers: dict[str, str]) -> None:
        super().__init__()
        self.headers = headers


class _EachCall(fl.ServerMiddlewareFactory):  # type: ignore[misc]
    def __init__(self) -> None:
        super().__init__()
        self.seen: list[dict[str, str]] = []

    def start_call(self, _info: Any, headers: dict[str, list[str]]) -> _Headers:
        found = {name: values[0] for name, values in headers.items()}
        self.seen.append(found)
        return _Headers(found)


class Server(fl.FlightServerBase):  # type: ignore[misc]
    """Statements, prepared statements, tables and cancellation; every ticket is good once."""

    def __init__(self, service: GatewayService, tokens: dict[str, Caller], location: str, **options: Any) -> None:
        self._calls = _EachCall()
        super().__init__(location, middleware={"calls": self._calls}, **options)
        self._service = service
        self._lock = threading.Lock()
        self._tickets: dict[bytes, Any] = {}
        self._prepared: dict[bytes, tuple[str, Any]] = {}
        self._running: dict[bytes, Cancellation] = {}
        self.door = Door(f"grpc://127.0.0.1:{self.port}", tokens, self._calls.seen)

    def _caller(self, context: Any) -> tuple[Caller, int]:
        headers = context.get_middleware("calls").headers
        found = self.door.tokens.get(headers.get("authorization", "").removeprefix("Bearer "))
        if found is None:
            raise UnauthenticatedError("not authenticated", hint="get a new token")
        if headers.get(PURPOSE, found.purpose) != found.purpose:
            raise DeniedError("nothing is available here")
        return Caller(found.identity, found.purpose, headers.get(ROLE)), int(headers.get(ENDPOINTS, "1"))

    def _endpoint(self, what: Any) -> Any:
        ticket = secrets.token_bytes(16)
        with self._lock:
            self._tickets[ticket] = what
        return fl.FlightEndpoint(fl.Ticket(ticket), [])

    @_told
    def get_flight_info(self, context: Any, descriptor: Any) -> Any:
        """Admit, describe, split."""
        who, parts = self._caller(context)
        asked = flight_sql.unpack(descriptor.command)
        if flight_sql.name(asked) == "CommandGetTables":
            return fl.FlightInfo(pa.schema([]), descriptor, [self._endpoint(None)])
        prepared = flight_sql.name(asked) == "CommandPreparedStatementQuery"
        sql, values = self._prepared[asked.prepared_statement_handle] if prepared else (asked.query, ())
        described = self._service.describe(who, sql, values)
        shares = self._service.split(who, sql, values, parts)
        return fl.FlightInfo(described.schema, descriptor, [self._endpoint((sql, values, share)) for share in shares])

    @_told
    def do_get(self, context: Any, ticket: Any) -> Any:
        """Run a part."""
        who, _ = self._caller(context)
        with self._lock:
            if ticket.ticket not in self._tickets:
                raise DeniedError("there is nothing for this ticket")
            what = self._tickets.pop(ticket.ticket)
            wish = self._running.setdefault(ticket.ticket, Cancellation())
        if what is None:
            return fl.RecordBatchStream(_shown(self._service.tables(who)))
        sql, values, share = what
        stream = self._service.run(who, sql, values, files=share, cancellation=wish)
        schema = stream.schema.with_metadata({RECEIPT: str(stream.receipt)})
        return fl.GeneratorStream(schema, self._leaving(context, stream))

    def _leaving(self, context: Any, stream: Any) -> Iterator[pa.RecordBatch]:
        try:
            for batch in stream:
                for start in range(0, batch.num_rows, ROWS):
                    if context.is_cancelled():
                        return
                    self.door.hold(batch)
                    yield batch.slice(start, ROWS)
        except (LakeError, KeysError) as error:
            raise as_flight(error) from None
        finally:
            stream.close()

    @_told
    def do_action(self, context: Any, action: Any) -> Any:
        """Prepare, close, cancel."""
        self._caller(context)
        body = action.body.to_pybytes()
        if action.type == "CreatePreparedStatement":
            handle = secrets.token_bytes(8)
            self._prepared[handle] = (flight_sql.unpack(body).query, ())
            made = flight_sql.ActionCreatePreparedStatementResult(prepared_statement_handle=handle)
            return [fl.Result(flight_sql.pack(made))]
        if action.type == "ClosePreparedStatement":
            del self._prepared[flight_sql.unpack(body).prepared_statement_handle]
        if action.type == "CancelFlightInfo":
            for endpoint in flight_sql.parse(flight_sql.CancelFlightInfoRequest, body).info.endpoint:
                self._running.setdefault(endpoint.ticket.ticket, Cancellation()).cancel()
        return []

    @_told
    def do_put(self, context: Any, descriptor: Any, reader: Any, writer: Any) -> None:
        """Bind values; the handle changes with them."""
        self._caller(context)
        sql, _ = self._prepared[flight_sql.unpack(descriptor.command).prepared_statement_handle]
        (row,) = reader.read_all().to_pylist()
        handle = secrets.token_bytes(8)
        self._prepared[handle] = (sql, list(row.values()) if all(name.isdigit() for name in row) else row)
        answer = flight_sql.DoPutPreparedStatementResult(prepared_statement_handle=handle)
        writer.write(pa.py_buffer(answer.SerializeToString()))


def _shown(tables: Any) -> pa.Table:
    schemas = [table.schema.serialize().to_pybytes() for table in tables]
    return pa.table({"table_name": [table.name for table in tables], "table_schema": schemas})


@contextmanager
def opened(service: GatewayService, location: str = "grpc://127.0.0.1:0", **options: Any) -> Iterator[Door]:
    """A door, until it is closed."""
    with Server(service, dict(TOKENS), location, **options) as server:
        yield server.door
