"""Where the broker listens, and how it learns who has come: a Unix socket, or mutual TLS."""

from __future__ import annotations

import os
import socket
import ssl
import stat
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from keys.errors import BrokerRefusedError, SecretFileError
from keys.remote.folder import check_folder
from keys.remote.link import Link, LinkError
from keys.remote.peers import Peer, PeerTable
from keys.remote.tls import shake_hands

_BACKLOG = 128


class Listener(Protocol):
    """A bound socket that knows its peers."""

    address: str
    bound: socket.socket

    def admit(self, connection: socket.socket, seconds: float) -> tuple[Link, Peer | BrokerRefusedError]:
        """The connection ready for messages, and who is there, or why they are refused. Nothing was read of it.

        Raises:
            LinkError: there is nobody to tell.
        """

    def close(self) -> None:
        """Let nobody else in."""


class UnixListener:
    """A Unix socket. Everybody may knock who can reach the folder; the kernel tells who it is.

    Raises:
        SecretFileError: something else lies there, another broker listens there, or others could put a socket there.
    """

    def __init__(self, path: Path, peers: PeerTable) -> None:
        self._path = path
        self._peers = peers
        self.address = f"unix:{path}"
        check_folder(path)
        _clear(path)
        self.bound = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self.bound.bind(str(path))
            path.chmod(0o666)
            self.bound.listen(_BACKLOG)
            self._inode = path.stat().st_ino
        except OSError as error:
            self.bound.close()
            reason = os.strerror(error.errno) if error.errno else "the path is too long"
            raise SecretFileError(f"the broker cannot listen at {path}: {reason}") from None

    def admit(self, connection: socket.socket, seconds: float) -> tuple[Link, Peer | BrokerRefusedError]:
        """By the uid."""
        connection.settimeout(seconds)
        try:
            return Link(connection), self._peers.of_socket(connection)
        except BrokerRefusedError as refusal:
            return Link(connection), refusal

    def close(self) -> None:
        """Close it, and take the name away if it is still this one's."""
        # The name first: while the socket is open, no other file has its inode.
        with suppress(OSError):
            if self._path.stat().st_ino == self._inode:
                self._path.unlink()
        self.bound.close()


class TlsListener:
    """Mutual TLS on a TCP port; port 0 takes a free one.

    Raises:
        SecretFileError: the address cannot be used.
    """

    def __init__(self, host: str, port: int, context: ssl.SSLContext, peers: PeerTable) -> None:
        self._context = context
        self._peers = peers
        try:
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            self.bound = socket.create_server((host, port), family=family, backlog=_BACKLOG)
        except (OSError, OverflowError):
            raise SecretFileError(f"the broker cannot listen at {host}:{port}", hint="is the port free?") from None
        name = f"[{host}]" if ":" in host else host
        self.address = f"tls:{name}:{self.bound.getsockname()[1]}"

    def admit(self, connection: socket.socket, seconds: float) -> tuple[Link, Peer | BrokerRefusedError]:
        """By the certificate, which the handshake has verified."""
        try:
            # Wrapped without a handshake first: that of the ssl module has a time-out for each read, not for all.
            wrapped = self._context.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
            shake_hands(wrapped, seconds)
        except OSError as error:
            raise LinkError(refused=isinstance(error, ssl.SSLError)) from None
        try:
            return Link(wrapped), self._peers.of_certificate(wrapped)
        except BrokerRefusedError as refusal:
            return Link(wrapped), refusal

    def close(self) -> None:
        """Close it."""
        self.bound.close()


def _clear(path: Path) -> None:
    """Remove the socket that a killed broker has left behind."""
    try:
        mode = path.lstat().st_mode
    except OSError:
        return
    if not stat.S_ISSOCK(mode):
        raise SecretFileError(f"{path} exists and is not a socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(str(path))
        except OSError:
            path.unlink(missing_ok=True)
            return
    raise SecretFileError(f"a broker is listening at {path} already")
