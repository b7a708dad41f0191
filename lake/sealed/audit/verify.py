"""Verification of a whole log: every hash is recomputed from the entries, and every stored file is compared.

Must never write, and never accept a file that it did not check.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from lake.errors import AuditUnavailableError, IntegrityError
from lake.sealed.audit.checkpoint import open_checkpoint
from lake.sealed.audit.files import locked
from lake.sealed.audit.journal import JOURNAL, read_commits
from lake.sealed.audit.merkle import HASH_SIZE, Frontier, leaf_hash, tree_hash
from lake.sealed.audit.publish import CHECKPOINT, read_published
from lake.sealed.audit.tiles import (
    TILE_HEIGHT,
    TILE_WIDTH,
    decode_bundle,
    encode_bundle,
    parse_tile_path,
    partial_tiles,
    read_stored,
    tile_path,
)

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from lake.sealed.audit.checkpoint import NoteOpener
    from lake.sealed.audit.journal import Commit

_HINT = "restore the file from a copy, and compare with held receipts"


@dataclass(frozen=True, slots=True)
class VerifyReport:
    """What was verified.

    Attributes:
        size: entries in the log.
        root: the 32-byte root over them.
        published: entries that the published checkpoint covers.
        heads: signed heads in the journal.
        files: bundles and tiles, full and partial, that were compared.
    """

    size: int
    root: bytes
    published: int
    heads: int
    files: int


def verify(root: Path, origin: str, opener: NoteOpener) -> VerifyReport:
    """Recomputes the log at `root` from its entries; appending waits meanwhile.

    A log cut back to an earlier signed state with all its files agreeing can only be noticed with a receipt or a
    checkpoint that is kept elsewhere.

    Raises:
        IntegrityError: a file was altered, cut, removed or added; names the file and the index. So does a commit that
            a crash cut off, until the log is opened for appending.
        AuditUnavailableError: the files cannot be read.
    """
    try:
        with locked(root, exclusive=False):
            return _Verification(root, origin, opener).run()
    except OSError:
        raise AuditUnavailableError("the audit log cannot be read", hint="check the folder and permissions") from None


class _Verification:
    """One pass over a log, with at most one tile of each level in memory."""

    def __init__(self, root: Path, origin: str, opener: NoteOpener) -> None:
        self._root = root
        self._origin = origin
        self._opener = opener
        self._frontier = Frontier()
        self._levels: list[list[bytes]] = [[]]
        self._entries: list[bytes] = []
        self._base = 0
        self._files = 0

    def run(self) -> VerifyReport:
        commits = self._read_journal()
        note = read_published(self._root)
        published = open_checkpoint(note, self._origin, self._opener, source=CHECKPOINT)
        published_root = self._frontier.root() if published.size == 0 else b""
        for index in range(self._base // TILE_WIDTH):
            name = tile_path(None, index)
            for entry in decode_bundle(read_stored(self._root, name), name):
                self._add(entry)
                if self._frontier.size == published.size:
                    published_root = self._frontier.root()
        for commit in commits:
            for entry in commit.entries:
                self._add(entry)
                if self._frontier.size == published.size:
                    published_root = self._frontier.root()
            self._check_head(commit)
        self._check_unfinished()
        if published_root != published.root:
            raise _wrong(CHECKPOINT, f"the entries before index {published.size} do not have its root")
        self._check_present(published.size)
        self._check_strays()
        size = self._frontier.size
        return VerifyReport(size, self._frontier.root(), published.size, len(commits), self._files)

    def _read_journal(self) -> list[Commit]:
        data = read_stored(self._root, JOURNAL)
        commits = read_commits(data)
        if not commits:
            raise _wrong(JOURNAL, "no signed head")
        first = open_checkpoint(commits[0].note, self._origin, self._opener, source=JOURNAL)
        self._base = first.size - len(commits[0].entries)
        if self._base < 0 or self._base % TILE_WIDTH:
            raise _wrong(JOURNAL, "does not continue the full bundles")
        if commits[-1].end != len(data):
            index = self._base + sum(len(commit.entries) for commit in commits)
            raise _wrong(JOURNAL, f"damaged or cut off behind index {index}")
        return commits

    def _check_head(self, commit: Commit) -> None:
        head = open_checkpoint(commit.note, self._origin, self._opener, source=JOURNAL)
        if (head.size, head.root) != (self._frontier.size, self._frontier.root()):
            raise _wrong(JOURNAL, f"the entries before index {self._frontier.size} do not match their signed head")

    def _add(self, entry: bytes) -> None:
        leaf = leaf_hash(entry)
        self._frontier.push(leaf)
        self._entries.append(entry)
        self._levels[0].append(leaf)
        level = 0
        while len(self._levels[level]) == TILE_WIDTH:
            index = (self._frontier.size >> TILE_HEIGHT * (level + 1)) - 1
            self._check_tile(level, index)
            if level + 1 == len(self._levels):
                self._levels.append([])
            self._levels[level + 1].append(tree_hash(self._levels[level]))
            self._levels[level] = []
            if level == 0:
                self._entries = []
            level += 1

    def _check_unfinished(self) -> None:
        for level, hashes in enumerate(self._levels):
            if hashes:
                self._check_tile(level, self._frontier.size >> TILE_HEIGHT * (level + 1))

    def _check_tile(self, level: int, index: int) -> None:
        """Compares the stored forms of a tile, and at level 0 of its bundle, with what was computed."""
        if level == 0:
            sizes = [len(entry) for entry in self._entries]
            self._check_forms(None, index, encode_bundle(self._entries), sizes)
        hashes = self._levels[level]
        self._check_forms(level, index, b"".join(hashes), [HASH_SIZE] * len(hashes))

    def _check_forms(self, level: int | None, index: int, content: bytes, sizes: Sequence[int]) -> None:
        """Compares the full file, which must exist below the journal's base, and every partial one."""
        full = tile_path(level, index)
        end = (index + 1) << TILE_HEIGHT * ((level or 0) + 1)
        if end <= self._base or (len(sizes) == TILE_WIDTH and (self._root / full).exists()):
            self._compare(full, level, index, content, sizes)
        folder = self._root / f"{full}.p"
        if not folder.is_dir():
            return
        for width in sorted(_width(path) for path in folder.iterdir()):
            name = tile_path(level, index, width)
            if not 0 < width <= len(sizes):
                raise _wrong(f"{full}.p", "a file that is no partial tile of this log")
            extra = 0 if level is not None else 2 * width
            self._compare(name, level, index, content[: sum(sizes[:width]) + extra], sizes)

    def _compare(self, name: str, level: int | None, index: int, expected: bytes, sizes: Sequence[int]) -> None:
        self._files += 1
        stored = read_stored(self._root, name)
        if stored == expected:
            return
        pairs = enumerate(zip(stored, expected, strict=False))
        at = next((at for at, (one, other) in pairs if one != other), min(len(stored), len(expected)))
        position = 0
        for size in sizes:
            at -= size + (2 if level is None else 0)
            if at < 0:
                break
            position += 1
        first = index * TILE_WIDTH + min(position, len(sizes) - 1)
        raise _wrong(name, f"does not match the entries from index {first << TILE_HEIGHT * (level or 0)}")

    def _check_present(self, published: int) -> None:
        """Requires the partial tiles of the published size, unless their full tile has taken their place."""
        for level, index, width in partial_tiles(published):
            names = [tile_path(level, index, width)]
            if level == 0:
                names.append(tile_path(None, index, width))
            if (index + 1) << TILE_HEIGHT * (level + 1) > self._base:
                for name in names:
                    read_stored(self._root, name)

    def _check_strays(self) -> None:
        """Refuses files among the tiles that no check has looked at."""
        for path in (self._root / "tile").rglob("*"):
            if path.is_dir():
                continue
            name = path.relative_to(self._root).as_posix()
            parsed = parse_tile_path(name)
            if parsed is None:
                raise _wrong(name, "not a tile of this log")
            level, index, width = parsed
            if (index * TILE_WIDTH + width) << TILE_HEIGHT * (level or 0) > self._frontier.size:
                raise _wrong(name, f"behind the log's last index {self._frontier.size - 1}")


def _width(path: Path) -> int:
    return int(path.name) if path.name.isascii() and path.name.isdigit() else 0


def _wrong(name: str, what: str) -> IntegrityError:
    return IntegrityError(f"{name}: {what}", hint=_HINT)
