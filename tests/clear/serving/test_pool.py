"""Sandboxes and the processes behind them: how many, for how long, and that none is left over."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from lake.clear.sandbox.answers import SandboxLimits
from lake.clear.sandbox.channel import ChannelError
from lake.clear.serving import processes
from lake.clear.serving.pool import Pool
from lake.clear.serving.processes import Sandbox, Zygote
from lake.errors import LimitExceededError, QueryCancelledError, QueryFailedError, UnavailableError
from tests.clear.serving.sandboxes import (
    LIMITS,
    SHAPE,
    Held,
    answer,
    descriptors,
    numbers,
    pool_of,
    session_of,
)
from tests.world import ROOT

ENDLESS = "SELECT sum(x.a + y.a + z.a + u.a) AS s FROM t x, t y, t z, t u"


def source() -> dict[str, Held]:
    return {"t": Held(numbers(3000))}


def gone(process: int, seconds: float = 20) -> bool:
    """Whether the process behind a pidfd ends in time."""
    poll = select.poll()
    poll.register(process, select.POLLIN)
    return bool(poll.poll(seconds * 1000))


def children(pid: int) -> list[int]:
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == pid and fields[0] != "Z":
            found.append(int(path.parent.name))
    return found


def settled(pool: Pool) -> None:
    """Wait until the wanted number is ready and what was given back is buried."""
    end = time.monotonic() + 20
    with pool._state:
        while len(pool._idle) < pool._wanted() or pool._retired:
            assert time.monotonic() < end
            pool._state.wait(0.02)


def test_a_number_is_ready_and_more_are_started_when_they_are_taken() -> None:
    """Each is used once; the next one is there already."""
    with pool_of(ready=2, most=3) as pool:
        settled(pool)
        assert (pool.idle, pool.used) == (2, 0)
        taken = [pool.take() for _ in range(3)]
        assert len({sandbox.pid for sandbox in taken}) == 3
        settled(pool)
        assert (pool.idle, pool.used) == (0, 3)  # no more than are allowed altogether
        for sandbox in taken:
            assert pool.discard(sandbox) == signal.SIGKILL
            assert pool.discard(sandbox) is None
        settled(pool)
        assert (pool.idle, pool.used) == (2, 0)
        assert {sandbox.pid for sandbox in pool._idle}.isdisjoint(sandbox.pid for sandbox in taken)


def test_waiting_has_an_end() -> None:
    """When all are in use and stay so, the caller is told to come again; when one comes back, it is used."""
    with pool_of(most=1, patience=0.05) as pool:
        first = pool.take()
        with pytest.raises(UnavailableError, match="every sandbox is in use"):
            pool.take()
        pool.retire(first)
        pool._patience = 20
        second = pool.take()
        with ThreadPoolExecutor(1) as other:
            third = other.submit(pool.take)
            pool.retire(second)
            assert third.result(20).pid not in {first.pid, second.pid}


def test_closing_lets_everybody_go_and_leaves_nothing() -> None:
    """Whoever waits is told; every process is gone, and every descriptor is given back; twice is harmless."""
    before = descriptors()
    with pool_of(most=1) as pool:
        held = pool.take()
        processes_of_pool = [os.pidfd_open(pid) for pid in (held.pid, pool._zygote.pid)]
        with ThreadPoolExecutor(1) as other:
            waiting = other.submit(pool.take)
            with pool._state:
                pool._state.wait_for(lambda: pool._waiting == 1, 20)
            pool.close()
            with pytest.raises(UnavailableError, match="closing"):
                waiting.result(20)
        with pytest.raises(UnavailableError):
            pool.take()
        pool.close()
    for process in processes_of_pool:
        assert gone(process)
        os.close(process)
    assert descriptors() == before


def test_dead_sandboxes_are_not_handed_out() -> None:
    """One that died while it waited is buried, and the next is taken."""
    with pool_of(ready=2) as pool:
        settled(pool)
        dead = pool._idle[0]
        process = os.pidfd_open(dead.pid)
        os.kill(dead.pid, signal.SIGKILL)
        assert gone(process)
        os.close(process)
        assert pool.take().pid != dead.pid
        assert answer(pool, "SELECT 1 AS a", {}).to_pylist() == [{"a": 1}]


def test_when_their_forefather_is_killed_the_pool_recovers() -> None:
    """What runs fails with the lake's words, as its process dies too; then there are new ones."""
    with pool_of(ready=2) as pool, session_of(pool) as session:
        running = session.run("SELECT a FROM t, range(100000)", source(), (), LIMITS)
        assert next(running.batches).num_rows
        settled(pool)
        all_of_them = [os.pidfd_open(sandbox.pid) for sandbox in (session._sandbox, *pool._idle)]
        os.kill(pool._zygote.pid, signal.SIGKILL)
        with pytest.raises(QueryFailedError) as caught:
            list(running.batches)
        assert "canary" not in repr(caught.value)
        for process in all_of_them:
            assert gone(process)
            os.close(process)
        assert answer(pool, "SELECT count(*) AS c FROM t", source()).to_pylist() == [{"c": 3000}]


def test_a_pool_that_cannot_start_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither a forefather that does not come up nor a first sandbox that does not leaves anything behind."""
    before = descriptors()
    monkeypatch.setattr(processes.sys, "executable", "/bin/false")
    with pytest.raises(UnavailableError, match="did not start"):
        Pool(SHAPE, ready=1, most=1, patience=1)
    monkeypatch.undo()

    def fails(_sandbox: Sandbox) -> None:
        raise ChannelError

    monkeypatch.setattr(Sandbox, "wait_ready", fails)
    own = children(os.getpid())
    with pytest.raises(UnavailableError, match="a sandbox did not start"):
        Pool(SHAPE, ready=1, most=1, patience=1)
    assert children(os.getpid()) == own
    assert descriptors() == before


def test_a_forefather_that_cannot_fork_stays() -> None:
    """It says no, whether it lacks descriptors for the request or for the process; the others go on; later it can."""
    before = descriptors()
    zygote = Zygote(SHAPE)
    try:
        first = zygote.fork()
        first.wait_ready()
        used = {int(path.name) for path in Path(f"/proc/{zygote.pid}/fd").iterdir()}
        free = [number for number in range(1024) if number not in used]
        for limit in free[:3]:  # room for none more, for one, for two
            subprocess.run(["prlimit", f"--pid={zygote.pid}", f"--nofile={limit}:1024"], check=True)
            with pytest.raises(UnavailableError):
                zygote.fork()
            assert zygote.is_alive
            assert first.is_alive
        subprocess.run(["prlimit", f"--pid={zygote.pid}", "--nofile=1024:1024"], check=True)
        second = zygote.fork()
        second.wait_ready()
        assert len(children(zygote.pid)) == 2
        for sandbox in (first, second):
            sandbox.close()
    finally:
        zygote.close()
    assert descriptors() == before


def test_signals_of_a_terminal_do_not_end_what_runs() -> None:
    """Interrupt, hang-up and the polite end are for the gateway, which decides; a query under way goes on."""
    with pool_of() as pool, session_of(pool) as session:
        running = session.run("SELECT a FROM t, range(300)", source(), (), LIMITS)
        rows = next(running.batches).num_rows
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            for pid in (pool._zygote.pid, session._sandbox.pid):
                os.kill(pid, number)
        assert os.getsid(pool._zygote.pid) != os.getsid(0)
        assert rows + sum(batch.num_rows for batch in running.batches) == 900_000
        assert pool._zygote.is_alive


GATEWAY = """
import sys
from tests.clear.serving.sandboxes import Held, LIMITS, numbers, pool_of, session_of
with pool_of(ready=2) as pool, session_of(pool) as session:
    running = session.run("SELECT a FROM t, range(100000)", {"t": Held(numbers(3000))}, (), LIMITS)
    next(running.batches)
    print(pool._zygote.pid, session._sandbox.pid, *[box.pid for box in pool._idle], flush=True)
    for batch in running.batches:
        sys.stdin.read()
"""


def test_a_gateway_that_is_killed_leaves_no_process_behind() -> None:
    """Neither the forefather nor a sandbox, idle or at work."""
    gateway = subprocess.Popen(
        [sys.executable, "-c", GATEWAY],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    with gateway:
        assert gateway.stdout is not None
        opened = [os.pidfd_open(int(pid)) for pid in gateway.stdout.readline().split()]
        assert len(opened) >= 2
        gateway.kill()
        for process in opened:
            assert gone(process)
            os.close(process)


def test_a_sandbox_inherits_nothing() -> None:
    """Its one socket and three times nothing; no variable, no file of keys, no other sandbox's descriptors."""
    extra = os.open("/etc/hostname", os.O_RDONLY)
    os.set_inheritable(extra, True)
    try:
        with pool_of(ready=3) as pool:
            settled(pool)
            for sandbox in pool._idle:
                links = [str(path.readlink()) for path in Path(f"/proc/{sandbox.pid}/fd").iterdir()]
                others = [link for link in links if link != "/dev/null"]
                assert len(links) - len(others) == 3
                assert [link.partition(":")[0] for link in others] == ["socket"]
                names = {
                    line.partition(b"=")[0] for line in Path(f"/proc/{sandbox.pid}/environ").read_bytes().split(b"\0")
                }
                assert names <= {b"", b"LANG", b"OPENBLAS_NUM_THREADS", b"ARROW_NUM_THREADS"}
                command = Path(f"/proc/{sandbox.pid}/cmdline").read_text().split("\0")
                assert command[1:4] == ["-I", "-m", "lake.clear.sandbox.zygote"]
                assert all(word.isdigit() for word in command[4:7])
                assert Path(f"/proc/{sandbox.pid}/cwd").readlink() == Path("/")
    finally:
        os.close(extra)


@pytest.mark.parametrize("sessions", [60, pytest.param(400, marks=pytest.mark.soak)])
def test_many_sessions_leave_nothing(sessions: int) -> None:
    """Descriptors, processes and threads are as many as before, however a session ended."""
    with pool_of(ready=2, most=4) as pool:
        answer(pool, "SELECT 1 AS a", source())
        settled(pool)
        zygote = Path(f"/proc/{pool._zygote.pid}/fd")
        end = time.monotonic() + 20
        while len(children(pool._zygote.pid)) != 2:  # the first one is still being buried
            assert time.monotonic() < end
        before = (descriptors(), len(list(zygote.iterdir())), 2)
        for turn in range(sessions):
            with session_of(pool) as session:
                if turn % 4:
                    running = session.run("SELECT a FROM t", source(), (), LIMITS)
                if turn % 4 == 1:
                    list(running.batches)
                if turn % 4 == 2:
                    session.cancel()
        settled(pool)
        for thread in threading.enumerate():
            if thread.name == "handover":
                thread.join(5)
        end = time.monotonic() + 20
        # What is buried in the background is gone soon; the first session may not have been when they were counted.
        while any(
            now > was
            for now, was in zip(
                (descriptors(), len(list(zygote.iterdir())), len(children(pool._zygote.pid))), before, strict=True
            )
        ):
            assert time.monotonic() < end


def test_time_is_up_for_one_and_not_for_its_neighbour() -> None:
    """The busy one is killed at its deadline, with the reason; the other one goes on, and the pool is whole."""
    with pool_of(ready=2) as pool, session_of(pool) as neighbour:
        beside = neighbour.run("SELECT a FROM t, range(30)", source(), (), LIMITS)
        first = next(beside.batches).num_rows
        with pytest.raises(LimitExceededError, match=r"longer than 0\.2 s"):
            answer(pool, ENDLESS, source(), limits=SandboxLimits(2, 256 << 20, 0.2))
        assert first + sum(batch.num_rows for batch in beside.batches) == 90_000
        assert pool.killed == 1
        settled(pool)


def test_processor_time_is_limited_by_the_system_itself() -> None:
    """Also if nobody watches: the kernel ends it, and that is told as time."""
    from dataclasses import replace

    with pool_of(replace(SHAPE, seconds=1)) as pool, pytest.raises(LimitExceededError):
        answer(pool, ENDLESS, source(), limits=LIMITS)


def test_time_between_questions_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """While the gateway plans, a sandbox that has parsed waits as long as it takes."""
    from lake.clear.serving import session as session_module

    monkeypatch.setattr(session_module, "PARSE_SECONDS", 5.0)
    with pool_of() as pool, session_of(pool) as session:
        session.parse("SELECT 1 AS a")
        assert session._sandbox.deadline is None
        assert len(list(session.run("SELECT 1 AS a", {}, (), LIMITS).batches)) == 1
        assert session._sandbox.deadline is not None
        assert pool.killed == 0


def test_cancelling_from_another_thread_ends_a_busy_query() -> None:
    """Whatever the engine is at; closing twice and cancelling afterwards are harmless."""
    with pool_of() as pool, session_of(pool) as session:
        begun = threading.Event()

        class Noticed(Held):
            def tagged(self, columns: object, condition: object, **_: object) -> object:  # type: ignore[override]
                begun.set()
                return super().tagged(columns, condition)  # type: ignore[arg-type]

        def cancel() -> None:
            begun.wait(20)
            session.cancel()

        canceller = threading.Thread(target=cancel)
        canceller.start()
        with pytest.raises(QueryCancelledError):
            list(session.run(ENDLESS, {"t": Noticed(numbers(3000))}, (), LIMITS).batches)
        canceller.join()
        session.close()
        session.close()
        session.cancel()
        assert pool.used == 0


def test_descriptors_beyond_a_thousand_do_not_matter() -> None:
    """A gateway with many open files asks after its sandboxes all the same."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 4096), hard))
    many = [os.open("/dev/null", os.O_RDONLY) for _ in range(1100)]
    try:
        with pool_of() as pool:
            assert answer(pool, "SELECT 1 AS a", {}).to_pylist() == [{"a": 1}]
            sandbox = pool.take()
            assert sandbox.is_alive
            assert pool.discard(sandbox) is not None
    finally:
        for descriptor in many:
            os.close(descriptor)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
