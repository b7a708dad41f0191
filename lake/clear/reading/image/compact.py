"""Thrift's compact protocol, as far as a Parquet footer needs it: where the fields of a struct lie, and numbers.

Source: Apache Thrift, doc/specs/thrift-compact-protocol.md. A field that nobody asks for is only stepped over, so what
a later writer adds does no harm.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping, Sequence
from typing import Any

Parser = Callable[[bytes, int], tuple[Any, int]]
"""Of a value that begins at a position: what it is, and where it ends."""
Fields = dict[int, Any]

I32, I64, BINARY, LIST, STRUCT = 5, 6, 8, 9, 12
STOP = b"\0"
_NUMBERS = (I32, I64)
_I16, _SET = 4, 10
_FIXED = {1: 0, 2: 0, 3: 1, 7: 8}
"""Bytes of what always takes as many: true, false, a byte, a double."""


def fields(data: bytes, at: int, parsers: Mapping[int, Parser] = {}) -> tuple[Fields, int]:
    """A struct: by field id what its parser makes of it, or else where its value lies (first byte, end).

    Raises:
        ValueError, IndexError: these bytes are no struct.
    """
    found: Fields = {}
    number = 0
    while True:
        head = data[at]
        at += 1
        if head == 0:
            return found, at
        if head > 15:
            number += head >> 4
        else:
            number, at = integer(data, at)
        parser = parsers.get(number)
        if parser is not None:
            found[number], at = parser(data, at)
            continue
        start = at
        kind = head & 15
        if kind in _NUMBERS:  # nearly all are
            while data[at] > 127:
                at += 1
            at += 1
        else:
            at = _after(data, at, kind)
        found[number] = (start, at)


def many(parser: Parser) -> Parser:
    """A list, each item by the parser."""

    def parse(data: bytes, at: int) -> tuple[list[Any], int]:
        count, _, at = _list_head(data, at)
        items = []
        for _ in range(count):
            item, at = parser(data, at)
            items.append(item)
        return items, at

    return parse


def integer(data: bytes, at: int) -> tuple[int, int]:
    """A signed number."""
    value, at = _unsigned(data, at)
    return (value >> 1) ^ -(value & 1), at


def raw(data: bytes, at: int) -> tuple[bytes, int]:
    """A struct as its bytes."""
    end = _after(data, at, STRUCT)
    return data[at:end], end


def text(data: bytes, at: int) -> tuple[bytes, int]:
    """A binary or a string."""
    length, at = _unsigned(data, at)
    return data[at : at + length], at + length


def _after(data: bytes, at: int, kind: int) -> int:
    """Where a value of a type ends."""
    if kind in _FIXED:
        return at + _FIXED[kind]
    if kind == BINARY:
        length, at = _unsigned(data, at)
        return at + length
    if kind == STRUCT:
        return fields(data, at)[1]
    if kind in {LIST, _SET}:
        count, kind, at = _list_head(data, at)
        for _ in range(count):
            at = _after(data, at, kind)
        return at
    if kind in {_I16, I32, I64}:
        return _unsigned(data, at)[1]
    raise ValueError("a type that no footer has")


def _list_head(data: bytes, at: int) -> tuple[int, int, int]:
    """Items, their type, and where the first begins."""
    head = data[at]
    if head < 0xF0:
        return head >> 4, head & 15, at + 1
    count, at = _unsigned(data, at + 1)
    return count, head & 15, at


def _unsigned(data: bytes, at: int) -> tuple[int, int]:
    byte = data[at]
    at += 1
    if byte < 128:
        return byte, at
    value, shift = byte & 127, 7
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
        shift += 7


def length(value: int) -> bytes:
    """An unsigned number."""
    if value < 128:
        return _SMALL[value]
    if value < 1 << 14:
        return bytes((value & 127 | 128, value >> 7))
    if value < 1 << 21:
        return bytes((value & 127 | 128, value >> 7 & 127 | 128, value >> 14))
    made = bytearray()
    while value > 127:
        made.append(value & 127 | 128)
        value >>= 7
    made.append(value)
    return bytes(made)


_SMALL = [bytes([value]) for value in range(128)]


def number(value: int) -> bytes:
    """A number that is not negative, as a signed one is written."""
    return length(value << 1)


def struct_of(parts: Sequence[tuple[int, int, bytes]], after: int = 0) -> bytes:
    """A struct of fields (id, type, value as it is written), in ascending order of ids less than 16 apart.

    Args:
        after: the last field of what is already written of it.
    """
    made, last = bytearray(), after
    for identifier, kind, value in parts:
        made.append((identifier - last) << 4 | kind)
        made += value
        last = identifier
    return bytes(made + STOP)


def list_of(kind: int, items: Sequence[bytes]) -> bytes:
    """A list of values of one type."""
    count = len(items)
    head = bytes([count << 4 | kind]) if count < 15 else bytes([0xF0 | kind]) + length(count)
    return b"".join((head, *items))


def binary(value: bytes) -> bytes:
    """A binary or a string."""
    return length(len(value)) + value


def little(value: int) -> bytes:
    """Four bytes, the least significant first: how Parquet writes a length, and plain 32-bit integers."""
    return struct.pack("<i", value)
