"""Hostile and unlucky peers: garbage, silence, crowds; and errors that say nothing."""

from __future__ import annotations

import logging
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
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
)
from keys.remote import wire
from keys.remote.link import Link, LinkError
from tests.keys.remote.conftest import Running
from tests.keys.remote.hosts import Apart


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


def test_a_connection_has_an_end(run: Callable[..., Running]) -> None:
    """However busy it is."""
    running = run(lifetime=0.05)
    connection = running.raw()
    link = Link(connection)
    running.until(link.readable)
    assert connection.recv(1) == b""
    connection.close()
    # Asked for more, all at once, than it can answer within that time.
    asked = 3_000
    connection = running.raw()
    with suppress(BrokenPipeError):  # it may end before it has taken them all
        connection.sendall(b"".join(wire.frame({"id": 1, "call": "counts", "with": {}}) for _ in range(asked)))
    answered = 0
    with suppress(LinkError):
        while Link(connection).receive(wire.MOST_BYTES, 20):
            answered += 1
    assert answered < asked


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
