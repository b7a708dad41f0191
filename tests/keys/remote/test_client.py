"""A client of a broker that is slow, gone, mistaken or somebody else."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from keys.errors import (
    BrokerMessageError,
    BrokerUnavailableError,
    KeyIntegrityError,
    KeysError,
)
from keys.remote import wire
from keys.remote.client import BrokerClient
from keys.remote.connect import unix
from keys.remote.link import Link
from tests.keys.remote.conftest import Running


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
