"""Taking a token apart, strictly: what could be read in two ways is not read at all. Nothing here is verified yet."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NoReturn

from joserfc.util import urlsafe_b64decode

from lake.gateway.identity.reasons import Reason, refused

MAX_TOKEN = 8 * 1024
"""Characters of a token."""
MAX_KEY_ID = 256
_SHAPE = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*")
_REFUSED_HEADERS = frozenset({"crit", "b64", "jwk", "jku", "x5u", "x5c", "zip", "enc"})
"""A key that comes with the token proves nothing, and extensions change what was signed."""


@dataclass(frozen=True, slots=True)
class UnverifiedToken:
    """The parts of a token, as whoever sent it wrote them. Its ``repr`` shows none."""

    algorithm: str = field(repr=False)
    key_id: str | None = field(repr=False)
    type: str | None = field(repr=False)
    claims: Mapping[str, Any] = field(repr=False)
    signed: bytes = field(repr=False)
    signature: bytes = field(repr=False)

    @property
    def issuer(self) -> str:
        """Who it says has issued it; empty if it does not say."""
        issuer = self.claims.get("iss")
        return issuer if isinstance(issuer, str) else ""


def parse_token(text: str) -> UnverifiedToken:
    """Take a compact JWS apart.

    Raises:
        UnauthenticatedError: it is too long, not wholly well-formed, or has a header that is not accepted.
    """
    if len(text) > MAX_TOKEN:
        raise refused(Reason.SIZE)
    if _SHAPE.fullmatch(text) is None:
        raise refused(Reason.MALFORMED)
    parts = [_decoded(part) for part in text.split(".")]
    header, claims, signature = read_object(parts[0]), read_object(parts[1]), parts[2]
    if header is None or claims is None or signature is None:
        raise refused(Reason.MALFORMED)
    if not _REFUSED_HEADERS.isdisjoint(header):
        raise refused(Reason.HEADER)
    algorithm, key_id, kind = header.get("alg"), header.get("kid"), header.get("typ")
    if not isinstance(algorithm, str) or not isinstance(key_id, str | None) or not isinstance(kind, str | None):
        raise refused(Reason.MALFORMED)
    if key_id is not None and len(key_id) > MAX_KEY_ID:
        raise refused(Reason.MALFORMED)
    return UnverifiedToken(algorithm, key_id, kind, claims, text.rpartition(".")[0].encode(), signature)


def read_object(content: bytes | None) -> dict[str, Any] | None:
    """One JSON object in UTF-8; None if it is anything else, repeats a name, or has NaN or an infinity."""
    try:
        value = json.loads((content or b"").decode(), object_pairs_hook=_unique, parse_constant=_no_number)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _decoded(part: str) -> bytes | None:
    """base64url without padding, in its one canonical form."""
    try:
        return urlsafe_b64decode(part.encode()) if part else b""
    except ValueError:
        return None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name stands there twice")
    return found


def _no_number(_: str) -> NoReturn:
    raise ValueError("not a number")
