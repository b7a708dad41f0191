"""The door: one or two addresses, one desk and one gate behind them, and how it opens and closes."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from keys.secretfiles import read_secret_file
from lake.errors import UsageError
from lake.gateway.flight.desk import Desk
from lake.gateway.flight.gate import Gate
from lake.gateway.flight.limits import FlightLimits
from lake.gateway.flight.server import FlightSqlServer
from lake.gateway.identity.authenticator import Authenticator
from lake.gateway.observe.metrics import Metrics
from lake.gateway.service import GatewayService

_PARTING = 5.0
"""Seconds for streams that were broken off to end."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where to listen, with what certificate, and whom to let in.

    Attributes:
        certificate, key: PEM files; without them there is no TLS.
        client_ca: PEM file; callers are then known by certificates that it has signed.
    """

    host: str
    port: int
    certificate: Path | None = None
    key: Path | None = field(default=None, repr=False)
    client_ca: Path | None = None

    def location(self) -> str:
        """As pyarrow has it."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'grpc' if self.certificate is None else 'grpc+tls'}://{host}:{self.port}"

    def tls(self) -> dict[str, Any]:
        """As pyarrow's server takes it.

        Raises:
            UsageError: a file cannot be read.
            SecretFileError: the key's is open to others.
        """
        if self.certificate is None or self.key is None:
            return {}
        found: dict[str, Any] = {"tls_certificates": [(_read(self.certificate), read_secret_file(self.key))]}
        if self.client_ca is not None:
            found |= {"verify_client": True, "root_certificates": _read(self.client_ca)}
        return found


class Door:
    """Open from the start until :meth:`close`; serves in threads of its own.

    Attributes:
        addresses: where it listens.

    Raises:
        UsageError: it cannot listen there.
    """

    def __init__(
        self,
        service: GatewayService,
        authenticator: Authenticator,
        addresses: Sequence[Address],
        metrics: Metrics,
        limits: FlightLimits | None = None,
    ) -> None:
        self._limits = limits or FlightLimits()
        self._service = service
        self.gate = Gate(authenticator, service.home.clock, self._limits, metrics)
        self.desk = Desk(service, self._limits, metrics)
        self._servers: list[FlightSqlServer] = []
        self._over = threading.Event()
        self._watcher = threading.Thread(target=self._watch, name="gateway-watcher", daemon=True)
        try:
            for address in addresses:
                self._servers.append(self._listening(address))
        except BaseException:
            self._shut()
            raise
        self.addresses = [
            f"{address.location().rpartition(':')[0]}:{server.port}"
            for address, server in zip(addresses, self._servers, strict=True)
        ]
        self._watcher.start()

    def close(self, grace: float = 0.0) -> bool:
        """Refuse new calls, let those under way end for ``grace`` seconds, break off the rest.

        Returns:
            False if a client takes nothing and says nothing, so that its thread could not be ended.
        """
        self.gate.close()
        if not self.gate.wait_empty(grace):
            self._service.cancel_all()
        gone = self.gate.wait_empty(_PARTING)
        self._over.set()
        if self._watcher.is_alive():
            self._watcher.join()
        # Shutting down waits for calls, for ever.
        parting = threading.Thread(target=self._shut, name="gateway-parting", daemon=True)
        parting.start()
        parting.join(None if gone else _PARTING)
        return not parting.is_alive()

    def _listening(self, address: Address) -> FlightSqlServer:
        certified = address.client_ca is not None
        tls = address.tls()
        try:
            return FlightSqlServer(address.location(), self.desk, self.gate, certified=certified, tls=tls)
        except (pa.ArrowException, OSError, ValueError):
            where = f"{address.host}:{address.port}"
            hint = "is the port in use? are certificate and key a pair, in PEM?"
            raise UsageError(f"the gateway cannot listen at {where}", hint=hint) from None

    def _watch(self) -> None:
        while not self._over.wait(self._limits.look):
            self.gate.look()
            self.desk.purge()

    def _shut(self) -> None:
        for server in self._servers:
            server.shutdown()


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        raise UsageError(f"{path} cannot be read") from None
