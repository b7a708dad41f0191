"""Work ahead in threads: the next item while the current one is worked on, or some items at once, in their order."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _Step(Generic[T]):
    """What the thread hands over: an item and its size, the error that came in its place, or neither at the end."""

    items: tuple[T, ...] = ()
    size: int = 0
    error: BaseException | None = None


class Ahead(Generic[T]):
    """An iterator over ``items``, advanced by a thread of its own. Leaving the ``with`` block stops the thread.

    An error of ``items`` is raised where its item would have come.

    Args:
        room: what the items that wait to be taken may have together, by ``size``; one may wait however large it is.
    """

    def __init__(self, items: Iterator[T], room: int = 1, size: Callable[[T], int] = lambda _: 1) -> None:
        self._items = items
        self._room = room
        self._size = size
        self._ready: deque[_Step[T]] = deque()
        self._held = 0
        self._stopped = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._advance, name="landing-ahead", daemon=True)

    def __enter__(self) -> Ahead[T]:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        with self._changed:
            self._stopped = True
            self._changed.notify_all()
        self._thread.join()
        self._ready.clear()

    def __iter__(self) -> Iterator[T]:
        while (step := self._take()).items:
            yield from step.items
            del step  # what has been worked on is not kept until the next has come
        if step.error is not None:
            raise step.error

    def _take(self) -> _Step[T]:
        with self._changed:
            self._changed.wait_for(lambda: self._ready)
            step = self._ready.popleft()
            self._held -= step.size
            self._changed.notify_all()
        return step

    def _put(self, step: _Step[T]) -> bool:
        """Hand over, once there is room; False if nothing is wanted any more."""
        with self._changed:
            self._changed.wait_for(lambda: self._stopped or not self._ready or self._held + step.size <= self._room)
            self._ready.append(step)
            self._held += step.size
            self._changed.notify_all()
            return not self._stopped

    def _advance(self) -> None:
        try:
            for item in self._items:
                if not self._put(_Step((item,), self._size(item))):
                    return
                del item
            self._put(_Step())
        except BaseException as error:  # noqa: BLE001 - raised again on the other side
            self._put(_Step(error=error))


def in_order(pool: Executor, work: Callable[..., T], items: Iterable[tuple[Any, ...]], most: int) -> Iterator[T]:
    """What ``work`` makes of items, in their order; at most so many are begun, waiting or not yet taken.

    An error is raised where its result would have come, and what has not begun by then never does.
    """
    begun: deque[Future[T]] = deque()
    try:
        for item in items:
            if len(begun) == most:
                yield begun.popleft().result()
            begun.append(pool.submit(work, *item))
        while begun:
            yield begun.popleft().result()
    finally:
        for future in begun:
            future.cancel()
