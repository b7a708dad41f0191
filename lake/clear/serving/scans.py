"""The scans that a sandbox has open: of tables of its query, over their columns, and not too many at a time."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, TypeGuard

from lake.clear.serving.cache import SliceCache
from lake.clear.serving.chunks import Chunk
from lake.clear.serving.conditions import ConditionError, ConditionSizeError, expression
from lake.clear.serving.handover import Handover, SliceSource
from lake.errors import QueryRefusedError

MOST_OPEN = 10_000
"""DuckDB opens every scan of a plan at once, and reads from a few."""
MOST_BEGUN = 16
"""Of them, beside one for each thread: each is decoded ahead."""
MOST_WORDS = 32 << 20
"""Characters of the conditions of all."""


class ScanError(Exception):
    """What was asked for is no scan of this query."""


class Scans:
    """Scans of one query. ``close_all`` is for any thread."""

    def __init__(self, slices: Mapping[str, SliceSource], cache: SliceCache, threads: int) -> None:
        self._slices = slices
        self._cache = cache
        self._most_begun = MOST_BEGUN + threads
        self._open: dict[int, Handover] = {}
        self._begun: set[int] = set()
        self._words: dict[int, int] = {}
        self._all_words = 0

    def open(self, fields: Mapping[str, Any]) -> None:
        """A scan as a sandbox asks for it.

        Raises:
            ScanError: it may not.
            QueryRefusedError: its condition is too large.
        """
        table, number, columns = (fields.get(name) for name in ("table", "scan", "columns"))
        source = self._slices.get(table) if isinstance(table, str) else None
        if source is None or type(number) is not int or number in self._open or len(self._open) >= MOST_OPEN:
            raise ScanError
        if not _are_names(columns) or not set(columns) <= set(source.schema.names):
            raise ScanError
        try:
            condition = expression(fields.get("condition"), source.schema)
        except ConditionSizeError:
            raise QueryRefusedError("the query has too many conditions", hint="join a table instead") from None
        except ConditionError:
            raise ScanError from None
        wording = json.dumps(fields.get("condition"))
        if self._all_words + len(wording) > MOST_WORDS:
            raise ScanError
        self._open[number] = Handover(source, columns, condition, wording, self._cache)
        self._words[number] = len(wording)
        self._all_words += len(wording)

    def next(self, number: object, deadline: float | None) -> Chunk | None:
        """The next chunk of a scan, or None at its end; ``deadline`` is on the monotonic clock.

        Raises:
            ScanError: it is not open, or too many are read from.
            LakeError: the slice cannot be read.
            TimeoutError: it was not read in time.
        """
        scan = self._open.get(number) if type(number) is int else None
        if scan is None:
            raise ScanError
        self._begun.add(number)  # type: ignore[arg-type]
        if len(self._begun) > self._most_begun:
            raise ScanError
        part = scan.next(deadline)
        return None if part is None else part.shared()

    def close(self, number: object) -> None:
        """Let a scan go, if it is open."""
        scan = self._open.pop(number, None) if type(number) is int else None
        if scan is not None and isinstance(number, int):
            self._begun.discard(number)
            self._all_words -= self._words.pop(number)
            scan.close()

    def close_all(self) -> None:
        """Decode no further; whoever waits for a chunk is let go."""
        for scan in list(self._open.values()):
            scan.close()


def _are_names(value: object) -> TypeGuard[list[str]]:
    """Whether it is a list of different texts."""
    return isinstance(value, list) and all(isinstance(one, str) for one in value) and len(set(value)) == len(value)
