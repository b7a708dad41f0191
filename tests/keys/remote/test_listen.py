"""Where a broker listens: a place that nobody else can take, and handshakes that have an end."""

from __future__ import annotations

import os
import socket
import ssl
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from keys.errors import BrokerUnavailableError, SecretFileError
from keys.remote.client import BrokerClient
from keys.remote.connect import tls, unix
from keys.remote.link import Link, LinkError
from keys.remote.listen import TlsListener, UnixListener
from keys.remote.peers import Peer, PeerTable
from keys.remote.roles import Role
from keys.remote.tls import client_context, server_context
from tests.keys.remote.conftest import PEERS, Running, Served
from tests.keys.remote.hosts import NAMES, Authority


def test_the_place_of_a_killed_broker_is_taken_and_of_a_living_one_not(
    run: Callable[..., Running], tmp_path: Path
) -> None:
    """A file that is no socket is left alone."""
    left = tmp_path / "left"
    stale = socket.socket(socket.AF_UNIX)
    stale.bind(str(left))
    stale.close()
    UnixListener(left, PEERS).close()
    assert not left.exists()
    running = run()
    with pytest.raises(SecretFileError):
        UnixListener(running.path, PEERS)
    file = tmp_path / "file"
    file.write_text("mine")
    with pytest.raises(SecretFileError):
        UnixListener(file, PEERS)
    assert file.read_text() == "mine"


@pytest.mark.parametrize("mode", [0o770, 0o757, 0o1777])
def test_a_folder_that_others_can_write_is_no_place_for_the_socket(
    run: Callable[..., Running], tmp_path: Path, mode: int
) -> None:
    """An impostor there would be sent fresh DEKs: neither side uses it, and the sticky bit does not help."""
    running = run()
    running.client().call("counts", {})
    tmp_path.chmod(mode)
    with pytest.raises(SecretFileError, match="others can write"):
        running.client()
    with pytest.raises(SecretFileError, match="others can write"):
        UnixListener(tmp_path / "other", PEERS)
    tmp_path.chmod(0o755)
    running.client().call("counts", {})


def test_a_listener_that_has_gone_does_not_take_the_name_of_the_next(tmp_path: Path) -> None:
    """Only its own socket is removed."""
    first = UnixListener(tmp_path / "s", PEERS)
    (tmp_path / "s").unlink()
    second = UnixListener(tmp_path / "s", PEERS)
    first.close()
    assert (tmp_path / "s").is_socket()
    second.close()
    assert not (tmp_path / "s").exists()


def test_a_handshake_has_one_deadline_however_it_is_spread_out(served: Served) -> None:
    """A peer that sends its hello byte by byte, each in time, is let go of all the same."""
    near, far = socket.socketpair()
    hello = client_hello(served)
    stopped = threading.Event()

    def trickle() -> None:
        for position in range(len(hello)):
            if stopped.wait(0.02):
                return
            try:
                far.send(hello[position : position + 1])
            except OSError:
                return

    thread = threading.Thread(target=trickle)
    thread.start()
    try:
        with pytest.raises(LinkError):
            served.server._listener.admit(near, 0.2)
        assert thread.is_alive()  # it would have gone on for seconds
    finally:
        stopped.set()
        thread.join(20)
        far.close()
        near.close()


def client_hello(served: Served) -> bytes:
    """What a host sends first."""
    identity = served.authority.issue(NAMES[Role.GATEWAY])
    context = client_context(served.authority.file, identity.certificate, identity.key)
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    wrapped = context.wrap_bio(incoming, outgoing, server_hostname="localhost")
    with pytest.raises(ssl.SSLWantReadError):
        wrapped.do_handshake()
    return outgoing.read()


def test_a_message_has_one_deadline_however_slowly_it_is_taken() -> None:
    """A peer that reads a little at a time does not hold the sender for longer than the time of the message."""
    near, far = socket.socketpair()
    near.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    stopped = threading.Event()

    def sip() -> None:
        while not stopped.wait(0.02):
            far.recv(4096)

    thread = threading.Thread(target=sip)
    thread.start()
    try:
        with pytest.raises(LinkError) as caught:
            Link(near).send(bytes(400_000), 0.3)
        assert caught.value.slow
    finally:
        stopped.set()
        thread.join(20)
        near.close()
        far.close()


def test_only_tls_1_3_is_spoken(served: Served) -> None:
    """A host that can do 1.2 at most does not get in."""
    identity = served.authority.issue(NAMES[Role.GATEWAY])
    context = client_context(served.authority.file, identity.certificate, identity.key)
    context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_2
    with pytest.raises(LinkError) as caught:
        tls("127.0.0.1", int(served.server.address.rpartition(":")[2]), context)(20)
    assert caught.value.refused


def test_a_broker_listens_at_an_ipv6_address(authority: Authority) -> None:
    """In brackets, on both sides."""
    if not socket.has_ipv6:
        pytest.skip("no IPv6 here")
    own = authority.issue("localhost", server=True)
    context = server_context(own.certificate, own.key, authority.file)
    try:
        listener = TlsListener("::1", 0, context, PeerTable())
    except SecretFileError:
        pytest.skip("no IPv6 address here")
    assert listener.address == f"tls:[::1]:{listener.bound.getsockname()[1]}"
    listener.close()


def test_the_kernel_says_who_is_at_the_other_end() -> None:
    """By uid, from the socket itself."""
    near, far = socket.socketpair()
    assert PEERS.of_socket(near) == Peer(f"uid {os.getuid()}", Role.GATEWAY)
    near.close()
    far.close()


def test_nobody_is_there(tmp_path: Path) -> None:
    """A typed error that can be tried again: exit code 5."""
    with pytest.raises(BrokerUnavailableError) as caught:
        BrokerClient(unix(tmp_path / "none"), "l")
    assert caught.value.exit_code == 5
