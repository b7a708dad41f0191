"""The static files of C2SP tlog-tiles: hash tiles and entry bundles of 256, and the tree that reads them.

Must never be trusted by themselves: whoever reads a hash here checks that it leads to a signed root.
"""

from __future__ import annotations

import re
import struct
import sys
from functools import lru_cache
from typing import TYPE_CHECKING

from lake.errors import IntegrityError
from lake.sealed.audit.files import write_durable
from lake.sealed.audit.merkle import HASH_SIZE, Frontier, leaf_hash, node_hash, peaks, range_hash, tree_hash

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

TILE_WIDTH = 256
TILE_HEIGHT = 8
MAX_ENTRY_SIZE = 65_535
_LENGTH = struct.Struct(">H")
_PATH = re.compile(r"tile/(entries|[0-9]{1,2})/((?:x[0-9]{3}/)*[0-9]{3})(?:\.p/([0-9]{1,3}))?")


def tile_path(level: int | None, index: int, width: int = TILE_WIDTH) -> str:
    """The path of a tile under the log's root; level None is the entry bundles."""
    last, rest = f"{index % 1000:03}", index // 1000
    while rest:
        last, rest = f"x{rest % 1000:03}/{last}", rest // 1000
    partial = f".p/{width}" if width < TILE_WIDTH else ""
    return f"tile/{'entries' if level is None else level}/{last}{partial}"


def parse_tile_path(path: str) -> tuple[int | None, int, int] | None:
    """Level, index and width of a tile's path, or None when `tile_path` would not make it."""
    match = _PATH.fullmatch(path)
    if match is None:
        return None
    level = None if match[1] == "entries" else int(match[1])
    width = TILE_WIDTH if match[3] is None else int(match[3])
    index = int(match[2].replace("x", "").replace("/", ""))
    return (level, index, width) if width and tile_path(level, index, width) == path else None


def partial_tiles(size: int) -> Iterator[tuple[int, int, int]]:
    """Level, index and width of each partial hash tile of a tree of `size` leaves."""
    for level in range(tile_levels(size)):
        index, width = divmod(size >> TILE_HEIGHT * level, TILE_WIDTH)
        if width:
            yield level, index, width


def tile_levels(size: int) -> int:
    """How many levels of tiles a tree of `size` leaves has."""
    return -(-size.bit_length() // TILE_HEIGHT)


def encode_bundle(entries: Sequence[bytes]) -> bytes:
    """Entries of 1 to 65,535 bytes, each behind its length as u16 big-endian."""
    return b"".join(_LENGTH.pack(len(entry)) + entry for entry in entries)


def decode_bundle(data: bytes, name: str) -> list[bytes]:
    """The 256 entries of a full bundle; `name` is the file to name when it is not one."""
    entries = []
    offset = 0
    while offset < len(data):
        start = offset + _LENGTH.size
        offset = start + (_LENGTH.unpack_from(data, offset)[0] if start <= len(data) else 0)
        entries.append(data[start:offset])
    if offset != len(data) or len(entries) != TILE_WIDTH or not all(entries):
        raise IntegrityError(f"{name}: not a bundle of {TILE_WIDTH} entries", hint="restore the file from a copy")
    return entries


def read_stored(root: Path, name: str) -> bytes:
    """The bytes of a file that the log must have.

    Raises:
        IntegrityError: the file is missing.
        OSError: it cannot be read.
    """
    try:
        return (root / name).read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        raise IntegrityError(f"{name}: the file is missing", hint="restore the file from a copy") from None


class Tree:
    """The log's tree: `base` leaves in full tiles on disk, and the entries behind them in memory.

    Hashes of complete subtrees never change, so those that were read or computed are kept (least recently used go).
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self.node = lru_cache(maxsize=16_384)(self._node)
        self._tile = lru_cache(maxsize=64)(self._read_tile)
        self.base = 0
        self.entries: list[bytes] = []
        self._leaves: list[bytes] = []
        self._frontier = Frontier()

    @property
    def size(self) -> int:
        """The number of leaves."""
        return self._frontier.size

    def root(self, size: int | None = None) -> bytes:
        """The root of the first `size` leaves (default: all)."""
        if size is None or size == self.size:
            return self._frontier.root()
        return range_hash(0, size, self.node)

    def restart(self, base: int) -> None:
        """Forgets the entries in memory and stands at the first `base` leaves, a multiple of 256, all on disk."""
        before, self.base = self.base, base
        try:
            frontier = Frontier(base, [self.node(level, index) for level, index in peaks(0, base)])
        except BaseException:
            self.base = before
            raise
        self.entries, self._leaves, self._frontier = [], [], frontier

    def preview(self, entries: Sequence[bytes]) -> Frontier:
        """The frontier as it will be once `entries` are appended."""
        frontier = self._frontier.copy()
        for entry in entries:
            frontier.push(leaf_hash(entry))
        return frontier

    def extend(self, entries: Sequence[bytes]) -> None:
        """Appends entries in memory."""
        leaves = [leaf_hash(entry) for entry in entries]
        frontier = self._frontier.copy()
        for leaf in leaves:
            frontier.push(leaf)
        self.entries, self._leaves, self._frontier = [*self.entries, *entries], self._leaves + leaves, frontier

    def store_full(self) -> None:
        """Writes every full bundle and tile that the entries in memory complete; `rebase` then forgets these entries.

        Needs the exclusive lock. Writing them again after a crash gives the same files.
        """
        for index in range(self.base // TILE_WIDTH, self.size // TILE_WIDTH):
            start = index * TILE_WIDTH - self.base
            self._store(None, index, encode_bundle(self.entries[start : start + TILE_WIDTH]))
            self._store(0, index, b"".join(self._leaves[start : start + TILE_WIDTH]))
            level = 1
            while (index + 1) % (1 << TILE_HEIGHT * level) == 0:
                above = index >> TILE_HEIGHT * level
                self._store(level, above, self.hashes(level, above, TILE_WIDTH))
                level += 1

    def rebase(self) -> None:
        """Drops the entries that full bundles on disk hold."""
        full = self.size // TILE_WIDTH * TILE_WIDTH
        gone = full - self.base
        self.base, self.entries, self._leaves = full, self.entries[gone:], self._leaves[gone:]

    def hashes(self, level: int, index: int, width: int) -> bytes:
        """The content of the hash tile with its first `width` hashes."""
        first = index * TILE_WIDTH
        return b"".join(self.node(level * TILE_HEIGHT, position) for position in range(first, first + width))

    def _store(self, level: int | None, index: int, data: bytes) -> None:
        write_durable(self._root, tile_path(level, index), data)
        sys.audit("lake.step", "audit.tile-written")

    def _node(self, level: int, index: int) -> bytes:
        """The hash of a complete subtree: from the full tile that has it, else from memory, else from its halves."""
        tile_level, inner = divmod(level, TILE_HEIGHT)
        tile, offset = divmod(index << inner, TILE_WIDTH)
        if (tile + 1) << TILE_HEIGHT * (tile_level + 1) <= self.base:
            data = self._tile(tile_level, tile)
            chosen = range(offset * HASH_SIZE, (offset + (1 << inner)) * HASH_SIZE, HASH_SIZE)
            return tree_hash(data[at : at + HASH_SIZE] for at in chosen)
        if level:
            return node_hash(self.node(level - 1, 2 * index), self.node(level - 1, 2 * index + 1))
        return self._leaves[index - self.base]

    def _read_tile(self, level: int, index: int) -> bytes:
        name = tile_path(level, index)
        data = read_stored(self._root, name)
        if len(data) != TILE_WIDTH * HASH_SIZE:
            raise IntegrityError(f"{name}: not {TILE_WIDTH} hashes", hint="restore the file from a copy")
        return data
