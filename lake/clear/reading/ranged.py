"""Objects that no file system holds, as Arrow reads files: its end at once, the rest in ranges as they are asked for.

The end of a Parquet file says where all else lies. A small object comes whole with it, in one request; of a larger one
no more is read than a query needs. Errors of the store pass through Arrow as they are.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NoReturn

import pyarrow as pa
from pyarrow import fs

from lake.errors import IntegrityError
from lake.sealed.objects import Part

KIB = 1024
WHOLE = 256 * KIB
"""Objects up to here are read whole."""
END = 64 * KIB
"""Of a larger one this is read first: where Arrow looks for a footer."""

HOLE = 512 * KIB
"""Ranges that lie no further apart are read in one request: what lies between costs less than another round trip."""
LONGEST = 16 * KIB * KIB
"""Of a request for several ranges."""

PIECE = 4 * KIB * KIB
"""A longer range is read in pieces of this, several at once: one connection is slower than the line."""
PIECES_AT_ONCE = 4

PartReader = Callable[[str, int, int], Part]


class RangedObject:
    """One object, opened: its length is the one expected, and its end is here. Threads may share it."""

    def __init__(self, key: str, length: int, part: PartReader) -> None:
        """Read the end.

        Raises:
            IntegrityError: the object is gone, or has another length.
        """
        self.key, self.length = key, length
        self._part = part
        self._start = 0 if length <= WHOLE else length - END
        self._end = self._fetch(self._start, length - self._start)

    def read(self, start: int, length: int) -> bytes:
        """Bytes of it, fewer at its end."""
        length = min(length, self.length - start)
        if length <= 0:
            return b""
        if start >= self._start:
            return self._end[start - self._start : start - self._start + length]
        return self._fetch(start, length)

    def _fetch(self, start: int, length: int) -> bytes:
        if length <= PIECE:
            return self._piece(start, length)
        starts = range(start, start + length, PIECE)
        with ThreadPoolExecutor(PIECES_AT_ONCE, thread_name_prefix="reading") as pool:
            return b"".join(pool.map(lambda at: self._piece(at, min(PIECE, start + length - at)), starts))

    def _piece(self, start: int, length: int) -> bytes:
        found = self._part(self.key, start, length)
        if found.total != self.length or len(found.content) != length:
            raise IntegrityError(f"the object {self.key} has another length", hint="restore it from a backup")
        return found.content

    def file_system(self) -> fs.FileSystem:
        """A file system in which there is this object alone."""
        return fs.PyFileSystem(_OneObject(self))


class Opened(io.RawIOBase):
    """The object as a file of its own position; Arrow moves it under a lock."""

    def __init__(self, found: RangedObject) -> None:
        self._found = found
        self._position = 0
        self._ahead: list[tuple[int, bytes]] = []

    def fetch(self, extents: Iterable[tuple[int, int]]) -> None:
        """Read ranges (first byte, length) ahead; what was read ahead before is let go."""
        self._ahead = []
        wanted = joined(extents)
        with ThreadPoolExecutor(PIECES_AT_ONCE, thread_name_prefix="reading") as pool:
            self._ahead = list(pool.map(lambda extent: (extent[0], self._found.read(*extent)), wanted))

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        origin = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._found.length}[whence]
        self._position = origin + offset
        return self._position

    def tell(self) -> int:
        return self._position

    def read(self, size: int = -1) -> bytes:
        content = self._content(self._position, self._found.length if size < 0 else size)
        self._position += len(content)
        return content

    def _content(self, start: int, length: int) -> bytes:
        for first, ahead in self._ahead:
            if first <= start and start + length <= first + len(ahead):
                return ahead[start - first : start - first + length]
        return self._found.read(start, length)


def joined(extents: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Ranges (first byte, length) that lie near each other as one."""
    made: list[tuple[int, int]] = []
    for start, length in sorted(extents):
        if made:
            first, have = made[-1]
            end = max(first + have, start + length)
            if start - (first + have) <= HOLE and end - first <= LONGEST:
                made[-1] = first, end - first
                continue
        made.append((start, length))
    return made


class _OneObject(fs.FileSystemHandler):  # type: ignore[misc]
    """What Arrow asks of a file system, of which one thing is offered: to open the object."""

    def __init__(self, found: RangedObject) -> None:
        self._found = found

    def get_type_name(self) -> str:
        return "lake-object"

    def normalize_path(self, path: str) -> str:
        return path

    def open_input_file(self, path: str) -> pa.NativeFile:
        if path != self._found.key:
            raise FileNotFoundError
        return pa.PythonFile(Opened(self._found), mode="r")

    def open_input_stream(self, path: str) -> pa.NativeFile:
        return self.open_input_file(path)

    def get_file_info(self, paths: list[str]) -> list[fs.FileInfo]:
        found = self._found
        return [
            fs.FileInfo(path, fs.FileType.File, size=found.length)
            if path == found.key
            else fs.FileInfo(path, fs.FileType.NotFound)
            for path in paths
        ]

    def _not_offered(self, *_: Any) -> NoReturn:
        raise NotImplementedError

    get_file_info_selector = create_dir = delete_dir = delete_dir_contents = _not_offered
    delete_root_dir_contents = delete_file = move = copy_file = _not_offered
    open_output_stream = open_append_stream = _not_offered
