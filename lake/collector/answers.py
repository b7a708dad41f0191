"""What an ingest server answers, read strictly; receipts count only with the signature of the pinned key.

Formats: docs/formats.md, "Ingest over HTTP".
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC
from typing import Any

from keys.errors import KeyIntegrityError
from keys.signing import NoteVerifier
from lake.clock import parse_timestamp
from lake.errors import IntegrityError, UnavailableError
from lake.rules.lease import LONGEST_TTL, Held

_ID = re.compile(r"[0-9a-f]{32}")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_TOKEN = re.compile(r"[A-Za-z0-9._-]{1,8192}")
_KIND = "telemetry-lake batch\n"


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer; ``document`` is empty if there was none. ``after`` are seconds of Retry-After."""

    status: int
    document: Mapping[str, Any]
    after: float | None = None

    @property
    def code(self) -> str:
        """The code of a problem; empty if the answer is none, so did not come from an ingest server."""
        code = self.document.get("code")
        return code if isinstance(code, str) and self.status >= 400 else ""

    @property
    def mark(self) -> int | None:
        """The newest event of pauses, of a problem that names one."""
        mark = self.document.get("mark")
        return mark if isinstance(mark, int) and not isinstance(mark, bool) and mark >= 0 else None

    @property
    def refused(self) -> bool:
        """Whether the server itself says that the same request will never succeed."""
        return 400 <= self.status < 500 and bool(self.code) and self.document.get("retryable") is False


@dataclass(frozen=True, slots=True)
class Lease:
    """A lease in a collector's hands. ``id`` is 32 hexadecimal digits, ``contract`` a digest."""

    token: str = field(repr=False)
    id: str
    version: int
    contract: str
    types: frozenset[str]
    mark: int
    held: Held


def parse_lease(document: Mapping[str, Any], dataset: str, types: frozenset[str], asked: float) -> Lease:
    """A lease as it was answered.

    Args:
        asked: the clock before the request was sent.

    Raises:
        UnavailableError: it is none, is for something else, or lasts longer than leases do.
    """
    try:
        seconds, granted = document["seconds"], frozenset(document["types"])
        numbers = (document["version"], document["mark"])
        lease = Lease(
            document["lease"],
            document["id"],
            document["version"],
            document["contract"],
            granted,
            document["mark"],
            Held(parse_timestamp(document["now"]).astimezone(UTC).replace(tzinfo=None), float(seconds), asked),
        )
        texts = ((_TOKEN, lease.token), (_ID, lease.id), (_DIGEST, lease.contract))
        sound = (
            all(form.fullmatch(text) for form, text in texts)
            and document["dataset"] == dataset
            and not isinstance(seconds, bool)
            and all(type(number) is int and number >= 0 for number in numbers)
            and bool(granted)
            and granted <= types
            and 0 <= lease.held.seconds <= LONGEST_TTL.total_seconds()
        )
    except (KeyError, TypeError, ValueError, OverflowError, AttributeError):
        sound = False
    if not sound:
        raise UnavailableError("the server's lease is none", hint="is this the address of 'lake serve ingest'?")
    return lease


def check_receipt(document: Mapping[str, Any], verifier: NoteVerifier, header: Mapping[str, Any]) -> Mapping[str, Any]:
    """The receipt of a batch, if the lake has signed it.

    Raises:
        IntegrityError: no signature of the pinned key, or the receipt of something else.
    """
    receipt, signature = document.get("receipt"), document.get("signature")
    if not isinstance(receipt, dict) or not isinstance(signature, str):
        raise IntegrityError("the server's receipt is none")
    text = f"{_KIND}{json.dumps(receipt, sort_keys=True, separators=(',', ':'), ensure_ascii=False)}\n"
    try:
        verifier.open(f"{text}\n{signature}")
    except (KeyIntegrityError, UnicodeError):
        raise IntegrityError(
            "a receipt is not signed with the lake's key", hint="ask the lake's operator whether 'verifier' is right"
        ) from None
    if any(receipt.get(name) != header[name] for name in ("batch", "content", "dataset", "contract", "version")):
        raise IntegrityError("the server's receipt is of another batch")
    if receipt.get("status") not in {"landed", "already_landed"} or type(receipt.get("rows")) is not int:
        raise IntegrityError("the server's receipt does not say that the batch landed")
    return receipt
