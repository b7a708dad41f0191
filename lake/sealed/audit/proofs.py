"""Checks of Merkle proofs, and the receipt text that carries one (C2SP tlog-proof).

Must never trust a proof's own claims: a check ends in IntegrityError unless the hashes lead to the given root.
"""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lake.errors import IntegrityError
from lake.sealed.audit.checkpoint import open_checkpoint
from lake.sealed.audit.merkle import HASH_SIZE, leaf_hash, node_hash

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lake.sealed.audit.checkpoint import Checkpoint, NoteOpener

_HEADER = "c2sp.org/tlog-proof@v1"
_INDEX = re.compile(r"index (0|[1-9][0-9]{0,18})")
# A tree of 2**63 leaves has paths of 63 hashes; anything longer is not a proof.
_MOST_HASHES = 63


def verify_inclusion(leaf: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes) -> None:
    """Checks that the leaf hash is at `index` of the tree of `size` leaves with `root` (RFC 9162 section 2.1.3.2).

    Raises:
        IntegrityError: it is not, or the proof does not show it.
    """
    if not 0 <= index < size:
        raise _unproven("inclusion")
    position, last, current = index, size - 1, leaf
    for sibling in proof:
        if last == 0:
            raise _unproven("inclusion")
        if position & 1 or position == last:
            current = node_hash(sibling, current)
            while position and not position & 1:
                position, last = position >> 1, last >> 1
        else:
            current = node_hash(current, sibling)
        position, last = position >> 1, last >> 1
    if last or current != root:
        raise _unproven("inclusion")


def verify_consistency(old_size: int, old_root: bytes, new_size: int, new_root: bytes, proof: Sequence[bytes]) -> None:
    """Checks that the new tree extends the old one (RFC 9162 section 2.1.4.2); the empty tree is extended by any.

    Raises:
        IntegrityError: it does not, or the proof does not show it.
    """
    if old_size in (0, new_size):
        if proof or old_size > new_size or (old_size == new_size and old_root != new_root):
            raise _unproven("consistency")
        return
    if not 0 < old_size < new_size:
        raise _unproven("consistency")
    # A complete old tree is itself the first node, so the proof leaves it out.
    path = [old_root, *proof] if old_size & (old_size - 1) == 0 else list(proof)
    if not path:
        raise _unproven("consistency")
    position, last = old_size - 1, new_size - 1
    while position & 1:
        position, last = position >> 1, last >> 1
    old = new = path[0]
    for sibling in path[1:]:
        if last == 0:
            raise _unproven("consistency")
        if position & 1 or position == last:
            old, new = node_hash(sibling, old), node_hash(sibling, new)
            while position and not position & 1:
                position, last = position >> 1, last >> 1
        else:
            new = node_hash(new, sibling)
        position, last = position >> 1, last >> 1
    if last or old != old_root or new != new_root:
        raise _unproven("consistency")


@dataclass(frozen=True, slots=True)
class Receipt:
    """Offline evidence that an entry is in the log.

    Attributes:
        index: the entry's index.
        proof: hashes of 32 bytes from the leaf's sibling up.
        note: the signed checkpoint of the tree that the proof is for.
    """

    index: int
    proof: tuple[bytes, ...]
    note: str

    def to_text(self) -> str:
        """The receipt as C2SP tlog-proof, without extra data."""
        hashes = [base64.b64encode(item).decode() for item in self.proof]
        return "\n".join([_HEADER, f"index {self.index}", *hashes, "", self.note])

    @classmethod
    def parse(cls, text: str) -> Receipt:
        """Reads C2SP tlog-proof; extra data is refused, as this log never writes any.

        Raises:
            IntegrityError: the text is not a receipt of this log.
        """
        head, gap, note = text.partition("\n\n")
        lines = head.split("\n")
        index = _INDEX.fullmatch(lines[1]) if len(lines) > 1 else None
        if lines[0] != _HEADER or index is None or not gap or len(lines) - 2 > _MOST_HASHES:
            raise IntegrityError("the receipt is not a tlog-proof", hint="ask for the receipt again")
        return cls(int(index[1]), tuple(_hash(line) for line in lines[2:]), note)

    def verify(self, entry: bytes, origin: str, opener: NoteOpener) -> Checkpoint:
        """Checks that `entry` is in the log `origin`, as signed; returns the checkpoint that says so.

        Raises:
            IntegrityError: the checkpoint is not signed by that log, or does not cover the entry.
        """
        checkpoint = open_checkpoint(self.note, origin, opener, source="receipt")
        verify_inclusion(leaf_hash(entry), self.index, checkpoint.size, self.proof, checkpoint.root)
        return checkpoint


def _hash(line: str) -> bytes:
    try:
        value = base64.b64decode(line, validate=True)
    except (binascii.Error, ValueError):
        value = b""
    if len(value) != HASH_SIZE or base64.b64encode(value).decode() != line:
        raise IntegrityError("a hash of the receipt is not 32 bytes of base64", hint="ask for the receipt again")
    return value


def _unproven(what: str) -> IntegrityError:
    return IntegrityError(f"the {what} proof does not lead to the signed root", hint="run audit verify")
