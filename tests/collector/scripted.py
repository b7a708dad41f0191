"""An HTTPS server that answers as a test says: every status, cut off, garbage, silence."""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.keys.remote.hosts import Identity


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer; ``length`` is what it claims to have, if that is not the truth."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    length: int | None = None
    silent: bool = False
    drip: bool = False


def problem(status: int, code: str, *, retryable: bool = False, **more: Any) -> Reply:
    """As an ingest server says that something is wrong."""
    document = {"type": "about:blank", "status": status, "code": code, "detail": code, "retryable": retryable, **more}
    return Reply(status, json.dumps(document).encode())


@dataclass
class Script:
    """What comes next, the last again and again; and the requests that came."""

    replies: list[Reply] = field(default_factory=list)
    requests: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)
    url: str = ""
    ending: threading.Event = field(default_factory=threading.Event)

    def next(self) -> Reply:
        """The answer to this request."""
        return self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    script: Script

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        self.script.requests.append((self.path, dict(self.headers), body))
        reply = self.script.next()
        self.close_connection = True
        if reply.silent:
            self.script.ending.wait(20)
            return
        if reply.drip:
            self._drip()
            return
        self.send_response(reply.status)
        for name, text in reply.headers.items():
            self.send_header(name, text)
        self.send_header("Content-Length", str(len(reply.body) if reply.length is None else reply.length))
        self.end_headers()
        self.wfile.write(reply.body)

    def _drip(self) -> None:
        """A byte at a time, for as long as somebody listens."""
        try:
            self.wfile.write(b"HTTP/1.1 200 OK\r\n")
            while not self.script.ending.wait(0.02):
                self.wfile.write(b"a")
        except OSError:
            return

    def log_message(self, *_: Any) -> None:
        """Nothing."""


@contextmanager
def answering(identity: Identity, *replies: Reply) -> Iterator[Script]:
    """Over TLS until the block ends."""
    script = Script(list(replies))
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (Handler,), {"script": script}))
    server.daemon_threads = True
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(identity.certificate, identity.key)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    server.handle_error = lambda *_: None  # type: ignore[method-assign]
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    script.url = f"https://127.0.0.1:{server.server_port}"
    try:
        yield script
    finally:
        script.ending.set()
        server.shutdown()
        server.server_close()
        thread.join()
