"""Tokens of collectors and the chain of their tables: fixed values, and computed here from docs/formats.md alone."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from pathlib import Path
from typing import Any

import pytest

from keys.control import SharedControlKeys
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
