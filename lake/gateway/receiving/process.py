"""The ingest server as a process: what it opens, in which order, and how it ends."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from lake.clear.landing.carry import OpenRuns
from lake.errors import LakeError
from lake.gateway.contracts import Contracts
from lake.gateway.filtering import forget_runs
from lake.gateway.flight.door import Address
from lake.gateway.flight.process import StopSignals
from lake.gateway.home import Home
from lake.gateway.ingest import Ingest
from lake.gateway.observe.health import HealthServer
from lake.gateway.receiving.app import Application
from lake.gateway.receiving.budget import Budget
from lake.gateway.receiving.bulk import BulkServer
from lake.gateway.receiving.desk import Desk
from lake.gateway.receiving.failures import StoppingError
from lake.gateway.receiving.limits import ReceivingLimits
from lake.gateway.receiving.metrics import ReceivingMetrics
from lake.gateway.receiving.server import HttpServer
from lake.settings import Secrets, Settings

_PARTING = 5.0


@dataclass(frozen=True, slots=True)
class ReceivingPlan:
    """What an ingest server is told.

    Attributes:
        user: as whom the process itself is recorded.
        addresses: where devices come over HTTP; ``bulk`` over Flight.
        health: host and port for health and metrics, None for none.
    """

    root: Path
    secrets: Secrets
    user: str
    addresses: Sequence[Address]
    bulk: Sequence[Address]
    health: tuple[str, int] | None
    settings: Settings
    limits: ReceivingLimits


class Receiving:
    """A server on an opened lake, open from the start until :meth:`close`; the lake stays open.

    Attributes:
        addresses, bulk: where it listens.
    """

    def __init__(
        self,
        home: Home,
        user: str,
        addresses: Sequence[Address],
        bulk: Sequence[Address] = (),
        limits: ReceivingLimits | None = None,
    ) -> None:
        self._limits = limits or ReceivingLimits()
        self._home = home
        self._actor = home.actor(user)
        contracts = Contracts(home)
        self._open_runs = OpenRuns()
        ingest = Ingest(home, contracts, self._actor, self._open_runs)
        self.metrics = ReceivingMetrics()
        self.budget = Budget(self._limits)
        self._desk = Desk(home, contracts, ingest, self.metrics, self._limits)
        self._landing = ThreadPoolExecutor(self._limits.landing, thread_name_prefix="ingest-landing")
        self._application = Application(self._desk, self.budget, self._landing, self._check)
        self._bulk: list[BulkServer] = []
        with ExitStack() as opened:
            opened.callback(self._application.close)
            self._http = HttpServer(self._application.asgi, addresses, self._limits)
            opened.callback(self._http.close, 0.0)
            for address in bulk:
                self._bulk.append(BulkServer(address, self._desk, self.budget, self._landing))
                opened.callback(self._bulk[-1].close, 0.0)
            opened.pop_all()
        self.addresses = self._http.addresses
        self.bulk = [server.address for server in self._bulk]
        self.metrics.watch(self._figures)

    def check_ready(self) -> None:
        """Raises what keeps it from taking a batch now."""
        if self._application.stopping:
            raise StoppingError("the server is stopping")
        self._check()

    def close(self, grace: float = 0.0) -> bool:
        """Take nothing more, let what is under way end for some seconds, then say which keys are forgotten.

        Returns:
            False if something is still under way, so that the process can only be ended as a whole.
        """
        self._application.stopping = True
        for server in self._bulk:
            server.stopping = True
        self.budget.wait_empty(grace)
        # A body that still comes is broken off here; what lands already is waited for.
        closed = [self._http.close(_PARTING), *(server.close(_PARTING) for server in self._bulk)]
        whole = all(closed) and self.budget.wait_empty(_PARTING)
        if whole:
            self._application.close()
            self._landing.shutdown()
            forget_runs(self._home, self._actor, self._open_runs)
        return whole

    def _check(self) -> None:
        self._home.log.check_writable()
        self._home.catalog.head()

    def _figures(self) -> dict[str, float]:
        return {
            "uploads": self.budget.uploads,
            "buffered_bytes": self.budget.buffered,
            "connections": self._http.connections,
            "open_run_keys": self._open_runs.held(),
        }


class ReceivingProcess:
    """The whole process; raises LakeError or KeysError if something that it needs is not there or not right."""

    def __init__(self, plan: ReceivingPlan) -> None:
        with ExitStack() as opened:
            self._home = opened.enter_context(Home.open(plan.root, plan.secrets, settings=plan.settings))
            self._receiving = Receiving(self._home, plan.user, plan.addresses, plan.bulk, plan.limits)
            opened.callback(self._receiving.close)
            self._health = None
            if plan.health is not None:
                self._health = HealthServer(plan.health, self._receiving.metrics, self._receiving.check_ready)
            opened.pop_all()
        self.addresses = [*self._receiving.addresses, *self._receiving.bulk]
        self.health = None if self._health is None else self._health.address

    def serve(self, stop: StopSignals, grace: float) -> bool:
        """Serve until it is to stop; then give what is under way ``grace`` seconds.

        Returns:
            False if something is still under way, so that the process can only be ended as a whole.
        """
        stop.wait()
        try:
            whole = self._receiving.close(grace)
        except LakeError:
            whole = True  # the log does not take it; everything else is closed
        if self._health is not None:
            self._health.close()
        if whole:
            self._home.close()
        return whole
