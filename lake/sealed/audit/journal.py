"""The journal: the entries that no full bundle holds yet, in commits that each end with a signed head.

Must never treat an entry as recorded before a signed head follows it: a tail without one was never acknowledged.

A record is u32 length of the payload | u32 CRC-32 | u8 kind | payload, big-endian; the CRC covers all but itself.
"""

from __future__ import annotations

import os
import struct
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING
from zlib import crc32

from lake.sealed.audit.files import write_all, write_durable

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

JOURNAL = "journal.wal"
_ENTRY = 1
_HEAD = 2
_RECORD = struct.Struct(">IIB")
_SUMMED = struct.Struct(">IB")


@dataclass(frozen=True, slots=True)
class Commit:
    """Entries that became durable together, and the signed note of the log that ends with them.

    `end` is the offset of the byte behind the commit, counted from where reading began.
    """

    entries: tuple[bytes, ...]
    note: str
    end: int


def encode_commit(entries: Sequence[bytes], note: str) -> bytes:
    """The records of one commit."""
    return b"".join([*(_record(_ENTRY, entry) for entry in entries), _record(_HEAD, note.encode())])


def read_commits(data: bytes) -> list[Commit]:
    """The whole commits at the start of `data`; reading stops at the first record that is cut off or altered."""
    commits: list[Commit] = []
    entries: list[bytes] = []
    offset = 0
    while (record := _record_at(data, offset)) is not None:
        kind, payload, offset = record
        if kind == _ENTRY:
            entries.append(payload)
            continue
        try:
            note = payload.decode()
        except UnicodeDecodeError:
            break
        commits.append(Commit(tuple(entries), note, offset))
        entries = []
    return commits


def heads_within(tail: bytes, origin: str) -> Iterator[str]:
    """The notes of undamaged head records anywhere in `tail`, which tell altered records from a commit cut off."""
    start = f"{origin}\n".encode()
    found = tail.find(start)
    while found >= 0:
        record = _record_at(tail, found - _RECORD.size) if found >= _RECORD.size else None
        if record is not None and record[0] == _HEAD:
            yield record[1].decode(errors="replace")
        found = tail.find(start, found + 1)


class Journal:
    """The journal file, open. Writing needs the exclusive lock, reading the shared one.

    Attributes:
        end: the offset behind the last commit that the reader has taken in.
    """

    def __init__(self, root: Path, *, writable: bool) -> None:
        self._path = root / JOURNAL
        self._fd = os.open(self._path, (os.O_RDWR | os.O_APPEND) if writable else os.O_RDONLY)
        self.end = 0

    def is_current(self) -> bool:
        """Whether the path still names this file; the open file keeps its inode from being used again."""
        named, ours = self._path.stat(), os.fstat(self._fd)
        return (named.st_dev, named.st_ino) == (ours.st_dev, ours.st_ino)

    def length(self) -> int:
        """The file's size in bytes."""
        return os.fstat(self._fd).st_size

    def unread(self) -> bytes:
        """The bytes behind `end`, made durable first: whatever is seen must outlive a crash of who wrote it."""
        if self.length() == self.end:
            return b""
        os.fdatasync(self._fd)
        parts = []
        offset = self.end
        while part := os.pread(self._fd, self.length() - offset, offset):
            parts.append(part)
            offset += len(part)
        return b"".join(parts)

    def append(self, data: bytes) -> None:
        """Adds encoded commits; they are on disk when this returns. `end` is for the caller to move."""
        write_all(self._fd, data)
        sys.audit("lake.step", "audit.journal-written")
        os.fdatasync(self._fd)
        sys.audit("lake.step", "audit.journal-synced")

    def cut_tail(self) -> None:
        """Removes what follows the last commit."""
        if self.length() > self.end:
            os.ftruncate(self._fd, self.end)
            os.fsync(self._fd)

    def close(self) -> None:
        """Closes the file; harmless when repeated."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def write_journal(root: Path, entries: Sequence[bytes], note: str) -> None:
    """Replaces the journal by one that holds a single commit."""
    write_durable(root, JOURNAL, encode_commit(entries, note))


def _record(kind: int, payload: bytes) -> bytes:
    return _RECORD.pack(len(payload), _checksum(kind, payload), kind) + payload


def _record_at(data: bytes, offset: int) -> tuple[int, bytes, int] | None:
    """Kind, payload and the offset behind the record, or None when no intact record starts there."""
    start = offset + _RECORD.size
    if start > len(data):
        return None
    length, checksum, kind = _RECORD.unpack_from(data, offset)
    payload = data[start : start + length]
    if len(payload) != length or kind not in (_ENTRY, _HEAD) or _checksum(kind, payload) != checksum:
        return None
    return kind, payload, start + length


def _checksum(kind: int, payload: bytes) -> int:
    return crc32(payload, crc32(_SUMMED.pack(len(payload), kind)))
