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
from lake.collector.folder import sealing_context

_NAME = re.compile(r"(\d{12})-([0-9a-f]{32})(?:-(\d+))?\.(open|batch)")
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
    """A closed batch on the disk."""

    number: int
    lease: str
    rows: int
    file: Path
    size: int


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


def closed_file(folder: Path, number: int, lease: str, rows: int) -> Path:
    """Where a closed batch lies."""
    return folder / f"{number:012d}-{lease}-{rows}.batch"


def named(file: Path) -> tuple[int, str, int | None] | None:
    """Number, lease and events of a batch by its file's name, no number of events if it is open; None if it is none."""
    match = _NAME.fullmatch(file.name)
    if match is None or (match[3] is None) != (match[4] == "open"):
        return None
    return int(match[1]), match[2], None if match[3] is None else int(match[3])


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


def seal_batch(key: bytes, number: int, rows: int, *, header: Mapping[str, Any], state: bytes, body: bytes) -> bytes:
    """A closed batch with the state as it is after it."""
    head = compact({"header": header, "state": state.decode()})
    return envelope.seal(key, len(head).to_bytes(4, "big") + head + body, sealing_context("batch", number, rows))


def open_batch(key: bytes | None, stored: Stored) -> tuple[dict[str, Any], bytes, bytes]:
    """Header, body and the state after a closed batch.

    Raises:
        KeyIntegrityError: its key was destroyed, or the file was changed.
    """
    if key is None:
        raise KeyIntegrityError("the key of a batch was destroyed")
    plain = envelope.unseal(key, stored.file.read_bytes(), sealing_context("batch", stored.number, stored.rows))
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
