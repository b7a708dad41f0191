"""The gateway as every door calls it: one lake, many callers, sandboxes, and the limits that hold across queries."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from weakref import WeakSet

import pyarrow as pa

from lake.clear.sandbox.answers import Parameters
from lake.clear.serving.cache import SliceCache
from lake.clear.serving.pool import Pool
from lake.clear.serving.processes import SandboxShape
from lake.errors import UnavailableError
from lake.gateway.admission import Request
from lake.gateway.caller import Caller
from lake.gateway.cancellation import Cancellation
from lake.gateway.contracts import Contracts
from lake.gateway.engines import sandboxed
from lake.gateway.home import Home
from lake.gateway.policies import Policies
from lake.gateway.query import Described, QueryGateway, QueryStream
from lake.settings import MIB, Settings

__all__ = ["Described", "GatewayService", "QueryStream", "ShownTable"]

_MAPPED = 512 * MIB
"""Address space of a sandbox for the slice that it has mapped, and for what the engine does not count."""


@dataclass(frozen=True, slots=True)
class ShownTable:
    """A table as a caller sees it."""

    name: str
    schema: pa.Schema
    description: str


class GatewayService:
    """Serves one lake; safe for many threads.

    Args:
        open_home: opens the lake; called only when the sandboxes' forefather runs, which so never saw a key.

    Raises:
        UnavailableError: no sandbox can be started.
    """

    def __init__(self, open_home: Callable[[], Home], settings: Settings) -> None:
        seconds = max(1, int(settings.sandbox_seconds * settings.threads))
        shape = SandboxShape(settings.sandbox_memory + _MAPPED, seconds)
        self.pool = Pool(
            shape,
            ready=settings.sandboxes_ready,
            most=settings.sandboxes_most,
            patience=settings.sandbox_patience,
        )
        try:
            self.home = open_home()
        except BaseException:
            self.pool.close()
            raise
        self.cache = SliceCache(settings.slice_cache, settings.slice_seconds)
        self.contracts = Contracts(self.home)
        self.policies = Policies(self.home, self.contracts)
        self._gateway = QueryGateway(
            self.home,
            self.contracts,
            self.policies,
            sandboxed(self.pool, self.cache, settings.sandbox_seconds),
            engine_memory=settings.sandbox_memory,
            cache=self.cache,
        )
        self._lock = threading.Lock()
        self._open: WeakSet[Cancellation] = WeakSet()
        """Of queries under way; a result holds its own as long as it is there."""

    def run(
        self,
        caller: Caller,
        sql: str,
        parameters: Parameters = (),
        *,
        files: frozenset[str] | None = None,
        cancellation: Cancellation | None = None,
    ) -> QueryStream:
        """Start a query; see ``QueryGateway.run``. A cancellation reaches it before this returns, too."""
        wish = cancellation or Cancellation()
        with self._lock:
            self._open.add(wish)
        return self._gateway.run(replace(_request(caller, sql, parameters), files=files, cancellation=wish))

    def cancel_all(self) -> None:
        """Break off every query."""
        with self._lock:
            wishes = list(self._open)
        for wish in wishes:
            wish.cancel()

    def describe(self, caller: Caller, sql: str, parameters: Parameters = ()) -> Described:
        """What a query would give; see ``QueryGateway.describe``."""
        return self._gateway.describe(_request(caller, sql, parameters))

    def split(self, caller: Caller, sql: str, parameters: Parameters, parts: int) -> Sequence[frozenset[str] | None]:
        """Disjoint sets of files over which a query can be run in parts, of about as many rows each.

        Returns:
            ``[None]`` if it cannot be divided.
        """
        return self._gateway.split(_request(caller, sql, parameters), parts)

    def tables(self, caller: Caller) -> list[ShownTable]:
        """The tables that a caller may read for their purpose, in order of name.

        Raises:
            DeniedError: none.
        """
        admissions = self._gateway.admissions
        allowed = admissions.allowed(self.policies.current(), caller.identity, caller.purpose, caller.role)
        schemas, descriptions = admissions.schemas(allowed), admissions.descriptions(allowed)
        return [ShownTable(name, schemas[name], descriptions[name]) for name in sorted(schemas)]

    def check_ready(self) -> None:
        """Whether a query would be answered now.

        Raises:
            LakeError: it would not; says what is missing.
        """
        if self.policies.mark() == 0:
            raise UnavailableError("no policy is in force")
        if not self.pool.idle and self.pool.used < self.pool.most:
            raise UnavailableError("no sandbox is ready")
        self.home.log.check_writable()

    def close(self) -> None:
        """Break off what runs, and give everything back."""
        self.pool.close()
        self.cache.clear()
        self.home.close()


def _request(caller: Caller, sql: str, parameters: Parameters) -> Request:
    return Request(caller.identity, caller.purpose, sql, parameters, caller.role, expires=caller.expires)
