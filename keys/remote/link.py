"""One connection, in whole messages and with deadlines: a peer that stops moving is cut off."""

from __future__ import annotations

import select
import socket
import ssl
import time

from keys.remote import wire
from keys.remote.wire import Value

_CHUNK = 256 * 1024


class LinkError(Exception):
    """The connection ended, broke, or did not move in time. Does not leave this package.

    Attributes:
        slow: a deadline passed.
        refused: the other side ended the TLS connection with an alert, or could not be verified.
    """

    def __init__(self, *, slow: bool = False, refused: bool = False) -> None:
        super().__init__()
        self.slow = slow
        self.refused = refused


class Link:
    """Messages over a connected socket. For one thread at a time."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection

    def __repr__(self) -> str:
        return "Link()"

    def close(self) -> None:
        """End it; what was not read is lost."""
        self._connection.close()

    def cut(self) -> None:
        """End it from another thread: what waits on it stops waiting."""
        self._connection.shutdown(socket.SHUT_RDWR)

    def readable(self, other: int | None = None, seconds: float = 0) -> bool:
        """Whether the peer has sent something, or has gone; waits that long, or until ``other`` can be read.

        If both can be read it is ``other`` that counts.
        """
        waiting = isinstance(self._connection, ssl.SSLSocket) and self._connection.pending() > 0
        poll = select.poll()
        poll.register(self._connection, select.POLLIN)
        if other is not None:
            poll.register(other, select.POLLIN)
        ready = {descriptor for descriptor, _ in poll.poll(0 if waiting else max(seconds, 0) * 1000)}
        return other not in ready and (waiting or bool(ready))

    def send(self, framed: bytes, seconds: float) -> None:
        """Send a message, wholly within that time.

        Raises:
            LinkError: it may or may not have arrived.
        """
        deadline = time.monotonic() + seconds
        rest = memoryview(framed)
        # In pieces: over TLS the time-out is of each write, and a peer that reads a little at a time would last.
        while rest:
            self._allow_until(deadline)
            try:
                rest = rest[self._connection.send(rest[:_CHUNK]) :]
            except OSError as error:
                raise _link_error(error) from None

    def receive(self, most: int, seconds: float) -> Value:
        """The next message, wholly there within that time.

        Raises:
            LinkError: it did not come.
            BrokerMessageError: it is too long or malformed.
        """
        deadline = time.monotonic() + seconds
        length = wire.body_length(self._read(4, deadline), most)
        return wire.decode(self._read(length, deadline))

    def _read(self, length: int, deadline: float) -> bytes:
        # Room is taken as bytes arrive, not as a header announces them.
        found = bytearray()
        while len(found) < length:
            self._allow_until(deadline)
            try:
                part = self._connection.recv(min(_CHUNK, length - len(found)))
            except OSError as error:
                raise _link_error(error) from None
            if not part:
                raise LinkError
            found += part
        return bytes(found)

    def _allow_until(self, deadline: float) -> None:
        left = deadline - time.monotonic()
        if left <= 0:
            raise LinkError(slow=True)
        try:
            self._connection.settimeout(left)
        except OSError as error:
            raise _link_error(error) from None


def _link_error(error: OSError) -> LinkError:
    ended = isinstance(error, (ssl.SSLEOFError, ssl.SSLZeroReturnError))
    return LinkError(slow=isinstance(error, TimeoutError), refused=isinstance(error, ssl.SSLError) and not ended)
