"""How a host reaches its broker."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable
from pathlib import Path

from keys.remote.folder import check_folder
from keys.remote.link import Link, LinkError
from keys.remote.tls import shake_hands

Connect = Callable[[float], Link]
"""Makes a new connection within so many seconds; raises LinkError."""


def unix(path: Path) -> Connect:
    """Through a Unix socket. The connections raise SecretFileError if others could have put it there."""

    def connect(seconds: float) -> Link:
        check_folder(path)
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
            return Link(
                shake_hands(context.wrap_socket(raw, server_hostname=host, do_handshake_on_connect=False), seconds)
            )
        except (OSError, ValueError) as error:
            raw.close()
            raise LinkError(refused=isinstance(error, (ssl.SSLError, ValueError))) from None

    return connect
