"""The footer of an encrypted file: authenticated, and read as far as an image of the file needs it.

Sources: Parquet's ``parquet.thrift`` and ``Encryption.md`` (AES_GCM_V1, one key for footer and columns).
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass

from keys.modules import Modules
from lake.clear.reading.decode import changed, check_clear_bytes
from lake.clear.reading.image import compact
from lake.clear.reading.image.pages import FOOTER
from lake.clear.reading.plan import FileToRead
from lake.rules.model import TIME_COLUMN

END = 16 * 1024
"""Bytes at the end of a file that are read at once; most footers are shorter."""
_UNIQUE = slice(4, 12)
"""``aad_file_unique`` within the crypto metadata, whose bytes have been compared."""
_CRYPTO_BYTES = 16
_MAX, _MIN = 5, 6
"""Fields of Statistics: max_value and min_value, PLAIN."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """A column of a row group: where it lies in the encrypted file, and what its metadata says of it.

    Attributes:
        head: fields 1 to 6 of ColumnMetaData, as they are written: type, encodings, path, codec, values, size decoded.
        statistics: as they are written, empty if there are none.
        coded: it begins with a dictionary page.
        ordinal: of the column in the file.
    """

    head: bytes
    statistics: bytes
    start: int
    length: int
    coded: bool
    ordinal: int


@dataclass(frozen=True, slots=True)
class Group:
    """A row group: its chunks by column."""

    rows: int
    chunks: dict[str, Chunk]

    def times(self) -> tuple[int, int] | None:
        """The earliest and the latest capture time, microseconds since 1970, if it is known."""
        statistics = self.chunks[TIME_COLUMN].statistics
        found = compact.fields(statistics, 0, {_MAX: compact.text, _MIN: compact.text})[0] if statistics else {}
        if not {_MAX, _MIN} <= found.keys():
            return None
        return int.from_bytes(found[_MIN], "little", signed=True), int.from_bytes(found[_MAX], "little", signed=True)


@dataclass(frozen=True, slots=True)
class Footer:
    """What a file's footer says.

    Attributes:
        elements: a SchemaElement by column, as it is written.
        unique: ``aad_file_unique``, which the AAD of every module has after the file's prefix.
        size: bytes in clear.
    """

    elements: dict[str, bytes]
    groups: tuple[Group, ...]
    unique: bytes
    size: int


def read(file: FileToRead, pread: Callable[[int, int], bytes]) -> Footer:
    """A file's footer.

    Args:
        pread: bytes of the object, whose length is the one expected: first byte, how many.

    Raises:
        IntegrityError: it is not what was written under this key.
    """
    start = max(0, file.length - END)
    end = pread(start, file.length - start)

    def part(first: int, count: int) -> bytes:
        return end[first - start : first - start + count] if first >= start else pread(first, count)

    check_clear_bytes(file, file.length, part)
    size = int.from_bytes(end[-8:-4], "little")
    whole = part(file.length - 8 - size, size)
    try:
        plain, _ = Modules(file.dek, file.aad_prefix + whole[_UNIQUE]).opened(whole, _CRYPTO_BYTES, FOOTER)
        return _parsed(plain, whole[_UNIQUE], file)
    except (ValueError, IndexError, struct.error, KeyError, TypeError):
        raise changed(file) from None


def _parsed(data: bytes, unique: bytes, file: FileToRead) -> Footer:
    top, _ = compact.fields(data, 0, _FILE)
    names = [compact.text(element, compact.fields(element, 0)[0][4][0])[0].decode() for element in top[2][1:]]
    groups = tuple(_group(data, fields, names) for fields in top[4])
    if sum(group.rows for group in groups) != file.rows:
        raise ValueError("another number of rows")
    return Footer(dict(zip(names, top[2][1:], strict=True)), groups, unique, len(data))


def _group(data: bytes, fields: compact.Fields, names: list[str]) -> Group:
    chunks = {
        name: _chunk(data, chunk[3], ordinal)
        for ordinal, (name, chunk) in enumerate(zip(names, fields[1], strict=True))
    }
    return Group(compact.integer(data, fields[3][0])[0], chunks)


def _chunk(data: bytes, meta: compact.Fields, ordinal: int) -> Chunk:
    first = meta.get(11)
    statistics = meta.get(12)
    return Chunk(
        head=data[meta[1][0] - 1 : meta[6][1]],
        statistics=data[slice(*statistics)] if statistics else b"",
        start=compact.integer(data, (first or meta[9])[0])[0],
        length=compact.integer(data, meta[7][0])[0],
        coded=first is not None,
        ordinal=ordinal,
    )


def _meta(data: bytes, at: int) -> tuple[compact.Fields, int]:
    return compact.fields(data, at)


def _column(data: bytes, at: int) -> tuple[compact.Fields, int]:
    return compact.fields(data, at, {3: _meta})


def _row_group(data: bytes, at: int) -> tuple[compact.Fields, int]:
    return compact.fields(data, at, {1: compact.many(_column)})


_FILE = {2: compact.many(compact.raw), 4: compact.many(_row_group)}
