"""Merging files by capture time as a stream: of each file one batch of rows is in memory, and the rows to come out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from lake.clear.landing.encode import ROW_GROUP_ROWS
from lake.clear.reading.decode import fragment
from lake.clear.reading.plan import FileToRead
from lake.errors import IntegrityError
from lake.rules.model import TIME_COLUMN
from lake.sealed.objects import Location

BATCH_ROWS = 8_192
"""Rows of a file that are decoded together while files are merged."""


def rows_of(
    file: FileToRead, location: Location, schema: pa.Schema, batch_rows: int = BATCH_ROWS
) -> Iterator[pa.RecordBatch]:
    """A file's rows in order under a schema; columns that the file does not have are null.

    Raises:
        IntegrityError: the object is not what was written.
    """
    try:
        found = fragment(file, location)
        # A column that is not asked for would be lost without a word.
        if not set(found.physical_schema.names) <= set(schema.names):
            raise IntegrityError(
                f"file {file.file_id} has columns that no contract names", hint="it was written by a newer version"
            )
        scanner = ds.Scanner.from_fragment(
            found, schema=schema, batch_size=batch_rows, batch_readahead=1, use_threads=False
        )
        for batch in scanner.to_batches():
            if batch.num_rows:
                yield batch
    except (OSError, pa.ArrowException, ValueError):
        # The library's text may quote bytes of a page.
        raise IntegrityError(
            f"the object of file {file.file_id} is not what was written",
            hint="restore it from a backup; 'lake jobs run scrub' names every damaged file",
        ) from None


def merged(sources: Sequence[Iterator[pa.RecordBatch]], schema: pa.Schema) -> Iterator[pa.Table]:
    """The rows of sources that are each sorted by time, sorted by time.

    In each round goes out what no source can have anything before: rows up to the earliest last time in memory.
    """
    waiting: dict[int, tuple[pa.RecordBatch, npt.NDArray[np.int64]]] = {}
    open_sources = dict(enumerate(sources))
    while True:
        for index, source in list(open_sources.items()):
            if index not in waiting:
                batch = next(source, None)
                if batch is None:
                    del open_sources[index]
                else:
                    waiting[index] = batch, batch.column(TIME_COLUMN).cast(pa.int64()).to_numpy(zero_copy_only=False)
        if not waiting:
            return
        horizon = min((waiting[index][1][-1] for index in open_sources), default=None)
        ready: list[pa.RecordBatch] = []
        for index, (batch, times) in list(waiting.items()):
            count = len(times) if horizon is None else int(times.searchsorted(horizon, side="right"))
            if count:
                ready.append(batch.slice(0, count))
            if count == len(times):
                del waiting[index]
            elif count:
                waiting[index] = batch.slice(count), times[count:]
        table = pa.Table.from_batches(ready, schema)
        yield table if len(ready) == 1 else table.take(pc.sort_indices(table, sort_keys=[(TIME_COLUMN, "ascending")]))


def whole_groups(tables: Iterable[pa.Table], schema: pa.Schema) -> Iterator[pa.Table]:
    """The same rows in whole row groups but for the last, as encoding asks for."""
    waiting: list[pa.Table] = []
    rows = 0
    for table in tables:
        waiting.append(table)
        rows += table.num_rows
        if rows >= ROW_GROUP_ROWS:
            joined = pa.concat_tables(waiting)
            whole = rows - rows % ROW_GROUP_ROWS
            yield joined.slice(0, whole)
            # Copied, as a slice would keep what went out in memory.
            waiting, rows = [joined.slice(whole).combine_chunks()], rows - whole
    if rows:
        yield pa.concat_tables(waiting) if waiting else schema.empty_table()
