"""From the claims of a token whose signature holds to who is there and what for. One wrong claim refuses the token."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from lake.gateway.identity.reasons import Reason, refused
from lake.gateway.identity.rules import ClaimRules
from lake.rules.model import MAX_EMPLOYEE_ID, NAME, Identity
from lake.rules.policy_document import USER

MAX_TEXT = 256
"""Characters of a group or of a purpose's scope."""
MAX_ATTRIBUTE = 200
MAX_LISTED = 500
"""Texts in a list."""
_LAST_SECOND = datetime(9999, 1, 1, tzinfo=UTC).timestamp()


@dataclass(frozen=True, slots=True)
class Verified:
    """What a credential says, all of it checked.

    Attributes:
        purposes: those that the caller may choose from, at least one.
        role: the one role that the credential is bound to, if it is.
        expires: when the gateway ceases to accept it (UTC).
    """

    identity: Identity
    purposes: tuple[str, ...]
    role: str | None = None
    expires: datetime | None = None


def read_claims(
    claims: Mapping[str, Any], kind: str | None, rules: ClaimRules, now: datetime, skew: timedelta
) -> Verified:
    """Check the claims of a token of type ``kind``, and read them.

    Raises:
        UnauthenticatedError: one is missing, wrong, or of another type than it should be.
    """
    _check_type(kind, rules)
    if rules.audiences.isdisjoint(_texts(claims.get("aud"), Reason.AUDIENCE)):
        raise refused(Reason.AUDIENCE)
    expires = _check_times(claims, rules, now, skew)
    for name, accepted in rules.required:
        if accepted.isdisjoint(_texts(claims.get(name), Reason.CLAIMS)):
            raise refused(Reason.CLAIMS)
    identity = Identity(_user(claims, rules), _groups(claims, rules), *_person(claims, rules))
    return Verified(identity, _purposes(claims, rules), _role(claims, rules), expires)


def _check_type(kind: str | None, rules: ClaimRules) -> None:
    if rules.token_type is None:
        return
    if kind is None or kind.lower().removeprefix("application/") != rules.token_type.lower():
        raise refused(Reason.TYPE)


def _check_times(claims: Mapping[str, Any], rules: ClaimRules, now: datetime, skew: timedelta) -> datetime:
    """When the token ends, with the tolerance that it is accepted with."""
    issued, expires = _moment(claims.get("iat")), _moment(claims.get("exp"))
    begins = _moment(claims["nbf"]) if "nbf" in claims else issued
    if expires + skew <= now:
        raise refused(Reason.EXPIRED)
    if max(begins, issued) - skew > now:
        raise refused(Reason.EARLY)
    if not timedelta(0) < expires - issued <= rules.max_lifetime:
        raise refused(Reason.LIFETIME)
    return expires + skew


def _moment(value: Any) -> datetime:
    """A NumericDate: seconds since 1970."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not 0 <= value < _LAST_SECOND:
        raise refused(Reason.CLAIMS)
    return datetime.fromtimestamp(value, UTC)


def _user(claims: Mapping[str, Any], rules: ClaimRules) -> str:
    name = claims.get(rules.user_claim)
    if rules.user_claim == "email" and claims.get("email_verified") is not True:
        raise refused(Reason.USER)
    user = f"{rules.user_prefix}{name}" if isinstance(name, str) and name else ""
    if USER.fullmatch(user) is None or user.startswith(rules.foreign_prefixes):
        raise refused(Reason.USER)
    return user


def _groups(claims: Mapping[str, Any], rules: ClaimRules) -> tuple[str, ...]:
    if rules.groups_claim is None or rules.groups_claim not in claims:
        return ()
    return _texts(claims[rules.groups_claim], Reason.CLAIMS)


def _person(claims: Mapping[str, Any], rules: ClaimRules) -> tuple[str | None, tuple[tuple[str, str], ...]]:
    """Employee id and attributes; what the token does not say is not there."""
    employee = None
    if rules.employee_claim is not None and rules.employee_claim in claims:
        employee = _text(claims[rules.employee_claim], Reason.CLAIMS, MAX_EMPLOYEE_ID)
    pairs = [
        (name, _text(claims[claim], Reason.CLAIMS, MAX_ATTRIBUTE))
        for name, claim in rules.attributes
        if claim in claims
    ]
    return employee, tuple(pairs)


def _purposes(claims: Mapping[str, Any], rules: ClaimRules) -> tuple[str, ...]:
    found: list[str] = []
    if rules.purpose_claim in claims:
        found += _texts(claims[rules.purpose_claim], Reason.PURPOSE)
    if rules.scope_prefix is not None and "scope" in claims:
        scope = claims["scope"]
        scopes = scope.split(" ") if isinstance(scope, str) else _texts(scope, Reason.PURPOSE)
        found += [text.removeprefix(rules.scope_prefix) for text in scopes if text.startswith(rules.scope_prefix)]
    if not found or not all(NAME.fullmatch(purpose) for purpose in found):
        raise refused(Reason.PURPOSE)
    return tuple(dict.fromkeys(found))


def _role(claims: Mapping[str, Any], rules: ClaimRules) -> str | None:
    if rules.role_claim is None or rules.role_claim not in claims:
        return None
    role = claims[rules.role_claim]
    if not isinstance(role, str) or NAME.fullmatch(role) is None:
        raise refused(Reason.ROLE)
    return role


def _texts(value: Any, reason: Reason) -> tuple[str, ...]:
    """A text or a list of texts, each once."""
    listed = value if isinstance(value, list) else [value]
    if len(listed) > MAX_LISTED:
        raise refused(reason)
    return tuple(dict.fromkeys(_text(item, reason) for item in listed))


def _text(value: Any, reason: Reason, longest: int = MAX_TEXT) -> str:
    """A text that shows as one line."""
    if not isinstance(value, str) or not 0 < len(value) <= longest or not value.isprintable():
        raise refused(reason)
    return value
