"""What a call says in its headers: a credential, and what the caller chose."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from lake.errors import UsageError
from lake.gateway.identity.authenticator import BearerToken
from lake.gateway.identity.reasons import Reason, refused
from lake.wire import names

AUTHORIZATION = "authorization"
MOST = 16_384
"""Characters of a header; a longer one is not looked at."""


@dataclass(frozen=True, slots=True)
class Headers:
    """Of one call. Its ``repr`` does not show the credential.

    Attributes:
        authorization: the header of that name, if there is one.
        endpoints: in how many parts a result is wanted.
    """

    authorization: str | None = field(repr=False)
    purpose: str | None
    role: str | None
    endpoints: int

    def token(self) -> BearerToken | None:
        """The bearer token, or the password of Basic, for clients that know of user and password only.

        Raises:
            UnauthenticatedError: it is neither.
        """
        if self.authorization is None:
            return None
        scheme, _, rest = self.authorization.partition(" ")
        match scheme.lower():
            case "bearer":
                return BearerToken(rest.strip())
            case "basic":
                return BearerToken(_password(rest.strip()))
        raise refused(Reason.MALFORMED)


def read_headers(given: Mapping[str, Sequence[str | bytes]], most_endpoints: int) -> Headers:
    """The headers that count; others are not looked at.

    Raises:
        UsageError: one comes twice, or cannot mean what it should.
        UnauthenticatedError: the credential does.
    """
    credential = _one(given, AUTHORIZATION)
    if credential == "":
        raise refused(Reason.MALFORMED)
    endpoints = _one(given, names.ENDPOINTS) or "1"
    if not (endpoints.isascii() and endpoints.isdigit() and len(endpoints) < 6 and int(endpoints) > 0):
        raise UsageError(f"{names.ENDPOINTS} takes a number, 1 or more")
    chosen = [_one(given, name) for name in (names.PURPOSE, names.ROLE)]
    if "" in chosen:
        raise UsageError(f"{names.PURPOSE} and {names.ROLE} take one name each")
    return Headers(credential, chosen[0], chosen[1], min(int(endpoints), most_endpoints))


def _one(given: Mapping[str, Sequence[str | bytes]], name: str) -> str | None:
    """The value of a header; empty if it comes twice or is no text."""
    values = given.get(name, ())
    if not values:
        return None
    value = values[0]
    return value if len(values) == 1 and isinstance(value, str) and len(value) <= MOST else ""


def _password(encoded: str) -> str:
    # Some clients leave the padding out.
    padded = encoded + "=" * (-len(encoded) % 4)
    try:
        text = base64.b64decode(padded, validate=True).decode()
    except (binascii.Error, ValueError):
        raise refused(Reason.MALFORMED) from None
    _, colon, password = text.partition(":")
    if not colon:
        raise refused(Reason.MALFORMED)
    return password
