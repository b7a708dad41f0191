"""The bytes of an input: opened, decompressed and cut into lines, each step within bounds.

Memory never grows with the input: a line, a block of lines and the decompressed total have limits.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from lake.clear.landing.readers.options import BATCH_BYTES, ReadOptions
from lake.errors import MalformedInputError, UsageError

CODECS = {".gz": "gzip", ".zst": "zstd"}
CHUNK = 1 << 20
BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class Input:
    """A file, or a stream that goes by the name of a file. ``name`` is all that messages say of it."""

    path: Path
    stream: BinaryIO | None
    options: ReadOptions

    @property
    def name(self) -> str:
        """The file's name without its folders."""
        return self.path.name

    @contextmanager
    def raw(self) -> Iterator[BinaryIO]:
        """The bytes as they are; a stream that was handed in stays open.

        Raises:
            UsageError: the file cannot be opened.
            MalformedInputError: the file is empty (a stream is not looked into).
        """
        if self.stream is not None:
            yield self.stream
            return
        try:
            file = self.path.open("rb")
        except OSError:
            raise UsageError(f"{self.name} cannot be opened", hint="check that it exists and may be read") from None
        with file:
            if os.fstat(file.fileno()).st_size == 0:
                raise self.malformed("is empty", hint="nothing was written to it; send it again")
            yield file

    @contextmanager
    def text(self) -> Iterator[Bounded]:
        """The decompressed bytes (.gz and .zst by suffix), refused beyond ``max_bytes``."""
        codec = CODECS.get(self.path.suffix)
        with self.raw() as raw:
            if codec is None:
                yield Bounded(self, raw)
                return
            with pa.CompressedInputStream(pa.PythonFile(Unclosed(raw), mode="r"), codec) as unpacked:
                yield Bounded(self, unpacked)

    def malformed(self, message: str, *, hint: str, line: int | None = None) -> MalformedInputError:
        """An error of this input, at a line (1-based) where there is one."""
        place = self.name if line is None else f"{self.name}, line {line}"
        details: dict[str, str | int] = {"file": self.name} if line is None else {"file": self.name, "line": line}
        return MalformedInputError(f"{place}: {message}", hint=hint, **details)


class Unclosed:
    """A stream without close: it belongs to the caller, and Arrow closes what it wraps."""

    closed = False

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream

    def read(self, size: int = -1) -> bytes:
        """See io.RawIOBase."""
        return self._stream.read(size)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """See io.RawIOBase."""
        return self._stream.seek(offset, whence)

    def tell(self) -> int:
        """See io.RawIOBase."""
        return self._stream.tell()

    def readable(self) -> bool:
        """See io.RawIOBase."""
        return True

    def seekable(self) -> bool:
        """See io.RawIOBase."""
        return self._stream.seekable()

    def close(self) -> None:
        """Nothing: whoever opened the stream closes it."""


class Bounded:
    """Decompressed bytes with a limit on the total. ``unclaimed`` counts bytes since the caller last set it to 0."""

    def __init__(self, source: Input, file: BinaryIO) -> None:
        self._source = source
        self._file = file
        self._left = source.options.max_bytes
        self.unclaimed = 0

    def read(self, size: int = CHUNK) -> bytes:
        """Up to ``size`` bytes; none at the end.

        Raises:
            MalformedInputError: damaged or truncated compression, or more than ``max_bytes``.
        """
        try:
            data = self._file.read(size)
        except (OSError, EOFError, pa.ArrowException, MemoryError):
            raise self._source.malformed(
                "cannot be read to its end", hint="the file is damaged or was cut off; send it again"
            ) from None
        self._left -= len(data)
        self.unclaimed += len(data)
        if self._left < 0:
            raise self._source.malformed(
                f"more than {self._source.options.max_bytes} bytes of text", hint="split it, or raise the limit"
            )
        return data


@dataclass(frozen=True, slots=True)
class Block:
    """Consecutive lines of UTF-8 text.

    Attributes:
        first: number of the first line, from 1.
        count: how many lines, at least 1.
        longest: bytes of the longest line, without its end; a block that is the rest of another may be below that.
        text: the lines, each with its end.
    """

    first: int
    count: int
    longest: int
    text: bytes

    @property
    def lines(self) -> list[str]:
        """The lines without their ends."""
        return self.text[:-1].decode().split("\n")


def blocks(source: Input, data: Bounded) -> Iterator[Block]:
    """The lines of UTF-8 text in blocks of at most ``batch_rows`` lines and about ``BATCH_BYTES``.

    Raises:
        MalformedInputError: empty, not UTF-8, a byte order mark, or a line longer than ``max_line``.
    """
    first, held, ends = 1, b"", np.empty(0, np.int64)
    for piece in _whole_lines(source, data):
        _check(source, piece, first + len(ends))
        ends = np.concatenate([ends, _line_ends(piece) + len(held)])
        held += piece
        taken, begin = 0, 0
        while len(ends) - taken >= source.options.batch_rows or (
            len(ends) > taken and len(held) - begin >= BATCH_BYTES
        ):
            cut = ends[taken : taken + source.options.batch_rows]
            yield _block(first, held, begin, cut)
            first, taken, begin = first + len(cut), taken + len(cut), int(cut[-1])
        held, ends = held[begin:], ends[taken:] - begin
    if held:
        yield _block(first, held, 0, ends)
    elif first == 1:
        raise source.malformed("is empty", hint="nothing was written to it; send it again")


def _block(first: int, text: bytes, begin: int, ends: npt.NDArray[np.int64]) -> Block:
    longest = int(np.diff(ends, prepend=begin).max()) - 1
    return Block(first, len(ends), longest, text[begin : int(ends[-1])])


def _line_ends(text: bytes) -> npt.NDArray[np.int64]:
    """Offsets just after each line end."""
    return np.flatnonzero(np.frombuffer(text, np.uint8) == ord("\n")) + 1


def _whole_lines(source: Input, data: Bounded) -> Iterator[bytes]:
    """Pieces of whole lines; the last line of the input is given an end if it has none."""
    rest, number = b"", 1
    while chunk := data.read():
        rest += chunk
        if number == 1 and rest.startswith(BOM):
            raise source.malformed("begins with a byte order mark", hint="save it as UTF-8 without one", line=1)
        end = rest.rfind(b"\n") + 1
        if end:
            yield rest[:end]
            number += rest.count(b"\n", 0, end)
            rest = rest[end:]
        if len(rest) > source.options.max_line:
            raise _too_long(source, number)
    if rest:
        yield rest + b"\n"


def _check(source: Input, piece: bytes, first: int) -> None:
    """Refuse lines that are too long or not UTF-8; ``first`` is the number of the first."""
    if len(piece) > source.options.max_line:
        lengths = np.diff(_line_ends(piece), prepend=0) - 1
        if lengths.max() > source.options.max_line:
            raise _too_long(source, first + int(lengths.argmax()))
    try:
        piece.decode()
    except UnicodeDecodeError as error:
        line = first + piece.count(b"\n", 0, error.start)
        raise source.malformed("not UTF-8", hint="write the file as UTF-8", line=line) from None


def _too_long(source: Input, line: int) -> MalformedInputError:
    return source.malformed(f"longer than {source.options.max_line} bytes", hint="one row on each line", line=line)
