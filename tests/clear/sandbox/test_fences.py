"""The fences around a real sandbox, and the queries that are known to break out of the engine's own limits."""

# ruff: noqa: E501 - one query a line; the SQL of these tests is made of their own constants
from __future__ import annotations

import json
import os
import re
import resource
import select
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from lake.clear.sandbox import fences
from lake.clear.sandbox.answers import SandboxLimits
from lake.clear.serving.pool import Pool
from lake.clear.serving.processes import SandboxShape
from lake.errors import LakeError, LimitExceededError, QueryFailedError, QueryRefusedError
from tests.clear.serving.sandboxes import LIMITS, Held, answer, numbers, pool_of, session_of, status
from tests.world import ROOT

SHAPE = SandboxShape(memory=512 << 20, seconds=30)


@pytest.fixture(scope="module")
def pool() -> Iterator[Pool]:
    with pool_of(SHAPE, ready=2) as opened:
        yield opened


def test_every_fence_of_this_platform_is_in_force(pool: Pool) -> None:
    """As the sandbox reports it, and as the system shows it from outside."""
    assert set(pool.fences) == {
        "network namespace", "no core dumps", "no files written", "open files", "processor time", "address space", "a user of its own",
        "landlock", "seccomp",
    }  # fmt: skip
    sandbox = pool.take()
    seen = status(sandbox.pid)
    limits = Path(f"/proc/{sandbox.pid}/limits").read_text()

    def limit(name: str) -> tuple[str, ...]:
        found = re.search(rf"^{name}\s+(\S+)\s+(\S+)", limits, re.MULTILINE)
        assert found is not None
        return found.groups()

    assert limit("Max core file size") == limit("Max file size") == ("0", "0")
    assert limit("Max open files") == ("16", "16")
    assert limit("Max cpu time") == (str(SHAPE.seconds), str(SHAPE.seconds + 2))
    assert SHAPE.memory < int(limit("Max address space")[1]) < SHAPE.memory + (8 << 30)
    if pool.fences["seccomp"] == "on":
        assert (seen["Seccomp"], seen["NoNewPrivs"]) == ("2", "1")
    if pool.fences["a user of its own"] == "on":
        assert seen["Uid"].split() == seen["Gid"].split() == ["65534"] * 4
        assert seen["Groups"] == ""
        assert int(seen["CapEff"], 16) == int(seen["CapPrm"], 16) == 0
    if pool.fences["network namespace"] == "on":
        for kind in ("net", "ipc"):
            own = Path(f"/proc/self/ns/{kind}").readlink()
            assert Path(f"/proc/{pool._zygote.pid}/ns/{kind}").readlink() != own
    pool.discard(sandbox)


PROBE = """
import encodings.idna, json, os, resource, socket, sys
from lake.clear.sandbox import fences, seccomp
seccomp.install = lambda: "left out, to see the others"
apart = fences.apart()
raised = fences.raised(1 << 30, 60)
found = {}
def tried(name, call):
    try:
        call()
        found[name] = "worked"
    except (OSError, ValueError) as error:
        found[name] = type(error).__name__
tried("read a file", lambda: open("/etc/hostname"))
tried("list a folder", lambda: os.listdir("/"))
tried("write a file", lambda: open("/tmp/written", "w"))
tried("start a program", lambda: os.execv("/bin/true", ["true"]))
tried("connect", lambda: socket.create_connection(("127.0.0.1", 1), 1))
tried("bind", lambda: socket.socket().bind(("127.0.0.1", 0)))
tried("signal", lambda: os.kill(os.getppid(), 0))
tried("raise a limit", lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (999, 999)))
tried("become root", lambda: os.setuid(0))
tried("write into memory", lambda: os.write(os.memfd_create("x"), b"x"))
print(json.dumps([{**apart, **raised}, found]))
"""


def test_fences_hold_without_the_filter_of_calls() -> None:
    """Each thing is stopped by more than one of them."""
    ran = subprocess.run(
        [sys.executable, "-c", f"import signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n{PROBE}"],
        capture_output=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert ran.returncode == 0, ran.stderr.decode()
    raised, found = json.loads(ran.stdout)
    if raised["landlock"] != "on" or raised["a user of its own"] != "on":
        pytest.skip("the platform lacks a fence: 'lake doctor' says which")
    assert {name: how for name, how in found.items() if how == "worked"} == {}


@pytest.mark.parametrize("error", [ValueError, OSError])
def test_a_fence_that_cannot_be_raised_says_so(error: type[Exception], monkeypatch: pytest.MonkeyPatch) -> None:
    """In words, not by being left out."""

    def refuses(*_: Any) -> None:
        raise error

    monkeypatch.setattr(resource, "setrlimit", refuses)
    assert fences._limit(resource.RLIMIT_CORE, 0) == "off: the system refused it"


BOMBS = [
    "SELECT length(repeat('x', 3000000000)) AS n FROM t LIMIT 1",
    "SELECT len(range(500000000)) AS n FROM t LIMIT 1",
    "SELECT length(lpad('x', 2000000000, 'y')) AS n FROM t LIMIT 1",
    "SELECT length(printf('%1000000000d', a)) AS n FROM t LIMIT 3",
    "SELECT bit_count(bitstring('1', 2000000000)) AS n FROM t LIMIT 1",
    "SELECT levenshtein(repeat('a', 200000), repeat('b', 200000)) AS n FROM t LIMIT 1",
    "SELECT count(*) AS n FROM t x, t y, t z, t u, t v WHERE x.a + y.a + z.a + u.a + v.a = 7",
    "WITH RECURSIVE r(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM r) SELECT max(i) AS n FROM r",
    "WITH RECURSIVE r(s) AS (SELECT 'x' UNION ALL SELECT s || s FROM r) SELECT max(length(s)) AS n FROM r",
    "SELECT x.b || y.b AS s FROM t x, t y, t z ORDER BY hash(x.b || y.b || z.b) LIMIT 5 OFFSET 90000000",
    "SELECT list(x.b || y.b || z.b) AS l FROM t x, t y, t z",
    "SELECT list_sort(range(300000000)) AS l FROM t LIMIT 1",
    "SELECT string_agg(x.b || y.b, '') AS s FROM t x, t y, t z",
    "SELECT count(DISTINCT hash(x.a, y.a, z.a)) AS n FROM t x, t y, t z",
    "SELECT regexp_replace(repeat('a', 50000000), '(a|b)*c', 'x', 'g') AS s FROM t LIMIT 1",
    "SELECT json_transform(repeat('[', 5000000), '[\"JSON\"]') AS j FROM t LIMIT 1",
]


@pytest.mark.parametrize("sql", BOMBS)
def test_bombs_end_in_the_lakes_words_and_hit_nobody_else(pool: Pool, sql: str) -> None:
    """Within the deadline, with bounded memory, while a neighbour goes on; afterwards the pool is whole."""
    limits = SandboxLimits(2, 128 << 20, 1.0)
    peak: list[int] = []
    with session_of(pool) as neighbour, session_of(pool) as session:
        beside = neighbour.run("SELECT a FROM t, range(20)", {"t": Held(numbers(3000))}, (), LIMITS)
        rows = next(beside.batches).num_rows
        watched = threading.Thread(target=watch, args=(session._sandbox.pid, peak))
        watched.start()
        error: LakeError | None = None
        try:
            running = session.run(sql, {"t": Held(numbers(2000))}, (), limits)
            result = pa.Table.from_batches(running.batches, running.schema)
        except LakeError as caught:
            error = caught
        session.close()
        watched.join()
        assert rows + sum(batch.num_rows for batch in beside.batches) == 60_000
    if error is None:
        assert result.num_rows <= 3  # it was no bomb here: what it gave is small
    else:
        assert isinstance(error, QueryFailedError | LimitExceededError)
        assert "canary" not in repr(error) + str(error.details)
    assert max(peak, default=0) < SHAPE.memory + (300 << 20)
    assert answer(pool, "SELECT 1 AS a", {}).to_pylist() == [{"a": 1}]


def watch(pid: int, peak: list[int]) -> None:
    """Note the most memory of a process, again and again until it is gone."""
    try:
        process = os.pidfd_open(pid)
    except OSError:
        return
    poll = select.poll()
    poll.register(process, select.POLLIN)
    while not poll.poll(5):
        try:
            peak.append(int(status(pid).get("VmHWM", "0 kB").split()[0]) << 10)
        except (OSError, ValueError):
            break
    os.close(process)


def test_long_texts_are_refused_before_they_are_parsed(pool: Pool) -> None:
    """A list of two million, and twenty thousand arms."""
    for sql in (
        "SELECT 1 IN (" + "1," * 2_000_000 + "1)",
        " UNION ALL ".join(["SELECT 1"] * 20_000),
        "(" * 5000 + "SELECT 1" + ")" * 5000,
    ):
        with session_of(pool) as session, pytest.raises(QueryRefusedError):
            session.parse(sql)


def test_an_arm_for_every_few_characters_ends(pool: Pool) -> None:
    """As many arms as the text may have."""
    sql = " UNION ALL ".join(["SELECT 1"] * 5_000)
    with session_of(pool) as session:
        session.parse(sql)
        try:
            running = session.run(sql, {}, (), SandboxLimits(2, 128 << 20, 1.0))
            assert sum(batch.num_rows for batch in running.batches) == 5_000
        except (QueryFailedError, LimitExceededError):
            pass
    assert answer(pool, "SELECT 1 AS a", {}).to_pylist() == [{"a": 1}]
