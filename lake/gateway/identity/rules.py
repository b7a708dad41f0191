"""What the door goes by, as values: which issuers, certificates and tokens count, and what their claims must say."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from lake.gateway.identity.signatures import ASYMMETRIC

CLOCK_SKEW = timedelta(seconds=60)
MAX_LIFETIME = timedelta(hours=24)
KEYS_MAX_AGE = timedelta(hours=1)
KEYS_OUTAGE = timedelta(hours=24)


@dataclass(frozen=True, slots=True)
class ClaimRules:
    """What the claims of a verified token must be, and what is read from them.

    Attributes:
        audiences: the token must be for one of them.
        user_claim: names the user; ``email`` counts only if the token says that it is verified.
        user_prefix: stands before every user's name of this issuer.
        foreign_prefixes: names that begin so are another issuer's to give.
        groups_claim, employee_claim: None reads none.
        attributes: (attribute, claim).
        purpose_claim: a purpose, or a list of them.
        scope_prefix: scopes that begin so name purposes too; None reads no scopes.
        role_claim: binds the token to one role; None reads none.
        token_type: what the header's ``typ`` must be; None admits any.
        required: (claim, accepted texts).
        max_lifetime: from issue to expiry.
    """

    audiences: frozenset[str]
    user_claim: str = "sub"
    user_prefix: str = ""
    foreign_prefixes: tuple[str, ...] = ()
    groups_claim: str | None = None
    employee_claim: str | None = None
    attributes: tuple[tuple[str, str], ...] = ()
    purpose_claim: str = "purpose"
    scope_prefix: str | None = None
    role_claim: str | None = None
    token_type: str | None = None
    required: tuple[tuple[str, frozenset[str]], ...] = ()
    max_lifetime: timedelta = MAX_LIFETIME


@dataclass(frozen=True, slots=True)
class IssuerRules:
    """An identity provider whose tokens count.

    Attributes:
        issuer: its URL, to the letter as its tokens name it.
        ca_file: certificates that its hosts are checked against, instead of the system's.
        keys_max_age: its keys are fetched again when they are older.
        keys_outage: for so long after that, the last good keys serve while it does not answer.
    """

    issuer: str
    claims: ClaimRules
    algorithms: frozenset[str] = ASYMMETRIC
    ca_file: Path | None = None
    keys_max_age: timedelta = KEYS_MAX_AGE
    keys_outage: timedelta = KEYS_OUTAGE


@dataclass(frozen=True, slots=True)
class ServiceRules:
    """Who a certificate's name stands for, and for what."""

    user: str
    purposes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class IdentityRules:
    """One identity file. What it does not name is refused: without any, nobody is authenticated."""

    issuers: tuple[IssuerRules, ...] = ()
    certificates: Mapping[str, ServiceRules] = field(default_factory=dict)
    local_tokens: bool = False
    clock_skew: timedelta = CLOCK_SKEW
