"""Running one admitted query over slices, streaming, in this process; the sandbox process uses its parts.

DuckDB reads a slice through its scanner for pyarrow datasets: it asks for columns and, as data, for comparisons with
constants; nothing else goes from here to the reading side. Errors of the engine leave as a class, never as its text,
once a row has been read.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any, Protocol

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from lake.clear.sandbox.answers import Parameters, Running, SandboxLimits, failed, misfit
from lake.clear.sandbox.databases import Databases, Descriptor, quoted
from lake.errors import LakeError, LimitExceededError

BATCH_ROWS = 122_880


class SliceLike(Protocol):
    """What the sandbox is handed in place of a table."""

    carried: pa.Schema

    @property
    def failure(self) -> LakeError | None:
        """The typed error of a scan that broke off."""

    def scan(self, columns: Sequence[str] | None, condition: pc.Expression | None) -> pa.RecordBatchReader:
        """A fresh stream."""


class _Scannable:
    """A Scanner as DuckDB uses one."""

    def __init__(self, reader: pa.RecordBatchReader) -> None:
        self._reader = reader

    def to_reader(self) -> pa.RecordBatchReader:
        """The stream."""
        return self._reader


class SliceTable(ds.InMemoryDataset):  # type: ignore[misc]
    """A slice in the shape of a pyarrow dataset, the one kind of source that DuckDB pushes projections down to."""

    def __init__(self, schema: pa.Schema, scan: Callable[[Sequence[str] | None, Any], pa.RecordBatchReader]) -> None:
        super().__init__(schema.empty_table(), schema)
        self._scan = scan
        self.scanned = False

    def scanner(self, columns: Any = None, filter: Any = None, **_options: Any) -> Any:  # noqa: A002
        """Called by DuckDB for every scan of the table."""
        self.scanned = True
        return _Scannable(self._scan(columns, filter))


def started(connection: duckdb.DuckDBPyConnection, sql: str, parameters: Parameters) -> pa.RecordBatchReader:
    """Start an admitted query; it may raise whatever the engine raises."""
    relation = connection.sql(sql, params=parameters or None)
    return relation.to_arrow_reader(BATCH_ROWS)


def shape(connection: duckdb.DuckDBPyConnection, sql: str, parameters: Parameters) -> pa.Schema:
    """Columns of an admitted query's result, which is bound and not run; it may raise what the engine raises."""
    # The line ends a comment that the query may end with.
    return started(connection, f"SELECT * FROM ({sql}\n) LIMIT 0", parameters).schema  # noqa: S608 - admitted


class ImageLike(Protocol):
    """A table as a Parquet file in memory."""

    @property
    def image(self) -> Descriptor:
        """The file."""

    @property
    def columns(self) -> Sequence[str]:
        """Those of it that the table has."""


def _show(cursor: duckdb.DuckDBPyConnection, name: str, path: str, columns: Sequence[str]) -> None:
    shown = ", ".join(f'"{column}"' for column in columns)
    cursor.execute(f'CREATE TEMP VIEW "{name}" AS SELECT {shown} FROM read_parquet({quoted(path)})')  # noqa: S608


def run(
    sql: str,
    slices: Mapping[str, SliceLike],
    parameters: Parameters,
    limits: SandboxLimits,
    *,
    images: Mapping[str, ImageLike] = {},
    databases: Databases | None = None,
) -> Running:
    """Start a query that the guard has admitted.

    Args:
        images: of tables that the engine reads by itself; let go with the result.
        databases: to take one from and give it back to; without it, the query has one to itself.

    Raises:
        QueryRefusedError: the engine does not accept it over these columns; it says why, as no row was read yet.
        QueryFailedError, LimitExceededError: it failed while it ran.
    """
    databases = databases or Databases()
    database = databases.take(limits.threads, limits.memory, len(images))
    cursor = database.cursor()
    held = dict(images)
    tables = {name: SliceTable(source.carried, source.scan) for name, source in slices.items() if name not in images}
    for name, table in tables.items():
        cursor.register(name, table)
    deadline = _Deadline(cursor, limits.seconds)
    whole = False
    once = threading.Lock()

    def close() -> None:
        deadline.cancel()
        with suppress(duckdb.Error):
            cursor.close()
        held.clear()
        if once.acquire(blocking=False):
            databases.done(database, again=whole)

    executing = True

    def translated(error: Exception) -> LakeError:
        failures = [source.failure for source in slices.values() if source.failure is not None]
        if failures:
            return failures[0]
        if deadline.passed:
            return LimitExceededError(f"the query ran longer than {limits.seconds:g} s", hint="narrow it")
        untouched = not any(table.scanned for table in tables.values()) and not (executing and images)
        return failure_of(error, untouched=untouched)

    try:
        for name, shown in held.items():
            _show(cursor, name, database.path(shown.image), shown.columns)
        executing = False
        relation = cursor.sql(sql, params=parameters or None)
        executing = True
        reader = relation.to_arrow_reader(BATCH_ROWS)
    except Exception as error:  # noqa: BLE001 - the engine's text must not pass, whatever it is
        whole = not executing and isinstance(error, _BIND_TIME)  # then nothing was begun
        close()
        raise translated(error) from None

    def batches() -> Iterator[pa.RecordBatch]:
        nonlocal whole
        try:
            yield from reader
            whole = True
        except GeneratorExit:
            raise
        except Exception as error:  # noqa: BLE001 - see above
            raise translated(error) from None
        finally:
            close()

    return Running(reader.schema, batches(), close, cursor.interrupt)


def described(
    sql: str, schemas: Mapping[str, pa.Schema], parameters: Parameters, databases: Databases | None = None
) -> pa.Schema:
    """Columns of an admitted query's result; nothing is read.

    Args:
        databases: see ``run``.

    Raises:
        QueryRefusedError: it does not fit the columns.
    """
    databases = databases or Databases()
    database = databases.take(1, 0)
    cursor = database.cursor()
    whole = False
    try:
        for name, schema in schemas.items():
            cursor.register(name, schema.empty_table())
        found = shape(cursor, sql, parameters)
        whole = True
    except Exception as error:  # noqa: BLE001 - the engine's text must not pass, whatever it is
        whole = isinstance(error, _BIND_TIME)
        raise failure_of(error, untouched=True) from None
    finally:
        with suppress(duckdb.Error):
            cursor.close()
        databases.done(database, again=whole)
    return found


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
    ("Out of Memory Error:", duckdb.OutOfMemoryException),
    ("Conversion Error:", duckdb.ConversionException),
    ("Out of Range Error:", duckdb.OutOfRangeException),
    ("Invalid Input Error:", duckdb.InvalidInputException),
    ("INTERRUPT Error:", duckdb.InterruptException),
)
"""How the engine's text begins, and its class: through an Arrow stream only the text comes."""


def failure_of(error: Exception, *, untouched: bool) -> LakeError:
    """The engine's error without its text; a complaint about names and types passes while no row was read."""
    if untouched and isinstance(error, _BIND_TIME):
        return misfit(str(error))
    if isinstance(error, MemoryError):
        return failed("OutOfMemoryException")
    for beginning, kind in _CLASSES:
        if isinstance(error, kind) or str(error).startswith(beginning):
            return failed(kind.__name__)
    return failed("")
