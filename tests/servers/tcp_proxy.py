"""A relay before a real server on loopback that can be down, slow, or cut its connections, as a test says."""

from __future__ import annotations

import contextlib
import socket
import threading
import time

CHUNK = 65_536


class TcpProxy:
    """Plain TCP: for a database, or below the HTTP proxy. ``close`` ends it.

    Attributes:
        delay: seconds that every chunk waits.
        cut_after: bytes after which a connection is cut, in either direction; None for never.
    """

    def __init__(self, host: str, port: int) -> None:
        self.target = (host, port)
        self.delay = 0.0
        self.cut_after: int | None = None
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._listener: socket.socket | None = None
        self.port = 0
        self.up()

    def up(self) -> None:
        """Accept connections, on the port of before."""
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", self.port))
        listener.listen(256)
        self._listener, self.port = listener, listener.getsockname()[1]
        threading.Thread(target=self._accept, args=(listener,), daemon=True).start()

    def down(self) -> None:
        """Refuse connections, and cut those that are."""
        listener, self._listener = self._listener, None
        if listener is not None:
            with contextlib.suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)  # wakes the thread that accepts
            listener.close()
        self.cut()

    close = down

    def cut(self) -> None:
        """Reset every connection."""
        with self._lock:
            opened, self._open = self._open, set()
        for each in opened:
            end(each)

    def connect(self) -> socket.socket:
        """A connection to the server, closed with the others."""
        found = socket.create_connection(self.target, timeout=60)
        self._keep(found)
        return found

    def _keep(self, found: socket.socket) -> None:
        with self._lock:
            self._open.add(found)
        if self._listener is None:
            end(found)

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._keep(client)
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with contextlib.suppress(OSError):
            self.handle(client)
        with self._lock:
            self._open.discard(client)
        end(client)

    def handle(self, client: socket.socket) -> None:
        """One connection, until it ends."""
        server = self.connect()
        back = threading.Thread(target=self._relay, args=(server, client), daemon=True)
        back.start()
        self._relay(client, server)
        back.join()
        end(server)

    def _relay(self, source: socket.socket, sink: socket.socket) -> None:
        passed = 0
        with contextlib.suppress(OSError):
            while chunk := source.recv(CHUNK):
                time.sleep(self.delay)
                passed += len(chunk)
                if self.cut_after is not None and passed > self.cut_after:
                    end(source)
                    break
                sink.sendall(chunk)
        with contextlib.suppress(OSError):
            sink.shutdown(socket.SHUT_WR)


def end(which: socket.socket) -> None:
    """Close at once, whoever else still waits on it."""
    with contextlib.suppress(OSError):
        which.shutdown(socket.SHUT_RDWR)
    which.close()
