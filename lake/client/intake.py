"""Where the readers of several endpoints leave their batches: a few bytes wait, more make a reader wait."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable

import pyarrow as pa

from lake.errors import LakeError, UnavailableError


class ClosedIntakeError(Exception):
    """Nobody takes batches any more; a reader then stops."""


class Intake:
    """Batches of some lanes, one for each endpoint, between threads that read and one that takes.

    Args:
        lanes: how many.
        limit: bytes that may wait in each lane; one batch may wait whatever its size.
    """

    def __init__(self, lanes: int, limit: int) -> None:
        self._changed = threading.Condition()
        self._limit = limit
        self._waiting: list[deque[pa.RecordBatch]] = [deque() for _ in range(lanes)]
        self._bytes = [0] * lanes
        self._open: dict[int, pa.Schema] = {}
        self._ended: set[int] = set()
        self._failure: LakeError | None = None
        self._closed = False

    @property
    def finished(self) -> bool:
        """Whether every lane has ended and is empty."""
        with self._changed:
            return self._over()

    def check(self) -> None:
        """Whether anything is still wanted.

        Raises:
            ClosedIntakeError: it is not.
        """
        with self._changed:
            self._check()

    def opened(self, lane: int, schema: pa.Schema) -> None:
        """A lane's columns are known.

        Raises:
            ClosedIntakeError: nobody wants them.
        """
        with self._changed:
            self._check()
            self._open[lane] = schema
            self._changed.notify_all()

    def put(self, lane: int, batch: pa.RecordBatch) -> None:
        """Leave a batch; waits while the lane is full.

        Raises:
            ClosedIntakeError: nobody wants it.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._done() or self._fits(lane, batch.nbytes))
            self._check()
            self._waiting[lane].append(batch)
            self._bytes[lane] += batch.nbytes
            self._changed.notify_all()

    def end(self, lane: int) -> None:
        """A lane has no more batches."""
        with self._changed:
            self._ended.add(lane)
            self._changed.notify_all()

    def fail(self, error: LakeError) -> None:
        """Stop all lanes, unless every batch is there already; the first reason is the one that is told."""
        with self._changed:
            if not self._done() and not self._over():
                self._failure = error
                self._changed.notify_all()

    def close(self) -> None:
        """Nothing is taken any more."""
        with self._changed:
            self._closed = True
            for lane in self._waiting:
                lane.clear()
            self._changed.notify_all()

    def schemas(self, patience: float) -> list[pa.Schema]:
        """Columns of every lane, once all are open.

        Raises:
            LakeError: a lane failed, or ``patience`` seconds went by.
        """
        with self._changed:
            self._await(lambda: len(self._open) == len(self._waiting), patience)
            return [self._open[lane] for lane in sorted(self._open)]

    def take(self, patience: float, *, ordered: bool) -> pa.RecordBatch | None:
        """The next batch, of the lanes in their order or of any; None at the end.

        Raises:
            LakeError: a lane failed, or nothing came for ``patience`` seconds.
        """
        with self._changed:
            self._await(lambda: self._over() or self._next(ordered) is not None, patience)
            lane = self._next(ordered)
            if lane is None:
                return None
            batch = self._waiting[lane].popleft()
            self._bytes[lane] -= batch.nbytes
            self._changed.notify_all()
            return batch

    def _await(self, ready: Callable[[], bool], patience: float) -> None:
        came = self._changed.wait_for(lambda: self._done() or ready(), patience)
        if self._failure is not None:
            raise self._failure
        if self._closed:
            raise UnavailableError("the result was closed while it was read")
        if not came:
            raise UnavailableError(f"the gateway sent nothing for {patience:g} s", hint="try again, or allow more time")

    def _next(self, ordered: bool) -> int | None:
        for lane, batches in enumerate(self._waiting):
            if batches:
                return lane
            if ordered and lane not in self._ended:
                return None
        return None

    def _fits(self, lane: int, size: int) -> bool:
        return not self._waiting[lane] or self._bytes[lane] + size <= self._limit

    def _over(self) -> bool:
        return len(self._ended) == len(self._waiting) and not any(self._waiting)

    def _done(self) -> bool:
        return self._closed or self._failure is not None

    def _check(self) -> None:
        if self._done():
            raise ClosedIntakeError
