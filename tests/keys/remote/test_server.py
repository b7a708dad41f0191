"""Hostile and unlucky peers: garbage, silence, crowds; and errors that say nothing."""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from keys.errors import (
    BrokerFailedError,
    BrokerMessageError,
    BrokerUnavailableError,
    KeyIntegrityError,
    KeysError,
    SecretFileError,
)
from keys.remote import wire
from keys.remote.client import BrokerClient
from keys.remote.connect import unix
from keys.remote.link import Link, LinkError
from keys.remote.listen import UnixListener
from keys.remote.peers import PeerTable
from keys.remote.roles import Role
from keys.remote.server import Server, ServerLimits
from lake.gateway import broker_process
from lake.gateway.keyside import KeySide

from .conftest import Apart

PEERS = PeerTable(uids={os.getuid(): Role.GATEWAY})


class Running:
    """A broker on a Unix socket in a thread."""

    def __init__(self, keys: KeySide, path: Path, limits: ServerLimits) -> None:
        self.keys = keys
        self.path = path
        self.server = Server(broker_process.service(keys), UnixListener(path, PEERS), limits)
        self.thread = threading.Thread(target=self.server.serve)
        self.thread.start()

    def raw(self) -> socket.socket:
        """A connection whose greeting has been read."""
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(20)
        connection.connect(str(self.path))
        Link(connection).receive(wire.MOST_BYTES, 20)
        return connection

    def client(self, seconds: float = 20) -> BrokerClient:
        """A client of the gateway."""
        return BrokerClient(unix(self.path), self.keys.broker.hierarchy.lake, seconds=seconds)

    def until(self, condition: Callable[[], bool]) -> None:
        """Wait for a state of the server."""
        deadline = time.monotonic() + 20
        while not condition():
            assert time.monotonic() < deadline
            time.sleep(0.005)


@pytest.fixture
def run(apart: Apart, tmp_path: Path) -> Iterator[Callable[..., Running]]:
    """Starts brokers on a Unix socket."""
    started: list[Running] = []

    def start(**limits: float) -> Running:
        started.append(Running(apart.own_keys(), tmp_path / "s", ServerLimits(**{"grace": 5.0} | limits)))
        return started[-1]

    yield start
    for running in started:
        running.server.stop()
        running.thread.join(30)
        assert not running.thread.is_alive()
        running.keys.close()


def answer_to(connection: socket.socket, sent: bytes) -> Any:
    """What comes back for these bytes and the end of sending; None if nothing does."""
    with connection:
        try:
            connection.sendall(sent)
            connection.shutdown(socket.SHUT_WR)
            return Link(connection).receive(wire.MOST_BYTES, 20)
        except (OSError, LinkError):
            return None


@pytest.mark.parametrize(
    "sent",
    [
        b"\xff\xff\xff\xff",
        b"\x00\x00\x00\x02{}",
        b"\x00\x00\x00\x00",
        b"\x00\x00\x00\x04null",
        b"GET / HTTP/1.1\r\n\r\n",
        wire.frame({"id": 1, "call": "anchor"}),
        wire.frame({"id": True, "call": "anchor", "with": {}}),
        wire.frame({"id": 1, "call": 7, "with": {}}),
        wire.frame({"id": -1, "call": "anchor", "with": {}}),
        wire.frame([1, "anchor", {}]),
        (50_000).to_bytes(4, "big") + b"[" * 50_000,
    ],
)
def test_what_is_no_request_ends_the_connection_with_a_typed_error(run: Callable[..., Running], sent: bytes) -> None:
    """And the next connection is served as before."""
    running = run()
    found = answer_to(running.raw(), sent)
    assert found is None or type(wire.error_of(found["error"])) is BrokerMessageError
    assert running.client().call("counts", {}) == running.keys.store.counts()


@pytest.mark.parametrize("sent", [b"", b"\x00", b"\x00\x00\x00\x09{", wire.frame({"id": 1})[:-1]])
def test_a_cut_request_gets_no_answer(run: Callable[..., Running], sent: bytes) -> None:
    """Its rest will not come."""
    running = run()
    assert answer_to(running.raw(), sent) is None
    assert running.client().call("counts", {})


def test_any_bytes_are_survived(run: Callable[..., Running]) -> None:
    """Fuzzed frames, whole and broken: an answer, a typed error or an end, and never a hang."""
    running = run()

    @settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
    @given(
        st.binary(max_size=60),
        st.booleans(),
        st.sampled_from(["anchor", "release", "counts", "nothing"]),
        st.recursive(st.none() | st.text() | st.integers(0, 9) | st.binary(), st.lists, max_leaves=5),
    )
    def fuzz(raw: bytes, framed: bool, call: str, given_value: object) -> None:
        sent = wire.frame({"id": 1, "call": call, "with": given_value}) if framed else raw
        found = answer_to(running.raw(), sent)
        if found is not None and "ok" not in found:
            assert isinstance(wire.error_of(found["error"]), KeysError)

    fuzz()
    assert running.client().call("counts", {})


def test_a_peer_that_stops_within_a_request_is_cut_off(run: Callable[..., Running]) -> None:
    """One byte does not hold a place for long."""
    running = run(request=0.05)
    connection = running.raw()
    connection.sendall(b"\x00")
    assert connection.recv(1) == b""
    connection.close()


def test_a_silent_peer_is_cut_off_and_a_client_comes_back(run: Callable[..., Running]) -> None:
    """An idle connection ends; the client notices before it asks, even for what must not be asked twice."""
    running = run(idle=0.05)
    client = running.client()
    (link,) = client._idle
    running.until(link.readable)
    with pytest.raises(KeysError) as caught:  # asked on a new connection, and refused for what it is
        client.call("release", {})
    assert isinstance(caught.value, BrokerMessageError)
    client.close()


def test_a_connection_has_an_end(run: Callable[..., Running]) -> None:
    """However busy it is."""
    running = run(lifetime=0.05)
    connection = running.raw()
    link = Link(connection)
    running.until(link.readable)
    assert connection.recv(1) == b""
    connection.close()


def test_a_crowd_is_turned_away_and_the_others_are_served(run: Callable[..., Running]) -> None:
    """A bounded number of connections, of all and of one peer."""
    running = run(connections=3)
    held = [running.raw() for _ in range(3)]
    with pytest.raises(BrokerUnavailableError):
        running.client()
    for connection in held:
        connection.close()
    running.until(lambda: not running.server._threads)
    assert running.client().call("counts", {})


def test_one_peer_does_not_take_every_place(run: Callable[..., Running]) -> None:
    """It is told so."""
    running = run(per_peer=2)
    held = [running.raw() for _ in range(2)]
    with pytest.raises(BrokerUnavailableError, match="too many"):
        running.client()
    for connection in held:
        connection.close()


def test_an_error_that_should_not_occur_says_nothing(
    run: Callable[..., Running], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither to the caller nor to the log: its text could hold a key."""
    running = run()

    def fail() -> dict[str, int]:
        raise RuntimeError("secretcanary")

    monkeypatch.setattr(running.keys.store, "counts", fail)
    with caplog.at_level(logging.DEBUG), pytest.raises(BrokerFailedError) as caught:
        running.client().call("counts", {})
    assert "canary" not in str(caught.value) + caplog.text
    assert "RuntimeError" in caplog.text


def test_a_key_store_that_cannot_be_read_is_a_typed_error(
    run: Callable[..., Running], apart: Apart, caplog: pytest.LogCaptureFixture
) -> None:
    """The lake's own database errors keep their meaning."""
    running = run()
    client = running.client()
    for path in (apart.keys / "keys").iterdir():
        if path.suffix == ".db":
            path.write_bytes(b"not a database at all, of any kind" * 200)
    assert running.keys.local is not None
    running.keys.local.database.close()
    with pytest.raises((KeyIntegrityError, BrokerUnavailableError)):
        client.call("counts", {})
    assert "failed with" not in caplog.text


def test_an_answer_to_another_question_is_refused(tmp_path: Path) -> None:
    """Answers that were mixed up would be keys that were mixed up."""
    path = tmp_path / "s"
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen()

    def mislead() -> None:
        connection, _ = listener.accept()
        with connection:
            link = Link(connection)
            link.send(wire.frame({"protocol": wire.PROTOCOL, "lake": "l", "role": "gateway"}), 20)
            asked = link.receive(wire.MOST_BYTES, 20)
            link.send(wire.frame({"id": asked["id"] + 1, "ok": None}), 20)

    thread = threading.Thread(target=mislead)
    thread.start()
    client = BrokerClient(unix(path), "l")
    with pytest.raises(BrokerMessageError):
        client.call("counts", {})
    thread.join()
    listener.close()
    client.close()


@pytest.mark.parametrize(
    ("greeting", "error"),
    [
        ({"protocol": 2, "lake": "l", "role": "gateway"}, BrokerMessageError),
        ({"protocol": 1, "lake": "other", "role": "gateway"}, KeyIntegrityError),
        ({"protocol": 1}, BrokerMessageError),
        ({"error": "text"}, BrokerMessageError),
        ("hello", BrokerMessageError),
    ],
)
def test_a_broker_that_greets_wrongly_is_not_spoken_to(
    tmp_path: Path, greeting: object, error: type[KeysError]
) -> None:
    """Another version, another lake, something else."""
    path = tmp_path / "s"
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen()

    def greet() -> None:
        connection, _ = listener.accept()
        with connection:
            Link(connection).send(wire.frame(greeting), 20)
            assert connection.recv(1) == b""

    thread = threading.Thread(target=greet)
    thread.start()
    with pytest.raises(error):
        BrokerClient(unix(path), "l")
    thread.join()
    listener.close()


def test_a_slow_broker_is_a_typed_error_and_is_not_asked_twice(
    run: Callable[..., Running], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The time-out is the caller's; the call may still be under way."""
    running = run()
    asked, goes_on = threading.Semaphore(0), threading.Event()

    def wait() -> dict[str, int]:
        asked.release()
        goes_on.wait(20)
        return {}

    monkeypatch.setattr(running.keys.store, "counts", wait)
    client = running.client(seconds=0.1)
    with pytest.raises(BrokerUnavailableError):
        client.call("counts", {})
    goes_on.set()
    assert asked.acquire(timeout=20)
    assert not asked.acquire(blocking=False)
    client.close()


def test_a_broken_connection_is_made_anew_once_for_calls_that_may_be_repeated(
    run: Callable[..., Running], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A release is not: the caller hears that it is open whether it was done."""
    running = run()
    calls: list[str] = []

    def fail(connection: Link, framed: bytes, seconds: float) -> None:
        calls.append("sent")
        if len(calls) == 1:
            connection.cut()
        send(connection, framed, seconds)

    send = Link.send
    client = running.client()
    monkeypatch.setattr(Link, "send", lambda *given_: fail(*given_) if b'"call"' in given_[1] else send(*given_))
    assert client.call("counts", {})
    assert len(calls) == 2
    calls.clear()
    with pytest.raises(BrokerUnavailableError):
        client.call("release", {})
    assert len(calls) == 1
    client.close()


def test_nobody_is_there(tmp_path: Path) -> None:
    """A typed error that can be tried again: exit code 5."""
    with pytest.raises(BrokerUnavailableError) as caught:
        BrokerClient(unix(tmp_path / "none"), "l")
    assert caught.value.exit_code == 5


def test_a_stop_finishes_what_is_under_way(run: Callable[..., Running], monkeypatch: pytest.MonkeyPatch) -> None:
    """The answer comes, idle connections end, nobody else gets in, and the name is gone."""
    running = run(grace=20.0)
    idle, busy = running.raw(), running.client()
    asked, goes_on = threading.Event(), threading.Event()

    def wait() -> dict[str, int]:
        asked.set()
        goes_on.wait(20)
        return {"answered": 1}

    monkeypatch.setattr(running.keys.store, "counts", wait)
    answers: list[Any] = []
    thread = threading.Thread(target=lambda: answers.append(busy.call("counts", {})))
    thread.start()
    assert asked.wait(20)
    running.server.stop()
    assert idle.recv(1) == b""
    idle.close()
    running.until(lambda: not running.path.exists())
    with pytest.raises(BrokerUnavailableError):
        running.client()
    goes_on.set()
    thread.join(20)
    assert answers == [{"answered": 1}]
    running.thread.join(20)
    assert not running.thread.is_alive()
    busy.close()


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
