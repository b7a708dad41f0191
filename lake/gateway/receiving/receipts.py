"""The signed answer to a batch: docs/formats.md, "The receipt"."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from keys.signing import NoteSigner
from lake.gateway.home import Home
from lake.rules import layout
from lake.sealed.audit.entries import canonical

_KIND = "telemetry-lake batch\n"


def receipt_signer(home: Home) -> NoteSigner:
    """The lake's key under the name of the ingest server, so that no other verifier takes its notes."""
    return home.control.signer(f"{layout.audit_origin(home.config.lake)}/ingest")


def receipt_text(receipt: Mapping[str, Any]) -> str:
    """What is signed."""
    return f"{_KIND}{canonical(receipt).decode()}\n"


def signed(receipt: Mapping[str, Any], signer: NoteSigner) -> dict[str, Any]:
    """A receipt with its signature line."""
    text = receipt_text(receipt)
    return {"receipt": dict(receipt), "signature": signer.sign(text)[len(text) + 1 :]}
