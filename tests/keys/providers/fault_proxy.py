"""A small HTTP proxy before OpenBao that loses, delays and changes what goes through it, as a test says."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import requests

from tests.keys.providers.openbao_server import OpenBaoServer

Fields = dict[str, Any]


@dataclass
class Seen:
    """A request that came to the proxy."""

    method: str
    path: str
    token: str
    body: bytes = field(repr=False)


@dataclass
class Fault:
    """What happens to the requests whose path contains ``on``.

    Attributes:
        times: how many of them; the others pass.
        forward: whether the server sees the request before the fault, and before the wait.
        reply: status and body instead of the server's; None closes the connection without a word.
        change: changes the server's answer instead.
        raw: everything that is sent, status line and all.
        waits_for: holds everything after that back until it is set.
    """

    on: str
    times: int = 1_000
    forward: bool = False
    reply: tuple[int, bytes] | None = None
    change: Callable[[Fields], Fields] | None = None
    raw: bytes | None = None
    waits_for: threading.Event | None = None


class FaultProxy:
    """Plain HTTP on a loopback port; forwards to the server with its own TLS connection."""

    def __init__(self, server: OpenBaoServer) -> None:
        self._target = server.address
        self._session = requests.Session()
        self._session.trust_env = False
        self._session.verify = str(server.ca_file)
        self._lock = threading.Lock()
        self.faults: list[Fault] = []
        self.seen: list[Seen] = []
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True  # else each answer waits for the client to acknowledge its own headers

            def do_any(self) -> None:
                proxy._handle(self)

            do_GET = do_POST = do_PUT = do_DELETE = do_any  # noqa: N815 - the names that http.server looks for

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                """Say nothing."""

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._http.daemon_threads = True
        self.address = f"http://127.0.0.1:{self._http.server_port}"
        self._thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Give everything back, also handlers that still wait."""
        for fault in self.faults:
            if fault.waits_for is not None:
                fault.waits_for.set()
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()
        self._session.close()

    def count(self, part: str) -> int:
        """How many requests had this in their path."""
        with self._lock:
            return sum(part in seen.path for seen in self.seen)

    def _handle(self, handler: BaseHTTPRequestHandler) -> None:
        length = int(handler.headers.get("Content-Length") or 0)
        body = handler.rfile.read(length)
        seen = Seen(handler.command, handler.path, handler.headers.get("X-Vault-Token", ""), body)
        with self._lock:
            self.seen.append(seen)
            fault = next((each for each in self.faults if each.on in seen.path and each.times > 0), None)
            if fault is not None:
                fault.times -= 1
        if fault is None:
            self._send(handler, *self._forwarded(seen))
            return
        answer = self._forwarded(seen) if fault.forward else None
        if fault.waits_for is not None:
            fault.waits_for.wait()
        if fault.raw is not None:
            handler.wfile.write(fault.raw)
            handler.close_connection = True
        elif fault.change is not None:
            status, content = answer or self._forwarded(seen)
            self._send(handler, status, json.dumps(fault.change(json.loads(content))).encode())
        elif fault.reply is not None:
            self._send(handler, *fault.reply)
        else:
            handler.close_connection = True
            handler.connection.shutdown(socket.SHUT_RDWR)

    def _forwarded(self, seen: Seen) -> tuple[int, bytes]:
        answer = self._session.request(
            seen.method,
            self._target + seen.path,
            data=seen.body,
            headers={"X-Vault-Token": seen.token, "X-Vault-Request": "true"},
            timeout=60,
        )
        return answer.status_code, answer.content

    @staticmethod
    def _send(handler: BaseHTTPRequestHandler, status: int, body: bytes) -> None:
        try:
            handler.send_response(status)
            handler.send_header("Content-Type", "application/json")
            if status in {301, 302, 307, 308}:
                handler.send_header("Location", f"http://127.0.0.1:{handler.server.server_address[1]}/v1/elsewhere")
            handler.send_header("Content-Length", str(len(body)))
            handler.end_headers()
            handler.wfile.write(body)
        except (BrokenPipeError, ConnectionResetError):
            handler.close_connection = True  # the client has given up
