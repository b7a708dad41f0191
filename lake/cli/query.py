"""``lake query``: one SELECT as a user, for a purpose."""

from __future__ import annotations

import argparse
import csv
import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, datetime, time
from pathlib import Path
from typing import Any, BinaryIO

from lake.cli import arguments as args
from lake.cli.output import say, table
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
    query.add_argument("--user", required=True, help="who asks, as the policy names them")
    query.add_argument("--purpose", required=True, help="what for; a purpose of the policy")
    query.add_argument("--role", help="which of the user's roles, if several grant the same")
    query.add_argument("--format", choices=("table", "csv", "json", "arrow", "parquet"), default="table")
    query.add_argument("--output", metavar="FILE", help="write here (mode 0600) instead of stdout")
    query.set_defaults(run=_query)


def _query(arguments: argparse.Namespace) -> int:
    from lake import api

    paths = args.secrets(arguments)
    kind = "json" if arguments.json else arguments.format
    if kind in {"arrow", "parquet"} and not arguments.output and sys.stdout.isatty():
        raise UsageError(f"{kind} is binary", hint="give --output FILE, or pipe it on")
    connection = api.connect(
        args.lake_path(arguments),
        user=arguments.user,
        purpose=arguments.purpose,
        role=arguments.role,
        key_file=paths.key_file,
        passphrase_file=paths.passphrase_file,
    )
    with connection:
        result = connection.sql(arguments.sql)
        with _sink(arguments.output) as sink:
            rows = _WRITERS[kind](result, sink)
        if arguments.output:
            say(f"{rows:,} rows in {arguments.output}, in the clear: it is yours to protect now")
    return 0


@contextmanager
def _sink(path: str | None) -> Iterator[BinaryIO]:
    """Where the result goes; a file appears under its name only when it is whole."""
    if path is None:
        yield sys.stdout.buffer
        return
    target = Path(path)
    draft = target.with_name(f".{target.name}.part")
    try:
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {os.strerror(error.errno or 0)}") from None
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
        draft.replace(target)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise


def _write_table(result: Any, sink: BinaryIO) -> int:
    rows: list[dict[str, Any]] = []
    total = 0
    for batch in result.batches():
        total += batch.num_rows
        rows += batch.slice(0, max(0, SHOWN_ROWS - len(rows))).to_pylist()
    text = table(rows, result.schema.names)
    more = f"\n({total - len(rows):,} more rows: use --format csv)" if total > len(rows) else ""
    sink.write(f"{text}\n({total:,} rows){more}\n".encode())
    return total


def _write_csv(result: Any, sink: BinaryIO) -> int:
    total = 0
    sink.write(_csv_line(result.schema.names))
    for batch in result.batches():
        total += batch.num_rows
        columns = [column.to_pylist() for column in batch.columns]
        sink.writelines(_csv_line(values) for values in zip(*columns, strict=True))
    return total


class _Line:
    def __init__(self) -> None:
        self.text = ""

    def write(self, text: str) -> None:
        self.text = text


def _csv_line(values: Any) -> bytes:
    line = _Line()
    csv.writer(line, lineterminator="\n").writerow(["" if value is None else _plain(value) for value in values])
    return line.text.encode()


def _write_json(result: Any, sink: BinaryIO) -> int:
    total = 0
    sink.write(json.dumps({"columns": result.schema.names, "receipt": result.receipt})[:-1].encode() + b', "rows": [')
    for batch in result.batches():
        for row in batch.to_pylist():
            prefix = b",\n" if total else b"\n"
            sink.write(prefix + json.dumps(row, default=_plain, ensure_ascii=False).encode())
            total += 1
    sink.write(b"\n]}\n")
    return total


def _plain(value: Any) -> Any:
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    if isinstance(value, bytes):
        return value.hex()
    return str(value) if not isinstance(value, str | int | float) else value


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


_WRITERS = {
    "table": _write_table,
    "csv": _write_csv,
    "json": _write_json,
    "arrow": _write_arrow,
    "parquet": _write_parquet,
}
