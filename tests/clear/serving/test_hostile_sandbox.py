"""A sandbox that is somebody else's: whatever it says ends in the lake's own words, and it gets nothing else."""

# ruff: noqa: E501 - one case a line
from __future__ import annotations

import json
import os
import socket
import struct
import threading
from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pytest

from lake.clear.sandbox.answers import SandboxLimits
from lake.clear.sandbox.channel import MOST_FIELDS, MOST_PAYLOAD
from lake.clear.serving import scans as scans_module
from lake.errors import LakeError, LimitExceededError, QueryCancelledError, QueryFailedError, QueryRefusedError
from tests.clear.serving.sandboxes import LIMITS, Held, Stranger, descriptors, numbers, stranger_session

SAYS = "hostile-canary"
SCHEMA = pa.schema([("a", pa.int64())])
GOOD_SCHEMA = SCHEMA.serialize().to_pybytes()
SCAN = {"is": "scan", "scan": 1, "table": "t", "columns": ["a"], "condition": None}


def stream(batch: pa.RecordBatch) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    return bytes(sink.getvalue().to_pybytes())


GOOD_BATCH = stream(pa.RecordBatch.from_arrays([pa.array([1, 2])], schema=SCHEMA))


def ran(say: Callable[[Stranger], None], source: Held | None = None, limits: SandboxLimits = LIMITS) -> LakeError:
    """The error in which a run over one table ends; what was open before is open after."""
    source = source or Held(numbers(10))
    before, others = descriptors(), set(threading.enumerate())
    with stranger_session(say) as (session, _), pytest.raises(LakeError) as caught:
        list(session.run("SELECT a FROM t", {"t": source}, (), limits).batches)
    assert SAYS not in repr(caught.value)
    assert SAYS not in str(caught.value.__cause__) + str(caught.value.hint)
    # A chunk goes with the thread that decoded it.
    for thread in set(threading.enumerate()) - others:
        if thread.name == "handover":
            thread.join(5)
    assert descriptors() <= before  # what another test left may go meanwhile
    return caught.value


def all_of(*messages: Any) -> Callable[[Stranger], None]:
    """Says these, each fields alone or fields and payload; then it goes."""

    def say(stranger: Stranger) -> None:
        for message in messages:
            stranger.says(*message) if isinstance(message, tuple) else stranger.says(message)
        stranger.end.shutdown(socket.SHUT_WR)

    return say


def with_scan(**other: Any) -> dict[str, Any]:
    return {**SCAN, **other}


DEEP: list[Any] = ["null", "a"]
for _ in range(210):
    DEEP = ["not", DEEP]
TOO_LARGE = [DEEP, ["and", *[["null", "a"]] * 2_000]]
CONDITIONS: list[Any] = [
    "a", 1, True, {}, [], [[]], ["and"], ["and", ["null", "a"]], ["or", ["null", "a"]], ["and", ["null", "a"], 1], ["not"], ["not", []], ["null"],
    ["null", "zz"], ["null", 1], ["null", ["a"]], ["null", "a", "b"], ["=", "a"], ["=", "zz", 1], ["=", 1, "a"], ["=", "a", "1"], ["=", "a", 1.0],
    ["=", "a", True], ["=", "a", None], ["=", "a", [1]], ["=", "a", {"us": 1}], ["=", "a", 1 << 63], ["=", "b", 1], ["=", "b", "\ud800"],
    ["in", "a", []], ["in", "a", "1"], ["in", "a", [1, "x"]], ["in", "a", [None]], ["in", "zz", [1]], ["in", "a", {"0": 1}], ["in", "a", list(range(1001))],
    ["xor", ["null", "a"], ["null", "b"]], ["is_in", "a", [1]], ["__class__", "a", 1], ["AND", ["null", "a"], ["null", "a"]], ["like", "b", "%"],
    ["regexp", "b", "(a+)+$"], *TOO_LARGE,
]  # fmt: skip


@pytest.mark.parametrize("condition", CONDITIONS, ids=lambda one: repr(one)[:40])
def test_conditions_of_another_form_end_it(condition: Any) -> None:
    """Unknown forms, columns outside the slice, constants of another type, too deep, too many: nothing is read."""
    source = Held(numbers(10))
    error = ran(all_of(with_scan(condition=condition), {"is": "next", "scan": 1}), source)
    assert type(error) is (QueryRefusedError if condition in TOO_LARGE else QueryFailedError)
    assert source.asked == []


@pytest.mark.parametrize(
    "messages",
    [
        [with_scan(table="zz")], [with_scan(table=None)], [with_scan(table=["t"])], [with_scan(table={"t": 1})], [with_scan(table=SAYS)],
        [with_scan(columns=["zz"])], [with_scan(columns=["a", "zz"])], [with_scan(columns="a")], [with_scan(columns=None)], [with_scan(columns=[["a"]])],
        [with_scan(columns=["a", "a"])], [with_scan(columns=[1])], [with_scan(columns=["__lake_subject"])], [with_scan(columns={"a": 1})],
        [with_scan(scan=None)], [with_scan(scan="1")], [with_scan(scan=1.0)], [with_scan(scan=True)], [with_scan(scan=[1])], [SCAN, SCAN],
        [{"is": "scan"}], [{"is": "next"}], [{"is": "next", "scan": 1}], [{"is": "next", "scan": [1]}], [{"is": "next", "scan": True}],
        [SCAN, {"is": "close", "scan": 1}, {"is": "next", "scan": 1}], [{}], [{"is": None}], [{"is": ["schema"]}], [{"is": {"a": 1}}], [{"is": SAYS}],
        [{"is": "batch"}], [{"is": "done"}], [({"is": "batch"}, GOOD_BATCH)], [{"is": "parsed"}], [{"is": "refused", "message": SAYS, "hint": SAYS}],
        [{"is": "restricted"}], [{"ready": {}}], [{"do": "parse", "sql": SAYS}], [{"is": "schema"}], [({"is": "schema"}, SAYS.encode())],
        [({"is": "schema"}, GOOD_SCHEMA[:-9])], [({"is": "schema"}, GOOD_SCHEMA), ({"is": "schema"}, GOOD_SCHEMA)],
        [({"is": "schema"}, GOOD_SCHEMA), {"is": "batch"}], [({"is": "schema"}, GOOD_SCHEMA), ({"is": "batch"}, SAYS.encode())],
        [({"is": "schema"}, GOOD_SCHEMA), ({"is": "batch"}, GOOD_BATCH[:-20])], [({"is": "schema"}, GOOD_SCHEMA), ({"is": "batch"}, b"\0" + GOOD_BATCH)],
        [({"is": "schema"}, pa.schema([("b", pa.int64())]).serialize().to_pybytes()), ({"is": "batch"}, GOOD_BATCH)],
        [({"is": "schema"}, GOOD_SCHEMA), {"is": "misfit", "text": [SAYS]}], [{"is": "failed"}], [{"is": "failed", "engine": SAYS}], [{"is": "failed", "engine": [SAYS]}],
        [{"is": "failed", "engine": {"OutOfMemoryException": 1}}], [b"[]"], [SAYS.encode()], [b"null"], [],
    ],
    ids=lambda one: repr(one)[:50],
)  # fmt: skip
def test_messages_out_of_place_end_it(messages: list[Any]) -> None:
    """A class of its own choice, or none, and none of its words."""
    error = ran(all_of(*messages))
    assert type(error) is QueryFailedError
    assert error.details == {}


@pytest.mark.parametrize(
    "raw",
    [
        struct.pack("<II", 0xFFFFFFFF, 0), struct.pack("<ii", -1, -1), struct.pack("<II", MOST_FIELDS + 1, 0), struct.pack("<II", 2, MOST_PAYLOAD + 1),
        struct.pack("<II", 2, 100) + b"{}" + SAYS.encode(), b"\x01", b"GET / HTTP/1.1\r\n\r\n", os.urandom(64),
    ],
    ids=["largest", "negative", "fields too long", "payload too long", "cut off", "one byte", "another protocol", "noise"],
)  # fmt: skip
def test_bytes_that_are_no_message_end_it(raw: bytes) -> None:
    """Lengths beyond what is agreed, cut messages, another protocol."""

    def say(stranger: Stranger) -> None:
        stranger.end.sendall(raw)
        stranger.end.shutdown(socket.SHUT_WR)

    assert type(ran(say)) is QueryFailedError


@pytest.mark.parametrize("text", [f"{SAYS} zz", "Binder Error: x\n" + SAYS])
def test_complaints_about_names_are_not_believed_after_rows_were_handed_over(text: str) -> None:
    """A row could be in them; before, nothing could."""

    def say(stranger: Stranger) -> None:
        stranger.says(SCAN)
        stranger.says({"is": "next", "scan": 1})
        stranger.says({"is": "misfit", "text": text})

    assert type(ran(say)) is QueryFailedError
    with stranger_session(all_of({"is": "misfit", "text": "zz is not known\n" + SAYS + "\ud800"})) as (session, _):
        with pytest.raises(QueryRefusedError, match="zz is not known") as caught:
            session.run("SELECT zz FROM t", {"t": Held(numbers(10))}, (), LIMITS)
        assert SAYS not in str(caught.value)


def test_known_classes_pass_after_rows() -> None:
    """A class is one of five words."""

    def say(stranger: Stranger) -> None:
        stranger.says(SCAN)
        stranger.says({"is": "next", "scan": 1})
        stranger.says({"is": "failed", "engine": "ConversionException", "text": SAYS})

    assert ran(say).details == {"engine": "ConversionException"}


def test_descriptors_from_a_sandbox_are_not_taken() -> None:
    """They would fill the gateway's table."""
    null = os.open("/dev/null", os.O_RDONLY)
    try:
        for count in (1, 2, 9):
            error = ran(lambda stranger, count=count: stranger.says(SCAN, b"", [null] * count))  # type: ignore[misc]
            assert type(error) is QueryFailedError
    finally:
        os.close(null)


def test_endless_scans_are_not_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    """Scans open at a time, scans read from at a time, and what their conditions say are bounded."""
    monkeypatch.setattr(scans_module, "MOST_OPEN", 50)
    source = Held(numbers(10))
    assert type(ran(all_of(*[with_scan(scan=n) for n in range(51)]), source)) is QueryFailedError
    assert source.asked == []
    many = scans_module.MOST_BEGUN + LIMITS.threads + 1
    reads = [message for n in range(many) for message in (with_scan(scan=n), {"is": "next", "scan": n})]
    assert type(ran(all_of(*reads), source)) is QueryFailedError
    assert len(source.asked) == many - 1
    monkeypatch.setattr(scans_module, "MOST_WORDS", 1000)
    wordy = [with_scan(scan=n, condition=["=", "b", "x" * 300]) for n in range(4)]
    assert type(ran(all_of(*wordy), source)) is QueryFailedError


def test_a_scan_that_is_read_beyond_its_end_stays_ended() -> None:
    """``next`` after the end is not answered with rows, and keeps nobody waiting for ever."""

    def say(stranger: Stranger) -> None:
        stranger.says(SCAN)
        for _ in range(4):
            stranger.says({"is": "next", "scan": 1})

        stranger.end.shutdown(socket.SHUT_WR)

    source = Held(numbers(10))
    assert type(ran(say, source)) is QueryFailedError
    assert len(source.asked) == 1
    assert sum(source.touched.values()) == 10


def test_silence_ends_at_the_deadline() -> None:
    """Before a schema, between batches, and while it is fed and takes nothing."""

    def say_half(stranger: Stranger) -> None:
        stranger.says({"is": "schema"}, GOOD_SCHEMA)
        stranger.says({"is": "batch"}, GOOD_BATCH)

    for say in (lambda _: None, say_half):
        with stranger_session(say) as (session, _):
            session._channel.deadline = None
            original = session._allow

            def soon(seconds: float, original: Any = original, session: Any = session) -> None:
                original(seconds)
                session._channel.deadline -= 1.0

            session._allow = soon  # type: ignore[method-assign]
            with pytest.raises(LimitExceededError):
                list(session.run("SELECT a FROM t", {"t": Held(numbers(10))}, (), SandboxLimits(2, 0, 0.05)).batches)


def test_forged_trees_and_refusals_are_held_against_their_form() -> None:
    """A parser that is not ours can say no, or give a tree; it cannot give anything else."""
    for payload in (
        b"",
        b"{",
        b"[]",
        b"null",
        b"\xff",
        b'{"error": false, "statements": []}',
        json.dumps({"error": False, "statements": [1]}).encode(),
    ):
        with stranger_session(all_of(({"is": "parsed"}, payload))) as (session, _), pytest.raises(LakeError):
            session.parse("SELECT 1")
    for refusal in (
        {},
        {"message": 1, "hint": [SAYS]},
        {"message": "no", "hint": "h", "details": {"line": 1, "column": "x", SAYS: 2}},
    ):
        with (
            stranger_session(all_of({"is": "refused", **refusal})) as (session, _),
            pytest.raises(QueryRefusedError) as caught,
        ):
            session.parse("SELECT 1")
        assert SAYS not in repr(caught.value.details) + str(caught.value)
    for wrong in ({"is": "schema"}, {"is": "restricted"}, {}, {"is": ["parsed"]}):
        with stranger_session(all_of(wrong)) as (session, _), pytest.raises(QueryFailedError):
            session.parse("SELECT 1")


def test_cancelling_while_a_stranger_is_silent() -> None:
    """Whoever waits is let go, with the right word for it."""
    with stranger_session(lambda stranger: stranger.says({"is": "schema"}, GOOD_SCHEMA)) as (session, _):
        running = session.run("SELECT a FROM t", {"t": Held(numbers(10))}, (), LIMITS)
        timer = threading.Thread(target=running.cancel)
        timer.start()
        with pytest.raises(QueryCancelledError):
            list(running.batches)
        timer.join()
