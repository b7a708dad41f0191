"""Search every byte below a folder for texts that must not be there: as they are, encoded, and inside compressed data.

python examples/scan_for_plaintext.py FOLDER < needles.txt     (one text a line)
"""

from __future__ import annotations

import base64
import os
import sys
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

MAX_UNPACKED = 64 * 1024 * 1024
FEED = 4096
CHUNK = 4 * 1024 * 1024
BUCKETS = 1 << 20


@dataclass(frozen=True, slots=True)
class Hit:
    """A needle found: where, and in what form."""

    file: str
    needle: str
    form: str


@dataclass(frozen=True, slots=True)
class ScanResult:
    """What a search looked at and what it found."""

    files: int
    bytes: int
    unpacked: int
    needles: int
    hits: tuple[Hit, ...]


def forms(needle: str) -> Iterator[tuple[str, bytes]]:
    """The byte strings under which a text could lie on disk."""
    raw = needle.encode()
    yield "UTF-8", raw
    yield "UTF-16LE", needle.encode("utf-16-le")
    yield "UTF-16BE", needle.encode("utf-16-be")
    yield "hexadecimal", raw.hex().encode()
    yield "HEXADECIMAL", raw.hex().upper().encode()
    for shift in range(3):
        # Inside a longer text, base64 looks different at each of three alignments; its ends mix with the neighbours.
        encoded = base64.b64encode(b"\0" * shift + raw)
        start = {0: 0, 1: 2, 2: 3}[shift]
        end = len(encoded) - {0: 0, 1: 3, 2: 2}[(shift + len(raw)) % 3]
        middle = encoded[start:end]
        if len(middle) >= 8:
            yield "base64", middle
            yield "base64url", middle.replace(b"+", b"-").replace(b"/", b"_")


def unpacked(content: bytes) -> Iterator[bytes]:
    """Whatever gzip, zlib or zstd streams stand in the bytes, unpacked as far as they go."""
    view = memoryview(content)
    for magic in (b"\x1f\x8b\x08", b"\x78\x01", b"\x78\x5e", b"\x78\x9c", b"\x78\xda"):
        for at in _places(content, magic):
            text = _inflated(view[at:])
            if len(text) > 16:
                yield text
    for at in _places(content, b"\x28\xb5\x2f\xfd"):
        yield _read_zstd(view[at:])


def _inflated(stream: memoryview) -> bytes:
    """What comes out of a gzip or zlib stream before it ends or breaks."""
    unpacker = zlib.decompressobj(wbits=47)
    parts: list[bytes] = []
    size = 0
    try:
        for start in range(0, len(stream), FEED):
            parts.append(unpacker.decompress(stream[start : start + FEED], MAX_UNPACKED - size))
            size += len(parts[-1])
            if unpacker.eof or size >= MAX_UNPACKED:
                break
    except zlib.error:
        pass
    return b"".join(parts)


def _read_zstd(stream: memoryview) -> bytes:
    """What comes out of a zstd stream before it ends or breaks."""
    unpacker = pa.CompressedInputStream(pa.BufferReader(pa.py_buffer(stream)), "zstd")
    parts: list[bytes] = []
    size = 0
    try:
        while size < MAX_UNPACKED and (part := unpacker.read(FEED)):
            parts.append(part)
            size += len(part)
    except (OSError, pa.ArrowException):
        pass
    return b"".join(parts)


def _places(content: bytes, magic: bytes) -> Iterator[int]:
    at = content.find(magic)
    while at >= 0:
        yield at
        at = content.find(magic, at + 1)


class Matcher:
    """Finds many byte strings in one pass: a table of their first four bytes, then a comparison at each candidate."""

    def __init__(self, patterns: Iterable[tuple[str, str, bytes]]) -> None:
        self._patterns: dict[bytes, list[tuple[str, str, bytes]]] = {}
        for needle, form, pattern in patterns:
            self._patterns.setdefault(pattern[:4], []).append((needle, form, pattern))
        self._longest = max((len(p) for group in self._patterns.values() for _, _, p in group), default=4)
        self._table = np.zeros(BUCKETS, dtype=bool)
        self._table[self._slots(np.frombuffer(b"".join(self._patterns), dtype="<u4"))] = True

    @staticmethod
    def _slots(words: NDArray[np.uint32]) -> NDArray[np.uint32]:
        return (words * np.uint32(2654435761)) >> np.uint32(12)

    def find(self, content: bytes) -> set[tuple[str, str]]:
        """(needle, form) of everything found."""
        found: set[tuple[str, str]] = set()
        for start in range(0, len(content), CHUNK):
            piece = content[start : start + CHUNK + self._longest]
            if len(piece) >= 4:
                data = np.frombuffer(piece, dtype=np.uint8).astype(np.uint32)
                words = data[:-3] | data[1:-2] << 8 | data[2:-1] << 16 | data[3:] << 24
                for at in np.flatnonzero(self._table[self._slots(words)]).tolist():
                    for needle, form, pattern in self._patterns.get(piece[at : at + 4], ()):
                        if piece.startswith(pattern, at):
                            found.add((needle, form))
        return found


def scan(folder: Path, needles: Iterable[str]) -> ScanResult:
    """Search every file below ``folder``, and every name of a file.

    Raises:
        ValueError: a text is shorter than 4 bytes: it would be found by chance, or not at all.
    """
    wanted = sorted(set(needles))
    if any(len(needle.encode()) < 4 for needle in wanted):
        raise ValueError("texts to look for have at least 4 bytes")
    matcher = Matcher((needle, form, pattern) for needle in wanted for form, pattern in forms(needle))
    hits: list[Hit] = []
    files = size = inside = 0
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        files += 1
        content = path.read_bytes()
        size += len(content)
        name = path.relative_to(folder).as_posix()
        hits += [Hit(name, needle, form) for needle, form in sorted(matcher.find(content))]
        hits += [Hit(name, needle, f"name, {form}") for needle, form in sorted(matcher.find(os.fsencode(name)))]
        for text in unpacked(content):
            inside += len(text)
            hits += [Hit(name, needle, f"compressed {form}") for needle, form in sorted(matcher.find(text))]
    return ScanResult(files, size, inside, len(wanted), tuple(hits))


if __name__ == "__main__":
    result = scan(Path(sys.argv[1]), [line.strip() for line in sys.stdin if line.strip()])
    for hit in result.hits:
        print(f"{hit.file}: {hit.needle!r} as {hit.form}")
    print(f"{result.bytes:,} bytes in {result.files} files, {result.needles} texts, {len(result.hits)} found")
    sys.exit(1 if result.hits else 0)
