"""Publishing: the partial tiles and the checkpoint with which outside clients read the log (C2SP tlog-tiles).

Must never replace the checkpoint before every tile that it needs is on disk. Needs the exclusive lock throughout.
"""

from __future__ import annotations

import shutil
import sys
from typing import TYPE_CHECKING

from lake.errors import IntegrityError
from lake.sealed.audit.files import write_durable
from lake.sealed.audit.tiles import (
    TILE_HEIGHT,
    TILE_WIDTH,
    encode_bundle,
    partial_tiles,
    read_stored,
    tile_path,
)

if TYPE_CHECKING:
    from pathlib import Path

    from lake.sealed.audit.tiles import Tree

CHECKPOINT = "checkpoint"


def publish_tree(root: Path, tree: Tree, note: str, *, published: int) -> None:
    """Publishes the tree, whose full bundles are on disk, under its signed `note`.

    Partial tiles of earlier checkpoints stay for their readers until the full tile is there; `published` is the size
    that was published before.
    """
    for level, index, width in partial_tiles(tree.size):
        write_durable(root, tile_path(level, index, width), tree.hashes(level, index, width))
    if tree.entries:
        path = tile_path(None, tree.base // TILE_WIDTH, len(tree.entries))
        write_durable(root, path, encode_bundle(tree.entries))
    sys.audit("lake.step", "audit.tiles-published")
    for level, index, _ in partial_tiles(published):
        if (index + 1) << TILE_HEIGHT * (level + 1) <= tree.base:
            _remove_partials(root, level, index)
            if level == 0:
                _remove_partials(root, None, index)
    replace_checkpoint(root, note)
    sys.audit("lake.step", "audit.checkpoint-published")


def replace_checkpoint(root: Path, note: str) -> None:
    """Puts the signed note in the place of the published checkpoint."""
    write_durable(root, CHECKPOINT, note.encode())


def read_published(root: Path) -> str:
    """The published checkpoint's note.

    Raises:
        IntegrityError: the file is missing or is not text.
    """
    try:
        return read_stored(root, CHECKPOINT).decode()
    except UnicodeDecodeError:
        raise IntegrityError(f"{CHECKPOINT}: not UTF-8", hint="restore the file from a copy") from None


def _remove_partials(root: Path, level: int | None, index: int) -> None:
    folder = root / f"{tile_path(level, index)}.p"
    if folder.is_dir():
        shutil.rmtree(folder)
