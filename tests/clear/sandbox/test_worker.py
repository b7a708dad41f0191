"""The process that runs user SQL, spoken to directly: what it answers, and when it ends."""

from __future__ import annotations

import os
import select
import signal
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pytest

from lake.clear.sandbox import worker
from lake.clear.sandbox.channel import ChannelError
from lake.clear.serving.parameters import encoded
from lake.clear.serving.pool import Pool
from lake.clear.serving.processes import Sandbox
from tests.clear.serving.sandboxes import pool_of

SCHEMA = pa.schema([("a", pa.int64())])
RUN = {"do": "run", "sql": "SELECT 1 AS a", "threads": 1, "memory": 0, "tables": {}, "named": False}


@pytest.fixture(scope="module")
def pool() -> Iterator[Pool]:
    with pool_of() as opened:
        yield opened


@pytest.fixture
def sandbox(pool: Pool) -> Iterator[Sandbox]:
    taken = pool.take()
    yield taken
    pool.discard(taken)


def ended(sandbox: Sandbox) -> bool:
    """Whether it ends by itself."""
    poll = select.poll()
    poll.register(sandbox._process, select.POLLIN)
    return bool(poll.poll(20_000))


def asked(sandbox: Sandbox, fields: dict[str, Any], payload: Any = b"") -> dict[str, Any]:
    sandbox.channel.send(fields, payload)
    return dict(sandbox.channel.receive().fields)


def test_it_parses_any_number_of_times_and_runs_once(pool: Pool, sandbox: Sandbox) -> None:
    """After its one query it is gone, of its own accord and without a complaint."""
    assert asked(sandbox, {"do": "parse", "sql": "SELECT 1"}) == {"is": "parsed"}
    assert asked(sandbox, {"do": "parse", "sql": "SELEC 1"})["is"] in {"parsed", "refused"}
    assert asked(sandbox, {**RUN, "do": "describe"}) == {"is": "schema"}
    assert [asked(sandbox, RUN), dict(sandbox.channel.receive().fields), dict(sandbox.channel.receive().fields)] == [
        {"is": "schema"},
        {"is": "batch"},
        {"is": "done"},
    ]
    with pytest.raises(ChannelError):
        sandbox.channel.receive()
    assert ended(sandbox)
    assert pool.discard(sandbox) == 0


@pytest.mark.parametrize("raw", [b"\xff" * 8, b"\x02\0\0\0\0\0\0\0[]", b"\x02"])
def test_it_ends_when_it_is_not_spoken_to_properly(pool: Pool, sandbox: Sandbox, raw: bytes) -> None:
    """Or when nobody is there any more: with a status, not with a text."""
    sandbox.channel._end.sendall(raw)
    sandbox.channel._end.shutdown(1)
    assert ended(sandbox)
    assert os.WEXITSTATUS(pool.discard(sandbox) or 0) == 1


def test_it_asks_for_what_the_query_needs_and_closes_it(sandbox: Sandbox) -> None:
    """A scan of some columns under a condition; when it is told that there are no rows, it says what it closes."""
    tables = {"t": pa.schema([("a", pa.int64()), ("b", pa.string())]).serialize().to_pybytes().hex()}
    first = asked(sandbox, {**RUN, "sql": "SELECT sum(a) AS s FROM t WHERE a > 3", "tables": tables})
    said = [first]
    while said[-1]["is"] != "next":
        said.append(dict(sandbox.channel.receive().fields))
    (scan,) = [one for one in said if one["is"] == "scan"]
    assert (scan["table"], scan["columns"], scan["condition"]) == ("t", ["a"], [">", "a", 3])
    sandbox.channel.send({"end": True})
    while said[-1]["is"] != "done":
        said.append(dict(sandbox.channel.receive().fields))
    assert {"is": "close", "scan": scan["scan"]} in said


def test_a_descriptor_that_is_none_of_a_slice_fails_the_query(sandbox: Sandbox) -> None:
    """What cannot be mapped, or is not Arrow, is an error of the engine's, and the process goes on to say so."""
    tables = {"t": SCHEMA.serialize().to_pybytes().hex()}
    asked(sandbox, {**RUN, "sql": "SELECT sum(a) AS s FROM t", "tables": tables})
    said = {"is": ""}
    while said["is"] != "next":
        said = dict(sandbox.channel.receive().fields)
    memory = os.memfd_create("x", os.MFD_CLOEXEC)
    os.write(memory, b"no arrow" * 100)
    sandbox.channel.send({"size": 800}, descriptor=memory)
    os.close(memory)
    while said["is"] not in {"failed", "done"}:
        said = dict(sandbox.channel.receive().fields)
    assert said["is"] == "failed"


def test_killing_is_for_any_thread_and_any_number_of_times(pool: Pool, sandbox: Sandbox) -> None:
    """Before, while and after it is buried."""
    sandbox.kill()
    sandbox.kill()
    assert ended(sandbox)
    assert not sandbox.is_alive
    assert pool.discard(sandbox) == signal.SIGKILL
    sandbox.kill()
    assert not sandbox.is_alive


@pytest.mark.parametrize("rows", [1, 7, 100_000])
def test_large_batches_are_sent_in_pieces(rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """All rows, in order, none larger than agreed unless it is one row."""
    monkeypatch.setattr(worker, "MOST_BATCH", 10_000)
    batch = pa.RecordBatch.from_arrays([pa.array(["x" * 50] * rows), pa.array(range(rows))], ["s", "a"])
    pieces = list(worker._pieces(batch))
    assert pa.Table.from_batches(pieces).equals(pa.Table.from_batches([batch]))
    assert all(piece.nbytes <= 10_100 for piece in pieces)
    assert list(worker._pieces(batch.slice(0, 0))) == []


def test_parameters_are_bound_as_they_were_given() -> None:
    """By position in order, by name under it, whole numbers as such; none are none."""
    assert worker.parameters_of({"named": False}, pa.py_buffer(encoded([1, 1 << 90, "x", None]))) == [
        1,
        1 << 90,
        "x",
        None,
    ]
    assert worker.parameters_of({"named": True}, pa.py_buffer(encoded({"b": 1, "a": [2]}))) == {"b": 1, "a": [2]}
    assert worker.parameters_of({"named": True}, pa.py_buffer(encoded({}))) == ()
    ten = list(range(12))
    assert worker.parameters_of({"named": False}, pa.py_buffer(encoded(ten))) == ten
