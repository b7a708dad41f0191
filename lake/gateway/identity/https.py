"""Fetching a small JSON document from an identity provider: over HTTPS, within a time and a size."""

from __future__ import annotations

import http.client
import socket
import ssl
import threading
import time
from contextlib import suppress
from typing import Any
from urllib.parse import SplitResult, urlsplit

from lake.errors import UnavailableError
from lake.gateway.identity.tokens import read_object

PATIENCE = 5.0
"""Seconds for connecting, and for all that follows."""
MAX_ANSWER = 256 * 1024
"""Bytes of a document."""
_LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})
_OK = 200


def split_url(url: str, *, plain: bool) -> SplitResult | None:
    """The parts of a URL that may be fetched; None if it may not be. ``plain`` admits http on this machine."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return None
    allowed = parts.scheme == "https" or (parts.scheme == "http" and plain and parts.hostname in _LOOPBACK)
    clean = url.isascii() and url.isprintable() and " " not in url and port != 0
    return parts if allowed and clean and parts.hostname and "@" not in parts.netloc and not parts.fragment else None


def fetch_object(url: SplitResult, context: ssl.SSLContext, *, patience: float = PATIENCE) -> dict[str, Any]:
    """GET one JSON object. A redirect is followed nowhere, a proxy is not asked.

    Raises:
        UnavailableError: there was no such answer; says why in words of this module.
    """
    connection = _connection(url, context, patience)
    deadline = time.monotonic() + 2 * patience
    try:
        connection.connect()
        # Cut off at the deadline, however the host spreads its bytes over the time until then.
        watch = threading.Timer(max(0.0, deadline - time.monotonic()), _cut, [connection.sock])
        watch.daemon = True
        watch.start()
        try:
            content = _answer(connection, url)
        finally:
            watch.cancel()
    except ssl.SSLError:
        raise UnavailableError("no secure connection: its certificate or its TLS is not accepted") from None
    except (OSError, http.client.HTTPException, ValueError):
        raise UnavailableError("it cannot be reached, or did not answer in time") from None
    finally:
        connection.close()
    document = read_object(content)
    if document is None:
        raise UnavailableError("its answer is not a JSON object")
    return document


def _connection(url: SplitResult, context: ssl.SSLContext, patience: float) -> http.client.HTTPConnection:
    host = str(url.hostname)
    if url.scheme == "https":
        return http.client.HTTPSConnection(host, url.port, timeout=patience, context=context)
    return http.client.HTTPConnection(host, url.port, timeout=patience)


def _answer(connection: http.client.HTTPConnection, url: SplitResult) -> bytes:
    target = (url.path or "/") + (f"?{url.query}" if url.query else "")
    connection.request("GET", target, headers={"Accept": "application/json", "Connection": "close"})
    response = connection.getresponse()
    if response.status != _OK:
        raise UnavailableError(f"it answered with status {response.status}")
    content = response.read(MAX_ANSWER + 1)
    if len(content) > MAX_ANSWER:
        raise UnavailableError(f"its answer is longer than {MAX_ANSWER} bytes")
    return content


def _cut(connection: socket.socket) -> None:
    with suppress(OSError):
        # Not the TLS layer's own, which is not made for a second thread.
        socket.socket.shutdown(connection, socket.SHUT_RDWR)
