"""Opened bucket keys, for a short time: bounded in number and age, and dropped as soon as the key epoch moves."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable

TTL_SECONDS = 300.0
MOST = 2_048
"""Twice the bucket keys of a lake: all of them, and as many on their way out."""


class KeyCache:
    """Open keys by blob and context, so that a row with another blob never meets an older key."""

    def __init__(self, monotonic: Callable[[], float], *, ttl: float = TTL_SECONDS, most: int = MOST) -> None:
        self._monotonic = monotonic
        self._ttl = ttl
        self._most = most
        self._epoch = 0
        self._lock = threading.Lock()
        self._keys: OrderedDict[tuple[bytes, bytes], tuple[float, bytes]] = OrderedDict()

    def __repr__(self) -> str:
        return f"KeyCache({len(self._keys)} keys)"

    def __reduce__(self) -> tuple[object, ...]:
        raise TypeError("keys are not pickled")

    def __len__(self) -> int:
        return len(self._keys)

    def follow(self, epoch: int) -> None:
        """Drop everything if the key epoch has moved on; who still works with an older view gets no older keys."""
        with self._lock:
            if epoch > self._epoch:
                self._keys.clear()
                self._epoch = epoch

    def get(self, blob: bytes, bound_to: bytes) -> bytes | None:
        """An open key that is young enough."""
        with self._lock:
            found = self._keys.get((blob, bound_to))
            if found is None:
                return None
            if self._monotonic() - found[0] >= self._ttl:
                del self._keys[blob, bound_to]
                return None
            return found[1]

    def put(self, epoch: int, blob: bytes, bound_to: bytes, key: bytes) -> None:
        """Keep a key that was opened for ``epoch``; not if the epoch has moved meanwhile."""
        with self._lock:
            if epoch != self._epoch:
                return
            self._keys[blob, bound_to] = (self._monotonic(), key)
            while len(self._keys) > self._most:
                self._keys.popitem(last=False)

    def clear(self) -> None:
        """Drop everything."""
        with self._lock:
            self._keys.clear()
