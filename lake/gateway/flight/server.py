"""The Flight server itself: each method lets its call in, has the desk answer it, and lets no foreign error out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import wraps
from typing import Any

import pyarrow.flight as fl

from lake.gateway.caller import Caller
from lake.gateway.flight import actions
from lake.gateway.flight.calls import KEY, Call
from lake.gateway.flight.desk import Desk, unpacked
from lake.gateway.flight.failures import NotOfferedError, as_flight, failure
from lake.gateway.flight.gate import Gate
from lake.gateway.observe.tracing import step
from lake.wire import flight_sql as wire

Method = Callable[..., Any]


class _Arrivals(fl.ServerMiddlewareFactory):  # type: ignore[misc]
    def __init__(self, gate: Gate, *, certified: bool) -> None:
        super().__init__()
        self._gate = gate
        self._certified = certified

    def start_call(self, info: Any, headers: Mapping[str, Sequence[str | bytes]]) -> Call:
        """Before anything of the call but its headers is looked at."""
        return self._gate.arrive(info.method, headers, certified=self._certified)


class _Handshakes(fl.ServerAuthHandler):  # type: ignore[misc]
    """Lets handshakes happen; that who shakes hands is known, the headers have said by then."""

    def authenticate(self, _outgoing: Any, _incoming: Any) -> None:
        """Nothing is exchanged but headers."""

    def is_valid(self, _token: bytes) -> bytes:
        """Nobody is known by this way."""
        return b""


def _answered(method: Method) -> Method:
    """Let the call in, and let only errors of Flight out."""

    @wraps(method)
    def answered(self: FlightSqlServer, context: Any, *arguments: Any) -> Any:
        try:
            call: Call = context.get_middleware(KEY)
            caller = self.gate.enter(call, context, certified=self.certified)
        except Exception as error:  # noqa: BLE001 - pyarrow would send a traceback
            raise _out(context, error) from None
        try:
            with step("call") as span:
                answer = method(self, call, caller, context, *arguments)
                span.say(kind=call.kind)
                return answer
        except Exception as error:  # noqa: BLE001 - pyarrow would send a traceback
            raise call.failed(error) from None

    return answered


def _out(context: Any, error: Exception) -> fl.FlightError:
    call = context.get_middleware(KEY)
    return as_flight(failure(error), error) if call is None else call.failed(error)


class FlightSqlServer(fl.FlightServerBase):  # type: ignore[misc]
    """Listens at one address until it is shut down.

    Args:
        location: ``grpc://`` or ``grpc+tls://``, host and port; port 0 takes a free one.
        certified: callers are known by their certificates and not by tokens.
        tls: certificates and the like, as pyarrow's server takes them.
    """

    def __init__(self, location: str, desk: Desk, gate: Gate, *, certified: bool, tls: Mapping[str, Any]) -> None:
        self.desk = desk
        self.gate = gate
        self.certified = certified
        arrivals = _Arrivals(gate, certified=certified)
        # With a handler of handshakes the context no longer names the certificate.
        handshakes = None if certified else _Handshakes()
        super().__init__(location, auth_handler=handshakes, middleware={KEY: arrivals}, **tls)

    @_answered
    def get_flight_info(self, call: Call, caller: Caller, _context: Any, descriptor: Any) -> fl.FlightInfo:
        """Admit and describe; give tickets."""
        return self.desk.info(call, caller, descriptor)

    def get_schema(self, context: Any, descriptor: Any) -> fl.SchemaResult | None:
        """Describe; None is refused by pyarrow, which here alone would send any error of ours with its traceback."""
        try:
            return self._schema(context, descriptor)
        except fl.FlightError:
            return None

    @_answered
    def _schema(self, call: Call, caller: Caller, _context: Any, descriptor: Any) -> fl.SchemaResult:
        return self.desk.schema(call, caller, descriptor)

    @_answered
    def do_get(self, call: Call, caller: Caller, context: Any, ticket: Any) -> fl.FlightDataStream:
        """Answer for a ticket."""
        return self.desk.get(call, caller, context, ticket.ticket)

    @_answered
    def do_put(self, call: Call, caller: Caller, _context: Any, descriptor: Any, reader: Any, writer: Any) -> None:
        """Take the values of a prepared statement's parameters; nothing else is written."""
        call.kind = "bind"
        command = unpacked(descriptor.command or b"", self.desk.limits)
        if wire.name(command) != "CommandPreparedStatementQuery":
            raise NotOfferedError(f"a lake is only read here: there is no {wire.name(command)}")
        handle = command.prepared_statement_handle
        self.desk.prepared.bind(caller, handle, reader)
        writer.write(wire.DoPutPreparedStatementResult(prepared_statement_handle=handle).SerializeToString())

    @_answered
    def do_action(self, call: Call, caller: Caller, _context: Any, action: Any) -> Iterable[fl.Result]:
        """Prepare, close, cancel."""
        body = action.body.to_pybytes() if action.body is not None else b""
        return [fl.Result(answer) for answer in actions.done(self.desk, call, caller, action.type, body)]

    @_answered
    def list_actions(self, _call: Call, _caller: Caller, _context: Any) -> list[tuple[str, str]]:
        """What can be done."""
        return list(actions.OFFERED.items())

    @_answered
    def list_flights(self, _call: Call, _caller: Caller, _context: Any, _criteria: Any) -> Any:
        """Nothing lies here to be listed."""
        raise NotOfferedError("the gateway answers queries, and lists no flights", hint="ask for its tables")

    @_answered
    def do_exchange(
        self, _call: Call, _caller: Caller, _context: Any, _descriptor: Any, _reader: Any, _writer: Any
    ) -> None:
        """Not offered."""
        raise NotOfferedError("the gateway exchanges no streams")
