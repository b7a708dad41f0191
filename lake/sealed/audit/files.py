"""Files that survive a crash: whole or absent, with their directories, and the lock that processes share.

Must never swallow an OSError: what a failed write means is for the caller to say.
"""

from __future__ import annotations

import fcntl
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LOCK = "lock"
# One name is enough, as only the holder of the exclusive lock writes; what a crash leaves of it is overwritten.
_UNFINISHED = ".new"


@contextmanager
def locked(root: Path, *, exclusive: bool) -> Iterator[None]:
    """Holds the lock of the log at `root`, waiting for other processes and threads; shared is enough to read."""
    fd = os.open(root / LOCK, os.O_RDWR if exclusive else os.O_RDONLY)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH)
        yield
    finally:
        os.close(fd)


def write_all(fd: int, data: bytes) -> None:
    """Writes every byte."""
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(fd, rest) :]


def write_durable(root: Path, name: str, data: bytes) -> None:
    """Creates or replaces the file `name` under `root`; it and its directories are on disk when this returns.

    Needs the exclusive lock. A reader sees the old file or the new one, never a part.
    """
    target = root / name
    _make_directories(root, target.parent)
    unfinished = root / _UNFINISHED
    fd = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    try:
        write_all(fd, data)
        os.fsync(fd)
    finally:
        os.close(fd)
    unfinished.replace(target)
    sync_directory(target.parent)


def sync_directory(path: Path) -> None:
    """Puts the directory's entries on disk."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _make_directories(root: Path, path: Path) -> None:
    if path == root or path.is_dir():
        return
    _make_directories(root, path.parent)
    path.mkdir(exist_ok=True)
    sync_directory(path.parent)
