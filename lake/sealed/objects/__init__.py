"""Where ciphertext lies: one interface, one file per kind of store. Stores are not trusted; the catalog decides."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from typing import Protocol


@dataclass(frozen=True, slots=True)
class StoredObject:
    """An object as the store lists it; ``age`` in seconds since it was last written."""

    key: str
    length: int
    age: float


@dataclass(frozen=True, slots=True)
class Upload:
    """An object that was begun in parts and not finished; ``age`` in seconds since then."""

    key: str
    id: str
    age: float


@dataclass(frozen=True, slots=True)
class Part:
    """Some bytes of an object, as many of those asked for as there are, and the length of the whole."""

    content: bytes = field(repr=False)
    total: int


@dataclass(frozen=True, slots=True)
class Location:
    """How the reading side reaches the objects: the kind of file system, and the root below which the keys lie.

    Attributes:
        part: reads a part of an object, where there is no file to open; see ``ObjectStore.part``. It holds the
            connection and whatever credentials there are, and shows none.
    """

    kind: str
    root: str
    part: Callable[[str, int, int], Part] | None = field(default=None, repr=False, compare=False)


class ObjectStore(Protocol):
    """Objects are written once under unique names and never changed."""

    def location(self) -> Location:
        """Where readers find the objects."""

    def put(self, key: str, content: memoryview) -> None:
        """Write a new object; an existing one is never overwritten."""

    def settle(self, keys: Collection[str]) -> None:
        """Return when these objects would survive a crash of the machine."""

    def read(self, key: str) -> bytes:
        """The whole object; IntegrityError if it is gone."""

    def part(self, key: str, start: int, length: int) -> Part:
        """Some bytes of the object; IntegrityError if it is gone."""

    def length(self, key: str) -> int | None:
        """Bytes of the object, or None if there is none."""

    def list(self) -> Iterator[StoredObject]:
        """Every object below the data folder."""

    def delete(self, key: str) -> None:
        """Remove an object; a missing one is no error."""

    def unfinished(self) -> Iterator[Upload]:
        """Every upload that was begun below the data folder and neither finished nor given up."""

    def abort(self, upload: Upload) -> None:
        """Give an upload up; one that is gone is no error."""

    def close(self) -> None:
        """Give everything back."""
