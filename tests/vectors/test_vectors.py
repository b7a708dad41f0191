"""The formats of docs/formats.md, held against fixed bytes. The vectors are never made anew: old lakes have these."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from pyroaring import BitMap

from keys import envelope, proofs
from keys.envelope import Kind
from keys.errors import KeyIntegrityError, ReceiptRefusedError
from keys.receipts import Receipt, verify_receipt
from keys.refs import PartitionRef
from keys.signing import NoteSigner, NoteVerifier
from lake.sealed.audit import entries, journal, merkle, tiles
from lake.sealed.audit.proofs import verify_consistency, verify_inclusion
from lake.sealed.catalog import chain, tables

_HERE = Path(__file__).parent


def _load(name: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((_HERE / name).read_text("utf-8"))
    return document


def _field(value: Any) -> Any:
    """A field as the code takes it: bytes are written ``{"bytes": hex}``."""
    return bytes.fromhex(value["bytes"]) if isinstance(value, dict) else value


def _flipped(content: bytes, at: int) -> bytes:
    return content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]


ENVELOPE, NOTES, MERKLE = _load("envelope.json"), _load("signed_notes.json"), _load("merkle.json")
AUDIT, CATALOG, RECEIPTS = _load("audit_files.json"), _load("catalog_chain.json"), _load("receipts.json")


@pytest.mark.parametrize("case", ENVELOPE["contexts"], ids=lambda case: case["name"])
def test_a_context_has_the_documented_bytes(case: dict[str, Any]) -> None:
    """The canonical encoding of a context does not change."""
    assert envelope.context(Kind(case["kind"]), *map(_field, case["fields"])).hex() == case["hex"]


@pytest.mark.parametrize("case", ENVELOPE["sealed_blobs"], ids=lambda case: case["name"])
def test_a_sealed_blob_opens_under_its_key_and_context_alone(case: dict[str, Any]) -> None:
    """A blob of 78 bytes and its plaintext opens; with any byte of blob, key or context changed it does not."""
    key, bound_to, blob = (bytes.fromhex(case[name]) for name in ("key", "context", "blob"))
    assert envelope.unseal(key, blob, bound_to).hex() == case["plaintext"]
    assert len(blob) == 78 + len(case["plaintext"]) // 2
    for at in range(len(blob)):
        with pytest.raises(KeyIntegrityError):
            envelope.unseal(key, _flipped(blob, at), bound_to)
    for other in ((_flipped(key, 0), bound_to), (key, _flipped(bound_to, len(bound_to) - 1))):
        with pytest.raises(KeyIntegrityError):
            envelope.unseal(other[0], blob, other[1])


def test_an_aad_prefix_is_the_hash_of_the_files_identity() -> None:
    """The external AAD prefix has 32 bytes and depends on lake, dataset, sensitivity, subject, month and file id."""
    for case in ENVELOPE["aad_prefixes"]:
        assert envelope.aad_prefix(*case["identity"]).hex() == case["hex"]


def test_a_note_is_signed_byte_for_byte() -> None:
    """Ed25519 is deterministic: the same seed and text give the same note, and the verifier key opens it."""
    signer = NoteSigner(NOTES["name"], bytes.fromhex(NOTES["seed"]))
    assert signer.verifier_key == NOTES["verifier_key"]
    assert signer.sign(NOTES["text"]) == NOTES["note"]
    assert NoteVerifier([NOTES["verifier_key"]]).open(NOTES["note"]) == NOTES["text"]


def test_merkle_roots_and_proofs_have_the_documented_hashes() -> None:
    """Leaves, roots, inclusion and consistency paths are those of RFC 6962, for the log and for the broker."""
    leaves = [merkle.leaf_hash(entry.encode()) for entry in MERKLE["entries"]]
    roots = [bytes.fromhex(root) for root in MERKLE["roots"]]
    assert [leaf.hex() for leaf in leaves] == MERKLE["leaves"]
    assert [merkle.tree_hash(leaves[:size]) for size in range(len(roots))] == roots
    for case in MERKLE["inclusion"]:
        index, size, path = case["index"], case["size"], [bytes.fromhex(item) for item in case["path"]]
        verify_inclusion(leaves[index], index, size, path, roots[size])
        assert proofs.verify_inclusion(leaves[index], index, size, path, roots[size])
        assert not proofs.verify_inclusion(leaves[index], index, size, path, roots[size - 1])
    for case in MERKLE["consistency"]:
        old, new, path = case["old"], case["new"], [bytes.fromhex(item) for item in case["path"]]
        verify_consistency(old, roots[old], new, roots[new], path)
        assert proofs.verify_consistency(old, new, roots[old], roots[new], path)
        assert not proofs.verify_consistency(old, new, roots[old - 1], roots[new], path)


def test_files_of_the_audit_log_have_the_documented_bytes() -> None:
    """Journal records, bundles, tile paths, bitmaps and canonical JSON do not change."""
    case = AUDIT["journal"]
    commit = [entry.encode() for entry in case["entries"]]
    assert journal.encode_commit(commit, case["note"]).hex() == case["hex"]
    (read,) = journal.read_commits(bytes.fromhex(case["hex"]))
    assert (read.entries, read.note) == (tuple(commit), case["note"])
    assert tiles.encode_bundle([entry.encode() for entry in AUDIT["bundle"]["entries"]]).hex() == AUDIT["bundle"]["hex"]
    for tile in AUDIT["tile_paths"]:
        assert tiles.tile_path(tile["level"], tile["index"], tile["width"]) == tile["path"]
        assert tiles.parse_tile_path(tile["path"]) == (tile["level"], tile["index"], tile["width"])
    for numbers in AUDIT["bitmaps"]:
        assert entries.members(numbers["base64"]) == set(numbers["numbers"])
        assert BitMap.deserialize(base64.b64decode(numbers["base64"])) == BitMap(numbers["numbers"])
    assert entries.canonical(AUDIT["canonical"]["value"]).hex() == AUDIT["canonical"]["hex"]


def test_the_catalogs_chain_has_the_documented_lines_and_macs() -> None:
    """Row lines, digests and MACs of commits do not change, and a row's values stand in column order."""
    key = bytes.fromhex(CATALOG["mac_key"])
    head = chain.Head(0, chain.GENESIS)
    columns = {table.name: [column.name for column in table.columns] for table in tables.CHAINED}
    for commit in CATALOG["commits"]:
        lines = []
        for row in commit["rows"]:
            values = {name: _field(value) for name, value in row["values"].items()}
            assert list(values) == columns[row["table"]]
            lines.append(chain.row_line(row["table"], values))
            assert lines[-1].decode() == row["line"]
        digest = chain.digest(lines)
        head = chain.link(lambda message: envelope.mac(key, message), head, commit["kind"], commit["at"], digest)
        assert (digest.hex(), head.seq, head.mac.hex()) == (commit["digest"], commit["seq"], commit["mac"])


def _now() -> datetime:
    return datetime.fromisoformat(RECEIPTS["now"]).astimezone(UTC)


def _receipt(case: Mapping[str, Any]) -> Receipt:
    return Receipt(
        proof=case["proof"],
        entry=case["entry"].encode(),
        scope=case["scope"].encode() if case["scope"] else None,
        consistency=tuple(bytes.fromhex(item) for item in case["consistency"]),
    )


@pytest.mark.parametrize("case", RECEIPTS["receipts"], ids=lambda case: case["name"])
def test_a_receipt_verifies_and_names_the_partition(case: dict[str, Any]) -> None:
    """A fresh INTENT, proven against the broker's anchor, names the employees of its scope and nobody else."""
    notes = NoteVerifier([RECEIPTS["verifier_key"]])
    anchor = (case["anchor"]["size"], bytes.fromhex(case["anchor"]["root"]))
    verified = verify_receipt(_receipt(case), RECEIPTS["origin"], notes, anchor, _now())
    assert (verified.index, verified.size, verified.root.hex()) == (case["index"], case["size"], case["root"])
    partition = PartitionRef(*RECEIPTS["names"]["partition"])
    assert {number for number in range(10) if verified.names(partition, number)} == set(RECEIPTS["names"]["numbers"])
    for forged in (
        {**case, "entry": case["entry"].replace("ml_engineer", "responder")},
        {**case, "consistency": []},
        {**case, "scope": '{"files":0,"partitions":{}}', "entry": case["entry"] + " "},
    ):
        with pytest.raises(ReceiptRefusedError):
            verify_receipt(_receipt(forged), RECEIPTS["origin"], notes, anchor, _now())
