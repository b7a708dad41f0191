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
from lake.errors import LakeError, LimitExceededError

BATCH_ROWS = 122_880
_LOCKED_DOWN: dict[str, Any] = {
    "enable_external_access": "false",
    "python_enable_replacements": "false",
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
    "allow_community_extensions": "false",
    "temp_directory": "",
    "max_temp_directory_size": "0B",
    "async_threads": 0,  # they read files, of which there are none
}


class SliceLike(Protocol):
    """What the sandbox is handed in place of a table."""

    carried: pa.Schema
    failure: LakeError | None

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


def opened(paths: Sequence[str] = ()) -> duckdb.DuckDBPyConnection:
    """An empty database that reaches nothing outside itself but these files, with no thread of its own yet."""
    # DuckDB takes the paths only of a database that is open, and only before it is closed to others.
    config = {**_LOCKED_DOWN, "threads": 1} | ({"enable_external_access": "true"} if paths else {})
    connection = duckdb.connect(":memory:", config=config)
    if paths:
        connection.execute(f"SET allowed_paths = [{', '.join(map(_quoted, paths))}]").fetchall()
        connection.execute("SET enable_external_access = false").fetchall()
        connection.execute("SET enable_external_file_cache = false").fetchall()  # it would copy what is in memory
    connection.execute("SET TimeZone = 'UTC'").fetchall()
    connection.execute("SET enable_progress_bar = false").fetchall()  # it would be drawn on stdout, into the result
    return connection


def settled(connection: duckdb.DuckDBPyConnection, threads: int, memory: int) -> None:
    """Give it threads and memory (bytes, 0 for the engine's default), and no setting changes after that."""
    connection.execute(f"SET threads = {int(threads)}").fetchall()
    if memory:
        connection.execute(f"SET memory_limit = '{int(memory)}B'").fetchall()
    connection.execute("SET lock_configuration = true").fetchall()


def started(connection: duckdb.DuckDBPyConnection, sql: str, parameters: Parameters) -> pa.RecordBatchReader:
    """Start an admitted query; it may raise whatever the engine raises."""
    relation = connection.sql(sql, params=parameters or None)
    return relation.to_arrow_reader(BATCH_ROWS)


def shape(connection: duckdb.DuckDBPyConnection, sql: str, parameters: Parameters) -> pa.Schema:
    """Columns of an admitted query's result, which is bound and not run; it may raise what the engine raises."""
    # The line ends a comment that the query may end with.
    return started(connection, f"SELECT * FROM ({sql}\n) LIMIT 0", parameters).schema  # noqa: S608 - admitted


def _quoted(path: str) -> str:
    return "'" + path.replace("'", "''") + "'"


def _show(connection: duckdb.DuckDBPyConnection, name: str, image: ImageLike) -> None:
    columns = ", ".join(f'"{column}"' for column in image.columns)
    connection.execute(f'CREATE VIEW "{name}" AS SELECT {columns} FROM read_parquet({_quoted(image.path)})')  # noqa: S608


class ImageLike(Protocol):
    """A table as a Parquet file in memory."""

    @property
    def path(self) -> str:
        """Where this process opens it."""

    @property
    def columns(self) -> Sequence[str]:
        """Those of it that the table has."""


def run(
    sql: str,
    slices: Mapping[str, SliceLike],
    parameters: Parameters,
    limits: SandboxLimits,
    images: Mapping[str, ImageLike] = {},
) -> Running:
    """Start a query that the guard has admitted.

    Args:
        images: of tables that the engine reads by itself; let go with the result.

    Raises:
        QueryRefusedError: the engine does not accept it over these columns; it says why, as no row was read yet.
        QueryFailedError, LimitExceededError: it failed while it ran.
    """
    connection = opened([image.path for image in images.values()])
    held = dict(images)
    tables = {name: SliceTable(source.carried, source.scan) for name, source in slices.items() if name not in images}
    for name, table in tables.items():
        connection.register(name, table)
    settled(connection, limits.threads, limits.memory)
    deadline = _Deadline(connection, limits.seconds)

    def close() -> None:
        deadline.cancel()
        with suppress(duckdb.Error):
            connection.close()
        held.clear()

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
        for name, image in held.items():
            _show(connection, name, image)
        executing = False
        relation = connection.sql(sql, params=parameters or None)
        executing = True
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

    return Running(reader.schema, batches(), close, connection.interrupt)


def described(sql: str, schemas: Mapping[str, pa.Schema], parameters: Parameters) -> pa.Schema:
    """Columns of an admitted query's result; nothing is read.

    Raises:
        QueryRefusedError: it does not fit the columns.
    """
    connection = opened()
    for name, schema in schemas.items():
        connection.register(name, schema.empty_table())
    settled(connection, 1, 0)
    try:
        return shape(connection, sql, parameters)
    except Exception as error:  # noqa: BLE001 - the engine's text must not pass, whatever it is
        raise failure_of(error, untouched=True) from None
    finally:
        with suppress(duckdb.Error):
            connection.close()


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
