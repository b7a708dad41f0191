"""Running one admitted query over slices, streaming.

DuckDB reads a slice through its scanner for pyarrow datasets: it asks for columns and, as data, for comparisons with
constants; nothing else goes from here to the reading side. Errors of the engine leave as a class, never as its text,
once a row has been read.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Protocol

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from lake.errors import LakeError, LimitExceededError, QueryFailedError, QueryRefusedError

BATCH_ROWS = 122_880
_LOCKED_DOWN = {
    "enable_external_access": "false",
    "python_enable_replacements": "false",
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
    "allow_community_extensions": "false",
    "temp_directory": "",
    "max_temp_directory_size": "0B",
}


class SliceLike(Protocol):
    """What the sandbox is handed in place of a table."""

    schema: pa.Schema
    failure: LakeError | None

    def scan(self, columns: Sequence[str] | None, condition: pc.Expression | None) -> pa.RecordBatchReader:
        """A fresh stream."""


@dataclass(frozen=True, slots=True)
class SandboxLimits:
    """What one query may use; memory in bytes, 0 for the engine's default."""

    threads: int
    memory: int
    seconds: float | None = None


@dataclass(slots=True)
class Running:
    """A query under way: its result's schema and its batches."""

    schema: pa.Schema
    batches: Iterator[pa.RecordBatch]
    close: Callable[[], None] = field(repr=False)


class _Scannable:
    """A Scanner as DuckDB uses one."""

    def __init__(self, reader: pa.RecordBatchReader) -> None:
        self._reader = reader

    def to_reader(self) -> pa.RecordBatchReader:
        """The stream."""
        return self._reader


class _SliceTable(ds.InMemoryDataset):  # type: ignore[misc]
    """A slice in the shape of a pyarrow dataset, the one kind of source that DuckDB pushes projections down to."""

    def __init__(self, source: SliceLike) -> None:
        super().__init__(source.schema.empty_table(), source.schema)
        self._source = source
        self.scanned = False

    def scanner(self, columns: Any = None, filter: Any = None, **_options: Any) -> Any:  # noqa: A002
        """Called by DuckDB for every scan of the table."""
        self.scanned = True
        return _Scannable(self._source.scan(columns, filter))


def run(
    sql: str, slices: Mapping[str, SliceLike], parameters: Sequence[Any] | Mapping[str, Any], limits: SandboxLimits
) -> Running:
    """Start a query that the guard has admitted.

    Raises:
        QueryRefusedError: the engine does not accept it over these columns; it says why, as no row was read yet.
        QueryFailedError, LimitExceededError: it failed while it ran.
    """
    config: dict[str, Any] = dict(_LOCKED_DOWN, threads=limits.threads)
    if limits.memory:
        config["memory_limit"] = f"{limits.memory}B"
    connection = duckdb.connect(":memory:", config=config)
    tables = {name: _SliceTable(source) for name, source in slices.items()}
    for name, table in tables.items():
        connection.register(name, table)
    connection.execute("SET TimeZone = 'UTC'").fetchall()
    connection.execute("SET enable_progress_bar = false").fetchall()  # it would be drawn on stdout, into the result
    connection.execute("SET lock_configuration = true").fetchall()
    deadline = _Deadline(connection, limits.seconds)

    def close() -> None:
        deadline.cancel()
        with suppress(duckdb.Error):
            connection.close()

    def translated(error: Exception) -> LakeError:
        failures = [source.failure for source in slices.values() if source.failure is not None]
        if failures:
            return failures[0]
        if deadline.passed:
            return LimitExceededError(f"the query ran longer than {limits.seconds:g} s", hint="narrow it")
        return _engine_error(error, untouched=not any(table.scanned for table in tables.values()))

    try:
        relation = connection.sql(sql, params=parameters or None)
        reader = relation.to_arrow_reader(BATCH_ROWS)
    except Exception as error:  # noqa: BLE001 - the engine's text must not pass, whatever it is
        close()
        raise translated(error) from None

    def batches() -> Iterator[pa.RecordBatch]:
        try:
            yield from reader
        except GeneratorExit:
            raise
        except Exception as error:  # noqa: BLE001 - see above
            raise translated(error) from None
        finally:
            close()

    return Running(reader.schema, batches(), close)


class _Deadline:
    """Interrupts the engine when time is up. Best effort in one process: the engine does not always listen."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, seconds: float | None) -> None:
        self.passed = False
        self._connection = connection
        self._timer = threading.Timer(seconds, self._interrupt) if seconds else None
        if self._timer:
            self._timer.daemon = True
            self._timer.start()

    def _interrupt(self) -> None:
        self.passed = True
        with suppress(duckdb.Error):
            self._connection.interrupt()

    def cancel(self) -> None:
        """Stop waiting."""
        if self._timer:
            self._timer.cancel()


_BIND_TIME = (duckdb.BinderException, duckdb.CatalogException, duckdb.ParserException)
_CLASSES = (
    ("Out of Memory Error:", duckdb.OutOfMemoryException, "out of memory: narrow the query or aggregate earlier"),
    ("Conversion Error:", duckdb.ConversionException, "a value could not be converted: use TRY_CAST"),
    ("Out of Range Error:", duckdb.OutOfRangeException, "a number went out of its range"),
    ("Invalid Input Error:", duckdb.InvalidInputException, "a function did not accept its input"),
    ("INTERRUPT Error:", duckdb.InterruptException, "it was interrupted"),
)
"""How the engine's text begins, its class, and what it means: through an Arrow stream only the text comes."""


def _engine_error(error: Exception, *, untouched: bool) -> LakeError:
    """The engine's error without its text; a complaint about names and types passes while no row was read."""
    if untouched and isinstance(error, _BIND_TIME):
        first = str(error).split("\n", 1)[0][:300]
        return QueryRefusedError(f"the query does not fit the tables: {first}", hint="check names and types")
    for beginning, kind, meaning in _CLASSES:
        if isinstance(error, kind) or str(error).startswith(beginning):
            return QueryFailedError(f"the query failed: {meaning}", engine=kind.__name__)
    return QueryFailedError("the query failed in the engine")
