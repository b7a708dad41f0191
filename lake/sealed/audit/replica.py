"""One process's view of the log's files: the tree, kept level with the journal and checked against its signed heads.

Must never take in an entry that no signed head covers.
"""

from __future__ import annotations

import sys
from functools import lru_cache
from typing import TYPE_CHECKING

from lake.errors import IntegrityError
from lake.sealed.audit.checkpoint import open_checkpoint
from lake.sealed.audit.journal import JOURNAL, Journal, encode_commit, heads_within, read_commits, write_journal
from lake.sealed.audit.merkle import inclusion_path, leaf_hash, tree_hash
from lake.sealed.audit.proofs import verify_inclusion
from lake.sealed.audit.publish import CHECKPOINT, read_published
from lake.sealed.audit.tiles import TILE_HEIGHT, TILE_WIDTH, Tree, decode_bundle, read_stored, tile_path

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from lake.sealed.audit.checkpoint import NoteOpener
    from lake.sealed.audit.journal import Commit


class Replica:
    """The state of the log as far as it has been read. Not for several threads at once.

    Attributes:
        tree: the tree over all entries.
        note: the newest signed head.
        published: the size that the published checkpoint had when it was last looked at.
    """

    def __init__(self, root: Path, origin: str, opener: NoteOpener, *, writable: bool) -> None:
        self._root = root
        self._origin = origin
        self._opener = opener
        self._writable = writable
        self._journal = _open_journal(root, writable=writable)
        self._bundle = lru_cache(maxsize=8)(self._read_bundle)
        self._altered: IntegrityError | None = None
        self.tree = Tree(root)
        self.note = ""
        self.published = 0

    def is_level(self) -> bool:
        """Whether nothing was appended since the last refresh; needs no lock."""
        return self._altered is None and self._journal.is_current() and self._journal.length() == self._journal.end

    def append(self, entries: Sequence[bytes], note: str) -> None:
        """Records entries with the signed head that follows them. Needs the exclusive lock and a refresh."""
        data = encode_commit(entries, note)
        self._journal.cut_tail()
        self._journal.append(data)
        self.tree.extend(entries)
        self.note = note
        # Last, so that an interrupt before it makes the next refresh replay the commit, or refuse to.
        self._journal.end += len(data)

    def cut_tail(self) -> None:
        """Removes a commit that a crash cut off. Needs the exclusive lock and a refresh."""
        self._journal.cut_tail()

    def close(self) -> None:
        """Closes the journal; harmless when repeated."""
        self._journal.close()

    def refresh(self) -> None:
        """Takes in what was appended since. Needs the lock; what was once found altered stays refused."""
        if self._altered is not None:
            raise IntegrityError(self._altered.message, hint=self._altered.hint)
        try:
            self._take_in()
        except IntegrityError as error:
            self._altered = error
            raise

    def _take_in(self) -> None:
        if not self._journal.is_current():
            self._journal.close()
            self._journal = _open_journal(self._root, writable=self._writable)
        start = self._journal.end
        if self._journal.length() < start:
            raise _altered("shorter than it was")
        size, root = self.tree.size, self.tree.root()
        data = self._journal.unread()
        commits = read_commits(data)
        if start == 0:
            self._start(commits)
        for commit in commits:
            self._replay(commit)
            self._journal.end = start + commit.end
        if start == 0 and (self.tree.size < size or self.tree.root(size) != root):
            raise _altered("does not continue the log")
        self._check_tail(data[self._journal.end - start :])

    def _start(self, commits: Sequence[Commit]) -> None:
        """Stands at the first entry of a newly opened journal."""
        if not commits:
            raise _altered("no signed head")
        head = open_checkpoint(commits[0].note, self._origin, self._opener, source=JOURNAL)
        base = head.size - len(commits[0].entries)
        if base < self.tree.base or base % TILE_WIDTH:
            raise _altered("does not continue the full bundles")
        self.tree.restart(base)

    def _replay(self, commit: Commit) -> None:
        head = open_checkpoint(commit.note, self._origin, self._opener, source=JOURNAL)
        after = self.tree.preview(commit.entries)
        if (head.size, head.root) != (after.size, after.root()):
            raise _altered(f"the entries from index {self.tree.size} do not match their signed head")
        self.tree.extend(commit.entries)
        self.note = commit.note

    def _check_tail(self, tail: bytes) -> None:
        """Tells a commit that a crash cut off, which no signed head follows, from records that were altered."""
        for note in heads_within(tail, self._origin):
            try:
                head = open_checkpoint(note, self._origin, self._opener, source=JOURNAL)
            except IntegrityError:
                continue
            if head.size > self.tree.size:
                raise _altered(f"damaged behind index {self.tree.size}, before a signed head")

    def check_published(self) -> None:
        """Checks that the log continues the published checkpoint, and notes its size. Needs the lock."""
        head = open_checkpoint(read_published(self._root), self._origin, self._opener, source=CHECKPOINT)
        if head.size > self.tree.size or self.tree.root(head.size) != head.root:
            raise IntegrityError(
                f"{CHECKPOINT}: the journal does not continue it at index {head.size}",
                hint="entries were lost or altered: restore the log from a copy",
            )
        self.published = head.size

    def seal(self) -> None:
        """Moves full bundles out of the journal. Needs the exclusive lock; a crash leaves them in it to move again."""
        if self.tree.size - self.tree.base < TILE_WIDTH:
            return
        self.tree.store_full()
        self.tree.rebase()
        write_journal(self._root, self.tree.entries, self.note)
        sys.audit("lake.step", "audit.journal-rotated")
        self._journal.close()
        self._journal = Journal(self._root, writable=True)
        self._journal.end = self._journal.length()

    def chunk(self, index: int) -> tuple[int, list[bytes]]:
        """The entries that are kept together with the one at `index`, and the index of the first."""
        if index >= self.tree.base:
            return self.tree.base, self.tree.entries
        bundle = index // TILE_WIDTH
        return bundle * TILE_WIDTH, self._bundle(bundle)

    def _read_bundle(self, index: int) -> list[bytes]:
        """The entries of a full bundle, checked to lead to the newest root."""
        name = tile_path(None, index)
        entries = decode_bundle(read_stored(self._root, name), name)
        size = self.tree.size
        # Above a full bundle, paths are those of a tree whose leaves are bundles, of which the last may be partial.
        proof = inclusion_path(index * TILE_WIDTH, size, self.tree.node)[TILE_HEIGHT:]
        root = tree_hash(leaf_hash(entry) for entry in entries)
        try:
            verify_inclusion(root, index, -(-size // TILE_WIDTH), proof, self.tree.root())
        except IntegrityError:
            hint = "run audit verify to find which, and restore the files from a copy"
            message = f"{name}: entries from index {index * TILE_WIDTH} or the tiles above do not match the signed root"
            raise IntegrityError(message, hint=hint) from None
        return entries


def _open_journal(root: Path, *, writable: bool) -> Journal:
    try:
        return Journal(root, writable=writable)
    except FileNotFoundError:
        if (root / CHECKPOINT).exists():
            raise IntegrityError(f"{JOURNAL}: the file is missing", hint="restore the file from a copy") from None
        raise


def _altered(what: str) -> IntegrityError:
    return IntegrityError(f"{JOURNAL}: {what}", hint="restore the file from a copy, and compare with held receipts")
