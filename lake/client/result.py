"""A query's result in the form that its reader works with."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Protocol

import pyarrow as pa

from lake.client.progress import Progress, reporting
from lake.errors import UsageError

if TYPE_CHECKING:
    import duckdb
    import pandas as pd
    import polars as pl


class Stream(Protocol):
    """Where a result comes from."""

    schema: pa.Schema
    receipt: int

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        """The batches, once."""

    def cancel(self) -> None:
        """Break it off, from any thread."""

    def close(self) -> None:
        """Stop."""


class Result:
    """Rows of a query. ``batches`` streams them once; every other form reads them all and can be asked for again.

    Args:
        progress: what is told how far reading has come.
    """

    def __init__(self, stream: Stream, progress: Progress = None) -> None:
        self._stream = stream
        self._progress = progress
        self._table: pa.Table | None = None
        self._streamed = False

    @property
    def schema(self) -> pa.Schema:
        """Columns of the result."""
        return self._stream.schema

    @property
    def receipt(self) -> int:
        """Index of the query's entry in the audit log."""
        return self._stream.receipt

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Record batches as they come; memory does not grow with the result."""
        if self._table is not None:
            yield from self._table.to_batches()
            return
        if self._streamed:
            raise UsageError("the result has been streamed already", hint="run the query again")
        self._streamed = True
        try:
            with reporting(self._progress) as report:
                rows = size = 0
                for batch in self._stream:
                    rows, size = rows + batch.num_rows, size + batch.nbytes
                    report(rows, size)
                    yield batch
        finally:
            self._stream.close()

    def reader(self) -> pa.RecordBatchReader:
        """The stream as an Arrow reader."""
        return pa.RecordBatchReader.from_batches(self.schema, self.batches())

    def arrow(self) -> pa.Table:
        """All rows as an Arrow table."""
        if self._table is None:
            self._table = pa.Table.from_batches(self.batches(), self.schema)
        return self._table

    def pandas(self) -> pd.DataFrame:
        """All rows as a pandas data frame (needs the extra ``pandas``)."""
        _need("pandas")
        return self.arrow().to_pandas()

    def polars(self) -> pl.DataFrame:
        """All rows as a polars data frame (needs the extra ``polars``)."""
        _need("polars")
        import polars as pl  # noqa: PLC0415 - an optional extra

        return pl.DataFrame(self.arrow())

    def duckdb(self, connection: duckdb.DuckDBPyConnection | None = None) -> duckdb.DuckDBPyRelation:
        """All rows as a relation of the reader's own DuckDB connection."""
        import duckdb  # noqa: PLC0415 - only here, on the reader's side

        table = self.arrow()
        return duckdb.from_arrow(table) if connection is None else connection.from_arrow(table)

    def cancel(self) -> None:
        """Break the query off, from any thread; whoever reads gets QueryCancelledError, unless all has come already."""
        self._stream.cancel()

    def close(self) -> None:
        """Stop reading."""
        self._stream.close()


def _need(module: str) -> None:
    from importlib.util import find_spec  # noqa: PLC0415

    if find_spec(module) is None:
        raise UsageError(f"{module} is not installed", hint=f"pip install 'telemetry-lake[{module}]'")
