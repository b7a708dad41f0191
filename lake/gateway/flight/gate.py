"""Who comes in: every call is authenticated, counted, and refused when there are too many or the gateway stops."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow.flight as fl

from lake.clock import Clock
from lake.errors import UnauthenticatedError
from lake.gateway.caller import Caller
from lake.gateway.flight.calls import Call
from lake.gateway.flight.failures import BusyError, as_flight, failure
from lake.gateway.flight.headers import Headers, read_headers
from lake.gateway.flight.limits import FlightLimits
from lake.gateway.identity.authenticator import Authenticator, Credential, PeerCertificate
from lake.gateway.observe.metrics import Metrics
from lake.gateway.observe.tracing import step

_HANDSHAKE, _ACTION = fl.FlightMethod.HANDSHAKE, fl.FlightMethod.DO_ACTION


class Gate:
    """Of one gateway, whatever ports it listens at; safe for many threads."""

    def __init__(self, authenticator: Authenticator, clock: Clock, limits: FlightLimits, metrics: Metrics) -> None:
        self._authenticator = authenticator
        self._clock = clock
        self._limits = limits
        self._metrics = metrics
        self._state = threading.Condition()
        self._inside: dict[Call, str] = {}
        self._each: Counter[str] = Counter()
        self._closing = False

    def arrive(self, method: Any, given: Mapping[str, Sequence[str | bytes]], *, certified: bool) -> Call:
        """A call comes, and only its headers are known; with a token in them its caller is known too.

        Args:
            certified: it comes where certificates say who is there, so no token counts.

        Raises:
            FlightError: it is refused.
        """
        kind = "handshake" if method == _HANDSHAKE else "other"
        try:
            headers = read_headers(given, self._limits.endpoints)
            token = None if certified else headers.token()
            caller = None if certified else self._known(token, headers)
        except Exception as error:  # noqa: BLE001 - whatever it is, pyarrow would send it with a traceback
            failed = failure(error)
            self._metrics.ended(kind, failed.code, 0.0)
            raise as_flight(failed, error) from None
        greeting = f"Bearer {token.text}" if token is not None and method == _HANDSHAKE else None
        call = Call(kind, headers, self._leave, greeting)
        call.caller = caller
        call.is_action = method == _ACTION
        return call

    def enter(self, call: Call, context: Any, *, certified: bool) -> Caller:
        """Let a call in that is to be answered now.

        Raises:
            UnauthenticatedError: its certificate does not say who it is.
            BusyError: there are too many, or the gateway stops.
        """
        if certified:
            call.caller = self._known(_certificate(context), call.headers)
        caller = call.caller
        if caller is None:
            raise UnauthenticatedError
        user = caller.identity.user
        with self._state:
            if self._closing:
                raise BusyError("the gateway is stopping", hint="try again in a moment")
            spare = self._limits.spare if call.is_action else 0
            if self._each[user] >= self._limits.calls_each + spare:
                raise BusyError(f"you have {self._each[user]} calls under way", hint="wait for one to end")
            if len(self._inside) >= self._limits.calls + spare:
                raise BusyError("the gateway has too many calls under way", hint="try again in a moment")
            self._inside[call] = user
            self._each[user] += 1
        return caller

    def look(self) -> None:
        """Break off queries of clients that are gone."""
        with self._state:
            calls = list(self._inside)
        for call in calls:
            call.look(self._limits.stalled)

    @property
    def inside(self) -> int:
        """Calls under way."""
        with self._state:
            return len(self._inside)

    @property
    def closing(self) -> bool:
        """Whether new calls are refused."""
        return self._closing

    def close(self) -> None:
        """Refuse new calls from now on."""
        with self._state:
            self._closing = True

    def wait_empty(self, seconds: float) -> bool:
        """Wait for the calls under way; False if not all have ended in time."""
        with self._state:
            return self._state.wait_for(lambda: not self._inside, seconds)

    def _known(self, credential: Credential | None, headers: Headers) -> Caller:
        with step("auth"):
            try:
                return self._authenticator.authenticate(credential, headers.purpose, headers.role, self._clock())
            except UnauthenticatedError as error:
                self._metrics.refused(error.reason)
                raise

    def _leave(self, call: Call) -> None:
        with self._state:
            user = self._inside.pop(call, None)
            if user is not None:
                self._each[user] -= 1
                self._each += Counter()  # forgets the zeros
            self._state.notify_all()
        self._metrics.ended(call.kind, call.code, call.seconds())
        call.log()


def _certificate(context: Any) -> PeerCertificate | None:
    try:
        name = context.peer_identity().decode()
    except UnicodeDecodeError:
        return None
    return PeerCertificate(name) if name else None
