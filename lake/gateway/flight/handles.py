"""What callers hold handles of: random names, bound to their owner, for some time and in a bounded number."""

from __future__ import annotations

import secrets
import threading
from collections import Counter, OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from lake.errors import DeniedError
from lake.gateway.caller import Caller
from lake.gateway.flight.failures import BusyError

T = TypeVar("T")

_BYTES = 32


@dataclass(frozen=True, slots=True)
class Owner:
    """For whom and what for a handle is good."""

    user: str
    purpose: str
    role: str | None

    @classmethod
    def of(cls, caller: Caller) -> Owner:
        """The owner of what a caller asks for."""
        return cls(caller.identity.user, caller.purpose, caller.role)


@dataclass(slots=True)
class _Held(Generic[T]):
    owner: Owner
    value: T
    size: int
    until: float


@dataclass(frozen=True, slots=True)
class Room:
    """How many handles of a user, and how many bytes of theirs and of all."""

    each: int
    size_each: int
    size: int


class Handles(Generic[T]):
    """Safe for many threads. A handle that is unknown, used up, too old or another's looks the same.

    Args:
        what: one of them, for messages.
        seconds: how long one is good; from its last use, if it is used more than once.
        now: a clock that only goes forward, in seconds.
    """

    def __init__(self, what: str, room: Room, seconds: float, now: Callable[[], float]) -> None:
        self._what = what
        self._room = room
        self._seconds = seconds
        self._now = now
        self._lock = threading.Lock()
        self._held: OrderedDict[bytes, _Held[T]] = OrderedDict()  # the oldest first, as all are good equally long
        self._counts: Counter[str] = Counter()
        self._sizes: Counter[str] = Counter()
        self._size = 0

    def __len__(self) -> int:
        with self._lock:
            self._purge()
            return len(self._held)

    def put(self, owner: Owner, value: T, size: int) -> bytes:
        """Keep something; its handle.

        Raises:
            BusyError: there is no room for more of this user, or of all.
        """
        handle = secrets.token_bytes(_BYTES)
        with self._lock:
            self._purge()
            self._make_room(owner.user, 1, size)
            self._held[handle] = _Held(owner, value, size, self._now() + self._seconds)
            self._count(owner.user, 1, size)
        return handle

    def resize(self, handle: bytes, owner: Owner, size: int) -> None:
        """What is kept takes more bytes now, or fewer.

        Raises:
            DeniedError: the handle is not good.
            BusyError: there is no room for so much.
        """
        with self._lock:
            held = self._find(handle, owner)
            self._make_room(owner.user, 0, size - held.size)
            self._count(owner.user, 0, size - held.size)
            held.size = size

    def take(self, handle: bytes, owner: Owner) -> T:
        """What a handle stands for, once.

        Raises:
            DeniedError: it is not good.
        """
        with self._lock:
            held = self._find(handle, owner)
            self._remove(handle)
            return held.value

    def use(self, handle: bytes, owner: Owner) -> T:
        """What a handle stands for; it is good again as long as when it was new.

        Raises:
            DeniedError: it is not good.
        """
        with self._lock:
            held = self._find(handle, owner)
            held.until = self._now() + self._seconds
            self._held.move_to_end(handle)
            return held.value

    def drop(self, handle: bytes, owner: Owner) -> bool:
        """Forget it; False if it is not good."""
        with self._lock:
            self._purge()
            held = self._held.get(handle)
            if held is None or held.owner != owner:
                return False
            self._remove(handle)
            return True

    def purge(self) -> None:
        """Forget what is too old."""
        with self._lock:
            self._purge()

    def _find(self, handle: bytes, owner: Owner) -> _Held[T]:
        self._purge()
        held = self._held.get(handle)
        if held is None or held.owner != owner:
            raise DeniedError(f"there is no such {self._what}", hint="it is good once or for some time: ask again")
        return held

    def _make_room(self, user: str, number: int, size: int) -> None:
        full = self._counts[user] + number > self._room.each or self._sizes[user] + size > self._room.size_each
        if full or self._size + size > self._room.size:
            whose = "you have" if full else "there are"
            raise BusyError(f"{whose} too many {self._what}s that are not used or closed", hint="try again later")

    def _purge(self) -> None:
        now = self._now()
        while self._held and next(iter(self._held.values())).until <= now:
            self._remove(next(iter(self._held)))

    def _remove(self, handle: bytes) -> None:
        held = self._held.pop(handle)
        self._count(held.owner.user, -1, -held.size)

    def _count(self, user: str, number: int, size: int) -> None:
        self._counts[user] += number
        self._sizes[user] += size
        self._size += size
        if not self._counts[user]:
            del self._counts[user], self._sizes[user]
