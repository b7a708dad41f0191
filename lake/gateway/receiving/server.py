"""HTTP/1.1 by uvicorn, with what it leaves open: limits of connections, of handshakes and of slow headers, and the
client's certificate for the application."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import socket
import threading
from collections.abc import Sequence
from typing import Any

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from lake.errors import UsageError
from lake.gateway.flight.door import Address
from lake.gateway.receiving.limits import ReceivingLimits
from lake.gateway.receiving.requests import PEER
from lake.gateway.receiving.tls import server_context

_BACKLOG = 512
_FAREWELL_S = 1.0
"""Seconds for a client to say that it has heard the end of TLS."""


class _Connection(H11Protocol):
    """One connection; closed at once if there are too many, and when headers do not come in time."""

    limits = ReceivingLimits()
    _late: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """See asyncio.Protocol; with TLS the handshake is over."""
        super().connection_made(transport)
        shown = transport.get_extra_info("ssl_object")
        certificate = shown.getpeercert(binary_form=True) if shown is not None else None
        if certificate is not None:
            self.app_state = {**self.app_state, PEER: hashlib.sha256(certificate).hexdigest()}
        if len(self.connections) > self.limits.connections:
            transport.abort()
            return
        self._watch()

    def data_received(self, data: bytes) -> None:
        """See asyncio.Protocol."""
        super().data_received(data)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """See asyncio.Protocol."""
        self._forget()
        super().connection_lost(exc)

    def on_response_complete(self) -> None:
        """The next request may have begun to come."""
        super().on_response_complete()
        self._watch()

    def _watch(self) -> None:
        """Count the time while headers are awaited of which something has come, or nothing ever."""
        waiting = self.conn.their_state is h11.IDLE and not self.transport.is_closing()
        if not waiting:
            self._forget()
        elif self._late is None and self.timeout_keep_alive_task is None:
            self._late = self.loop.call_later(self.limits.header_s, self._give_up)

    def _forget(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None

    def _give_up(self) -> None:
        self._late = None
        if self.conn.their_state is h11.IDLE:
            self.transport.abort()


class _Uvicorn(uvicorn.Server):
    """Listens at sockets that have a TLS context each; uvicorn itself has one for all and waits long for handshakes."""

    def __init__(
        self, config: uvicorn.Config, places: Sequence[tuple[socket.socket, Any]], limits: ReceivingLimits
    ) -> None:
        super().__init__(config)
        self._places = places
        self._limits = limits
        self.ready = threading.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:  # noqa: ARG002 - it has its own
        """Begin to listen."""
        await self.lifespan.startup()
        self.servers = []
        loop = asyncio.get_running_loop()
        patience = {"ssl_handshake_timeout": self._limits.handshake_s, "ssl_shutdown_timeout": _FAREWELL_S}
        for place, context in self._places:
            given: dict[str, Any] = {} if context is None else patience
            self.servers.append(
                await loop.create_server(self._connection, sock=place, ssl=context, backlog=_BACKLOG, **given)
            )
        self.started = True
        self.ready.set()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Take no more connections, wait for answers, and close what is left."""
        await super().shutdown(sockets)
        for connection in list(self.server_state.connections):
            connection.transport.abort()
        await asyncio.sleep(0)

    def _connection(self) -> asyncio.Protocol:
        kind: Any = self.config.http_protocol_class
        made: asyncio.Protocol = kind(config=self.config, server_state=self.server_state, app_state=self.lifespan.state)
        return made


class HttpServer:
    """Serves an ASGI application in a thread of its own until :meth:`close`.

    Attributes:
        addresses: where it listens, as URLs.

    Raises:
        UsageError: it cannot listen there, or a file for TLS is not what it should be.
    """

    def __init__(self, asgi: Any, addresses: Sequence[Address], limits: ReceivingLimits) -> None:
        protocol = type("Connection", (_Connection,), {"limits": limits})
        config = uvicorn.Config(
            asgi,
            http=protocol,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            h11_max_incomplete_event_size=limits.headers,
            timeout_keep_alive=int(limits.keep_alive_s),
        )
        contexts = [server_context(address) for address in addresses]
        with contextlib.ExitStack() as opened:
            places = [opened.enter_context(_listening(address)) for address in addresses]
            opened.pop_all()
        self.addresses = [_url(*pair) for pair in zip(places, contexts, strict=True)]
        self._server = _Uvicorn(config, list(zip(places, contexts, strict=True)), limits)
        self._thread = threading.Thread(target=self._server.run, name="ingest-http", daemon=True)
        self._thread.start()
        while not self._server.ready.wait(0.1):
            if not self._thread.is_alive():
                raise UsageError("the ingest server cannot listen", hint="the log says why")

    @property
    def connections(self) -> int:
        """Open ones."""
        return len(self._server.server_state.connections)

    def close(self, seconds: float) -> bool:
        """Take no more connections, let answers end for some seconds, then close all.

        Returns:
            False if something is still under way.
        """
        self._server.config.timeout_graceful_shutdown = max(1, int(seconds))
        self._server.should_exit = True
        self._thread.join(seconds + 5.0)
        return not self._thread.is_alive()


def _listening(address: Address) -> socket.socket:
    try:
        family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
        return socket.create_server((address.host, address.port), family=family, backlog=_BACKLOG)
    except OSError:
        where = f"{address.host}:{address.port}"
        raise UsageError(f"the ingest server cannot listen at {where}", hint="is the port in use?") from None


def _url(place: socket.socket, context: object) -> str:
    host, port = place.getsockname()[:2]
    return f"{'http' if context is None else 'https'}://{f'[{host}]' if ':' in host else host}:{port}"
