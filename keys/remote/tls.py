"""Mutual TLS 1.3 for a broker on another host: both sides show a certificate, and nothing older is spoken."""

from __future__ import annotations

import select
import socket
import ssl
import time
from pathlib import Path

from keys.errors import SecretFileError
from keys.secretfiles import read_secret_file


def server_context(certificate: Path, key: Path, client_ca: Path) -> ssl.SSLContext:
    """The broker's side; a client without a certificate of ``client_ca`` does not get in.

    Raises:
        SecretFileError: a file is not what it should be, or the key's is open to others.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.verify_mode = ssl.CERT_REQUIRED
    # No resumption: every connection shows its certificate.
    context.num_tickets = 0
    return _filled(context, certificate, key, client_ca)


def client_context(ca: Path, certificate: Path, key: Path) -> ssl.SSLContext:
    """A host's side; the broker must show a certificate of ``ca`` for the name that it was called by.

    Raises:
        SecretFileError: a file is not what it should be, or the key's is open to others.
    """
    return _filled(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), certificate, key, ca)


def shake_hands(connection: ssl.SSLSocket, seconds: float) -> ssl.SSLSocket:
    """Do the handshake within that time in all, however the peer spreads its bytes over it.

    Raises:
        OSError: it failed, or took too long; the connection is closed.
    """
    deadline = time.monotonic() + seconds
    try:
        connection.setblocking(False)
        while True:
            try:
                connection.do_handshake()
            except ssl.SSLWantReadError:
                _wait(connection, select.POLLIN, deadline)
            except ssl.SSLWantWriteError:
                _wait(connection, select.POLLOUT, deadline)
            else:
                return connection
    except BaseException:
        connection.close()
        raise


def _wait(connection: socket.socket, event: int, deadline: float) -> None:
    poll = select.poll()
    poll.register(connection, event)
    if not poll.poll(max(deadline - time.monotonic(), 0) * 1000):
        raise TimeoutError


def _filled(context: ssl.SSLContext, certificate: Path, key: Path, ca: Path) -> ssl.SSLContext:
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    read_secret_file(key)
    try:
        context.load_verify_locations(ca)
        context.load_cert_chain(certificate, key, password=lambda: b"")  # an encrypted key is not asked about
    except (OSError, ValueError):  # an SSLError is an OSError
        raise SecretFileError(
            f"{certificate}, {key} and {ca} do not make a TLS identity",
            hint="PEM files: a certificate, its key without a passphrase, and the other side's CA",
        ) from None
    return context
