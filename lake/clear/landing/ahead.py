"""Preparing the next item in a thread while the current one is worked on; one item ahead, never more."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from queue import Empty, Queue
from typing import Generic, TypeVar

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
