"""What no SQL can express: readers that wait, die or flood, keys and policies that change, a log that is full."""

from __future__ import annotations

import errno
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from keys.errors import KeysError
from lake.errors import (
    AuditUnavailableError,
    DeniedError,
    IntegrityError,
    LakeError,
    LimitExceededError,
    QueryCancelledError,
    QueryFailedError,
    QueryRefusedError,
    UnavailableError,
)
from lake.gateway.keykeeping import KeyKeeping
from lake.gateway.service import GatewayService
from tests import world as w
from tests.gateway.served import caller, rows, serving

WIDE = "SELECT a.n, b.ts FROM events a, events b, range(25)"
COUNT = "SELECT count(*) AS n FROM events"


@pytest.fixture
def service(world: w.World) -> Iterator[GatewayService]:
    """A gateway on a lake of the test's own."""
    with serving(world, release_bytes=200_000) as opened:
        yield opened


def test_50_a_store_that_does_not_answer_does_not_hold_who_cancels(world: w.World, service: GatewayService) -> None:
    """The object's place is taken by a pipe that nobody writes to, so that opening it waits; cancelling does not."""
    place = world.objects()[0]
    content = place.read_bytes()
    place.unlink()
    os.mkfifo(place)
    errors: list[LakeError] = []

    def ask() -> None:
        try:
            service.run(caller(), WIDE)
        except LakeError as error:
            errors.append(error)

    thread = threading.Thread(target=ask)
    thread.start()
    while not service.pool.used:
        os.sched_yield()
    service.cancel_all()
    thread.join(20)
    assert not thread.is_alive()
    assert isinstance(errors[0], QueryCancelledError)
    with place.open("r+b", buffering=0) as pipe:  # lets go of who waits there
        pipe.write(content[:4])
    assert service.pool.used == 0


def test_53_what_is_above_a_grant_is_refused_and_on_record(world: w.World, service: GatewayService) -> None:
    """A column of sensitivity 4 cannot be named in a training slice, its rows are not there; the try is recorded."""
    who = caller("stu", "study")
    with pytest.raises(QueryRefusedError):
        service.run(who, "SELECT note FROM events")
    assert rows(service, who, "SELECT max(sensitivity) AS s FROM events") == [{"s": 2}]
    assert rows(service, who, "SELECT count(*) AS n FROM events WHERE sensitivity = 4") == [{"n": 0}]
    assert world.entries("query.intent")[-1]["scope"]["files"] == 0
    with pytest.raises(DeniedError):
        service.run(who, "SELECT * FROM moods")
    assert [entry["reason"] for entry in world.entries("query.deny")] == ["denied"]
    assert world.entries("query.outcome")[0]["error"] == "query_refused"


@pytest.mark.parametrize(
    "user", ["root", "admin", "superuser", "lake", "postgres", "", "*", "vera-canary ", "VERA-CANARY"]
)
def test_54_nobody_is_above_the_policy(service: GatewayService, user: str) -> None:
    """No name opens anything that the policy does not say, and no role that is not held."""
    with pytest.raises(DeniedError, match="access denied"):
        service.run(caller(user), COUNT)
    with pytest.raises(DeniedError, match="access denied"):
        service.run(caller("stu", "study", "all"), COUNT)


def test_55_a_full_disk_under_the_log_lets_nothing_out(
    world: w.World, service: GatewayService, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No query runs, and none goes on, when the log cannot be written; the gateway says that it is not ready."""
    stream = service.run(caller(), WIDE)
    batches = iter(stream)
    taken = next(batches).num_rows

    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "no space")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        patch.setattr(os, "fdatasync", full)
        with pytest.raises(AuditUnavailableError):
            taken += sum(batch.num_rows for batch in batches)
        with suppress(AuditUnavailableError):
            stream.close()
        with pytest.raises(AuditUnavailableError):
            service.run(caller(), COUNT)
        with pytest.raises(LakeError):
            service.check_ready()
    with pytest.raises(AuditUnavailableError):
        service.run(caller(), COUNT)
    assert taken <= sum(entry["rows"] for entry in world.entries("query.outcome")) < 144 * 144 * 25


def test_56_an_erasure_under_a_query_is_all_or_nothing(world: w.World, service: GatewayService) -> None:
    """A query under way ends with an error or whole, each with its record; the next one sees nobody of them."""
    stream = service.run(caller(), WIDE)
    batches = iter(stream)
    count = next(batches).num_rows
    with world.open() as lake:
        KeyKeeping(lake.home, lake.actor).shred([w.BEN], world.root.parent / "backups")
    try:
        count += sum(batch.num_rows for batch in batches)
        assert count == 144 * 144 * 25
    except (KeysError, LakeError):
        assert count < 144 * 144 * 25
    stream.close()
    assert count <= sum(entry["rows"] for entry in world.entries("query.outcome"))
    assert rows(service, caller(), f"{COUNT} WHERE employee = ?", [w.BEN]) == [{"n": 0}]


def test_58_a_sandbox_that_is_killed_fails_its_query_alone(world: w.World, service: GatewayService) -> None:
    """Its reader gets a typed error, others their rows, and the log has an end for it."""
    stream = service.run(caller(), WIDE)
    other = service.run(caller(), WIDE)
    batches = iter(stream)
    next(batches)
    for sandbox in list(service.pool._used)[:1]:
        sandbox.kill()
    ends = []
    for one in (stream, other):
        try:
            ends.append(sum(batch.num_rows for batch in one))
        except QueryFailedError:
            ends.append(-1)
        one.close()
    assert min(ends) == -1
    assert max(ends) > 0
    assert {entry["final"] for entry in world.entries("query.outcome")} >= {True}
    assert service.pool.used == 0
    assert rows(service, caller(), COUNT) == [{"n": 144}]


def test_58_a_reader_who_goes_leaves_nothing_behind(world: w.World, service: GatewayService) -> None:
    """Closed in the middle: the sandbox is gone, and what was not taken is on record as abandoned."""
    stream = service.run(caller(), WIDE)
    next(iter(stream))
    stream.close()
    assert service.pool.used == 0
    assert world.entries("query.outcome")[-1]["out"] == "abandoned"


def test_58_a_slow_reader_holds_bounded_memory(service: GatewayService) -> None:
    """A result that nobody takes stays in its sandbox, which waits: the gateway reads no further ahead than a part."""
    stream = service.run(caller(), f"{WIDE}, range(40)")
    batches = iter(stream)
    next(batches)
    held = _resident(os.getpid())
    time.sleep(0.5)  # the sandbox would send what it can meanwhile
    assert _resident(os.getpid()) - held < 64 << 20
    stream.close()


def _resident(pid: int) -> int:
    (line,) = [line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmRSS")]
    return int(line.split()[1]) * 1024


@pytest.mark.parametrize(
    ("who", "sql", "name"),
    [("rolf", "SELECT n FROM events", "10 rows"), ("bill", "SELECT * FROM events", "2000 bytes")],
)
def test_61_a_result_beyond_its_limit_is_not_given(service: GatewayService, who: str, sql: str, name: str) -> None:
    """Not its first rows either, where the limit is below one part."""
    with pytest.raises(LimitExceededError, match=name):
        service.run(caller(who, "study"), sql)


@pytest.mark.parametrize(
    "damage",
    [lambda path: path.unlink(), lambda path: path.write_bytes(path.read_bytes()[:-1] + b"x")],
    ids=["missing", "changed"],
)
def test_damage_is_said_without_a_path(
    world: w.World, service: GatewayService, damage: Callable[[Path], object]
) -> None:
    """A file that is gone or changed: an integrity error that names the file's id and no place on the host."""
    damage(world.objects()[3])
    with pytest.raises(IntegrityError) as caught:
        rows(service, caller(), "SELECT * FROM events")
    assert str(world.root) not in str(caught.value)


def test_a_gateway_that_is_full_says_so_and_recovers(world: w.World) -> None:
    """More queries than sandboxes: the rest are told to try again, and lose nothing."""
    with serving(world, sandboxes_most=2, sandbox_patience=0.2, release_bytes=200_000) as service:
        first, second = (service.run(caller(), WIDE) for _ in range(2))
        with pytest.raises(UnavailableError, match="every sandbox is in use"):
            service.run(caller(), COUNT)
        first.close()
        assert rows(service, caller(), COUNT) == [{"n": 144}]
        assert sum(batch.num_rows for batch in second) == 144 * 144 * 25
        second.close()
