"""Messages over a pair of sockets: whole or not at all, bounded, without a descriptor left behind."""

from __future__ import annotations

import json
import os
import socket
import struct
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lake.clear.sandbox import channel as module
from lake.clear.sandbox.channel import Channel, ChannelError, ChannelFormError, ChannelTimeoutError

JSON = st.dictionaries(
    st.text(max_size=8),
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
        max_leaves=10,
    ),
    max_size=6,
)


NULL = Path("/dev/null")


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    """A pair of sockets; afterwards nothing else is open that was not before."""
    before = open_files()
    left, right = socket.socketpair()
    yield left, right
    left.close()
    right.close()
    assert open_files() == before


def framed(text: bytes, payload: bytes = b"") -> bytes:
    return struct.pack("<II", len(text), len(payload)) + text + payload


@settings(deadline=None)
@given(JSON, st.binary(max_size=2000))
def test_a_message_comes_as_it_was_sent(fields: dict[str, Any], payload: bytes) -> None:
    """Any fields and any bytes, several messages in a row."""
    left, right = socket.socketpair()
    with left, right:
        sender, receiver = Channel(left), Channel(right)
        for _ in range(2):
            sender.send(fields, payload)
        for _ in range(2):
            message = receiver.receive()
            assert message.fields == fields
            assert message.payload.to_pybytes() == payload
            assert message.descriptor == -1


@pytest.mark.parametrize("size", [0, 1, 7, 8, 9, 4096, 5 << 20])
def test_sizes_beyond_what_a_socket_holds(ends: tuple[socket.socket, socket.socket], size: int) -> None:
    """A message that is sent in parts comes whole, with its descriptor."""
    left, right = ends
    left.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    payload = os.urandom(size)
    fields = {"text": "x" * min(size, 1 << 20)}
    read, write = os.pipe()
    sending = threading.Thread(target=Channel(left).send, args=(fields, payload, write))
    sending.start()
    message = Channel(right, takes_descriptors=True).receive()
    sending.join()
    assert (message.fields, message.payload.to_pybytes()) == (fields, payload)
    os.write(message.descriptor, b"through")
    assert os.read(read, 10) == b"through"
    assert not os.get_inheritable(message.descriptor)
    for descriptor in (message.descriptor, read, write):
        os.close(descriptor)


def test_a_message_is_cut_at_every_byte(ends: tuple[socket.socket, socket.socket]) -> None:
    """However much of it came, the end is an error, and its descriptor is closed."""
    whole = framed(b'{"a":1}', b"payload")
    with NULL.open("rb") as extra:
        for length in range(len(whole)):
            left, right = socket.socketpair()
            with left, right:
                if length:
                    socket.send_fds(left, [whole[:length]], [extra.fileno()])
                left.shutdown(socket.SHUT_WR)
                with pytest.raises(ChannelError) as caught:
                    Channel(right, takes_descriptors=True).receive()
                assert not isinstance(caught.value, ChannelFormError | ChannelTimeoutError)


@pytest.mark.parametrize("dribble", [True, False])
def test_a_message_may_come_byte_by_byte(ends: tuple[socket.socket, socket.socket], dribble: bool) -> None:
    """Where the parts are cut does not matter."""
    left, right = ends
    whole = framed(b'{"a":1}', b"payload")
    receiver = Channel(right)
    if dribble:

        def send() -> None:
            for byte in whole:
                left.send(bytes([byte]))

        sending = threading.Thread(target=send)
        sending.start()
        assert receiver.receive().payload.to_pybytes() == b"payload"
        sending.join()
    else:
        left.sendall(whole * 3)
        assert [receiver.receive().fields for _ in range(3)] == [{"a": 1}] * 3


@pytest.mark.parametrize(
    "raw",
    [
        framed(b""),
        framed(b"[]"),
        framed(b"null"),
        framed(b'"text"'),
        framed(b"{"),
        framed(b'{"a":1}}'),
        framed(b"\xff\xfe{}"),
        framed(b'{"a":"\xff"}'),
        framed(b"[" * 100_000),
        framed(b'{"a":' * 15_000),
        framed(b'{"a":' + b"9" * 10_000 + b"}"),
        struct.pack("<II", module.MOST_FIELDS + 1, 0),
        struct.pack("<II", 2, module.MOST_PAYLOAD + 1) + b"{}",
        struct.pack("<II", 0xFFFFFFFF, 0xFFFFFFFF),
    ],
)
def test_what_is_no_message_is_refused(ends: tuple[socket.socket, socket.socket], raw: bytes) -> None:
    """Not an object, not JSON, too deep, or longer than agreed: nothing is allocated for it, the words are not told."""
    left, right = ends
    left.sendall(raw)
    with pytest.raises(ChannelFormError) as caught:
        Channel(right).receive()
    assert str(caught.value) in {"a message is not one", "a message is too long"}


def test_what_is_too_long_is_not_sent(ends: tuple[socket.socket, socket.socket]) -> None:
    """Neither fields nor payload; the other side sees nothing."""
    left, right = ends
    with pytest.raises(ChannelFormError):
        Channel(left).send({"text": "x" * module.MOST_FIELDS})
    with pytest.raises(ChannelFormError):
        Channel(left).send({}, bytes(module.MOST_PAYLOAD + 1))
    right.setblocking(False)
    with pytest.raises(BlockingIOError):
        right.recv(1)


@pytest.mark.parametrize(("takes", "sent"), [(True, 2), (True, 3), (True, 20), (False, 1), (False, 3)])
def test_descriptors_that_were_not_agreed_are_closed(
    ends: tuple[socket.socket, socket.socket], takes: bool, sent: int
) -> None:
    """More than one, or any at all where none is taken: refused, and nothing stays open."""
    left, right = ends
    before = open_files()
    for _ in range(50):
        with NULL.open("rb") as extra:
            socket.send_fds(left, [framed(b"{}")], [extra.fileno()] * sent)
        with pytest.raises(ChannelFormError):
            Channel(right, takes_descriptors=takes).receive()
        right.recv(2)
    assert open_files() == before


def test_descriptors_within_a_message_are_closed(ends: tuple[socket.socket, socket.socket]) -> None:
    """One that comes after the head goes to nobody."""
    left, right = ends
    before = open_files()
    with NULL.open("rb") as extra:
        left.sendall(struct.pack("<II", 2, 4))
        for part in (b"{}", b"da", b"ta"):
            socket.send_fds(left, [part], [extra.fileno()] * 2)
    message = Channel(right, takes_descriptors=True).receive()
    assert (message.fields, message.payload.to_pybytes(), message.descriptor) == ({}, b"data", -1)
    assert open_files() == before


def test_a_descriptor_of_a_bad_message_is_closed(ends: tuple[socket.socket, socket.socket]) -> None:
    """What is refused for its form leaves none behind."""
    left, right = ends
    before = open_files()
    with NULL.open("rb") as extra:
        socket.send_fds(left, [framed(b"[]")], [extra.fileno()])
    with pytest.raises(ChannelFormError):
        Channel(right, takes_descriptors=True).receive()
    assert open_files() == before


@pytest.mark.parametrize("sent", [b"", b"\x02", struct.pack("<II", 2, 3), struct.pack("<II", 2, 3) + b"{}a"])
def test_a_peer_that_says_nothing_more_is_not_waited_for(
    ends: tuple[socket.socket, socket.socket], sent: bytes
) -> None:
    """The deadline holds for the whole message, wherever it stops."""
    left, right = ends
    left.sendall(sent)
    receiver = Channel(right)
    receiver.deadline = time.monotonic() + 0.05
    with pytest.raises(ChannelTimeoutError):
        receiver.receive()
    with pytest.raises(ChannelTimeoutError):  # the time does not begin anew
        receiver.receive()


def test_a_peer_that_takes_nothing_is_not_waited_for(ends: tuple[socket.socket, socket.socket]) -> None:
    """A message that fits into no buffer is given up."""
    left, _ = ends
    sender = Channel(left)
    sender.deadline = time.monotonic() + 0.05
    with pytest.raises(ChannelTimeoutError):
        sender.send({}, bytes(32 << 20))


def test_a_peer_that_is_gone(ends: tuple[socket.socket, socket.socket]) -> None:
    """Sending and receiving end at once, and closing twice is harmless."""
    left, right = ends
    right.close()
    channel = Channel(left)
    for call in (channel.receive, lambda: channel.send({"a": 1})):
        with pytest.raises(ChannelError):
            call()
    channel.close()
    channel.close()
    with pytest.raises(ChannelError):
        channel.receive()


@settings(deadline=None, max_examples=150)
@given(st.binary(max_size=60), st.integers(0, 3))
def test_any_bytes_end_in_a_message_or_an_error(raw: bytes, extra: int) -> None:
    """Nothing else is raised, and no descriptor stays."""
    before = open_files()
    left, right = socket.socketpair()
    with left, right, NULL.open("rb") as file:
        if raw:
            socket.send_fds(left, [raw], [file.fileno()] * extra)
        left.shutdown(socket.SHUT_WR)
        try:
            message = Channel(right, takes_descriptors=True).receive()
        except ChannelError:
            pass
        else:
            assert raw[8:].startswith(json.dumps(message.fields).encode()[:1])
            if message.descriptor >= 0:
                os.close(message.descriptor)
    assert open_files() == before
