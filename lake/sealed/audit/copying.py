"""A log made of another one's entries: bundles in order, the rest, and the signed head that they must lead to.

Must never make a log whose root is not the one that was signed.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from lake.errors import AuditUnavailableError, IntegrityError
from lake.sealed.audit.checkpoint import open_checkpoint
from lake.sealed.audit.files import LOCK, locked
from lake.sealed.audit.journal import write_journal
from lake.sealed.audit.publish import publish_tree
from lake.sealed.audit.tiles import TILE_WIDTH, Tree

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from lake.sealed.audit.checkpoint import Checkpoint, NoteOpener


def fill(root: Path, origin: str, opener: NoteOpener, entries: Iterable[bytes], note: str) -> Checkpoint:
    """Makes a log in the new folder `root` of all entries of another one and its signed head.

    Raises:
        IntegrityError: the entries do not lead to the head, or it is not validly signed.
        AuditUnavailableError: the files cannot be written.
    """
    head = open_checkpoint(note, origin, opener, source="the copy's head")
    try:
        root.mkdir(parents=True, mode=0o700)
        (root / LOCK).touch()
        with locked(root, exclusive=True):
            tree = Tree(root)
            waiting: list[bytes] = []
            for entry in entries:
                waiting.append(entry)
                if len(waiting) == TILE_WIDTH:
                    tree.extend(waiting)
                    tree.store_full()
                    tree.rebase()
                    waiting = []
            tree.extend(waiting)
            if (tree.size, tree.root()) != (head.size, head.root):
                raise IntegrityError("the entries of a copy of the audit log do not lead to its signed head")
            publish_tree(root, tree, note, published=0)
            sys.audit("lake.step", "audit.copy-published")
            # The journal comes last: a folder without one holds no log yet.
            write_journal(root, tree.entries, note)
    except OSError:
        raise AuditUnavailableError("the audit log cannot be written", hint="check folder and disk") from None
    return head
