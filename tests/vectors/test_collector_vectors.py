"""Tokens of collectors, signed answers, the chain of their tables: fixed, and computed from docs/formats.md alone."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from keys.control import SharedControlKeys
from keys.signing import NoteSigner
from lake.gateway.receiving.receipts import signed, signed_lease
from lake.sealed.catalog.ledgers import EventRow

VECTORS: dict[str, Any] = json.loads((Path(__file__).parent / "collectors.json").read_text())
LAKE, DIRECTORY = VECTORS["lake"], bytes.fromhex(VECTORS["directory"])


def context(kind: int, *fields: str) -> bytes:
    """As docs/formats.md, "Contexts", says."""
    parts = [len(field.encode()).to_bytes(4, "big") + field.encode() for field in fields]
    return b"tlake\x00\x01" + bytes([kind, len(fields)]) + b"".join(parts)


@pytest.mark.parametrize("word", VECTORS["keys"])
def test_keys_are_derived_as_written(word: str) -> None:
    """By the code, and by hand."""
    expected = bytes.fromhex(VECTORS["keys"][word])
    assert SharedControlKeys(LAKE, {"directory": DIRECTORY}).collection_key(word) == expected
    assert hmac.digest(DIRECTORY, context(7, "collection", LAKE, word), "sha256") == expected


@pytest.mark.parametrize("word", VECTORS["tokens"])
def test_tokens_verify(word: str) -> None:
    """The signature is over the first two parts, under the key of the kind; the header names the type."""
    signed, _, signature = VECTORS["tokens"][word].rpartition(".")
    mac = hmac.digest(bytes.fromhex(VECTORS["keys"][word]), signed.encode(), "sha256")
    assert base64.urlsafe_b64encode(mac).decode().rstrip("=") == signature
    header, claims = (json.loads(base64.urlsafe_b64decode(part + "==")) for part in signed.split("."))
    assert header == {"alg": "HS256", "typ": VECTORS["types"][word]}
    assert claims == VECTORS["claims"][word]
    assert claims["aud"] == LAKE


@pytest.mark.parametrize(("word", "sign"), [("leases", signed_lease), ("receipts", signed)])
def test_answers_are_signed_as_written(word: str, sign: Callable[[dict[str, Any], NoteSigner], dict[str, Any]]) -> None:
    """By the code, and by hand: a first line of its kind, canonical JSON, an Ed25519 signature behind the key's id."""
    answers = VECTORS["answers"]
    (name, document), (_, line) = answers[word].items()
    signer = NoteSigner(f"telemetry-lake/{LAKE}/ingest", bytes.fromhex(answers["seed"]))
    assert signer.verifier_key == answers["verifier"]
    assert sign(document, signer) == answers[word]
    kind = {"lease": "telemetry-lake lease", "receipt": "telemetry-lake batch"}[name]
    text = f"{kind}\n{json.dumps(document, sort_keys=True, separators=(',', ':'), ensure_ascii=False)}\n"
    origin, key_id, key = answers["verifier"].split("+", 2)
    mark, signed_by, encoded = line.rstrip("\n").split(" ")
    signature = base64.b64decode(encoded)
    assert (mark, signed_by, signature[:4].hex()) == ("—", origin, key_id)
    public = Ed25519PublicKey.from_public_bytes(base64.b64decode(key)[1:])
    public.verify(signature[4:], text.encode())
    with pytest.raises(InvalidSignature):
        public.verify(signature[4:], text.replace("telemetry-lake ", "telemetry-lake_").encode())


def test_the_chain_of_a_table() -> None:
    """Row lines as in the catalog's chain, each digest over the one before."""
    digest = bytes(32)
    for event, expected in zip(VECTORS["events"], VECTORS["digests"], strict=True):
        row = EventRow(event["id"], event["kind"], bytes.fromhex(event["sealed"]), event["at"], event["seq"])
        line = json.dumps(
            ["halts", row.id, row.kind, {"hex": event["sealed"]}, row.at, row.seq], separators=(",", ":")
        ).encode()
        assert row.line("halts") == line + b"\n"
        digest = hashlib.sha256(digest + line + b"\n").digest()
        assert digest.hex() == expected
