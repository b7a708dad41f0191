"""The signed answers to devices, receipts of batches and leases: docs/formats.md, "Ingest over HTTP".

Each kind begins with a line of its own, so that a signature of one never stands for the other.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from keys.signing import NoteSigner
from lake.gateway.home import Home
from lake.rules import layout
from lake.sealed.audit.entries import canonical

_BATCH = "telemetry-lake batch\n"
_LEASE = "telemetry-lake lease\n"


def receipt_signer(home: Home) -> NoteSigner:
    """The lake's key under the name of the ingest server, so that no other verifier takes its notes."""
    return home.control.signer(f"{layout.audit_origin(home.config.lake)}/ingest")


def receipt_text(receipt: Mapping[str, Any]) -> str:
    """What is signed of a receipt."""
    return f"{_BATCH}{canonical(receipt).decode()}\n"


def lease_text(lease: Mapping[str, Any]) -> str:
    """What is signed of a lease."""
    return f"{_LEASE}{canonical(lease).decode()}\n"


def signed(receipt: Mapping[str, Any], signer: NoteSigner) -> dict[str, Any]:
    """A receipt with its signature line."""
    return {"receipt": dict(receipt), "signature": _line(receipt_text(receipt), signer)}


def signed_lease(lease: Mapping[str, Any], signer: NoteSigner) -> dict[str, Any]:
    """A lease with its signature line."""
    return {"lease": dict(lease), "signature": _line(lease_text(lease), signer)}


def _line(text: str, signer: NoteSigner) -> str:
    return signer.sign(text)[len(text) + 1 :]
