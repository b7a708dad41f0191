"""The rows of delimited text (RFC 4180), each as long as the header, with line numbers."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

import pyarrow as pa

from lake.clear.landing.readers.inputs import Bounded, Input, blocks
from lake.clear.landing.readers.options import BATCH_BYTES, MAX_COLUMNS


@dataclass(frozen=True, slots=True)
class Table:
    """Some rows as columns of text: ``columns[name][i]`` stands on line ``numbers[i]``."""

    numbers: list[int]
    columns: dict[str, pa.Array]


def tables(
    source: Input,
    data: Bounded,
    *,
    delimiter: str = ",",
    nulls: frozenset[str] = frozenset(),
    expected: tuple[str, ...] | None = None,
) -> Iterator[Table]:
    """The rows after the header in tables of at most ``batch_rows``; blank lines are skipped.

    Args:
        nulls: texts that become null.
        expected: the header that the file must have; None admits any.

    Raises:
        MalformedInputError: no header or another one, a column twice, a row of another length, or broken quoting.
    """
    reader = csv.reader(_lines(source, data), delimiter=delimiter, strict=True)
    records = _records(source, reader)
    _, header = next(records, (0, list[str]()))
    if not header:
        raise source.malformed("has no header", hint="the first line names the columns", line=1)
    if len(set(header)) != len(header) or len(header) > MAX_COLUMNS:
        raise source.malformed("not a usable header", hint=f"each column once, at most {MAX_COLUMNS}", line=1)
    if expected is not None and tuple(header) != expected:
        raise source.malformed("not a file of this kind", hint=f"expected columns: {', '.join(expected)}", line=1)
    while held := list(_portion(source, records)):
        numbers, rows = [number for number, _ in held], [row for _, row in held]
        if not set(map(len, rows)) <= {len(header)}:
            line = next(number for number, row in held if len(row) != len(header))
            raise source.malformed("more or fewer fields than the header has", hint="is it cut off?", line=line)
        values = zip(header, zip(*rows, strict=True), strict=True)
        yield Table(numbers, {name: _column(column, nulls) for name, column in values})


def _lines(source: Input, data: Bounded) -> Iterator[str]:
    for block in blocks(source, data):
        for line in block.lines:
            yield line + "\n"


def _records(source: Input, reader: Iterator[list[str]]) -> Iterator[tuple[int, list[str]]]:
    """Rows with the line on which each ends."""
    lines: int = 0
    try:
        for row in reader:
            lines = reader.line_num  # type: ignore[attr-defined]
            if row:
                yield lines, row
    except csv.Error:
        raise source.malformed("broken quoting, or a field too long", hint="see RFC 4180", line=lines + 1) from None


def _portion(source: Input, records: Iterator[tuple[int, list[str]]]) -> Iterator[tuple[int, list[str]]]:
    size = 0
    for record in islice(records, source.options.batch_rows):
        yield record
        size += sum(map(len, record[1]))
        if size >= BATCH_BYTES:
            return


def _column(values: tuple[str, ...], nulls: frozenset[str]) -> pa.Array:
    if nulls:
        return pa.array([None if value in nulls else value for value in values], pa.string())
    return pa.array(values, pa.string())
