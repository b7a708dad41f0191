"""A plain RFC 6962 tree, written from the definition and slow."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence


class Tree:
    """The Merkle tree of RFC 6962 section 2.1 and its proofs, by their recursive definitions."""

    def __init__(self, entries: Sequence[bytes]) -> None:
        self._leaves = [hashlib.sha256(b"\x00" + entry).digest() for entry in entries]

    def root(self, stop: int, start: int = 0) -> bytes:
        if stop == start:
            return hashlib.sha256(b"").digest()
        if stop - start == 1:
            return self._leaves[start]
        middle = start + self._split(stop - start)
        return hashlib.sha256(b"\x01" + self.root(middle, start) + self.root(stop, middle)).digest()

    def inclusion(self, index: int, stop: int, start: int = 0) -> list[bytes]:
        if stop - start == 1:
            return []
        middle = start + self._split(stop - start)
        if index < middle:
            return [*self.inclusion(index, middle, start), self.root(stop, middle)]
        return [*self.inclusion(index, stop, middle), self.root(middle, start)]

    def consistency(self, old: int, stop: int, start: int = 0, *, whole: bool = True) -> list[bytes]:
        if old == stop:
            return [] if whole else [self.root(stop, start)]
        middle = start + self._split(stop - start)
        if old <= middle:
            return [*self.consistency(old, middle, start, whole=whole), self.root(stop, middle)]
        return [*self.consistency(old, stop, middle, whole=False), self.root(middle, start)]

    @staticmethod
    def _split(size: int) -> int:
        return 1 << ((size - 1).bit_length() - 1)
