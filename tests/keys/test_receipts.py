"""Receipts: recorded, signed by this lake's log, fresh, and understood wholly, or refused with one typed error."""

# ruff: noqa: PLR0917 - pytest hands fixtures in by name
from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import replace
from datetime import timedelta

import pytest

from keys.errors import ReceiptRefusedError
from keys.receipts import verify_receipt
from keys.signing import NoteSigner, NoteVerifier

ORIGIN = "telemetry-lake/lake-one"


@pytest.fixture
def verify(world):
    """Verifies a receipt as the broker of the world does."""
    notes = NoteVerifier([world.signer.verifier_key])
    return lambda receipt, anchor=(0, b""): verify_receipt(receipt, ORIGIN, notes, anchor, world.now)


@pytest.fixture
def mine(world):
    """A partition of the employee with number 0."""
    return world.partition(world.broker.new_subjects(1)[0])


@pytest.fixture
def good(world, mine, scope):
    """A receipt that holds, in a log with other entries."""
    world.entries += [b"before %d" % number for number in range(4)]
    world.receipt(world.intent(scope((mine, 0))))
    world.entries += [b"after %d" % number for number in range(3)]
    return world.proof(4)


def test_a_good_receipt_says_what_it_names(verify, good, mine):
    """Index, size and scope are those of the entry."""
    verified = verify(good)
    assert (verified.index, verified.size) == (4, 8)
    assert verified.names(mine, 0)
    assert not verified.names(mine, 1)
    assert not verified.names(replace(mine, month="2026-04"), 0)


def test_every_character_of_the_proof_counts(verify, good):
    """A proof with any one character changed, or cut anywhere, is refused with the typed error."""
    for position in range(len(good.proof)):
        for new in ("A", "0", "\n"):
            changed = good.proof[:position] + new + good.proof[position + 1 :]
            if changed != good.proof:
                with pytest.raises(ReceiptRefusedError):
                    verify(replace(good, proof=changed))
        with pytest.raises(ReceiptRefusedError):
            verify(replace(good, proof=good.proof[:position]))


@pytest.mark.parametrize(
    "proof",
    [
        "",
        "\n\n",
        "c2sp.org/tlog-proof@v1\n\n",
        "c2sp.org/tlog-proof@v1\nextra AA==\n\n",
        "c2sp.org/tlog-proof@v1\nindex ²\n\nx",
    ],
)
def test_proofs_without_substance_are_refused(verify, good, proof):
    """A header alone is not a proof."""
    with pytest.raises(ReceiptRefusedError):
        verify(replace(good, proof=proof))


def test_another_entry_is_refused(verify, good):
    """The proof is of one entry's bytes: any other JSON, even the same with a space, is not recorded."""
    for entry in (b"before 0", good.entry + b" ", good.entry.replace(b"desktop", b"laptops"), b""):
        with pytest.raises(ReceiptRefusedError):
            verify(replace(good, entry=entry))


@pytest.mark.parametrize("name", [ORIGIN, "telemetry-lake/lake-two"])
def test_a_signature_of_another_key_is_refused(world, verify, mine, scope, name):
    """A checkpoint that another key has signed, under this name or another, is worth nothing."""
    forger = NoteSigner(name, bytes(32))
    with pytest.raises(ReceiptRefusedError):
        verify(world.receipt(world.intent(scope((mine, 0))), signer=forger))


def test_a_known_key_of_another_log_is_refused(world, mine, scope):
    """A verified note of another origin is not this lake's log."""
    other = NoteSigner("telemetry-lake/lake-two", bytes(32))
    receipt = world.receipt(world.intent(scope((mine, 0))), signer=other)
    notes = NoteVerifier([world.signer.verifier_key, other.verifier_key])
    with pytest.raises(ReceiptRefusedError):
        verify_receipt(receipt, ORIGIN, notes, (0, b""), world.now)


@pytest.mark.parametrize(
    ("age", "accepted"), [(0, True), (59, True), (60, True), (61, False), (86_400, False), (-5, True), (-6, False)]
)
def test_only_a_fresh_intent_counts(world, verify, mine, scope, age, accepted):
    """A receipt is good for 60 seconds, and a clock may be five seconds ahead."""
    receipt = world.receipt(world.intent(scope((mine, 0)), ts=(world.now - timedelta(seconds=age)).isoformat()))
    if accepted:
        assert verify(receipt).names(mine, 0)
    else:
        with pytest.raises(ReceiptRefusedError):
            verify(receipt)


@pytest.mark.parametrize(
    "changes",
    [
        {"type": "query.outcome"},
        {"type": None},
        {"ts": "yesterday"},
        {"ts": "2026-03-14T12:00:00"},
        {"ts": 7},
        {"scope": None},
        {"scope": []},
        {"scope": {}},
        {"scope": {"partitions": None}},
        {"scope": {"partitions": {"desktop": []}}},
        {"scope": {"partitions": {"desktop": {"x": {"2026-03": "AAAA"}}}}},
        {"scope": {"partitions": {"desktop": {"3": {"2026-03": ""}}}}},
        {"scope": {"partitions": {"desktop": {"3": {"2026-03": "!"}}}}},
        {"scope": {"partitions": {"desktop": {"3": {"2026-03": "AAAA"}}}}},
        {"scope": {"partitions": {"desktop": {"3": {"2026-03": 7}}}}},
        {"scope": {"ref": "sha256:" + "0" * 64}},
    ],
)
def test_entries_that_are_no_intent_are_refused(world, verify, changes):
    """An entry of another type, without a time zone, or with a scope that is not understood, opens nothing."""
    with pytest.raises(ReceiptRefusedError):
        verify(world.receipt(world.intent(**{"scope": {"partitions": {}}} | changes)))


@pytest.mark.parametrize("entry", [b"[]", b"7", b"null", b"\xff", b"{", b'{"type":"query.intent"}'])
def test_entries_that_are_no_object_are_refused(world, verify, entry):
    """What is recorded but is no JSON object, or lacks its fields, opens nothing."""
    with pytest.raises(ReceiptRefusedError):
        verify(world.receipt(entry))


def test_a_scope_by_digest_needs_its_document(world, verify, mine, scope):
    """The named document opens its partitions; another one, a changed one or none is refused."""
    document = json.dumps(scope((mine, 0))).encode()
    entry = world.intent({"ref": "sha256:" + hashlib.sha256(document).hexdigest()})
    receipt = world.receipt(entry, scope=document)
    assert verify(receipt).names(mine, 0)
    for other in (None, b"", document + b" ", json.dumps(scope((mine, 1))).encode()):
        with pytest.raises(ReceiptRefusedError):
            verify(replace(receipt, scope=other))


def test_a_scope_in_the_entry_ignores_a_document(world, verify, mine, scope):
    """A document beside an entry that has its own scope adds nothing."""
    receipt = world.receipt(world.intent(scope((mine, 0))), scope=json.dumps(scope((mine, 5))).encode())
    assert not verify(receipt).names(mine, 5)


def test_growth_from_what_was_seen_is_proved(world, verify, good, tree):
    """With an anchor, the consistency proof must hold; a smaller log is refused."""
    log = tree(world.entries)
    for seen in range(1, 9):
        proof = tuple(log.consistency(seen, 8)) if seen < 8 else ()
        anchor = (seen, log.root(seen))
        assert verify(replace(good, consistency=proof), anchor).size == 8
        for wrong in ((*proof, bytes(32)), tuple(bytes(32) for _ in proof) or (bytes(32),)):
            with pytest.raises(ReceiptRefusedError):
                verify(replace(good, consistency=wrong), anchor)
        with pytest.raises(ReceiptRefusedError):
            verify(replace(good, consistency=proof), (seen, bytes(32)))
    with pytest.raises(ReceiptRefusedError):
        verify(good, (9, bytes(32)))


def test_hashes_are_base64_of_the_proof(world, good, tree):
    """The text of a proof is that of C2SP tlog-proof: header, index, hashes, blank line, checkpoint."""
    header, index, *hashes = good.proof.split("\n\n")[0].split("\n")
    assert (header, index) == ("c2sp.org/tlog-proof@v1", "index 4")
    assert [base64.b64decode(each) for each in hashes] == tree(world.entries).inclusion(4, 8)
