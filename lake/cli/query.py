"""``lake query``: one SELECT as a user, for a purpose; on an embedded lake, or through a gateway."""

from __future__ import annotations

import argparse
import csv
import json
import math
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import date, datetime, time
from decimal import Decimal
from pathlib import Path
from typing import Any, BinaryIO

from lake.cli import arguments as args
from lake.cli import connecting
from lake.cli.output import emit, private_file, say, table
from lake.errors import UsageError

SHOWN_ROWS = 1000
"""Rows of the readable table; other formats give all."""


def register(subparsers: args.Subparsers) -> None:
    """Add the command."""
    query = args.command(
        subparsers,
        "query",
        "run one SELECT as a user, for a purpose",
        'lake query "SELECT type, count(*) FROM mouse_events GROUP BY type" --user mira --purpose train_assistant',
    )
    query.add_argument("sql", metavar="SQL")
    connecting.add_options(query)
    query.add_argument(
        "--format", choices=tuple(WRITERS), help="form of the result (default: table, or json with --json)"
    )
    query.add_argument("--output", metavar="FILE", help="write here (mode 0600) instead of stdout")
    query.set_defaults(run=_query)


def _query(arguments: argparse.Namespace) -> int:
    kind = arguments.format or ("json" if arguments.json else "table")
    if arguments.json and kind != "json" and not arguments.output:
        raise UsageError(f"--json and --format {kind} cannot both be on stdout", hint="give --output FILE")
    if kind in {"arrow", "parquet"} and not arguments.output and sys.stdout.isatty():
        raise UsageError(f"{kind} is binary", hint="give --output FILE, or pipe it on")
    connection = connecting.connected(arguments)
    # Rows on the terminal are progress enough.
    progress = bool(arguments.output) or not sys.stdout.isatty()
    with connection, closing(connection.sql(arguments.sql, progress=progress)) as result:
        with _sink(arguments.output) as sink:
            # From here on the document on stdout is the result; an error closes it and is not a second one.
            arguments.json = arguments.json and arguments.output is not None
            rows = WRITERS[kind](result, sink)
        if arguments.output:
            say(f"{rows:,} rows in {arguments.output}, in the clear: it is yours to protect now")
            document = {"output": arguments.output, "format": kind, "rows": rows, "receipt": result.receipt}
            emit(document, "", as_json=arguments.json)
    return 0


@contextmanager
def _sink(path: str | None) -> Iterator[BinaryIO]:
    """Where the result goes; a file appears under its name only when it is whole."""
    if path is None:
        yield sys.stdout.buffer
        return
    with private_file(Path(path)) as file:
        yield file


def _names(result: Any) -> list[str]:
    """Names of the columns, each once: a name that comes again gets a number, so that no column hides another."""
    names: list[str] = []
    for name in result.schema.names:
        number, free = 0, name
        while free in names:
            number += 1
            free = f"{name}_{number}"
        names.append(free)
    return names


def _rows(batch: Any) -> Iterator[tuple[Any, ...]]:
    """Rows of a batch as Python values.

    Raises:
        UsageError: a time has no Python form, such as infinity.
    """
    columns = []
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        try:
            columns.append(column.to_pylist())
        except (ValueError, OverflowError):
            hint = "cast it to VARCHAR in the query, or use --format arrow"
            raise UsageError(f"the column {name!r} holds times that cannot be written as text", hint=hint) from None
    return zip(*columns, strict=True)


def _write_table(result: Any, sink: BinaryIO) -> int:
    return write_table(result, sink, SHOWN_ROWS)


def write_table(result: Any, sink: BinaryIO, most: int) -> int:
    """Write the first rows as aligned text, and how many there are."""
    names = _names(result)
    rows: list[dict[str, Any]] = []
    total = 0
    for batch in result.batches():
        total += batch.num_rows
        rows += (dict(zip(names, row, strict=True)) for row in _rows(batch.slice(0, most - len(rows))))
    text = table(rows, names)
    more = f"\n({total - len(rows):,} more rows: use --format csv)" if total > len(rows) else ""
    sink.write(f"{text}\n({total:,} rows){more}\n".encode())
    return total


def _write_csv(result: Any, sink: BinaryIO) -> int:
    total = 0
    sink.write(_csv_line(result.schema.names))
    for batch in result.batches():
        total += batch.num_rows
        sink.writelines(_csv_line(row) for row in _rows(batch))
    return total


class _Line:
    def __init__(self) -> None:
        self.text = ""

    def write(self, text: str) -> None:
        self.text = text


def _csv_line(values: Any) -> bytes:
    line = _Line()
    csv.writer(line, lineterminator="\n").writerow([_csv_cell(value) for value in values])
    return line.text.encode()


def _csv_cell(value: Any) -> Any:
    plain = value if isinstance(value, float) else _plain(value)
    return json.dumps(plain, ensure_ascii=False, allow_nan=False) if isinstance(plain, list | dict) else plain


def _write_json(result: Any, sink: BinaryIO) -> int:
    names = _names(result)
    total = 0
    complete = False
    sink.write(json.dumps({"columns": names, "receipt": result.receipt})[:-1].encode() + b', "rows": [')
    try:
        for batch in result.batches():
            for row in _rows(batch):
                values = {name: _plain(value) for name, value in zip(names, row, strict=True)}
                text = json.dumps(values, ensure_ascii=False, allow_nan=False)
                sink.write((b",\n" if total else b"\n") + text.encode())
                total += 1
        complete = True
    finally:
        sink.write(b'\n], "complete": ' + json.dumps(complete).encode() + b"}\n")
    return total


def _plain(value: Any) -> Any:
    """A value as JSON has it: null for NaN and infinities, hexadecimal for bytes, text for exact fractions."""
    match value:
        case list() | tuple():
            return [_plain(item) for item in value]
        case dict():
            return {name: _plain(item) for name, item in value.items()}
        case float():
            return value if math.isfinite(value) else None
        case None | str() | int():
            return value
    return _plain_object(value)


def _plain_object(value: Any) -> str | int:
    match value:
        case datetime() | date() | time():
            return value.isoformat()
        case bytes():
            return value.hex()
        case Decimal() if value.as_tuple().exponent == 0:
            return int(value)
    return str(value)


def _write_arrow(result: Any, sink: BinaryIO) -> int:
    import pyarrow as pa

    total = 0
    with pa.ipc.new_stream(sink, result.schema) as writer:
        for batch in result.batches():
            total += batch.num_rows
            writer.write_batch(batch)
    return total


def _write_parquet(result: Any, sink: BinaryIO) -> int:
    import pyarrow.parquet as pq

    total = 0
    with pq.ParquetWriter(sink, result.schema, compression="zstd") as writer:
        for batch in result.batches():
            total += batch.num_rows
            writer.write_batch(batch)
    return total


WRITERS: dict[str, Callable[[Any, BinaryIO], int]] = {
    "table": _write_table,
    "csv": _write_csv,
    "json": _write_json,
    "arrow": _write_arrow,
    "parquet": _write_parquet,
}
"""Write a result to a file, by format; give the number of rows."""
