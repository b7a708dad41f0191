"""Messages between a sandbox and the process that feeds it, over one unnamed pair of sockets.

A message is 8 bytes (lengths of what follows, little-endian), JSON, raw bytes, and at most one file descriptor. Neither
side trusts a length: what is longer than agreed ends the conversation.
"""

from __future__ import annotations

import array
import json
import os
import socket
import struct
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

MOST_FIELDS = 4 << 20
"""Bytes of JSON in a message: a query, or a condition. As Python objects they take some twenty times as much."""
MOST_PAYLOAD = 256 << 20
"""Raw bytes in a message."""

_LENGTHS = struct.Struct("<II")
_DESCRIPTOR_BYTES = array.array("i").itemsize


class ChannelError(Exception):
    """The other side is gone, or does not keep to the form."""


class ChannelTimeoutError(ChannelError):
    """Nothing came, or was taken, in time."""


class ChannelFormError(ChannelError):
    """What came is not a message, or what is to be sent is none."""


@dataclass(frozen=True, slots=True)
class Message:
    """What was received; ``descriptor`` is the receiver's to close, -1 if there is none."""

    fields: Mapping[str, Any]
    payload: pa.Buffer
    descriptor: int = -1


class Channel:
    """One end. Not for several threads at once.

    Args:
        takes_descriptors: whether a message may carry one; whoever does not trust the other side takes none.

    Attributes:
        deadline: on the monotonic clock; None waits for ever.
    """

    def __init__(self, end: socket.socket, *, takes_descriptors: bool = False) -> None:
        self._end = end
        self._space = socket.CMSG_SPACE(_DESCRIPTOR_BYTES) if takes_descriptors else 0
        self.deadline: float | None = None

    def send(self, fields: Mapping[str, Any], payload: Any = b"", descriptor: int = -1) -> None:
        """Send a message whole.

        Raises:
            ChannelError: the other side is gone, or the message is too long.
        """
        text = json.dumps(fields, separators=(",", ":")).encode()
        raw = memoryview(payload).cast("B")
        if len(text) > MOST_FIELDS or len(raw) > MOST_PAYLOAD:
            raise ChannelFormError("a message is too long")
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [descriptor]))] if descriptor >= 0 else []
        head = memoryview(_LENGTHS.pack(len(text), len(raw)) + text)
        try:
            self._wait()
            sent = self._end.sendmsg([head], rights)
            for rest in (head[sent:], raw):
                if rest:
                    self._wait()
                    self._end.sendall(rest)
        except TimeoutError:
            raise ChannelTimeoutError("the other side takes nothing") from None
        except OSError:
            raise ChannelError("the other side is gone") from None

    def receive(self) -> Message:
        """Wait for a message.

        Raises:
            ChannelError: there will be none, or it is not one.
        """
        head, descriptor = self._head()
        try:
            return Message(*self._body(*_LENGTHS.unpack(head)), descriptor)
        except BaseException:
            if descriptor >= 0:
                os.close(descriptor)
            raise

    def _body(self, fields_length: int, payload_length: int) -> tuple[Mapping[str, Any], pa.Buffer]:
        if fields_length > MOST_FIELDS or payload_length > MOST_PAYLOAD:
            raise ChannelFormError("a message is too long")
        try:
            fields = json.loads(memoryview(self._exactly(fields_length)).tobytes())
        except (ValueError, RecursionError):
            fields = None
        if not isinstance(fields, dict):
            raise ChannelFormError("a message is not one")
        return fields, self._exactly(payload_length)

    def close(self) -> None:
        """End the conversation."""
        with suppress(OSError):
            self._end.close()

    def _wait(self) -> None:
        """Let the next call on the socket take no longer than the deadline allows."""
        if self.deadline is None:
            if self._end.gettimeout() is not None:  # a sandbox has no deadline, and may not make the call
                self._end.settimeout(None)
            return
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise ChannelTimeoutError("the time is up")
        self._end.settimeout(left)

    def _head(self) -> tuple[bytes, int]:
        try:
            self._wait()
            head, ancillary, flags, _ = self._end.recvmsg(_LENGTHS.size, self._space, socket.MSG_CMSG_CLOEXEC)
        except TimeoutError:
            raise ChannelTimeoutError("nothing came") from None
        except OSError:
            raise ChannelError("the other side is gone") from None
        descriptors = array.array("i")
        for level, kind, data in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                descriptors.frombytes(data[: len(data) - len(data) % _DESCRIPTOR_BYTES])
        if not head or flags & socket.MSG_CTRUNC or len(descriptors) > 1:
            for extra in descriptors:
                os.close(extra)
            if not head:
                raise ChannelError("the other side is gone")
            raise ChannelFormError("a message is not one")
        descriptor = descriptors[0] if descriptors else -1
        try:
            rest = memoryview(self._exactly(_LENGTHS.size - len(head))).tobytes()
        except ChannelError:
            if descriptor >= 0:
                os.close(descriptor)
            raise
        return head + rest, descriptor

    def _exactly(self, length: int) -> pa.Buffer:
        """The next bytes, in memory that gives way to none of Python's own."""
        buffer = pa.allocate_buffer(length)
        view = memoryview(buffer).cast("B") if length else memoryview(b"")
        done = 0
        while done < length:
            try:
                self._wait()
                count = self._end.recv_into(view[done:])
            except TimeoutError:
                raise ChannelTimeoutError("nothing came") from None
            except OSError:
                raise ChannelError("the other side is gone") from None
            if not count:
                raise ChannelError("the other side is gone")
            done += count
        return buffer
