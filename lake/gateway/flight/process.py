"""The gateway as a process of its own: what it opens, in which order, and how it ends."""

from __future__ import annotations

import json
import logging
import os
import signal
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from keys.memory import harden
from lake.gateway.flight.door import Address, Door
from lake.gateway.flight.failures import BusyError
from lake.gateway.home import Home
from lake.gateway.identity.authenticator import Authenticator
from lake.gateway.identity.document import load_identity
from lake.gateway.identity.local_tokens import LocalTokens
from lake.gateway.identity.rules import IdentityRules
from lake.gateway.observe import tracing
from lake.gateway.observe.health import HealthServer
from lake.gateway.observe.metrics import Metrics
from lake.gateway.service import GatewayService
from lake.settings import Secrets, Settings

__all__ = ["GatewayProcess", "Plan", "StopSignals", "harden", "log_to_stderr"]


@dataclass(frozen=True, slots=True)
class Plan:
    """What a gateway process is told.

    Attributes:
        root: folder of the lake.
        addresses: where callers come.
        health: host and port for health and metrics, None for none.
    """

    root: Path
    secrets: Secrets
    identity: Path
    addresses: Sequence[Address]
    health: tuple[str, int] | None
    settings: Settings


class StopSignals:
    """SIGTERM and SIGINT from now on, whichever thread the system hands them to.

    Python runs handlers in the main thread, which does not wake up for a signal that another thread was given; what
    is written to the wake-up socket does wake it.
    """

    def __init__(self) -> None:
        self._socket, self._wakes = socket.socketpair()
        self._wakes.setblocking(False)
        signal.set_wakeup_fd(self._wakes.fileno(), warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: None)

    def wait(self) -> None:
        """Wait for one of them."""
        self._socket.recv(1)


class GatewayProcess:
    """A gateway that is open from the start until :meth:`close`.

    Attributes:
        addresses: where callers come.
        health: URL of health and metrics, None for none.

    Raises:
        LakeError, KeysError: something that it needs is not there or not right.
    """

    def __init__(self, plan: Plan, environment: Mapping[str, str] = os.environ) -> None:
        rules = load_identity(plan.identity)
        # Sandboxes first: what starts them must never have seen a key, nor have threads.
        self._service = GatewayService(
            lambda: Home.open(plan.root, plan.secrets, settings=plan.settings), plan.settings
        )
        self._health: HealthServer | None = None
        try:
            self._traces = tracing.configure(environment)
            self._metrics = Metrics()
            self._metrics.watch(self._figures)
            authenticator = _authenticator(rules, self._service.home)
            self._door = Door(self._service, authenticator, plan.addresses, self._metrics)
            if plan.health is not None:
                self._health = HealthServer(plan.health, self._metrics, self._check)
        except BaseException:
            self._service.close()
            raise
        self.addresses = self._door.addresses
        self.health = None if self._health is None else self._health.address

    def serve(self, stop: StopSignals, grace: float) -> bool:
        """Serve until it is to stop; then refuse new calls, and give those under way ``grace`` seconds.

        Returns:
            False if a client kept a thread busy, so that the process can only be ended as a whole.
        """
        stop.wait()
        whole = self._door.close(grace)
        if self._health is not None:
            self._health.close()
        self._service.close()
        if self._traces is not None:
            self._traces.shutdown()
        return whole

    def _check(self) -> None:
        if self._door.gate.closing:
            raise BusyError("the gateway is stopping")
        self._service.check_ready()

    def _figures(self) -> dict[str, float]:
        service = self._service
        return {
            "sandboxes_idle": service.pool.idle,
            "sandboxes_used": service.pool.used,
            "sandboxes_most": service.pool.most,
            "sandboxes_killed": service.pool.killed,
            "slice_cache_bytes": service.cache.size,
            "slice_cache_hits": service.cache.hits,
            "slice_cache_misses": service.cache.misses,
            "calls_under_way": self._door.gate.inside,
            "statements_held": len(self._door.desk.prepared),
        }


def _authenticator(rules: IdentityRules, home: Home) -> Authenticator:
    """Who knows callers; its issuers' keys are fetched, so that the first callers do not wait."""
    local = LocalTokens(home.config.lake, home.control.token_key()) if rules.local_tokens else None
    authenticator = Authenticator(rules, local)
    authenticator.refresh(home.clock())
    return authenticator


class _Line(logging.Formatter):
    """One JSON document a line. Tracebacks are left out: they could quote rows."""

    def format(self, record: logging.LogRecord) -> str:
        """A record as a line."""
        moment = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        fields = {"time": moment, "level": record.levelname.lower(), "source": record.name}
        return json.dumps(fields | {"message": record.getMessage()})


def log_to_stderr() -> None:
    """Log what the gateway does, and what others warn of."""
    handler = logging.StreamHandler()
    handler.setFormatter(_Line())
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
    logging.getLogger("lake").setLevel(logging.INFO)
