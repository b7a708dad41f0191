"""The files of a spool's batches: frames of the open one, a sealed whole of a closed one; docs/formats.md.

Everything is bound to where it stands: a frame or batch that was moved, swapped or changed does not open.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from keys import envelope
from keys.envelope import OVERHEAD
from keys.errors import KeyIntegrityError
from lake.collector.batches import Packed
from lake.collector.folder import replace_file, sealing_context

_NAME = re.compile(r"(\d{12})(?:\.([01]+))?-([0-9a-f]{32})(?:-(\d+))?\.(open|batch)")
_PREFIX = 8
"""Before each frame: its length, and how many events are in it; u32be each."""


@dataclass(slots=True)
class OpenBatch:
    """The batch that is being filled. ``lines`` are its events as they will be sent, ``size`` how long they are."""

    number: int
    lease: str
    header: dict[str, Any]
    file: Path
    descriptor: int
    length: int = 0
    frames: int = 0
    lines: list[str] = field(default_factory=list, repr=False)
    size: int = 0

    def write(self, key: bytes, plain: bytes, rows: int) -> bool:
        """Add a frame. False if it does not fit on the disk; what was written of it is cut off again."""
        blob = envelope.seal(key, plain, sealing_context("frame", self.number, self.frames, rows))
        frame = len(blob).to_bytes(4, "big") + rows.to_bytes(4, "big") + blob
        try:
            written = os.write(self.descriptor, frame)
        except OSError:
            written = 0
        if written < len(frame):
            os.ftruncate(self.descriptor, self.length)
            return False
        self.length += len(frame)
        self.frames += 1
        return True

    def add(self, row: Mapping[str, Any]) -> None:
        """Keep an event in memory too."""
        line = json.dumps(row, ensure_ascii=False, separators=(",", ":"))
        self.lines.append(line)
        self.size += len(line)


@dataclass(frozen=True, slots=True)
class Stored:
    """A closed batch on the disk.

    ``part`` is empty but for a part of a batch that was too large: a digit for each time that it was halved, 0 for the
    first half.
    """

    number: int
    part: str
    lease: str
    rows: int
    file: Path
    size: int

    @property
    def place(self) -> tuple[int, str]:
        """By which batches are in order."""
        return self.number, self.part

    @property
    def name(self) -> str:
        """What it is called in this spool."""
        return named_part(self.number, self.part)

    @property
    def context(self) -> bytes:
        """What it is bound to."""
        return batch_context(self.number, self.part, self.rows)

    def of(self, other: Stored) -> bool:
        """Whether it is a part of another."""
        return self.number == other.number and self.part != other.part and self.part.startswith(other.part)


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame as it was found; ``content`` is None if it does not open."""

    index: int
    rows: int
    content: dict[str, Any] | None = field(repr=False)


def create_open(folder: Path, number: int, lease: str, header: dict[str, Any]) -> OpenBatch:
    """A new file for a batch, empty."""
    file = folder / f"{number:012d}-{lease}.open"
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
    return OpenBatch(number, lease, header, file, os.open(file, flags, 0o600))


def named_part(number: int, part: str) -> str:
    """What a batch or a part of one is called."""
    return f"{number}.{part}" if part else str(number)


def batch_context(number: int, part: str, rows: int) -> bytes:
    """What a closed batch is bound to."""
    words = ("part", number, part, rows) if part else ("batch", number, rows)
    return sealing_context(*words)


def closed_file(folder: Path, number: int, part: str, lease: str, rows: int) -> Path:
    """Where a closed batch lies."""
    place = f"{number:012d}.{part}" if part else f"{number:012d}"
    return folder / f"{place}-{lease}-{rows}.batch"


def open_named(file: Path) -> tuple[int, str] | None:
    """Number and lease of an open batch by its file's name; None if it is none."""
    match = _NAME.fullmatch(file.name)
    if match is None or match[5] != "open" or match[2] or match[4]:
        return None
    return int(match[1]), match[3]


def stored(file: Path) -> Stored | None:
    """The closed batch in a file; None if it is none."""
    match = _NAME.fullmatch(file.name)
    if match is None or match[5] != "batch" or match[4] is None:
        return None
    return Stored(int(match[1]), match[2] or "", match[3], int(match[4]), file, file.stat().st_size)


def read_frames(content: bytes, key: bytes | None, number: int) -> Iterator[Frame]:
    """The frames of an open batch as far as they are whole."""
    place = index = 0
    while place + _PREFIX <= len(content):
        length, rows = (int.from_bytes(content[place + at : place + at + 4], "big") for at in (0, 4))
        end = place + _PREFIX + length
        if end > len(content) or length < OVERHEAD:
            return
        yield Frame(index, rows, _opened(content[place + _PREFIX : end], key, number, index, rows))
        place, index = end, index + 1


def is_torn(content: bytes) -> bool:
    """Whether half a frame stands at the end."""
    place = 0
    while place + _PREFIX <= len(content):
        end = place + _PREFIX + int.from_bytes(content[place : place + 4], "big")
        if end > len(content) or end < place + _PREFIX + OVERHEAD:
            break
        place = end
    return place < len(content)


def store(folder: Path, key: bytes, place: tuple[int, str], *, lease: str, packed: Packed, state: bytes) -> Stored:
    """Write a closed batch, with the state as it is after it, durably."""
    number, part = place
    head = compact({"header": packed.header, "state": state.decode()})
    plain = len(head).to_bytes(4, "big") + head + packed.body
    blob = envelope.seal(key, plain, batch_context(number, part, packed.rows))
    file = closed_file(folder, number, part, lease, packed.rows)
    replace_file(file, blob)
    return Stored(number, part, lease, packed.rows, file, len(blob))


def open_batch(key: bytes | None, stored: Stored) -> tuple[dict[str, Any], bytes, bytes]:
    """Header, body and the state after a closed batch.

    Raises:
        KeyIntegrityError: its key was destroyed, or the file was changed.
    """
    if key is None:
        raise KeyIntegrityError("the key of a batch was destroyed")
    plain = envelope.unseal(key, stored.file.read_bytes(), stored.context)
    cut = 4 + int.from_bytes(plain[:4], "big")
    head = json.loads(plain[4:cut])
    return head["header"], plain[cut:], head["state"].encode()


def compact(value: Any) -> bytes:
    """JSON without spaces."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def _opened(blob: bytes, key: bytes | None, number: int, index: int, rows: int) -> dict[str, Any] | None:
    if key is None:
        return None
    try:
        found: dict[str, Any] = json.loads(envelope.unseal(key, blob, sealing_context("frame", number, index, rows)))
    except KeyIntegrityError:
        return None
    return found
