"""A relay to a PostgreSQL server that cuts a connection at its COMMIT: before the server has it, or after."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from pathlib import Path

COMMIT = b"COMMIT\x00"
PASS, BEFORE, AFTER, LATER = "pass", "before", "after", "later"
"""What is done with the next COMMIT: nothing; it is lost; its answer is lost; it arrives when ``release`` is called."""


class CuttingRelay:
    """Listens on a socket of its own beside the server's. Each trouble happens once."""

    def __init__(self, folder: Path, server: Path, port: int) -> None:
        self.folder = folder
        self.port = port
        self.trouble = PASS
        self._server = server / f".s.PGSQL.{port}"
        self._late: list[Callable[[], None]] = []
        self._open: list[socket.socket] = []
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(folder / f".s.PGSQL.{port}"))
        self._listener.listen()
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """End everything."""
        for each in (self._listener, *self._open):
            _end(each)
            each.close()

    def release(self) -> None:
        """Let a COMMIT that was held back arrive."""
        while self._late:
            self._late.pop()()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.socket(socket.AF_UNIX)
            server.connect(str(self._server))
            self._open += [client, server]
            threading.Thread(target=self._to_server, args=(client, server), daemon=True).start()
            threading.Thread(target=self._to_client, args=(client, server), daemon=True).start()

    def _to_server(self, client: socket.socket, server: socket.socket) -> None:
        while data := _receive(client):
            trouble = self.trouble if COMMIT in data else PASS
            if trouble == PASS:
                _send(server, data)
                continue
            self.trouble = PASS
            if trouble == LATER:
                self._late.append(lambda: _send(server, data))
                _end(client)
                return
            _end(client)
            if trouble == AFTER:
                _send(server, data)
            break
        _end(server, how=socket.SHUT_WR)

    @staticmethod
    def _to_client(client: socket.socket, server: socket.socket) -> None:
        while data := _receive(server):
            _send(client, data)
        _end(client)


def _receive(source: socket.socket) -> bytes:
    try:
        return source.recv(65_536)
    except OSError:
        return b""


def _send(target: socket.socket, data: bytes) -> None:
    try:
        target.sendall(data)
    except OSError:
        return


def _end(which: socket.socket, how: int = socket.SHUT_RDWR) -> None:
    try:
        which.shutdown(how)
    except OSError:
        return
