"""A column chunk opened: its pages and their headers, in order. Source: Parquet's ``Encryption.md``, "AAD"."""

from __future__ import annotations

import struct

from keys.modules import OVERHEAD, Modules
from lake.clear.reading.image import compact

FOOTER, _DATA_PAGE, _DICTIONARY_PAGE, _DATA_PAGE_HEADER, _DICTIONARY_PAGE_HEADER = b"\0", b"\2", b"\3", b"\4", b"\5"
"""What a module holds, the first byte of its place."""
_NEXT_I32 = 1 << 4 | compact.I32
"""How a field begins whose id is one more than the last one's."""


def open_chunk(
    modules: Modules, data: memoryview, place: tuple[int, int], room: memoryview, *, coded: bool
) -> tuple[int, int]:
    """Open a chunk.

    Args:
        data: the chunk as it is stored.
        place: the number of its row group, and of its column in the file.
        room: where it is written; as long as ``data``, which is longer than what it holds.
        coded: it begins with a dictionary.

    Returns:
        where its first page of values begins, and how many bytes were written.

    Raises:
        ValueError, IndexError: it is not what was written at this place.
    """
    where = struct.pack("<hh", *place)
    at = written = first = page = 0
    if coded:
        header, at = modules.opened(data, at, _DICTIONARY_PAGE_HEADER + where)
        written = _put(_header(header), room, written)
        first, at = modules.open_into(data, at, _DICTIONARY_PAGE + where, room, written)
        written = first
    while at < len(data):
        which = where + struct.pack("<h", page)
        header, at = modules.opened(data, at, _DATA_PAGE_HEADER + which)
        written = _put(_header(header), room, written)
        written, at = modules.open_into(data, at, _DATA_PAGE + which, room, written)
        page += 1
    return first, written


def _put(header: bytes, room: memoryview, at: int) -> int:
    """Write a header; where its page is to be written."""
    end = at + len(header)
    room[at:end] = header
    return end


def _header(header: bytes) -> bytes:
    """A PageHeader with the length (field 3) of its page in clear, where it had that of the module."""
    second = _after(header, 1)
    third = _after(header, second + 1)
    if not header[0] == header[second] == header[third] == _NEXT_I32:
        raise ValueError("a header of another form")
    size, end = compact.integer(header, third + 1)
    return b"".join((header[: third + 1], compact.number(size - OVERHEAD), header[end:]))


def _after(header: bytes, at: int) -> int:
    """Where a number ends."""
    while header[at] > 127:
        at += 1
    return at + 1
