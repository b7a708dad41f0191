"""Why somebody was not authenticated: words for the audit log and metrics, never for who was refused."""

from __future__ import annotations

from enum import StrEnum

from lake.errors import UnauthenticatedError


class Reason(StrEnum):
    """The closed set of reasons."""

    MISSING = "missing"  # no credential was shown
    SIZE = "size"  # the token is too long
    MALFORMED = "malformed"  # not a token, or not wholly well-formed
    HEADER = "header"  # it brings its own key, or demands what is not done here
    ALGORITHM = "algorithm"  # not one that this issuer may use
    TYPE = "type"  # a token of another type
    ISSUER = "issuer"  # nobody who may issue tokens for this lake
    DISABLED = "disabled"  # a token of the lake's own, where these are switched off
    KEY = "key"  # the issuer has no such key
    PROVIDER = "provider"  # the issuer's keys cannot be had
    SIGNATURE = "signature"
    AUDIENCE = "audience"
    EXPIRED = "expired"
    EARLY = "early"  # not valid yet, or issued in the future
    LIFETIME = "lifetime"  # valid for too long
    CLAIMS = "claims"  # a claim is missing, of the wrong type, or not as required
    USER = "user"  # not a user's name, or one that this issuer may not give
    PURPOSE = "purpose"  # none, not one of the token's, or none was chosen
    ROLE = "role"  # not the token's, or not the name of one
    CERTIFICATE = "certificate"  # a service that the identity file does not name


def refused(reason: Reason) -> UnauthenticatedError:
    """The error for who is not authenticated for this reason."""
    return UnauthenticatedError(reason=reason.value)
