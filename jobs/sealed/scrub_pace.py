"""Reading at a bounded rate, so that a scrub leaves the store to those who work."""

from __future__ import annotations

import time
from collections.abc import Callable

MIB = 1024 * 1024
LONGEST_NAP = 1.0


class Pace:
    """Waits after each read until the bytes read so far fit the rate.

    Args:
        rate: MiB per second; None for no bound.
        alive: called before each wait, as long waits must not lose a lease.
        now, wait: a monotonic clock and a sleep, in seconds.
    """

    def __init__(
        self,
        rate: float | None,
        *,
        alive: Callable[[], None] = lambda: None,
        now: Callable[[], float] = time.monotonic,
        wait: Callable[[float], None] = time.sleep,
    ) -> None:
        self._rate = rate
        self._alive = alive
        self._now = now
        self._wait = wait
        self._begun = now()
        self._bytes = 0

    def read(self, count: int) -> None:
        """Some bytes were read."""
        if self._rate is None:
            return
        self._bytes += count
        due = self._begun + self._bytes / (self._rate * MIB)
        while (left := due - self._now()) > 0:
            self._alive()
            self._wait(min(left, LONGEST_NAP))
