"""A gateway service over a known lake, and callers of it."""

from __future__ import annotations

import atexit
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import pytest

from lake.clear.serving import pool
from lake.clear.serving.processes import SandboxShape, Zygote
from lake.gateway.caller import Caller
from lake.gateway.home import Home
from lake.gateway.service import GatewayService
from lake.rules.model import Identity
from lake.settings import MIB, Secrets, Settings
from tests import world as w


def caller(user: str = w.VERA, purpose: str = "incident", role: str | None = None, **more: Any) -> Caller:
    """Who a door says is there."""
    return Caller(Identity(user), purpose, role, **more)


class _Shared(Zygote):
    """Starts sandboxes for one service after another; loading the engine takes longer than most tests."""

    def close(self) -> None:
        """It goes on until the tests are over."""


_zygotes: dict[SandboxShape, Zygote] = {}


def _shared(shape: SandboxShape) -> Zygote:
    found = _zygotes.get(shape)
    if found is None or not found.is_alive:
        found = _zygotes[shape] = _Shared(shape)
        atexit.register(Zygote.close, found)
    return found


@contextmanager
def serving(world: w.World, clock: Any = w.clock, **values: Any) -> Iterator[GatewayService]:
    """The service, with small sandboxes."""
    settings = Settings(
        **{"threads": 2, "sandboxes_ready": 1, "sandboxes_most": 4, "sandbox_memory": 256 * MIB, "slice_cache": 0}
        | values
    )
    secret = Secrets(key_file=world.key)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pool, "Zygote", _shared)
        opened = GatewayService(lambda: Home.open(world.root, secret, settings=settings, clock=clock), settings)
    try:
        yield opened
    finally:
        opened.close()


def rows(service: GatewayService, who: Caller, sql: str, parameters: Any = (), **more: Any) -> list[dict[str, Any]]:
    """All rows of a query."""
    stream = service.run(who, sql, parameters, **more)
    try:
        return [one for batch in stream for one in batch.to_pylist()]
    finally:
        stream.close()


class Watch:
    """A clock that a test sets."""

    def __init__(self, now: datetime = w.NOW) -> None:
        self.now = now

    def __call__(self) -> datetime:
        """The time."""
        return self.now
