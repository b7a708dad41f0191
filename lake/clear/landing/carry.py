"""Runs of typing that are not over yet, between deliveries: in the memory of this process and nowhere else.

What a delivery changes counts once it has landed, so that sending it again after a failure finds what it found before.
When the process ends, open runs are gone: the keys that continue one are recognised by their
numbers and dropped to the next boundary, so that half of a text never lands.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import pyarrow as pa

from lake.errors import UnavailableError

REORDER_S = 60.0
"""For how long missing numbers are waited for."""
HOLD_S = 900.0
"""For how long an open run is kept while its device is silent."""
MAX_KEYS = 1_000_000
"""Keys held in all; those of the longest silent devices go first."""
MAX_STREAMS = 200_000
"""Devices whose numbering is remembered."""
BUSY_S = 60.0

StreamId = tuple[str, str, str]
"""Dataset, employee, device."""


@dataclass(frozen=True, slots=True)
class Held:
    """What is known of a device's keys after a delivery.

    Attributes:
        next: the number that follows what has been taken in.
        rows: keys of the open run, then those that came too early.
        open: how many of the rows are the open run's.
        headless: the open run's beginning is missing, so none of it may land.
        closed_ts: capture time (µs) of the last key of a run that was closed because time went by.
        waiting: when the first of the early ones came; None if there are none.
        seen: when the device last delivered; both on this process's monotonic clock.
    """

    next: int = 1
    rows: pa.Table | None = None
    open: int = 0
    headless: bool = False
    closed_ts: int | None = None
    waiting: float | None = None
    seen: float = 0.0

    @property
    def keys(self) -> int:
        """Keys held."""
        return 0 if self.rows is None else self.rows.num_rows

    def forgotten(self) -> Held:
        """The same without any key: its numbering goes on, and what continues the run is dropped."""
        return Held(self.next, None, 0, headless=self.headless or self.keys > 0, seen=self.seen)


class OpenRuns:
    """What is held for all datasets; may be shared by threads."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._held: dict[StreamId, Held] = {}
        self._busy: set[StreamId] = set()
        self._free = threading.Condition()
        self._total = 0
        self._lost = 0

    def now(self) -> float:
        """Seconds on the clock by which keys are held."""
        return self._clock()

    @contextmanager
    def _settled(self) -> Iterator[None]:
        with self._free:
            yield
            self._free.notify_all()

    def holding(self, streams: Iterable[StreamId]) -> set[StreamId]:
        """Those of which keys are held."""
        with self._free:
            return {stream for stream in streams if stream in self._held and self._held[stream].keys}

    def claim(self, streams: Collection[StreamId]) -> dict[StreamId, Held]:
        """Take devices for one delivery; others that bring keys of theirs wait.

        Raises:
            UnavailableError: another delivery did not finish in time.
        """
        with self._free:
            if not self._free.wait_for(lambda: self._busy.isdisjoint(streams), BUSY_S):
                raise UnavailableError("another batch of this device is still landing", hint="send it again later")
            self._busy.update(streams)
            self._expire()
            return {stream: self._held[stream] for stream in streams if stream in self._held}

    def release(self, streams: Collection[StreamId], changed: Mapping[StreamId, Held] | None = None) -> None:
        """Give devices back, with what is known of them now if the delivery landed."""
        with self._settled():
            self._busy.difference_update(streams)
            for stream, held in (changed or {}).items():
                self._put(stream, held)
            self._expire()

    def take_lost(self) -> int:
        """Keys that were given up since this was asked last."""
        with self._free:
            lost, self._lost = self._lost, 0
        return lost

    def held(self) -> int:
        """Keys held now."""
        with self._free:
            return self._total

    def close(self) -> int:
        """Forget everything; how many keys that were."""
        with self._settled():
            self._lost += self._total
            self._held.clear()
            self._total = 0
        return self.take_lost()

    def _put(self, stream: StreamId, held: Held | None) -> None:
        """Put a device last, which delivered last."""
        before = self._held.pop(stream, None)
        self._total -= 0 if before is None else before.keys
        if held is not None:
            self._held[stream] = held
            self._total += held.keys

    def _expire(self) -> None:
        """Drop what is too old or too much, beginning with who has been silent for longest."""
        oldest = self._clock() - HOLD_S
        for stream, held in list(self._held.items()):
            if held.seen >= oldest and self._total <= MAX_KEYS and len(self._held) <= MAX_STREAMS:
                break
            if stream not in self._busy and (held.keys or len(self._held) > MAX_STREAMS):
                self._lost += held.keys
                self._total -= held.keys
                if len(self._held) > MAX_STREAMS:
                    del self._held[stream]
                else:
                    self._held[stream] = held.forgotten()
