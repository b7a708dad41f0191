"""The door's one question: who is there, and what for? What it cannot answer for certain, it answers with no."""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field
from datetime import datetime

from joserfc.jwk import Key

from lake.errors import UsageError
from lake.gateway.caller import Caller
from lake.gateway.identity.claims import Verified, read_claims
from lake.gateway.identity.https import PATIENCE
from lake.gateway.identity.issuer_keys import IssuerKeys, IssuerStatus
from lake.gateway.identity.local_tokens import LocalTokens
from lake.gateway.identity.reasons import Reason, refused
from lake.gateway.identity.rules import ClaimRules, IdentityRules, IssuerRules
from lake.gateway.identity.signatures import ASYMMETRIC, LOCAL, is_signed
from lake.gateway.identity.tokens import UnverifiedToken, parse_token
from lake.rules.model import NAME, Identity


@dataclass(frozen=True, slots=True)
class BearerToken:
    """A token as the caller sent it, without ``Bearer``. Its ``repr`` does not show it."""

    text: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class PeerCertificate:
    """A client's certificate that TLS has verified.

    Attributes:
        name: its first DNS name, or its common name.
        expires: when it ends (UTC), if that is known.
    """

    name: str = field(repr=False)
    expires: datetime | None = None


Credential = BearerToken | PeerCertificate


class Authenticator:
    """Authenticates callers; safe for many threads. Its ``repr`` shows no key.

    Args:
        local: the lake's own tokens; they count only if the rules say so.
        patience: seconds for each step of a request to an issuer.

    Raises:
        UsageError: an issuer's ``ca_file`` cannot be used.
    """

    def __init__(self, rules: IdentityRules, local: LocalTokens | None = None, *, patience: float = PATIENCE) -> None:
        self._rules = rules
        self._local = local
        self._issuers = {
            issuer.issuer: (issuer, IssuerKeys(issuer, _context(issuer), patience=patience)) for issuer in rules.issuers
        }

    def authenticate(
        self, credential: Credential | None, chosen_purpose: str | None, chosen_role: str | None, now: datetime
    ) -> Caller:
        """Who is there.

        Args:
            chosen_purpose: which of the credential's purposes; needless if it has one only.
            chosen_role: which of their roles, if they choose one.
            now: the lake's clock (UTC, with a time zone).

        Raises:
            UnauthenticatedError: the credential does not prove who they are or what for; one message for every reason.
        """
        match credential:
            case BearerToken():
                verified = self._token(credential.text, now)
            case PeerCertificate():
                verified = self._certificate(credential, now)
            case None:
                raise refused(Reason.MISSING)
        purpose = _chosen(verified.purposes, chosen_purpose)
        return Caller(verified.identity, purpose, _role(verified.role, chosen_role), verified.expires)

    def refresh(self, now: datetime) -> None:
        """Fetch every issuer's keys, so that the first callers do not wait; see :meth:`status` for what failed."""
        for _, keys in self._issuers.values():
            keys.refresh(now)

    def status(self) -> list[IssuerStatus]:
        """How it stands with each issuer's keys."""
        return [keys.status() for _, keys in self._issuers.values()]

    def _token(self, text: str, now: datetime) -> Verified:
        token = parse_token(text)
        key, rules = self._verifier(token, now)
        if not is_signed(token, key):
            raise refused(Reason.SIGNATURE)
        return read_claims(token.claims, token.type, rules, now, self._rules.clock_skew)

    def _verifier(self, token: UnverifiedToken, now: datetime) -> tuple[Key, ClaimRules]:
        """The key and the rules for a token, from two tables that share no algorithm, no issuer and no key."""
        if token.algorithm == LOCAL:
            if self._local is None or token.issuer != self._local.issuer:
                raise refused(Reason.ISSUER)
            if not self._rules.local_tokens:
                raise refused(Reason.DISABLED)
            return self._local.key, self._local.rules
        if token.algorithm not in ASYMMETRIC:
            raise refused(Reason.ALGORITHM)
        if token.issuer not in self._issuers:
            raise refused(Reason.ISSUER)
        rules, keys = self._issuers[token.issuer]
        if token.algorithm not in rules.algorithms:
            raise refused(Reason.ALGORITHM)
        return keys.find(token.key_id, token.algorithm, now), rules.claims

    def _certificate(self, certificate: PeerCertificate, now: datetime) -> Verified:
        service = self._rules.certificates.get(certificate.name)
        if service is None:
            raise refused(Reason.CERTIFICATE)
        if certificate.expires is not None and certificate.expires <= now:
            raise refused(Reason.EXPIRED)
        return Verified(Identity(service.user), service.purposes, None, certificate.expires)


def _chosen(purposes: tuple[str, ...], chosen: str | None) -> str:
    if chosen is None and len(purposes) == 1:
        return purposes[0]
    if chosen is None or chosen not in purposes:
        raise refused(Reason.PURPOSE)
    return chosen


def _role(bound: str | None, chosen: str | None) -> str | None:
    if chosen is None:
        return bound
    if NAME.fullmatch(chosen) is None or bound not in {None, chosen}:
        raise refused(Reason.ROLE)
    return chosen


def _context(issuer: IssuerRules) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=str(issuer.ca_file) if issuer.ca_file else None)
    except (OSError, ssl.SSLError):
        raise UsageError(f"{issuer.ca_file} cannot be read as certificates in PEM") from None
