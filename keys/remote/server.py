"""The broker's process: a thread for each connection, bounded in number and time, and a stop that loses no answer."""

from __future__ import annotations

import logging
import select
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

from keys.errors import BrokerMessageError, BrokerRefusedError, BrokerUnavailableError, KeysError
from keys.remote import messages, wire
from keys.remote.link import Link, LinkError
from keys.remote.listen import Listener
from keys.remote.peers import Peer
from keys.remote.roles import MOST_ASKED
from keys.remote.service import Service
from keys.remote.wire import Value

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ServerLimits:
    """What the server grants its peers; times in seconds.

    Attributes:
        connections: at once, of everybody; one more is closed unread.
        per_peer: at once, of one peer.
        admission: for the handshake.
        idle: between requests.
        request: for a request to arrive once it has begun, and for its answer to be taken.
        lifetime: of a connection, so that who was struck off the table or whose certificate has expired goes.
        grace: for requests under way when the server stops.
    """

    connections: int = 128
    per_peer: int = 64
    admission: float = 10.0
    idle: float = 300.0
    request: float = 30.0
    lifetime: float = 3600.0
    grace: float = 30.0


class Server:
    """Serves one broker at one place. It can be reached as soon as it is made; answers come once it serves."""

    def __init__(self, service: Service, listener: Listener, limits: ServerLimits | None = None) -> None:
        self._service = service
        self._listener = listener
        self._limits = limits or ServerLimits()
        self.address = listener.address
        # Readable from when the server is to stop: every thread waits for this beside its own connection.
        self._stopped, self._stop = socket.socketpair()
        self._lock = threading.Lock()
        self._threads: dict[threading.Thread, Callable[[], None]] = {}
        """How to cut off each."""
        self._of_peer: Counter[str] = Counter()

    def __repr__(self) -> str:
        return f"Server({self.address!r})"

    def stop(self) -> None:
        """Let nobody else in, finish the requests under way, and return from ``serve``; safe in a signal handler."""
        with suppress(OSError):
            self._stop.shutdown(socket.SHUT_RDWR)

    def serve(self) -> None:
        """Serve until stopped."""
        poll = select.poll()
        poll.register(self._stopped, select.POLLIN)
        poll.register(self._listener.bound, select.POLLIN)
        self._listener.bound.setblocking(False)  # who knocked may have gone before they are let in
        try:
            while self._stopped.fileno() not in {descriptor for descriptor, _ in poll.poll()}:
                try:
                    connection, _ = self._listener.bound.accept()
                except OSError:
                    self._wait_for_stop(0.1)  # out of descriptors, or the peer has gone again
                    continue
                self._start(connection)
        finally:
            self._listener.close()
            self._finish()

    def _wait_for_stop(self, seconds: float) -> None:
        select.select([self._stopped], [], [], seconds)

    def _start(self, connection: socket.socket) -> None:
        thread = threading.Thread(target=self._converse, args=(connection,), name="broker-peer", daemon=True)
        with self._lock:
            full = len(self._threads) >= self._limits.connections
            if not full:
                self._threads[thread] = partial(connection.shutdown, socket.SHUT_RDWR)
        if full:
            _LOG.warning("a connection was closed: there are %d already", self._limits.connections)
            connection.close()
            return
        try:
            thread.start()
        except RuntimeError:  # the system gives no more threads
            _LOG.warning("a connection was closed: there is no thread for it")
            with self._lock:
                del self._threads[thread]
            connection.close()

    def _finish(self) -> None:
        deadline = time.monotonic() + self._limits.grace
        with self._lock:
            running = list(self._threads)
        for thread in running:
            thread.join(max(deadline - time.monotonic(), 0))
        with self._lock:
            late = list(self._threads.values())
        for cut in late:
            with suppress(OSError):
                cut()
        if not late:
            self._stopped.close()
            self._stop.close()

    def _converse(self, connection: socket.socket) -> None:
        link: Link | None = None
        try:
            link, peer = self._listener.admit(connection, self._limits.admission)
            with self._lock:
                self._threads[threading.current_thread()] = link.cut
            if isinstance(peer, BrokerRefusedError):
                _LOG.warning("%s", peer.message)
                link.send(wire.frame({"error": wire.error_fields(peer)}), self._limits.admission)
            else:
                self._greeted(link, peer)
        except LinkError as error:
            if error.refused:
                _LOG.warning("a TLS handshake failed: no certificate of the client CA, or not TLS 1.3")
        except Exception as error:  # noqa: BLE001 - a traceback could show what a message held
            _LOG.error("a connection ended with %s", type(error).__name__)
        finally:
            if link is not None:
                link.close()
            connection.close()
            with self._lock:
                del self._threads[threading.current_thread()]

    def _greeted(self, link: Link, peer: Peer) -> None:
        with self._lock:
            full = self._of_peer[peer.name] >= self._limits.per_peer
            self._of_peer[peer.name] += not full
        if full:
            error = BrokerUnavailableError("this host has too many connections to the broker", hint="try again later")
            link.send(wire.frame({"error": wire.error_fields(error)}), self._limits.admission)
            return
        try:
            greeting = {"protocol": wire.PROTOCOL, "lake": self._service.lake, "role": peer.role.value}
            link.send(wire.frame(greeting), self._limits.admission)
            self._serve_peer(link, peer)
        finally:
            with self._lock:
                self._of_peer[peer.name] -= 1

    def _serve_peer(self, link: Link, peer: Peer) -> None:
        end = time.monotonic() + self._limits.lifetime
        while (left := end - time.monotonic()) > 0:
            if not link.readable(self._stopped.fileno(), min(self._limits.idle, left)):
                return
            try:
                request = link.receive(MOST_ASKED[peer.role], self._limits.request)
                asked = messages.fields(request, "id", "call", "with")
                number, call = messages.number(asked["id"]), messages.text(asked["call"])
            except BrokerMessageError as error:
                # Where the next message would begin is not known any more.
                link.send(wire.frame({"error": wire.error_fields(error)}), self._limits.request)
                return
            link.send(self._answer(peer, call, asked["with"], number), self._limits.request)

    def _answer(self, peer: Peer, call: str, given: Value, number: int) -> bytes:
        """The frame to send back."""
        try:
            return wire.frame({"id": number, "ok": self._service.answer(peer, call, given)})
        except KeysError as error:
            if isinstance(error, BrokerRefusedError):
                _LOG.warning("%s was refused: %s", peer.name, error.message)
            return wire.frame({"id": number, "error": wire.error_fields(error)})
