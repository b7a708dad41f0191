"""The rows of delimited text (RFC 4180), each as long as the header, with line numbers.

A block of lines in which nothing is unusual is parsed at once; any other is read row by row by the strict parser, which
alone decides what is refused and says where. The quick way must never give what the strict one would not.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache

import pyarrow as pa
import pyarrow.csv

from lake.clear.landing.readers.inputs import BOM, Block, Bounded, Input, blocks
from lake.clear.landing.readers.options import MAX_COLUMNS


@dataclass(frozen=True, slots=True)
class Table:
    """Some rows as columns of text: ``columns[name][i]`` stands on line ``numbers[i]``."""

    numbers: Sequence[int]
    columns: dict[str, pa.Array]


@dataclass(frozen=True, slots=True)
class Form:
    """How the text is written: between fields stands ``delimiter``; ``nulls`` are the texts that become null."""

    delimiter: str = ","
    nulls: frozenset[str] = frozenset()


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
    form = Form(delimiter, nulls)
    lines = Lines(blocks(source, data))
    header = _header(source, lines, form, expected)
    while block := lines.block():
        columns = parse_together(block, header, form)
        if columns is not None:
            yield Table(range(block.first, block.first + block.count), columns)
            continue
        lines.begin(block)
        table = parse_alone(source, lines, block.first + block.count, header, form)
        if table.numbers:
            yield table


def _header(source: Input, lines: Lines, form: Form, expected: tuple[str, ...] | None) -> tuple[str, ...]:
    header = next((tuple(row) for _, row in _records(source, lines, form) if row), ())
    if not header:
        raise source.malformed("has no header", hint="the first line names the columns", line=1)
    if len(set(header)) != len(header) or len(header) > MAX_COLUMNS:
        raise source.malformed("not a usable header", hint=f"each column once, at most {MAX_COLUMNS}", line=1)
    if expected is not None and header != expected:
        raise source.malformed("not a file of this kind", hint=f"expected columns: {', '.join(expected)}", line=1)
    return header


class Lines:
    """The lines of an input, to be taken one by one or as blocks. ``next`` is the number of the next one."""

    def __init__(self, source: Iterator[Block]) -> None:
        self._source = source
        self._longest = 0
        self._waiting: list[str] = []
        self.next = 1

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        if not self._waiting:
            self.begin(next(self._source))
        self.next += 1
        return self._waiting.pop() + "\n"

    def begin(self, block: Block) -> None:
        """The lines of a block that was taken are to be taken one by one."""
        self.next, self._longest, self._waiting = block.first, block.longest, block.lines[::-1]

    def block(self) -> Block | None:
        """What is left of the block that was begun, else the next one; None at the end."""
        if not self._waiting:
            return next(self._source, None)
        left, self._waiting = self._waiting[::-1], []
        return Block(self.next, len(left), self._longest, "".join(f"{line}\n" for line in left).encode())


def parse_together(block: Block, header: Sequence[str], form: Form) -> dict[str, pa.Array] | None:
    """The columns of a block in which every line is one row; None where the strict parser is to decide.

    It decides on blank lines, line ends within quotes, quotes at odd places, carriage returns that end no line, fields
    of any unusual length, NUL, rows of another length, and what Arrow would take for a byte order mark.
    """
    text = block.text.replace(b"\r\n", b"\n")
    if block.longest > csv.field_size_limit() or b"\r" in text or b"\0" in text or b"\n\n" in text:
        return None
    if text.startswith((b"\n", BOM)) or not (form.delimiter.isascii() and form.delimiter.isprintable()):
        return None
    if b'"' in text and b'"' in _quoted(form.delimiter).sub(b"", b"\n" + text):
        return None
    try:
        table = pa.csv.read_csv(
            pa.BufferReader(text),
            pa.csv.ReadOptions(use_threads=False, block_size=len(text) + 1, column_names=header),
            pa.csv.ParseOptions(delimiter=form.delimiter, double_quote=True, newlines_in_values=False),
            pa.csv.ConvertOptions(
                check_utf8=False,
                column_types=dict.fromkeys(header, pa.string()),
                null_values=sorted(form.nulls),
                strings_can_be_null=bool(form.nulls),
            ),
        )
    except pa.ArrowException:
        return None
    if table.num_rows != block.count:
        return None
    return {name: column.combine_chunks() for name, column in zip(header, table.columns, strict=True)}


@cache
def _quoted(delimiter: str) -> re.Pattern[bytes]:
    """A whole quoted field on one line. Its loops never give back what they took, so that it is linear."""
    mark = re.escape(delimiter).encode()
    return re.compile(rb'"(?<=[%b\n]")[^"\n]*+(?:""[^"\n]*+)*+"(?=[%b\n])' % (mark, mark))


def parse_alone(source: Input, lines: Lines, end: int, header: Sequence[str], form: Form) -> Table:
    """The rows that begin before line ``end``, by the strict parser.

    Raises:
        MalformedInputError: a row of another length than the header, or broken quoting.
    """
    numbers, rows = list[int](), list[list[str]]()
    for number, row in _records(source, lines, form):
        if row:
            numbers.append(number)
            rows.append(row)
        if lines.next >= end:
            break
    if not set(map(len, rows)) <= {len(header)}:
        line = next(number for number, row in zip(numbers, rows, strict=True) if len(row) != len(header))
        raise source.malformed("more or fewer fields than the header has", hint="is it cut off?", line=line)
    values = zip(*rows, strict=True) if rows else ((),) * len(header)
    return Table(numbers, {name: _column(column, form.nulls) for name, column in zip(header, values, strict=True)})


def _records(source: Input, lines: Lines, form: Form) -> Iterator[tuple[int, list[str]]]:
    """Rows, empty ones for blank lines, with the line on which each ends."""
    ended = lines.next - 1
    try:
        for row in csv.reader(lines, delimiter=form.delimiter, strict=True):
            ended = lines.next - 1
            yield ended, row
    except csv.Error:
        raise source.malformed("broken quoting, or a field too long", hint="see RFC 4180", line=ended + 1) from None


def _column(values: Sequence[str], nulls: frozenset[str]) -> pa.Array:
    return pa.array([None if value in nulls else value for value in values], pa.string())
