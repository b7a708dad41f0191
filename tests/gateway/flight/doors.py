"""The door of a gateway over the known lake, and tokens for it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pyarrow.flight as fl

from lake.gateway.flight.door import Address, Door
from lake.gateway.flight.limits import FlightLimits
from lake.gateway.identity.authenticator import Authenticator
from lake.gateway.identity.local_tokens import LocalTokens, Wanted
from lake.gateway.identity.rules import IdentityRules
from lake.gateway.observe.metrics import Metrics
from lake.gateway.service import GatewayService
from tests import world as w

HERE = Address("127.0.0.1", 0)


@dataclass(frozen=True, slots=True)
class Opened:
    """A door that is open, and who may make tokens for it."""

    door: Door
    tokens: LocalTokens
    metrics: Metrics
    service: GatewayService

    @property
    def url(self) -> str:
        """Where it listens."""
        return self.door.addresses[0]

    def token(self, user: str = w.VERA, *purposes: str, role: str | None = None, hours: float = 1) -> str:
        """A token of this lake."""
        wanted = Wanted(user, purposes or ("incident",), role, timedelta(hours=hours))
        return self.tokens.sign(wanted, "0" * 32, self.service.home.clock()).text

    def options(self, user: str = w.VERA, *purposes: str, **headers: str) -> fl.FlightCallOptions:
        """Headers of a call: a token, and what is given, ``x_lake_purpose`` for ``x-lake-purpose``."""
        given = {"authorization": f"Bearer {self.token(user, *purposes)}"} | headers
        return fl.FlightCallOptions(
            headers=[(name.replace("_", "-").encode(), text.encode()) for name, text in given.items()]
        )

    def metric(self, name: str) -> float:
        """One of its metrics, by name and labels as Prometheus writes them; 0 if it is not there."""
        for line in self.metrics.text().decode().splitlines():
            if line.startswith(f"{name} "):
                return float(line.rpartition(" ")[2])
        return 0.0


@contextmanager
def opened(
    service: GatewayService,
    *,
    rules: IdentityRules | None = None,
    addresses: Sequence[Address] = (HERE,),
    **limits: Any,
) -> Iterator[Opened]:
    """A door, until it is closed."""
    home = service.home
    tokens = LocalTokens(home.config.lake, home.control.token_key())
    authenticator = Authenticator(rules or IdentityRules((), local_tokens=True), tokens)
    metrics = Metrics()
    door = Door(service, authenticator, addresses, metrics, FlightLimits(**{"look": 0.05} | limits))
    try:
        yield Opened(door, tokens, metrics, service)
    finally:
        door.close()
