"""``/healthz``, ``/readyz`` and ``/metrics`` over plain HTTP, meant for this machine only."""

from __future__ import annotations

import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Protocol

from lake.errors import LakeError, UsageError

_PATIENCE = 5.0
_TEXT = "text/plain; charset=utf-8"
_METRICS = "text/plain; version=0.0.4; charset=utf-8"


class Exposed(Protocol):
    """What has metrics to show."""

    def text(self) -> bytes:
        """All of them in Prometheus' text format."""


class HealthServer:
    """Answers in threads of its own until it is closed.

    Args:
        place: host and port; port 0 takes a free one.
        check: raises what keeps the gateway from answering queries.

    Attributes:
        address: where it listens, as a URL.

    Raises:
        UsageError: it cannot listen there.
    """

    def __init__(self, place: tuple[str, int], metrics: Exposed, check: Callable[[], None]) -> None:
        try:
            self._server = _Server(place, _handler(metrics, check))
        except OSError:
            raise UsageError(f"metrics cannot be served at {place[0]}:{place[1]}", hint="is the port in use?") from None
        host, port = self._server.server_address[:2]
        self.address = f"http://{host!s}:{port}"
        self._thread = threading.Thread(target=self._server.serve_forever, name="health", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False  # a client that says nothing must not keep the gateway

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A connection that broke is nothing to tell of, and certainly not with a traceback."""


def _handler(metrics: Exposed, check: Callable[[], None]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        timeout = _PATIENCE
        server_version = "lake"
        sys_version = ""

        def do_GET(self) -> None:
            """Answer one of the three paths."""
            match self.path:
                case "/healthz":
                    self._answer(200, _TEXT, b"alive\n")
                case "/readyz":
                    self._answer(*_readiness(check))
                case "/metrics":
                    self._answer(200, _METRICS, metrics.text())
                case _:
                    self._answer(404, _TEXT, b"there is /healthz, /readyz and /metrics\n")

        def _answer(self, status: int, kind: str, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Cache-Control", "no-store")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name is the base class's
            """Nothing: it would quote what a stranger sent."""

    return Handler


def _readiness(check: Callable[[], None]) -> tuple[int, str, bytes]:
    try:
        check()
    except LakeError as error:
        return 503, _TEXT, f"not ready: {error.code}\n".encode()
    except Exception:  # noqa: BLE001 - whatever it is, the gateway is not ready, and its text is not for here
        return 503, _TEXT, b"not ready: failed\n"
    return 200, _TEXT, b"ready\n"
