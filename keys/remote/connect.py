"""How a host reaches its broker."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable
from pathlib import Path

from keys.remote.link import Link, LinkError

Connect = Callable[[float], Link]
"""Makes a new connection within so many seconds; raises LinkError."""


def unix(path: Path) -> Connect:
    """Through a Unix socket. Its folder must be one in which no one else can put another socket."""

    def connect(seconds: float) -> Link:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            connection.settimeout(seconds)
            connection.connect(str(path))
        except OSError as error:
            connection.close()
            raise LinkError(slow=isinstance(error, TimeoutError)) from None
        return Link(connection)

    return connect


def tls(host: str, port: int, context: ssl.SSLContext) -> Connect:
    """Through mutual TLS; the broker must prove to be ``host``."""

    def connect(seconds: float) -> Link:
        try:
            raw = socket.create_connection((host, port), seconds)
        except (OSError, UnicodeError) as error:
            raise LinkError(slow=isinstance(error, TimeoutError)) from None
        try:
            raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return Link(context.wrap_socket(raw, server_hostname=host))
        except (OSError, ValueError) as error:
            raw.close()
            raise LinkError(refused=isinstance(error, (ssl.SSLError, ValueError))) from None

    return connect
