"""Columns that no file stores, as chunks of a Parquet file: one value in every row, or NULLs.

Source: Parquet's ``parquet.thrift``, ``Encodings.md``.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import pyarrow as pa

from lake.clear.reading.image.compact import (
    BINARY,
    I32,
    LIST,
    STRUCT,
    binary,
    fields,
    integer,
    length,
    list_of,
    little,
    number,
)
from lake.clear.reading.image.compact import struct_of as struct

PLAIN, RLE, RLE_DICTIONARY = 0, 3, 8
UNCOMPRESSED = 0
_DATA_PAGE, _DICTIONARY_PAGE = 0, 2
REQUIRED, OPTIONAL = 0, 1
_UTF8, _TIMESTAMP_MICROS, _INT_8 = 0, 10, 15
_BOOLEAN, _INT32, _INT64, _DOUBLE, _BYTE_ARRAY = 0, 1, 2, 5, 6
_FORMS: dict[pa.DataType, tuple[int, int | None]] = {
    pa.string(): (_BYTE_ARRAY, _UTF8),
    pa.bool_(): (_BOOLEAN, None),
    pa.int8(): (_INT32, _INT_8),
    pa.int32(): (_INT32, None),
    pa.int64(): (_INT64, None),
    pa.float64(): (_DOUBLE, None),
    pa.timestamp("us"): (_INT64, _TIMESTAMP_MICROS),
}
"""Physical and converted type of what the lake stores."""


@dataclass(frozen=True, slots=True)
class Constant:
    """A chunk in clear, and what its metadata says of it; see ``footer.Chunk``.

    Attributes:
        first: where its page of values begins; 0 if no dictionary comes before it.
    """

    content: bytes
    first: int
    head: bytes
    statistics: bytes


def element(name: str, kind: pa.DataType, repetition: int = REQUIRED) -> bytes:
    """The SchemaElement of a column that no file stores: of one value, or OPTIONAL and without."""
    physical, converted = _FORMS[kind]
    parts = [(1, I32, number(physical)), (3, I32, number(repetition)), (4, BINARY, binary(name.encode()))]
    if converted is not None:
        parts.append((6, I32, number(converted)))
    return struct(parts)


def fits(form: bytes, kind: pa.DataType) -> bool:
    """Whether an engine reads a column of this SchemaElement as the type."""
    found = fields(form, 0, {1: integer, 6: integer})[0]
    return (found.get(1), found.get(6)) == _FORMS.get(kind)


def root(columns: int) -> bytes:
    """The SchemaElement that all others are children of."""
    return struct([(4, BINARY, binary(b"schema")), (5, I32, number(columns))])


def constant(name: str, kind: pa.DataType, dictionary: tuple[bytes, bytes], rows: int) -> Constant:
    """One value in every row; see ``dictionary``."""
    coded, bounds = dictionary
    # Indices one bit wide: a run of ``rows`` zeros.
    content = coded + _values(rows, RLE_DICTIONARY, b"\1" + length(rows << 1) + b"\0")
    return Constant(content, len(coded), _head(name, _FORMS[kind][0], rows, len(content)), bounds)


def dictionary(value: str | int) -> tuple[bytes, bytes]:
    """A dictionary page of one value, and the statistics of a column that has it alone: max_value, min_value."""
    plain = value.encode() if isinstance(value, str) else little(value)
    entries = struct([(1, I32, number(1)), (2, I32, number(PLAIN))])
    content = little(len(plain)) + plain if isinstance(value, str) else plain
    bounds = struct([(5, BINARY, binary(plain)), (6, BINARY, binary(plain))])
    return _page(_DICTIONARY_PAGE, 7, entries, content), bounds


def nulls(name: str, physical: int, rows: int) -> Constant:
    """NULL in every row, of an optional column of a physical type."""
    # Definition levels: a run of ``rows`` zeros.
    run = length(rows << 1) + b"\0"
    content = _values(rows, PLAIN, little(len(run)) + run)
    return Constant(content, 0, _head(name, physical, rows, len(content)), b"")


def _values(rows: int, encoding: int, content: bytes) -> bytes:
    """A data page, levels RLE; put together by hand, as there are thousands."""
    size = number(len(content))
    about = (b"\x15", number(rows), b"\x15", number(encoding), b"\x15", number(RLE), b"\x15", number(RLE), b"\0")
    return b"".join((b"\x15", number(_DATA_PAGE), b"\x15", size, b"\x15", size, b"\x2c", *about, b"\0", content))


def _page(kind: int, field: int, about: bytes, content: bytes) -> bytes:
    size = number(len(content))
    return struct([(1, I32, number(kind)), (2, I32, size), (3, I32, size), (field, STRUCT, about)]) + content


def _head(name: str, physical: int, rows: int, size: int) -> bytes:
    """Fields 1 to 6 of ColumnMetaData."""
    return b"".join((_about(name, physical), b"\x16", number(rows), b"\x16", number(size)))


@cache
def _about(name: str, physical: int) -> bytes:
    """Fields 1 to 4."""
    encodings = list_of(I32, [number(one) for one in (PLAIN, RLE, RLE_DICTIONARY)])
    path = list_of(BINARY, [binary(name.encode())])
    parts = [(1, I32, number(physical)), (2, LIST, encodings), (3, LIST, path), (4, I32, number(UNCOMPRESSED))]
    return struct(parts)[:-1]
