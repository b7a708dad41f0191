"""What an audit receipt must prove before a key leaves: recorded, signed, fresh, and naming the partition.

The proof is a C2SP tlog-proof (c2sp.org/tlog-proof) of the INTENT entry; this side verifies it with code of its own and
trusts nothing that it was merely told.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from pyroaring import BitMap

from keys.errors import KeyIntegrityError, ReceiptRefusedError
from keys.proofs import leaf_hash, verify_consistency, verify_inclusion
from keys.refs import PartitionRef
from keys.signing import NoteVerifier

INTENT = "query.intent"
REKEY_INTENT = "rekey.intent"
"""Of the job that re-encrypts data: it alone may open keys that are marked as compromised."""
JOB_INTENT = "job.intent"
"""Of jobs that read whole files: compaction, rescan, scrub. The entry says which."""
INTENTS = frozenset({INTENT, REKEY_INTENT, JOB_INTENT})
MAX_AGE = timedelta(seconds=60)
"""An unused receipt is good for this long."""
_HEADER = "c2sp.org/tlog-proof@v1"


@dataclass(frozen=True, slots=True)
class Receipt:
    """What a caller shows.

    Attributes:
        proof: tlog-proof text with the signed checkpoint.
        entry: the INTENT entry, canonical JSON.
        scope: the scope document if the entry names it by digest only, else None.
        consistency: hashes that prove that the log grew from the size the broker saw last.
    """

    proof: str
    entry: bytes
    scope: bytes | None
    consistency: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class VerifiedReceipt:
    """A receipt that holds: kind and actor of the INTENT entry, its index, the log's size and root, the scope."""

    kind: str
    actor: str
    index: int
    size: int
    root: bytes
    scope: Mapping[tuple[str, int, str], BitMap]

    def names(self, partition: PartitionRef, number: int) -> bool:
        """Whether the entry names this employee's partition."""
        members = self.scope.get((partition.dataset, partition.sensitivity, partition.month))
        return members is not None and number in members


def verify_receipt(
    receipt: Receipt, origin: str, notes: NoteVerifier, anchor: tuple[int, bytes], now: datetime
) -> VerifiedReceipt:
    """Check a receipt against the newest state of the log that this broker has seen.

    Raises:
        ReceiptRefusedError: not recorded, stale, from the future, malformed, or the log was cut or rewritten.
    """
    try:
        index, hashes, checkpoint = _parse_proof(receipt.proof)
        name, size, root = _parse_checkpoint(notes.open(checkpoint))
    except (ValueError, IndexError, KeyIntegrityError):
        raise ReceiptRefusedError("an audit receipt does not verify") from None
    if name != origin or not verify_inclusion(leaf_hash(receipt.entry), index, size, hashes, root):
        raise ReceiptRefusedError("an audit receipt does not verify")
    seen_size, seen_root = anchor
    if size < seen_size or (
        seen_size and not verify_consistency(seen_size, size, seen_root, root, list(receipt.consistency))
    ):
        raise ReceiptRefusedError(
            "the audit log was cut or rewritten since the last key was released",
            hint="run 'lake audit verify'; no key is released until the log is whole again",
        )
    try:
        entry: dict[str, Any] = json.loads(receipt.entry)
        age = now - datetime.fromisoformat(entry["ts"])
        fits = entry["type"] in INTENTS and timedelta(seconds=-5) <= age <= MAX_AGE
        kind, actor = str(entry["type"]), str(entry["actor"]["p"])
        scope = _parse_scope(entry["scope"], receipt.scope)
    except (ValueError, LookupError, TypeError, AttributeError):
        raise ReceiptRefusedError("an audit receipt's entry is malformed") from None
    if not fits:
        raise ReceiptRefusedError("an audit receipt is not a fresh INTENT", hint="ask again")
    return VerifiedReceipt(kind, actor, index, size, root, scope)


def _parse_proof(text: str) -> tuple[int, list[bytes], str]:
    head, separator, checkpoint = text.partition("\n\n")
    lines = head.split("\n")
    if not separator or lines[0] != _HEADER:
        raise ValueError
    position = 2 if lines[1].startswith("extra ") else 1
    word, _, number = lines[position].partition(" ")
    if word != "index" or not number.isdigit():
        raise ValueError
    hashes = [base64.b64decode(line, validate=True) for line in lines[position + 1 :]]
    return int(number), hashes, checkpoint


def _parse_checkpoint(text: str) -> tuple[str, int, bytes]:
    origin, size, root, *_ = text.split("\n")
    raw = base64.b64decode(root, validate=True)
    if not size.isdigit() or len(raw) != 32:
        raise ValueError
    return origin, int(size), raw


def _parse_scope(value: dict[str, Any], document: bytes | None) -> dict[tuple[str, int, str], BitMap]:
    if "ref" in value:
        if document is None or value["ref"] != "sha256:" + hashlib.sha256(document).hexdigest():
            raise ValueError
        value = json.loads(document)
    return {
        (dataset, int(level), month): BitMap.deserialize(base64.b64decode(bitmap, validate=True))
        for dataset, levels in value["partitions"].items()
        for level, months in levels.items()
        for month, bitmap in months.items()
    }
