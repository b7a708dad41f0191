"""What an ingest server answers, read strictly; leases and receipts count only with the signature of the pinned key.

Formats: docs/formats.md, "Ingest over HTTP".
"""

from __future__ import annotations

import json
import re
import secrets
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
_LEASE, _BATCH = "telemetry-lake lease\n", "telemetry-lake batch\n"


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


@dataclass(frozen=True, slots=True)
class Asked:
    """A request for a lease: ``nonce`` is new each time, ``clock`` the clock before the request was sent."""

    device: str
    employee: str
    dataset: str
    types: frozenset[str]
    version: int | None
    clock: float
    nonce: str = field(default_factory=lambda: secrets.token_hex(16))


def check_lease(document: Mapping[str, Any], verifier: NoteVerifier, asked: Asked) -> Lease:
    """The lease that was answered, if the lake has signed it as the answer to this very request.

    Raises:
        UnavailableError: the answer is none, so it came from something before the server.
        IntegrityError: no signature of the pinned key, the answer to another request, or no lease.
    """
    if not document:
        raise UnavailableError("the server's lease is none", hint="is this the address of 'lake serve ingest'?")
    said = _signed(document, "lease", _LEASE, verifier)
    wanted = {"v": 1, "nonce": asked.nonce, "device": asked.device, "employee": asked.employee}
    if any(said.get(name) != value for name, value in {**wanted, "dataset": asked.dataset}.items()):
        raise IntegrityError("the server's lease is for another device, another person or another request")
    try:
        lease = _lease(said, asked.clock)
        sound = lease.types <= asked.types and asked.version in {None, lease.version}
    except (KeyError, TypeError, ValueError, OverflowError, AttributeError):
        sound = False
    if not sound:
        raise IntegrityError("the server's lease is none, or is for more than was asked for")
    return lease


def _lease(said: Mapping[str, Any], clock: float) -> Lease:
    """What a signed lease says.

    Raises:
        KeyError, TypeError, ValueError, OverflowError, AttributeError: it is not of its form.
    """
    issued, now, expires = (parse_timestamp(said[name]) for name in ("issued", "now", "expires"))
    held = Held(now.astimezone(UTC).replace(tzinfo=None), (expires - now).total_seconds(), clock)
    lease = Lease(
        said["token"], said["id"], said["version"], said["contract"], frozenset(said["types"]), said["mark"], held
    )
    texts = ((_TOKEN, lease.token), (_ID, lease.id), (_DIGEST, lease.contract))
    sound = (
        all(form.fullmatch(text) for form, text in texts)
        and all(type(number) is int and number >= 0 for number in (lease.version, lease.mark, *said["epochs"]))
        and bool(lease.types)
        and issued <= now <= expires <= issued + LONGEST_TTL
    )
    if not sound:
        raise ValueError
    return lease


def check_receipt(document: Mapping[str, Any], verifier: NoteVerifier, header: Mapping[str, Any]) -> Mapping[str, Any]:
    """The receipt of a batch, if the lake has signed it.

    Raises:
        IntegrityError: no signature of the pinned key, or the receipt of something else.
    """
    receipt = _signed(document, "receipt", _BATCH, verifier)
    if any(receipt.get(name) != header[name] for name in ("batch", "content", "dataset", "contract", "version")):
        raise IntegrityError("the server's receipt is of another batch")
    if receipt.get("status") != "landed" or type(receipt.get("rows")) is not int:
        raise IntegrityError("the server's receipt does not say that the batch landed")
    return receipt


def _signed(document: Mapping[str, Any], name: str, kind: str, verifier: NoteVerifier) -> Mapping[str, Any]:
    """What was signed under the first line of its kind.

    Raises:
        IntegrityError: no signature of the pinned key.
    """
    content, signature = document.get(name), document.get("signature")
    if not isinstance(content, dict) or not isinstance(signature, str):
        raise IntegrityError(f"the server's {name} is not signed")
    text = f"{kind}{json.dumps(content, sort_keys=True, separators=(',', ':'), ensure_ascii=False)}\n"
    try:
        verifier.open(f"{text}\n{signature}")
    except (KeyIntegrityError, UnicodeError):
        raise IntegrityError(
            f"a {name} is not signed with the lake's key", hint="ask the lake's operator whether 'verifier' is right"
        ) from None
    return content
