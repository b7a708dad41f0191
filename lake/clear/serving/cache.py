"""Scans of slices kept for a short while, so that the next query over the same slice need not decode it again.

The key of an entry holds everything that the rows depend on: principal, purpose, role, policy, key epoch, files and
bounds. Whatever of these changes makes it another entry; :meth:`SliceCache.keep_only` also drops the old ones at once.
Entries are bounded in bytes, in descriptors of shared memory and in time.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from lake.clear.reading.plan import Era, SliceKey
from lake.clear.serving.chunks import Part

MOST_DESCRIPTORS = 256
"""Of all entries; a process has a thousand or so."""
MOST_OF_ONE = MOST_DESCRIPTORS // 4
MOST_ASKED = 1_000
"""Questions that are remembered."""
_OVERHEAD = 4096
"""Bytes that an entry costs, however small."""


@dataclass(frozen=True, slots=True)
class _Entry:
    columns: frozenset[str]
    parts: tuple[Part, ...]
    size: int
    descriptors: int
    expires: float


class SliceCache:
    """Bounded and short-lived; safe for many threads.

    Args:
        most_bytes: of all entries; 0 keeps nothing.
        seconds: that an entry lives, however often it is used.
    """

    def __init__(self, most_bytes: int, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.most_bytes = most_bytes
        self._seconds = seconds
        self._clock = clock
        self._lock = threading.Lock()
        self._entries: OrderedDict[tuple[SliceKey, str, frozenset[str]], _Entry] = OrderedDict()
        self._asked: OrderedDict[tuple[SliceKey, str], float] = OrderedDict()
        self._size = self._descriptors = 0
        self._next_expiry = 0.0
        self._era: Era | None = None
        self.hits = self.misses = 0

    @property
    def size(self) -> int:
        """Bytes held now."""
        return self._size

    def most_of_one(self) -> int:
        """Bytes beyond which a scan is not kept: no query turns all others out."""
        return self.most_bytes // 4

    def keep_only(self, era: Era) -> None:
        """Drop what belongs to another policy or key epoch."""
        with self._lock:
            if era != self._era:
                self._era = era
                for key in [key for key in self._entries if key[0].era != era]:
                    self._drop(key)
            self._drop_old()

    def find(self, key: SliceKey, condition: str, columns: Sequence[str]) -> tuple[Part, ...] | None:
        """The parts of a scan with at least these columns under this condition."""
        wanted = frozenset(columns)
        with self._lock:
            self._drop_old()
            for found in reversed(self._entries):
                if found[0] == key and found[1] == condition and wanted <= found[2]:
                    self._entries.move_to_end(found)
                    self.hits += 1
                    return self._entries[found].parts
            self.misses += 1
            return None

    def again(self, key: SliceKey, question: str) -> bool:
        """Whether this was asked before, as long ago as an entry lives; it is remembered either way."""
        now = self._clock()
        with self._lock:
            before = self._asked.pop((key, question), None)
            self._asked[key, question] = now + self._seconds
            while len(self._asked) > MOST_ASKED:
                self._asked.popitem(last=False)
        return before is not None and before > now

    def put(self, key: SliceKey, condition: str, columns: Sequence[str], parts: Sequence[Part]) -> None:
        """Keep a whole scan, unless it is too large or of an era that is over."""
        size = _OVERHEAD + sum(part.size for part in parts)
        descriptors = sum(part.descriptors for part in parts)
        names = frozenset(columns)
        with self._lock:
            if size > self.most_of_one() or descriptors > MOST_OF_ONE or key.era != self._era:
                return
            self._drop((key, condition, names))
            while self._size + size > self.most_bytes or self._descriptors + descriptors > MOST_DESCRIPTORS:
                self._drop(next(iter(self._entries)))
            expires = self._clock() + self._seconds
            self._entries[key, condition, names] = _Entry(names, tuple(parts), size, descriptors, expires)
            self._size += size
            self._descriptors += descriptors

    def clear(self) -> None:
        """Drop everything."""
        with self._lock:
            self._entries.clear()
            self._asked.clear()
            self._size = self._descriptors = 0

    def _drop_old(self) -> None:
        now = self._clock()
        if now < self._next_expiry:
            return
        for key in [key for key, entry in self._entries.items() if entry.expires <= now]:
            self._drop(key)
        self._next_expiry = min((entry.expires for entry in self._entries.values()), default=0.0)

    def _drop(self, key: tuple[SliceKey, str, frozenset[str]]) -> None:
        entry = self._entries.pop(key, None)
        if entry is not None:
            self._size -= entry.size
            self._descriptors -= entry.descriptors
