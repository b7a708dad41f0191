"""Room for batches under way: how many, of whom, and how many bytes of them are in memory. Nothing waits for room."""

from __future__ import annotations

import threading
from collections import Counter
from types import TracebackType

from lake.gateway.receiving.failures import FullError
from lake.gateway.receiving.limits import ReceivingLimits


class Budget:
    """Of one server, whatever ways batches come by; safe for many threads."""

    def __init__(self, limits: ReceivingLimits) -> None:
        self._limits = limits
        self._state = threading.Condition()
        self._each: Counter[str] = Counter()
        self._uploads = 0
        self._bytes = 0

    def enter(self, device: str, expected: int = 0) -> Upload:
        """Room for one batch of a device, with as many bytes as it says it has.

        Raises:
            FullError: there is none now.
        """
        with self._state:
            if self._each[device] >= self._limits.uploads_each:
                raise FullError("the device has too many batches under way", hint="wait for one to end")
            if self._uploads >= self._limits.uploads:
                raise FullError("too many batches are under way", hint="send it again in a moment")
            self._take(expected)
            self._uploads += 1
            self._each[device] += 1
        return Upload(self, device, expected)

    def grow(self, size: int) -> None:
        """Room for more bytes.

        Raises:
            FullError: there is none now.
        """
        with self._state:
            self._take(size)

    def leave(self, device: str, size: int) -> None:
        """Give room back."""
        with self._state:
            self._bytes -= size
            self._uploads -= 1
            self._each[device] -= 1
            if not self._each[device]:
                del self._each[device]
            self._state.notify_all()

    @property
    def uploads(self) -> int:
        """Batches under way."""
        with self._state:
            return self._uploads

    @property
    def buffered(self) -> int:
        """Bytes that they hold, or have said that they will."""
        with self._state:
            return self._bytes

    def wait_empty(self, seconds: float) -> bool:
        """Whether all have ended in time."""
        with self._state:
            return self._state.wait_for(lambda: not self._uploads, seconds)

    def _take(self, size: int) -> None:
        if self._bytes + size > self._limits.buffered:
            raise FullError("too many bytes are under way", hint="send it again in a moment")
        self._bytes += size


class Upload:
    """Room that one batch has, until the ``with`` block ends."""

    def __init__(self, budget: Budget, device: str, size: int) -> None:
        self._budget = budget
        self._device = device
        self._size = size
        self._used = 0

    def __enter__(self) -> Upload:
        return self

    def __exit__(self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None) -> None:
        self._budget.leave(self._device, self._size)

    def add(self, size: int) -> None:
        """So many bytes more have come.

        Raises:
            FullError: there is no room for more than were expected.
        """
        more = max(0, self._used + size - self._size)
        if more:
            self._budget.grow(more)
        self._size += more
        self._used += size
