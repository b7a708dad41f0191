"""The RFC 6962 Merkle tree as pure functions over SHA-256 hashes of 32 bytes.

Must never read files or hold entries: callers hand in a reader for the hashes of complete subtrees.

A *node* (level, index) is the root of the complete subtree over the leaves [index << level, (index + 1) << level).
"""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    NodeReader = Callable[[int, int], bytes]

HASH_SIZE = 32
EMPTY_ROOT = sha256(b"").digest()


def leaf_hash(entry: bytes) -> bytes:
    """The hash of a leaf that holds `entry` (RFC 6962 section 2.1)."""
    return sha256(b"\x00" + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """The hash of the node above two subtrees (RFC 6962 section 2.1)."""
    return sha256(b"\x01" + left + right).digest()


def tree_hash(leaves: Iterable[bytes]) -> bytes:
    """The root over leaf hashes, or over the roots of equally high complete subtrees; of none, SHA-256 of nothing."""
    frontier = Frontier()
    for leaf in leaves:
        frontier.push(leaf)
    return frontier.root()


def split_point(size: int) -> int:
    """The largest power of two below `size`, which is at least 2 (RFC 6962's k)."""
    return 1 << ((size - 1).bit_length() - 1)


def peaks(start: int, end: int) -> Iterator[tuple[int, int]]:
    """The (level, index) of the complete subtrees that make up the leaves [start, end), the largest first.

    `start` must be a multiple of the largest power of two that fits into the range, as it is for every RFC 6962
    subtree.
    """
    while start < end:
        level = (end - start).bit_length() - 1
        yield level, start >> level
        start += 1 << level


def range_hash(start: int, end: int, node: NodeReader) -> bytes:
    """The hash of the RFC 6962 subtree over the leaves [start, end)."""
    return _fold([node(level, index) for level, index in peaks(start, end)])


def inclusion_path(index: int, size: int, node: NodeReader) -> list[bytes]:
    """PATH(index, D[size]) of RFC 6962 section 2.1.1, from the leaf's sibling up; 0 <= index < size."""
    start, end = 0, size
    path = []
    while end - start > 1:
        split = start + split_point(end - start)
        if index < split:
            path.append(range_hash(split, end, node))
            end = split
        else:
            path.append(range_hash(start, split, node))
            start = split
    return path[::-1]


def consistency_path(old_size: int, new_size: int, node: NodeReader) -> list[bytes]:
    """PROOF(old_size, D[new_size]) of RFC 6962 section 2.1.2; empty when the sizes are equal or the old one is 0."""
    if old_size == 0:
        return []
    start, end = 0, new_size
    path = []
    while old_size != end:
        split = start + split_point(end - start)
        if old_size <= split:
            path.append(range_hash(split, end, node))
            end = split
        else:
            path.append(range_hash(start, split, node))
            start = split
    if start:
        path.append(range_hash(start, end, node))
    return path[::-1]


class Frontier:
    """The roots of a growing tree's complete subtrees, the largest first: all that appending a leaf needs."""

    __slots__ = ("_peaks", "size")

    def __init__(self, size: int = 0, roots: Sequence[bytes] = ()) -> None:
        """`roots` are the hashes of `peaks(0, size)`."""
        self.size = size
        self._peaks = list(roots)

    def push(self, leaf: bytes) -> None:
        """Adds one leaf hash in O(log size) time, O(1) on average."""
        carry = self.size
        while carry & 1:
            leaf = node_hash(self._peaks.pop(), leaf)
            carry >>= 1
        self._peaks.append(leaf)
        self.size += 1

    def root(self) -> bytes:
        """The root of the tree."""
        return _fold(self._peaks)

    def copy(self) -> Frontier:
        """An independent frontier of the same tree."""
        return Frontier(self.size, self._peaks)


def _fold(roots: Sequence[bytes]) -> bytes:
    if not roots:
        return EMPTY_ROOT
    root = roots[-1]
    for left in reversed(roots[:-1]):
        root = node_hash(left, root)
    return root
