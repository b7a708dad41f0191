"""An image: permitted files as one Parquet file in anonymous memory, for an engine that reads Parquet by itself.

Pages are authenticated and decrypted and otherwise left as they are, compressed and encoded. The image has the columns
that are asked for and no others, neither their pages nor anything that a footer says of them; its own footer is made
here. It is only for rows of which the grant hides none and masks nothing: see ``Slice.image``.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import struct
import weakref
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import pyarrow as pa

from keys.modules import Modules
from lake.clear.reading.decode import changed, opened
from lake.clear.reading.image import constants
from lake.clear.reading.image.compact import (
    I32,
    I64,
    LIST,
    STOP,
    STRUCT,
    fields,
    integer,
    list_of,
    little,
    number,
    struct_of,
)
from lake.clear.reading.image.footer import Chunk, Footer, Group
from lake.clear.reading.image.pages import open_chunk
from lake.clear.reading.plan import SUBJECT_COLUMN, FileToRead, Source
from lake.rules.model import EMPLOYEE_COLUMN, SENSITIVITY_COLUMN
from lake.sealed.objects import Location

_MAGIC = b"PAR1"
_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 - naive UTC, as everywhere in plans
_VERSION = 2
_BY_TYPE = struct_of([(1, STRUCT, STOP)])
"""A ColumnOrder, without which bounds of texts mean nothing."""
_SEALS = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL


class Image:
    """A Parquet file behind a descriptor of this process; gone when nothing refers to it any more.

    Attributes:
        touched: whose rows it holds, and how many.
        size: bytes.
        end: where its footer begins.
        elements: a SchemaElement by column.
        chunks: by column, a ColumnChunk for each row group.
        rows: of each row group.
    """

    def __init__(self, size: int, before: Image | None = None) -> None:
        """Room for so many bytes; the columns of an earlier image of the same row groups are its own, too."""
        self.touched: Counter[Source] = Counter() if before is None else before.touched
        self.rows: list[int] = [] if before is None else before.rows
        self.elements: dict[str, bytes] = {} if before is None else dict(before.elements)
        self.chunks: dict[str, list[bytes]] = {} if before is None else dict(before.chunks)
        self.size = self.end = size
        self.descriptor = os.memfd_create("image", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        weakref.finalize(self, os.close, self.descriptor)
        os.ftruncate(self.descriptor, size)


@dataclass(frozen=True, slots=True)
class Wanted:
    """What an image is to hold.

    Attributes:
        schema: columns, of what the files store and what their partitions have in common.
        first, last: capture times, inclusive, naive UTC: row groups that have none of them are left out.
        most_bytes: of encrypted chunks; of more no image is made.
    """

    location: Location
    schema: pa.Schema
    first: datetime | None
    last: datetime | None
    most_bytes: int

    def groups(self, footer: Footer) -> Iterator[tuple[int, Group]]:
        """Row groups of a file that are wanted, each with its number."""
        for ordinal, group in enumerate(footer.groups):
            bounds = group.times() if self.first or self.last else None
            if bounds is None or not (
                (self.last is not None and bounds[0] > _micros(self.last))
                or (self.first is not None and bounds[1] < _micros(self.first))
            ):
                yield ordinal, group


def build(
    files: Sequence[FileToRead],
    wanted: Wanted,
    footer_of: Callable[[FileToRead], Footer],
    go_on: Callable[[], None] = lambda: None,
    known: Image | None = None,
) -> Image | None:
    """Make an image; None if these files cannot be one, or if it would be too large.

    Args:
        go_on: called before each file; what it raises is passed on.
        known: an image of the same row groups, whose columns need not be opened again; it stays as it is.

    Raises:
        IntegrityError: an object is missing, or not what was written.
        UnavailableError: it cannot be read.
    """
    new = pa.schema([field for field in wanted.schema if known is None or field.name not in known.chunks])
    if known is not None and not len(new):
        return known
    read: list[tuple[FileToRead, Footer]] = []
    size = 0
    for file in files:
        go_on()
        footer = footer_of(file)
        read.append((file, footer))
        size += sum(chunk.length for _, group in wanted.groups(footer) for chunk in _stored(group, new))
        if size > wanted.most_bytes:
            return None
    elements = _elements(new, [footer for _, footer in read])
    if elements is None:
        return None
    try:
        image = Image((known.end if known else len(_MAGIC)) + size, known)
        image.elements |= elements
        _Builder(image, new, known).build(read, wanted, go_on)
    except OSError:  # no memory, no descriptor, or no file may be so long
        return None
    return image


def _micros(moment: datetime) -> int:
    return (moment - _EPOCH) // timedelta(microseconds=1)


def _stored(group: Group, schema: pa.Schema) -> list[Chunk]:
    return [group.chunks[name] for name in schema.names if name in group.chunks]


def _elements(schema: pa.Schema, footers: Sequence[Footer]) -> dict[str, bytes] | None:
    """SchemaElements of columns; None if some files have one in another form than others."""
    elements = {}
    for field in schema:
        if field.name in {EMPLOYEE_COLUMN, SENSITIVITY_COLUMN, SUBJECT_COLUMN}:
            elements[field.name] = constants.element(field.name, field.type)
            continue
        forms = {footer.elements[field.name] for footer in footers if field.name in footer.elements}
        if not forms:  # in none of the files has it a value
            forms = {constants.element(field.name, field.type, constants.OPTIONAL)}
        if len(forms) != 1 or not all(constants.fits(form, field.type) for form in forms):
            return None
        (elements[field.name],) = forms
    return elements


class _Builder:
    """Writes chunks one after the other, then what no file stores, then the footer."""

    def __init__(self, image: Image, columns: pa.Schema, known: Image | None) -> None:
        """``columns`` are new, those of ``known`` are copied; the image has room for all that files store of them."""
        self._image = image
        self._columns = columns
        self._known = known
        self._room = image.size
        self._at = 0
        self._rest = bytearray()
        self._buffer = bytearray()
        self._dictionaries: dict[str | int, tuple[bytes, bytes]] = {}
        self._physical = {
            name: integer(image.elements[name], fields(image.elements[name], 0)[0][1][0])[0] for name in columns.names
        }

    def build(self, files: Sequence[tuple[FileToRead, Footer]], wanted: Wanted, go_on: Callable[[], None]) -> None:
        """Write all of it, and let nobody write it any more."""
        image = self._image
        image.chunks |= {name: [] for name in self._columns.names}
        memory = mmap.mmap(image.descriptor, self._room)
        view = memoryview(memory)
        self._begin(view)
        for file, footer in files:
            go_on()
            self._file(file, footer, wanted, view)
        view.release()
        memory.close()  # what may still be written cannot be sealed
        image.end = self._room + len(self._rest)
        metadata = self._footer()
        self._rest += metadata + little(len(metadata)) + _MAGIC
        # What the files do not store begins where their chunks may end at most.
        os.pwrite(image.descriptor, self._rest, self._room)
        image.size = self._room + len(self._rest)
        fcntl.fcntl(image.descriptor, fcntl.F_ADD_SEALS, _SEALS)

    def _begin(self, view: memoryview) -> None:
        known = self._known
        if known is None:
            view[: len(_MAGIC)] = _MAGIC
            self._at = len(_MAGIC)
            return
        with mmap.mmap(known.descriptor, known.end, prot=mmap.PROT_READ) as memory, memoryview(memory) as have:
            view[: known.end] = have
        self._at = known.end

    def _file(self, file: FileToRead, footer: Footer, wanted: Wanted, view: memoryview) -> None:
        modules = Modules(file.dek, file.aad_prefix + footer.unique)
        image = self._image
        source = Source(file.number, file.sensitivity)
        with opened(file, wanted.location) as descriptor:
            for ordinal, group in wanted.groups(footer):
                for field in self._columns:
                    chunk = group.chunks.get(field.name)
                    if chunk is None:
                        image.chunks[field.name].append(self._constant(file, field, group.rows))
                        continue
                    room = view[self._at : self._at + chunk.length]
                    try:
                        data = self._read(descriptor, chunk)
                        first, size = open_chunk(modules, data, (ordinal, chunk.ordinal), room, coded=chunk.coded)
                    except (ValueError, IndexError, struct.error):
                        raise changed(file) from None
                    image.chunks[field.name].append(_column(chunk.head, chunk.statistics, self._at, first, size))
                    self._at += size
                if self._known is None:
                    image.rows.append(group.rows)
                    image.touched[source] += group.rows

    def _read(self, descriptor: int, chunk: Chunk) -> memoryview:
        """A chunk as it is stored; what was read before is overwritten."""
        if len(self._buffer) < chunk.length:
            self._buffer = bytearray(chunk.length)
        data = memoryview(self._buffer)[: chunk.length]
        if os.preadv(descriptor, [data], chunk.start) != chunk.length:
            raise ValueError("a chunk that ends early")
        return data

    def _constant(self, file: FileToRead, field: pa.Field, rows: int) -> bytes:
        values = {EMPLOYEE_COLUMN: file.label, SENSITIVITY_COLUMN: file.sensitivity, SUBJECT_COLUMN: file.number}
        value = values.get(field.name)
        if value is None:
            made = constants.nulls(field.name, self._physical[field.name], rows)
        else:
            known = self._dictionaries.get(value)
            if known is None:
                known = self._dictionaries[value] = constants.dictionary(value)
            made = constants.constant(field.name, field.type, known, rows)
        at = self._room + len(self._rest)
        self._rest += made.content
        return _column(made.head, made.statistics, at, made.first, len(made.content))

    def _footer(self) -> bytes:
        """FileMetaData; sizes of row groups, which no reader of ours needs, are left at 0."""
        image = self._image
        size = number(0)
        groups = [
            struct_of([(1, LIST, list_of(STRUCT, columns)), (2, I64, size), (3, I64, number(rows))])
            for rows, *columns in zip(image.rows, *image.chunks.values(), strict=True)
        ]
        elements = [constants.root(len(image.elements)), *(image.elements[name] for name in image.chunks)]
        return struct_of(
            [
                (1, I32, number(_VERSION)),
                (2, LIST, list_of(STRUCT, elements)),
                (3, I64, number(sum(image.rows))),
                (4, LIST, list_of(STRUCT, groups)),
                (7, LIST, list_of(STRUCT, [_BY_TYPE] * len(image.elements))),
            ]
        )


def _column(head: bytes, statistics: bytes, at: int, first: int, size: int) -> bytes:
    """A ColumnChunk; ``first`` is where its page of values begins, 0 if it has no dictionary.

    Put together by hand, as there are thousands: file_offset 0, then the rest of ColumnMetaData after its field 6.
    """
    return b"".join(
        (
            b"\x26\0\x1c",
            head,
            b"\x16",
            number(size),
            b"\x26",
            number(at + first),
            b"\x26" + number(at) if first else b"",
            (b"\x1c" if first else b"\x3c") + statistics if statistics else b"",
            b"\0\0",
        )
    )
