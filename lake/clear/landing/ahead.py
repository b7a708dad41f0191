"""Work ahead in threads: the next item while the current one is worked on, or some items at once, in their order."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from queue import Empty, Queue
from typing import Any, Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _Step(Generic[T]):
    """What the thread hands over: an item, the error that came in its place, or neither at the end."""

    items: tuple[T, ...] = ()
    error: BaseException | None = None


class Ahead(Generic[T]):
    """An iterator over ``items``, advanced by a thread of its own. Leaving the ``with`` block stops the thread.

    An error of ``items`` is raised where its item would have come.
    """

    def __init__(self, items: Iterator[T]) -> None:
        self._items = items
        self._ready: Queue[_Step[T]] = Queue(maxsize=1)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._advance, name="landing-ahead", daemon=True)

    def __enter__(self) -> Ahead[T]:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        while self._thread.is_alive():
            try:  # make room, in case the thread waits to hand over an item that nobody wants any more
                self._ready.get(timeout=0.05)
            except Empty:
                continue

    def __iter__(self) -> Iterator[T]:
        while (step := self._ready.get()).items:
            yield from step.items
        if step.error is not None:
            raise step.error

    def _advance(self) -> None:
        try:
            for item in self._items:
                if self._stopped.is_set():
                    return
                self._ready.put(_Step((item,)))
            self._ready.put(_Step())
        except BaseException as error:  # noqa: BLE001 - raised again on the other side
            self._ready.put(_Step(error=error))


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
