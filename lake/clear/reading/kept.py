"""What reading keeps between queries: within bounds of bytes and time, and of one era."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

from lake.clear.reading.plan import Era

_K = TypeVar("_K", bound=Hashable)
_V = TypeVar("_V")


class Kept(Generic[_K, _V]):
    """Values by key, the longest unused dropped first; a change of policy or of keys drops them all.

    Args:
        most_bytes: of all values; 0 keeps nothing.
        most_of_one: bytes of a value beyond which it is not kept.
        seconds: that a value lives, however often it is used.
    """

    def __init__(
        self, most_bytes: int, seconds: float, *, most_of_one: int = 0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._most = most_bytes
        self._most_of_one = most_of_one or most_bytes
        self._seconds = seconds
        self._clock = clock
        self._lock = threading.Lock()
        self._era: Era | None = None
        self._values: OrderedDict[_K, tuple[_V, int, float]] = OrderedDict()
        self.size = 0

    def keep_only(self, era: Era) -> None:
        """Drop what is of another era, or too old."""
        now = self._clock()
        with self._lock:
            over = era != self._era
            self._era = era
            for key in [key for key, (_, _, expires) in self._values.items() if over or expires <= now]:
                self._drop(key)

    def find(self, key: _K) -> _V | None:
        """What is kept under a key."""
        with self._lock:
            found = self._values.get(key)
            if found is None or found[2] <= self._clock():
                return None
            self._values.move_to_end(key)
            return found[0]

    def put(self, era: Era, key: _K, value: _V, size: int) -> None:
        """Keep a value of so many bytes in place of what was kept, unless it is too large or its era is over."""
        with self._lock:
            if era != self._era or size > min(self._most, self._most_of_one):
                return
            self._drop(key)
            while self.size + size > self._most:
                self._drop(next(iter(self._values)))
            self._values[key] = (value, size, self._clock() + self._seconds)
            self.size += size

    def _drop(self, key: _K) -> None:
        found = self._values.pop(key, None)
        if found is not None:
            self.size -= found[1]
