"""One scan of a slice on its way out: decoded ahead of what is asked for, by two parts and no more."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.compute as pc

from lake.clear.reading.plan import SliceKey, Source
from lake.clear.serving.cache import SliceCache
from lake.clear.serving.chunks import MOST_BYTES, Part, cut, gathered, pieces
from lake.errors import LakeError

AHEAD = 2
SHARE = 8
"""A part of a scan that is kept may be so large a share of what is kept of it already: a long one is few parts."""


class SliceSource(Protocol):
    """What is handed over, with its columns as ``carried``; ``key`` is None for a slice that is not to be kept."""

    schema: pa.Schema
    carried: pa.Schema
    key: SliceKey | None
    failure: LakeError | None

    def tagged(
        self, columns: Sequence[str], condition: pc.Expression | None, *, coded: bool = True
    ) -> Iterator[tuple[Source, pa.RecordBatch]]:
        """A fresh scan, each batch with whose rows it holds; if not ``coded``, columns are as in ``schema``."""

    def touch(self, touched: Mapping[Source, int]) -> None:
        """Rows that now leave the slice."""


class Handover:
    """A scan. ``next`` is for one thread, ``close`` for any.

    Args:
        wording: the condition as a text, which tells scans that are kept apart.
        rows: of each batch, whatever they come in; then they stay in this process.
        shared: whether what is kept is for sandboxes.
    """

    def __init__(
        self,
        source: SliceSource,
        columns: Sequence[str],
        condition: pc.Expression | None,
        wording: str,
        cache: SliceCache,
        *,
        rows: int | None = None,
        shared: bool = True,
    ) -> None:
        self._source = source
        self._columns = columns
        self._condition = condition
        self._wording = wording
        self._cache = cache
        self._rows = rows
        self._shared = shared
        self._ready: queue.Queue[Any] = queue.Queue(AHEAD)
        self._closed = threading.Event()
        self._kept: Iterator[Part] | None = None
        self._begun = self._ended = False

    def next(self, deadline: float | None = None) -> Part | None:
        """The next part, or None at the end; ``deadline`` is on the monotonic clock.

        Raises:
            LakeError: the slice cannot be read.
            TimeoutError: it was not read in time.
        """
        if self._ended:
            return None
        if not self._begun:
            self._begin()
        part: Part | None
        if self._kept is not None:
            part = next(self._kept, None)
        else:
            found = self._taken(deadline)
            if isinstance(found, LakeError):
                raise found
            part = found
        if part is None:
            self._ended = True
        else:
            self._source.touch(part.touched)
        return part

    def _taken(self, deadline: float | None) -> Any:
        try:
            return self._ready.get(timeout=None if deadline is None else max(0.0, deadline - time.monotonic()))
        except queue.Empty:
            raise TimeoutError from None

    def close(self) -> None:
        """Decode no further; whoever waits in ``next`` is let go."""
        self._closed.set()
        with suppress(queue.Full):  # then nobody waits
            self._ready.put_nowait(None)

    def _begin(self) -> None:
        self._begun = True
        found = None if self._source.key is None else self._cache.find(self._source.key, self._wording, self._columns)
        if found is not None:
            self._kept = iter(found)
            return
        threading.Thread(target=self._decode, name="handover", daemon=True).start()

    def _decode(self) -> None:
        kept: list[Part] | None = [] if self._source.key is not None else None
        size = 0

        def most() -> int:
            return MOST_BYTES if kept is None else max(MOST_BYTES, size // SHARE)

        try:
            # Rows that neither an engine groups nor anybody keeps would only be decoded twice.
            coded = self._rows is None or kept is not None
            shown = self._source.carried if coded else self._source.schema
            schema = pa.schema([shown.field(name) for name in self._columns])
            tagged = self._source.tagged(self._columns, self._condition, coded=coded)
            for part in gathered(schema, pieces(tagged) if self._rows is None else cut(tagged, self._rows), most):
                size += part.size
                if size > self._cache.most_of_one():
                    kept = None
                held = part.shared() if self._shared and (self._rows is None or kept is not None) else part
                if kept is not None:
                    kept.append(held)
                wanted = self._put(held if self._rows is None else part)
                del part, held  # while the next one is made, this one is not kept
                if not wanted:
                    return
            if kept is not None and self._source.key is not None:
                self._cache.put(self._source.key, self._wording, self._columns, kept)
            self._put(None)
        except LakeError as error:
            self._put(error)
        except Exception:  # noqa: BLE001 - its text could quote a row
            self._put(LakeError("the slice could not be handed over"))

    def _put(self, item: object) -> bool:
        """Whether it is still wanted."""
        while not self._closed.is_set():
            with suppress(queue.Full):
                self._ready.put(item, timeout=0.2)
                return True
        return False
