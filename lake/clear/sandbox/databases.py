"""Databases of this process, each for one query at a time: opening one takes longer than a small query.

One is used again only after a query that went to its end, and only with the same settings; a query has a connection of
its own, whose tables and views go with it. Images are shown through slots: descriptors whose paths the database was
told when it was opened, and the only ones that it may ever open.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Protocol

import duckdb

SLOTS = 8
"""Images that a database is shown, one after the other: it remembers a footer by its path, so no slot has two."""
IDLE = 2
_LOCKED_DOWN: dict[str, Any] = {
    "enable_external_access": "false",
    "python_enable_replacements": "false",
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
    "allow_community_extensions": "false",
    "temp_directory": "",
    "max_temp_directory_size": "0B",
    "async_threads": 0,  # they read files, of which there are none
}


def opened(paths: Sequence[str] = ()) -> duckdb.DuckDBPyConnection:
    """An empty database that reaches nothing outside itself but these files, with no thread of its own yet."""
    # DuckDB takes the paths only of a database that is open, and only before it is closed to others.
    config = {**_LOCKED_DOWN, "threads": 1} | ({"enable_external_access": "true"} if paths else {})
    connection = duckdb.connect(":memory:", config=config)
    if paths:
        connection.execute(f"SET allowed_paths = [{', '.join(map(quoted, paths))}]").fetchall()
        connection.execute("SET enable_external_access = false").fetchall()
        connection.execute("SET enable_external_file_cache = false").fetchall()  # it would copy what is in memory
        connection.execute("SET parquet_metadata_cache = true").fetchall()
    connection.execute("SET GLOBAL TimeZone = 'UTC'").fetchall()
    # It would be drawn on stdout, into the result; cursors have none.
    connection.execute("SET enable_progress_bar = false").fetchall()
    return connection


def settled(connection: duckdb.DuckDBPyConnection, threads: int, memory: int) -> None:
    """Give it threads and memory (bytes, 0 for the engine's default), and no setting changes after that."""
    connection.execute(f"SET threads = {int(threads)}").fetchall()
    if memory:
        connection.execute(f"SET memory_limit = '{int(memory)}B'").fetchall()
    connection.execute("SET lock_configuration = true").fetchall()


def quoted(text: str) -> str:
    """A text as SQL has it."""
    return "'" + text.replace("'", "''") + "'"


class Descriptor(Protocol):
    """What can be shown: a file in memory."""

    @property
    def descriptor(self) -> int:
        """Of this process, open as long as this is referred to."""


class Database:
    """An empty database that reaches nothing but what is in its slots.

    Args:
        settings: threads and bytes of memory; see ``settled``.
    """

    def __init__(self, settings: tuple[int, int], slots: int) -> None:
        self.settings = settings
        self._free: list[int] = []
        with suppress(OSError):  # without memory or descriptors there are no images either
            self._free.extend(_nothing() for _ in range(slots))
        weakref.finalize(self, _close, tuple(self._free))
        self._shown: weakref.WeakKeyDictionary[Descriptor, int] = weakref.WeakKeyDictionary()
        self._connection = opened([_path(slot) for slot in self._free])
        settled(self._connection, *settings)

    @property
    def free(self) -> int:
        """Images that it may still be shown."""
        return len(self._free)

    def cursor(self) -> duckdb.DuckDBPyConnection:
        """A connection for one query."""
        return self._connection.cursor()

    def path(self, image: Descriptor) -> str:
        """Where it finds an image; one that it was not shown yet takes a slot, which is emptied when the image goes."""
        slot = self._shown.get(image)
        if slot is None:
            slot = self._shown[image] = self._free.pop()
            os.dup2(image.descriptor, slot, inheritable=False)
            weakref.finalize(image, _emptied, weakref.ref(self), slot)
        return _path(slot)

    def close(self) -> None:
        """It is not used again."""
        with suppress(duckdb.Error):
            self._connection.close()


_LEFT_BEHIND: list[Database] = []
"""Of the process that this one was forked from."""


class Databases:
    """Those that rest. Safe for many threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._resting: list[Database] = []
        self._process = os.getpid()

    def take(self, threads: int, memory: int, images: int = 0) -> Database:
        """One with these settings that can be shown so many more images."""
        with self._lock:
            if self._process != os.getpid():
                # Their threads have stayed behind: who closes one waits for them for ever.
                _LEFT_BEHIND.extend(self._resting)
                self._resting, self._process = [], os.getpid()
            for found in [one for one in self._resting if one.settings == (threads, memory)]:
                self._resting.remove(found)
                if found.free >= images:
                    return found
                found.close()
        return Database((threads, memory), max(SLOTS, images))

    def done(self, database: Database, *, again: bool) -> None:
        """A query is over; the database rests if it may be used again."""
        with self._lock:
            if again and len(self._resting) < IDLE:
                self._resting.append(database)
                return
        database.close()


def _path(slot: int) -> str:
    return f"/proc/self/fd/{slot}"


def _nothing() -> int:
    """A file in memory, as DuckDB would follow the link to any other and allow what it leads to."""
    return os.memfd_create("nothing", os.MFD_CLOEXEC)


def _emptied(owner: weakref.ref[Database], slot: int) -> None:
    """The image's memory goes when nothing else holds it; the number stays taken as long as its database is there."""
    if owner() is not None:
        nothing = _nothing()
        os.dup2(nothing, slot, inheritable=False)
        os.close(nothing)


def _close(slots: Sequence[int]) -> None:
    for slot in slots:
        os.close(slot)
