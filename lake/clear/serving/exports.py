"""Rows of a slice as the whole answer: where a query is a plain projection, no engine has a part in it.

Batches are cut by number of rows alone. As they come from the files, their sizes would show how many rows the policy
hides in each.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from lake.clear.reading.codes import plain
from lake.clear.sandbox.projection import NotPlainError, Projection
from lake.clear.serving.cache import SliceCache
from lake.clear.serving.chunks import cut
from lake.clear.serving.conditions import ConditionError, expression
from lake.clear.serving.handover import Handover, SliceSource
from lake.errors import LimitExceededError, QueryCancelledError

BATCH_ROWS = 65_536
"""Whether the caller may still read is asked once for each, so that more and smaller ones cost."""


class Export:
    """The rows of one slice under way.

    Args:
        scan: has at least the columns that are wanted.
        columns: of the slice, whose values the columns of ``schema`` have, in the same order.
        seconds: after which it is broken off.
    """

    def __init__(self, scan: Handover, columns: Sequence[str], schema: pa.Schema, seconds: float | None) -> None:
        self._scan = scan
        self._schema = schema
        self._columns = columns
        self._seconds = seconds
        self._end = None if seconds is None else time.monotonic() + seconds
        self._closed = False

    def close(self) -> None:
        """Decode no further, from any thread; whoever takes batches is told that it was cancelled."""
        self._closed = True
        self._scan.close()

    def batches(self) -> Iterator[pa.RecordBatch]:
        """The rows.

        Raises:
            LakeError: the slice cannot be read, the time is up, or it was cancelled.
        """
        try:
            # What was kept for an engine comes as the files gave it.
            for _, batch in cut(((None, batch) for batch in self._read()), BATCH_ROWS):
                self._check()
                yield batch
                del batch
        finally:
            self.close()

    def _read(self) -> Iterator[pa.RecordBatch]:
        while True:
            self._check()
            try:
                part = self._scan.next(self._end)
            except TimeoutError:
                raise self._late() from None
            self._check()  # closing lets go whoever waits for a part
            if part is None:
                return
            for batch in part.batches():  # of a part that was kept, with more columns
                yield pa.RecordBatch.from_arrays([plain(batch[name]) for name in self._columns], schema=self._schema)
                del batch
            del part

    def _check(self) -> None:
        if self._closed:
            raise QueryCancelledError("the query was cancelled")
        if self._end is not None and time.monotonic() > self._end:
            raise self._late()

    def _late(self) -> LimitExceededError:
        return LimitExceededError(f"the query ran longer than {self._seconds:g} s", hint="narrow it")


def possible(plain: Projection, schema: pa.Schema) -> bool:
    """Whether its condition can be applied as rows of these columns are decoded."""
    return _condition(plain, schema) is not None


def _condition(plain: Projection, schema: pa.Schema) -> tuple[list[Any] | None, pc.Expression | None] | None:
    """As a tree and as an expression, both None without one; None if it has no such form."""
    try:
        tree = plain.condition(schema)
        return tree, expression(tree, schema)
    except (NotPlainError, ConditionError):
        return None


def started(
    plain: Projection,
    slices: Mapping[str, SliceSource],
    shape: pa.Schema,
    cache: SliceCache,
    seconds: float | None,
    *,
    shared: bool = True,
) -> Export | None:
    """The export of a plain projection, None if it is for the engine.

    Args:
        shape: columns of the result, as the engine says.
        shared: whether the cache is for sandboxes.
    """
    source = slices[plain.table]
    if len(shape) != len(plain.columns) or not set(plain.columns) <= set(source.schema.names):
        return None
    # What the engine would give in another type is for the engine to convert.
    fields = [source.schema.field(name) for name in plain.columns]
    given = pa.schema([field.with_name(name) for field, name in zip(fields, shape.names, strict=True)])
    if not given.equals(shape, check_metadata=True):
        return None
    if (found := _condition(plain, source.schema)) is None:
        return None
    tree, condition = found
    columns = list(dict.fromkeys(plain.columns))  # one that is wanted under two names is read once
    scan = Handover(source, columns, condition, json.dumps(tree), cache, rows=BATCH_ROWS, shared=shared)
    return Export(scan, plain.columns, shape, seconds)
