"""A provider and a door that knows it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pytest

from lake.errors import UnauthenticatedError
from lake.gateway.caller import Caller
from lake.gateway.identity.authenticator import Authenticator, BearerToken
from lake.gateway.identity.local_tokens import LocalTokens
from lake.gateway.identity.rules import ClaimRules, IdentityRules, IssuerRules
from tests.gateway.identity.provider import AUDIENCE, Provider
from tests.world import NOW

LAKE = "00112233445566778899aabbccddeeff"
LOCAL = LocalTokens(LAKE, bytes(range(32)))


@dataclass(frozen=True, slots=True)
class Door:
    """An authenticator as a test knocks at it."""

    authenticator: Authenticator

    def enter(self, token: str, purpose: str | None = None, role: str | None = None, now: datetime = NOW) -> Caller:
        """Show a token."""
        return self.authenticator.authenticate(BearerToken(token), purpose, role, now)

    def refusal(self, token: str, purpose: str | None = None, role: str | None = None, now: datetime = NOW) -> str:
        """The reason for which a token is refused; it must be, and the caller must not learn why."""
        with pytest.raises(UnauthenticatedError) as caught:
            self.enter(token, purpose, role, now)
        assert str(caught.value) == str(UnauthenticatedError())
        assert (caught.value.details, caught.value.code, caught.value.exit_code) == ({}, "unauthenticated", 3)
        return caught.value.reason


@pytest.fixture
def provider() -> Iterator[Provider]:
    """A provider with one key."""
    running = Provider()
    yield running
    running.close()


@pytest.fixture
def make_door(provider: Provider) -> Callable[..., Door]:
    """Makes doors that know the provider, by rules for its claims and for itself."""

    def made(*, patience: float = 5.0, issuer: dict[str, Any] | None = None, **claims: Any) -> Door:
        known = ClaimRules(audiences=frozenset({AUDIENCE}), **claims)
        rules = IdentityRules((IssuerRules(provider.issuer, known, **(issuer or {})),), local_tokens=True)
        return Door(Authenticator(rules, LOCAL, patience=patience))

    return made


@pytest.fixture
def door(make_door: Callable[..., Door]) -> Door:
    """A door that knows the provider."""
    return make_door()
