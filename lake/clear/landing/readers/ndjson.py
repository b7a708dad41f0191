"""Newline-delimited JSON: one object with scalar fields on each line.

A line is refused if any part of it could be read in two ways: a key twice, NaN, bytes after the object, text that is
not UTF-8. Of fields that the contract does not name only whether there was a value is kept.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from itertools import chain
from typing import Any, NoReturn

import pyarrow as pa

from lake.clear.arrow_schema import incoming_schema
from lake.clear.landing.readers.convert import Rows, from_rows
from lake.clear.landing.readers.inputs import Block, Input, blocks
from lake.rules.contract import Contract

PLAIN_TYPES = frozenset({str, int, float, bool, type(None)})
SPACE = " \t\r"
_HINT = "each line is one JSON object (RFC 8259) with every key once"

Row = dict[str, Any]


def _refuse_constant(_: str) -> NoReturn:
    raise ValueError


def _unique(pairs: list[tuple[str, Any]]) -> Row:
    row = dict(pairs)
    if len(row) != len(pairs):
        raise ValueError
    return row


_FAST = json.JSONDecoder(parse_constant=_refuse_constant)
_CAREFUL = json.JSONDecoder(parse_constant=_refuse_constant, object_pairs_hook=_unique)


class NdjsonSource:
    """Rows of an NDJSON input; blank lines are skipped."""

    def __init__(self, source: Input, contract: Contract) -> None:
        self._source = source
        self._contract = contract
        self.schema = incoming_schema(contract)
        self.dropped: Counter[str] = Counter()

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        with self._source.text() as data:
            rows_seen = False
            for block in blocks(self._source, data):
                numbers, rows = _parse(self._source, block)
                if rows:
                    rows_seen = True
                    yield from_rows(Rows(self._source, numbers), rows, self._contract)
            if not rows_seen:
                raise self._source.malformed("holds no rows", hint="nothing but blank lines was written to it")


def _parse(source: Input, block: Block) -> tuple[list[int], list[Row]]:
    """Line numbers and objects."""
    lines = [line.strip(SPACE) for line in block.lines]
    numbers = list(range(block.first, block.first + len(lines)))
    if "" in lines:
        numbers = [number for number, line in zip(numbers, lines, strict=True) if line]
        lines = [line for line in lines if line]
    rows = _parse_together(lines)
    if rows is None:
        rows = [_parse_alone(source, number, line) for number, line in zip(numbers, lines, strict=True)]
    return numbers, rows


def _parse_together(lines: list[str]) -> list[Row] | None:
    """All lines as one array, nearly twice as fast as one by one; None where that could differ or hide something.

    Lines that begin and end as objects do can only run into each other through an array (refused by the check of
    types) or by one holding several objects (refused by the count). A key is followed by a colon, so ``":`` is found
    at least as often as there are keys, and as often only if no key was swallowed as a repetition.
    """
    text = ",".join(lines)
    if " :" in text or "\t:" in text or "\r:" in text:
        return None
    if not all(line[0] == "{" and line[-1] == "}" for line in lines):
        return None
    try:
        rows = _FAST.decode(f"[{text}]")
    except (ValueError, RecursionError):
        return None
    if len(rows) != len(lines) or not set(map(type, rows)) <= {dict}:
        return None
    if not set(map(type, chain.from_iterable(map(dict.values, rows)))) <= PLAIN_TYPES:
        return None
    return rows if text.count('":') == sum(map(len, rows)) else None


def _parse_alone(source: Input, number: int, line: str) -> Row:
    try:
        row, end = _CAREFUL.raw_decode(line)
    except (ValueError, RecursionError):
        raise source.malformed("not a JSON object, or cut off", hint=_HINT, line=number) from None
    if not isinstance(row, dict) or end != len(line):
        raise source.malformed("not one JSON object", hint=_HINT, line=number)
    return row
