"""One call from its headers to its end: who makes it, what became of it, and what it holds until then."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Any

import pyarrow.flight as fl

from lake.gateway.caller import Caller
from lake.gateway.cancellation import Cancellation
from lake.gateway.flight.failures import as_flight, failure
from lake.gateway.flight.headers import Headers

KEY = "lake"
"""Under which name a call's context knows it."""

OK, GONE = "ok", "gone"

_log = logging.getLogger("lake.gateway")


class Call(fl.ServerMiddleware):  # type: ignore[misc]
    """A call under way.

    Attributes:
        caller: who it is; None as long as that is not known.
        kind: what it is, for metrics; a word of a closed set.
        is_action: it is short, and may free what others hold.
        code: how it ended, or will if nothing else happens.
        rows, size: what was sent.
        receipt: of the query, in the audit log.
    """

    def __init__(self, kind: str, headers: Headers, ended: Callable[[Call], None], greeting: str | None = None) -> None:
        super().__init__()
        self.kind = kind
        self.is_action = False
        self.headers = headers
        self.caller: Caller | None = None
        self.code = OK
        self.rows = self.size = 0
        self.receipt: int | None = None
        self._started = time.monotonic()
        self._ended = ended
        self._greeting = greeting
        self._lock = threading.Lock()
        self._context: Any = None
        self._wish: Cancellation | None = None
        self._close: list[Callable[[], None]] = []
        self._handed: float | None = None
        self._gone = False

    def sending_headers(self) -> dict[str, str]:
        """The answer to a handshake is the token to show from then on: the one that was shown."""
        return {} if self._greeting is None else {"authorization": self._greeting}

    def call_completed(self, _exception: BaseException | None) -> None:
        """Give back what it held; nothing may be raised from here."""
        with self._lock:
            # The context is gone when this returns.
            self._context = None
            closing, self._close = self._close, []
        for close in reversed(closing):
            try:
                close()
            except Exception as error:  # noqa: BLE001 - the rest must be given back all the same
                failure(error)
        self._ended(self)

    def failed(self, error: Exception) -> fl.FlightError:
        """The error as the caller may see it; it is what became of the call."""
        failed = failure(error)
        self.code = GONE if self._gone else failed.code
        return as_flight(failed, error)

    def when_over(self, close: Callable[[], None]) -> None:
        """Have this called when the call is over, the last first."""
        self._close.append(close)

    def run(self, context: Any, wish: Cancellation) -> None:
        """From now on the client's leaving breaks a query off."""
        with self._lock:
            self._context, self._wish = context, wish

    def handing(self) -> None:
        """A batch goes to the client now."""
        self._handed = time.monotonic()

    def handed(self, rows: int, size: int) -> None:
        """The client's side has taken it."""
        self._handed = None
        self.rows += rows
        self.size += size

    def look(self, stalled: float) -> None:
        """Break the query off if its client is gone, or has taken nothing for ``stalled`` seconds."""
        with self._lock:
            if self._context is None or self._wish is None:
                return
            handed = self._handed
            gone = self._context.is_cancelled()
            if not gone and (handed is None or time.monotonic() - handed < stalled):
                return
            wish, self._wish = self._wish, None
            self._gone = gone
        wish.cancel()

    def seconds(self) -> float:
        """Since it began."""
        return time.monotonic() - self._started

    def log(self) -> None:
        """One line of what became of it."""
        receipt = "" if self.receipt is None else f" receipt={self.receipt}"
        told = (self.kind, self.code, self.rows, self.size, self.seconds(), receipt)
        _log.info("%s %s rows=%d bytes=%d seconds=%.3f%s", *told)
