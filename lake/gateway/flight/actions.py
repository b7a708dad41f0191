"""Actions of Flight and Flight SQL: statements are prepared and closed, queries cancelled."""

from __future__ import annotations

from typing import Any

from lake.errors import UsageError
from lake.gateway.caller import Caller
from lake.gateway.flight.calls import Call
from lake.gateway.flight.desk import Desk, unpacked
from lake.gateway.flight.failures import NotOfferedError
from lake.gateway.flight.limits import FlightLimits
from lake.wire import flight_sql as wire

OFFERED = {
    "CreatePreparedStatement": "Prepare a statement; the answer has its handle.",
    "ClosePreparedStatement": "Forget a prepared statement.",
    "CancelQuery": "Break a query off, by its serialized FlightInfo.",
    "CancelFlightInfo": "Break a query off, by its FlightInfo.",
    "CloseSession": "Nothing is kept in a session, so there is nothing to close.",
}

_REFUSED = {
    "BeginTransaction": "transactions",
    "EndTransaction": "transactions",
    "BeginSavepoint": "savepoints",
    "EndSavepoint": "savepoints",
    "CreatePreparedSubstraitPlan": "Substrait plans",
    "SetSessionOptions": "session options: purpose and role are headers",
    "GetSessionOptions": "session options: purpose and role are headers",
    "RenewFlightEndpoint": "renewal of tickets: ask again",
    "PollFlightInfo": "polling",
}


def done(desk: Desk, call: Call, caller: Caller, kind: str, body: bytes) -> list[bytes]:
    """Do what an action asks; its answers.

    Raises:
        LakeError: it may not be done, or is not offered.
    """
    match kind:
        case "CreatePreparedStatement":
            call.kind = "prepare"
            request = _asked(body, "ActionCreatePreparedStatementRequest", desk.limits)
            return [wire.pack(desk.prepared.create(caller, request))]
        case "ClosePreparedStatement":
            call.kind = "close"
            request = _asked(body, "ActionClosePreparedStatementRequest", desk.limits)
            desk.prepared.close(caller, request.prepared_statement_handle)
            return []
        case "CancelQuery" | "CancelFlightInfo":
            call.kind = "cancel"
            return [_cancelled(desk, caller, kind, body)]
        case "CloseSession":
            call.kind = "close"
            return [wire.CloseSessionResult(status=wire.SESSION_CLOSED).SerializeToString()]
    raise NotOfferedError(f"the gateway has no {_REFUSED.get(kind, 'such action')}")


def _cancelled(desk: Desk, caller: Caller, kind: str, body: bytes) -> bytes:
    if kind == "CancelQuery":
        request = _asked(body, "ActionCancelQueryRequest", desk.limits)
        result = desk.cancel(caller, _tickets(_parsed(wire.FlightInfo, request.info, desk.limits)))
        return wire.pack(wire.ActionCancelQueryResult(result=result))
    info = _parsed(wire.CancelFlightInfoRequest, body, desk.limits).info
    content: bytes = wire.CancelFlightInfoResult(status=desk.cancel(caller, _tickets(info))).SerializeToString()
    return content


def _tickets(info: Any) -> list[bytes]:
    return [endpoint.ticket.ticket for endpoint in info.endpoint]


def _asked(body: bytes, name: str, limits: FlightLimits) -> Any:
    request = unpacked(body, limits)
    if wire.name(request) != name:
        raise UsageError(f"this action takes an {name}")
    return request


def _parsed(kind: Any, content: bytes, limits: FlightLimits) -> Any:
    if len(content) > limits.command:
        raise UsageError(f"an action has at most {limits.command} bytes")
    try:
        return wire.parse(kind, content)
    except wire.MalformedMessageError as error:
        raise UsageError(f"this is {error}") from None
