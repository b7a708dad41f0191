"""A wish to break a query off, which reaches it at whatever step it is."""

from __future__ import annotations

import threading
from collections.abc import Callable


class Cancellation:
    """Wished at most once, from any thread, before the query starts, while it runs or after."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._wished = False
        self._reach: list[Callable[[], None]] = []

    def cancel(self) -> None:
        """Break off what runs, and what is about to."""
        with self._lock:
            self._wished = True
            reach, self._reach = self._reach, []
        for call in reach:
            call()

    def attach(self, call: Callable[[], None]) -> None:
        """Have this called when it is wished, at once if it has been."""
        with self._lock:
            if not self._wished:
                self._reach.append(call)
                return
        call()
