"""The lake's own tokens, for development and for machines without an identity provider: signed by the lake's key."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from joserfc import jwt
from joserfc.jwk import OctKey

from lake.clock import timestamp
from lake.errors import UsageError
from lake.gateway.home import Home
from lake.gateway.identity.rules import ClaimRules
from lake.gateway.identity.signatures import LOCAL
from lake.gateway.identity.tokens import MAX_TOKEN
from lake.gateway.recorder import Actor
from lake.rules.model import NAME
from lake.rules.policy_document import USER

ENTRY = "token.issue"
MAX_LIFETIME = timedelta(days=30)
DEFAULT_LIFETIME = timedelta(hours=8)
MAX_PURPOSES = 100
_TYPE = "lake+jwt"


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a token is to say: who, what for, as which role if only one, and for how long."""

    user: str
    purposes: tuple[str, ...]
    role: str | None = None
    lifetime: timedelta = DEFAULT_LIFETIME

    def check(self) -> None:
        """Refuse what no door would accept.

        Raises:
            UsageError: a name is none, or the lifetime is too long.
        """
        if USER.fullmatch(self.user) is None:
            raise UsageError("this is not a valid user name", hint=f"expected {USER.pattern}")
        if not 0 < len(self.purposes) <= MAX_PURPOSES:
            raise UsageError(f"a token is for at least one purpose, and at most {MAX_PURPOSES}", hint="--purpose NAME")
        if not all(NAME.fullmatch(name) for name in (*self.purposes, *([self.role] if self.role is not None else []))):
            raise UsageError("a purpose or a role is not a valid name", hint=f"expected {NAME.pattern}")
        if not timedelta(0) < self.lifetime <= MAX_LIFETIME:
            raise UsageError(f"a token lives for at most {MAX_LIFETIME.days} days")


@dataclass(frozen=True, slots=True)
class Issued:
    """A new token; who holds it is the user until it expires (UTC). Its ``repr`` shows its id only."""

    text: str = field(repr=False)
    token_id: str
    expires: datetime


class LocalTokens:
    """The issuer that a lake is of its own tokens. Its ``repr`` shows the lake only.

    Args:
        key: 32 bytes, of the control secrets.
    """

    def __init__(self, lake: str, key: bytes) -> None:
        self.issuer = f"lake:{lake}"
        self.key = OctKey.import_key(key)
        self.rules = ClaimRules(
            audiences=frozenset({lake}), role_claim="role", token_type=_TYPE, max_lifetime=MAX_LIFETIME
        )
        self._lake = lake

    def __repr__(self) -> str:
        return f"LocalTokens({self._lake!r})"

    def __reduce__(self) -> tuple[object, ...]:
        raise TypeError("keys are not pickled")

    def sign(self, wanted: Wanted, token_id: str, now: datetime) -> Issued:
        """A token; nothing is recorded.

        Raises:
            UsageError: no door would accept it.
        """
        wanted.check()
        issued = int(now.timestamp())
        expires = now + wanted.lifetime
        claims = {
            "iss": self.issuer,
            "aud": self._lake,
            "sub": wanted.user,
            "purpose": list(wanted.purposes),
            "jti": token_id,
            "iat": issued,
            "exp": issued + int(wanted.lifetime.total_seconds()),
        } | ({"role": wanted.role} if wanted.role is not None else {})
        text = jwt.encode({"alg": LOCAL, "typ": _TYPE}, claims, self.key, algorithms=[LOCAL])
        if len(text) > MAX_TOKEN:
            raise UsageError("so many purposes do not fit into a token", hint="make two")
        return Issued(text, token_id, expires.replace(microsecond=0))


def issue(home: Home, actor: Actor, wanted: Wanted) -> Issued:
    """Make a token, which stands in the audit log before anybody has it.

    Raises:
        UsageError: no door would accept it.
        BrokerRefusedError: this host does not hold the key.
        AuditUnavailableError: it cannot be recorded.
    """
    issued = LocalTokens(home.config.lake, home.control.token_key()).sign(wanted, secrets.token_hex(16), home.clock())
    until = timestamp(issued.expires)
    home.recorder.record(
        ENTRY,
        actor,
        {"token": issued.token_id, "user": home.control.actor_tag(wanted.user), "expires": until},
        {
            "token": issued.token_id,
            "user": wanted.user,
            "purposes": list(wanted.purposes),
            "role": wanted.role,
            "expires": until,
        },
    )
    return issued
