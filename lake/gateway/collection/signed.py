"""Tokens of collectors, signed by the lake: each kind with a key and a type of its own, so none passes as another."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from joserfc import jwt
from joserfc.jwk import OctKey

from lake.errors import UnauthenticatedError
from lake.gateway.home import Home
from lake.gateway.identity.reasons import Reason, refused
from lake.gateway.identity.signatures import LOCAL, is_signed
from lake.gateway.identity.tokens import MAX_TOKEN, parse_token

DEVICES, LEASES = "device tokens", "leases"
_TYPES = {DEVICES: "lake-device+jwt", LEASES: "lake-lease+jwt"}


class Signer:
    """Signs and checks tokens of one kind. Its ``repr`` shows the kind only."""

    def __init__(self, home: Home, kind: str) -> None:
        self._lake = home.config.lake
        self._kind = kind
        self._key = OctKey.import_key(home.control.collection_key(kind))

    def __repr__(self) -> str:
        return f"Signer({self._kind!r})"

    def __reduce__(self) -> tuple[object, ...]:
        raise TypeError("keys are not pickled")

    def sign(self, claims: Mapping[str, Any]) -> str:
        """A token that says this, and of which lake."""
        header = {"alg": LOCAL, "typ": _TYPES[self._kind]}
        return jwt.encode(header, {"aud": self._lake, **claims}, self._key, algorithms=[LOCAL])

    def read(self, text: str) -> Mapping[str, Any]:
        """What a token says.

        Raises:
            UnauthenticatedError: it is not wholly well-formed, of another kind, or not of this lake.
        """
        if len(text) > MAX_TOKEN:
            raise refused(Reason.SIZE)
        token = parse_token(text)
        if token.type != _TYPES[self._kind]:
            raise refused(Reason.TYPE)
        if token.algorithm != LOCAL or not is_signed(token, self._key):
            raise refused(Reason.SIGNATURE)
        if token.claims.get("aud") != self._lake:
            raise refused(Reason.AUDIENCE)
        return token.claims


def number(claims: Mapping[str, Any], name: str) -> int:
    """A whole number that a signed token says."""
    value = claims.get(name)
    if not isinstance(value, int) or isinstance(value, bool):
        raise UnauthenticatedError(reason=Reason.CLAIMS)
    return value


def text(claims: Mapping[str, Any], name: str) -> str:
    """A text that a signed token says."""
    value = claims.get(name)
    if not isinstance(value, str):
        raise UnauthenticatedError(reason=Reason.CLAIMS)
    return value
