"""The runner: each item once whatever is killed where, one runner at a time, and what a cron is told."""

from __future__ import annotations

import signal
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from jobs.runner import run as runs
from jobs.runner.daemon import Daemon
from jobs.runner.journal import INCOMPLETE, RunJournal
from jobs.runner.logs import Log
from jobs.runner.metrics import JobMetrics
from jobs.runner.registry import JOBS, Known, make
from jobs.runner.run import JOB_RUN, Options, Runner, StoppedError, for_cron
from jobs.runner.schedule import Schedule, in_force, read_schedule, usual
from jobs.runner.stopping import Stop, stop_signals
from jobs.runner.work import Item, Plan
from lake.api import Lake
from lake.errors import DocumentError, IntegrityError, LeaseHeldError, LeaseLostError, UnavailableError, UsageError
from lake.gateway.doctor import DAMAGE, Doctor
from lake.sealed.catalog.leases import Leases
from lake.sealed.catalog.tables import job_items, job_runs
from lake.settings import Settings
from tests.jobs.runner_jobs import Tally, tallied
from tests.world import NOW, World, child, finished

ONCE = {f"tally-{index}": 1 for index in range(4)}

RUN = """
from jobs.runner.run import Options, Runner
from tests.jobs.runner_jobs import Tally

with world.open() as lake:
    sys.addaudithook(hook)
    Runner(lake.home).run(Tally(lake.home, lake.actor))
"""


def job(lake: Lake, **options: int) -> Tally:
    """The tests' job."""
    return Tally(lake.home, lake.actor, **options)


def test_every_item_is_done_once_and_recorded(world: World) -> None:
    """Counts, progress, states and the audit trail say the same; a second run does its own items."""
    seen: list[int] = []
    with world.open() as lake:
        done = Runner(lake.home, Options(progress=seen.append)).run(job(lake))
        assert (done.state, done.items, done.counts) == ("done", 4, {"done": 4, "counted": 4})
        assert tallied(lake.home) == ONCE
        assert Runner(lake.home).run(job(lake)).id != done.id
        assert [run.state for run in RunJournal(lake.home).recent("tally")] == ["done", "done"]
        assert not [found for found in Doctor(lake.home).examine_lake() if found.state == DAMAGE]
    assert sum(seen) == 4
    first, ended, *_ = world.entries(JOB_RUN)
    assert (first["step"], first["plan"], first["items"]) == ("begin", done.plan, 4)
    assert (ended["step"], ended["state"], ended["counts"], ended["ref"]) == (
        "end",
        "done",
        done.counts,
        first["index"],
    )


STEPS = [
    "job.begun",
    "job.recorded",
    "job.item",
    "tally.counted",
    "job.item-done",
    "job.item-closed",
    "job.finished",
    "job.closed",
]


@pytest.mark.parametrize(
    ("step", "turn"), [*((step, 1) for step in STEPS), ("tally.counted", 3), ("job.item-closed", 4)]
)
def test_killed_anywhere_the_next_start_goes_on(world: World, step: str, turn: int) -> None:
    """Every item counts once, and the totals of the run know each."""
    assert finished(child(world, RUN, step, turn))[0] == -signal.SIGKILL
    with world.open() as lake:
        unfinished = RunJournal(lake.home).unfinished("tally")
        done = Runner(lake.home).run(job(lake)) if unfinished else RunJournal(lake.home).recent("tally")[0]
        if unfinished:
            assert done.id == unfinished.id
        assert (done.state, done.counts) == ("done", {"done": 4, "counted": 4})
        assert tallied(lake.home) == ONCE
        assert RunJournal(lake.home).unfinished("tally") is None


def test_asked_to_stop_it_stops_between_items_and_goes_on(world: World) -> None:
    """What is done stays done; the exit code is 75."""
    with world.open() as lake:
        stop = Stop()

        def after_two(count: int, seen: list[int] = []) -> None:  # noqa: B006 - counts the calls
            seen.append(count)
            if len(seen) == 2:
                stop.ask()

        with pytest.raises(StoppedError) as error:
            Runner(lake.home, Options(stop, after_two)).run(job(lake))
        assert for_cron(error.value).exit_code == 75
        assert len(tallied(lake.home)) == 2
        plan, unfinished = Runner(lake.home).plan(job(lake))
        assert unfinished is not None
        assert len(plan.items) == 4
        assert Runner(lake.home).run(job(lake, items=9)).id == unfinished.id, "what was begun is finished first"
        assert tallied(lake.home) == ONCE


def test_signals_ask_once() -> None:
    """The first one asks, and what handled them before is there again."""
    former, interrupt = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    with stop_signals() as stop:
        assert not stop()
        signal.raise_signal(signal.SIGTERM)
        assert stop()
        assert signal.getsignal(signal.SIGTERM) is former
    assert signal.getsignal(signal.SIGINT) is interrupt


def test_who_lost_the_lease_commits_nothing_more(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A paused process that wakes up finds another token: no note, no item, no end is written."""
    with world.open() as lake:
        leases = Leases(lake.home.catalog.database)

        def taken(count: int) -> None:
            lease = leases.held()[0].lease
            leases.release(lease)
            leases.take(lease.name, "another-host", 60)

        with pytest.raises(LeaseLostError):
            Runner(lake.home, Options(progress=taken)).run(job(lake))
        assert tallied(lake.home) == {"tally-0": 1}
        with pytest.raises(LeaseHeldError) as held:
            Runner(lake.home).run(job(lake))
        assert for_cron(held.value).exit_code == 75


def test_two_processes_of_a_host_exclude_each_other(world: World) -> None:
    """The second is told at once, and takes no lease away."""
    with world.open() as lake, world.open() as other:

        def second(_: int) -> None:
            with pytest.raises(LeaseHeldError, match="another process here"):
                Runner(other.home).run(job(other))

        assert Runner(lake.home, Options(progress=second)).run(job(lake)).state == "done"


def test_an_item_that_fails_leaves_the_others(world: World) -> None:
    """Unless the job says otherwise, or it passes by itself: then the run stops and goes on later."""
    with world.open() as lake:
        done = Runner(lake.home).run(job(lake, fails=1))
        assert (done.state, runs.exit_code(done)) == (INCOMPLETE, 1)
        assert done.counts == {"done": 3, "counted": 3, "failed": 1}
        strict = job(lake, fails=1)
        strict.keep_going = False
        with pytest.raises(IntegrityError):
            Runner(lake.home).run(strict)
        assert Runner(lake.home).run(job(lake)).state == "done"
        with pytest.raises(UnavailableError):
            Runner(lake.home).run(job(lake, passes=2))
        assert Runner(lake.home).run(job(lake)).counts == {"done": 4, "counted": 4}


CHANGES: list[tuple[sa.Table, dict[str, Any]]] = [
    (job_items, {"work": '{"mark":7}'}),
    (job_items, {"item": "mark/7"}),
    (job_runs, {"facts": '{"items":7}'}),
    (job_runs, {"plan": "sha256:" + "0" * 64}),
    (job_runs, {"mac": b"0" * 32}),
]


@pytest.mark.parametrize(("table", "values"), CHANGES)
def test_a_journal_that_was_changed_is_refused(world: World, table: sa.Table, values: Mapping[str, Any]) -> None:
    """What was planned is what is done: no item is added or altered behind the lake's back."""
    with world.open() as lake:
        with pytest.raises(UnavailableError):
            Runner(lake.home).run(job(lake, passes=1))
        with lake.home.catalog.database.writing() as connection:
            where = table.c.position == 3 if table is job_items else table.c.job == "tally"
            connection.execute(table.update().where(where), dict(values))
        with pytest.raises(IntegrityError, match="journal"):
            Runner(lake.home).run(job(lake))


def test_a_plan_has_one_hash(world: World) -> None:
    """It is the same for the same work, and another one for anything else; a run may ask for it."""
    one = Plan("tally", (Item("a", {"n": 1}), Item("b")), {"x": 1})
    assert one.hash == Plan("tally", (Item("a", {"n": 1}), Item("b")), {"x": 1}, {"shown": 2}).hash
    others = [
        Plan("other", one.items, one.facts),
        Plan("tally", one.items[::-1], one.facts),
        Plan("tally", one.items[:1], one.facts),
        Plan("tally", (Item("a", {"n": 2}), Item("b")), one.facts),
        Plan("tally", one.items, {"x": 2}),
    ]
    assert len({one.hash, *(plan.hash for plan in others)}) == 6
    with world.open() as lake:
        with pytest.raises(UsageError, match="not the one"):
            Runner(lake.home, Options(plan=one.hash)).run(job(lake))
        with pytest.raises(UsageError, match="ids of their own"):
            Runner(lake.home).run(job(lake), Plan("tally", (Item("a"), Item("a"))))
        assert tallied(lake.home) == {}


def test_schedules_are_checked() -> None:
    """Unknown jobs and expressions that are none are refused with their place; times are UTC."""
    assert Schedule(usual()).next(datetime(2028, 2, 28, 23, tzinfo=UTC))["sweep"] == datetime(
        2028, 2, 29, 3, 17, tzinfo=UTC
    )
    assert read_schedule("sweep: '5 * * * *'", "jobs.yaml")["sweep"] == "5 * * * *"
    assert "sweep" not in read_schedule("sweep: 'off'", "jobs.yaml")
    for text in ("sweep: often", "swoop: '5 * * * *'", "- sweep"):
        with pytest.raises(DocumentError):
            read_schedule(text, "jobs.yaml")
    for crons in ({"sweep": "often"}, {"swoop": "5 * * * *"}):
        with pytest.raises(UsageError):
            Schedule(crons)


def test_the_settings_say_when_jobs_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """Usual times, changed by the settings; a file takes the settings' place; what is no schedule is refused."""
    monkeypatch.delenv("LAKE_SCHEDULE", raising=False)
    assert in_force(Settings()).crons == usual()
    monkeypatch.setenv("LAKE_SCHEDULE", '{sweep: "5 * * * *", scrub: "off"}')
    expected = {name: cron for name, cron in usual().items() if name != "scrub"} | {"sweep": "5 * * * *"}
    assert in_force(Settings()).crons == expected
    assert in_force(Settings(), ("sweep: 6 * * * *", "jobs.yaml")).crons == usual() | {"sweep": "6 * * * *"}
    monkeypatch.setenv("LAKE_SCHEDULE", "{sweep: sometimes}")
    with pytest.raises(DocumentError, match="LAKE_SCHEDULE"):
        in_force(Settings())


class Time:
    """A clock that moves when it is waited for."""

    def __init__(self) -> None:
        self.now = NOW
        self.stop = Stop()
        self.ends = NOW + timedelta(minutes=61)

    def __call__(self) -> datetime:
        return self.now

    def wait(self, seconds: float) -> bool:
        """Let it pass."""
        self.now += timedelta(seconds=seconds)
        if self.now >= self.ends:
            self.stop.ask()
        return self.stop()


@pytest.fixture
def tally_job(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tests' job among the known ones."""
    monkeypatch.setattr("jobs.runner.registry.JOBS", {**JOBS, "tally": Known("tests.jobs.runner_jobs:Tally", "tests")})


def test_the_daemon_runs_what_is_due(world: World, tally_job: None) -> None:
    """Every twenty minutes of an hour three times; figures and log lines tell, and it ends when asked."""
    time, lines = Time(), []
    figures = JobMetrics()
    with world.open(clock=time) as lake:
        options = Options(time.stop, log=Log(lines.append, time), figures=figures)
        Daemon(lake.home, lake.actor, Schedule({"tally": "*/20 * * * *"}), options, time.wait).serve()
        assert len(RunJournal(lake.home).recent("tally")) == 3
        assert tallied(lake.home) == dict.fromkeys(ONCE, 3)
    assert b'lake_job_runs_total{job="tally",state="done"} 3.0' in figures.text()
    assert b'lake_job_work_total{job="tally",what="counted"} 12.0' in figures.text()
    assert sum('"event":"run.ended"' in line for line in lines) == 3


def test_the_daemon_tries_again_soon_and_survives_a_clock_put_back(
    world: World, tally_job: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What passes is tried after five minutes and finished; the clock's step makes no burst of runs."""
    time = Time()
    real: Callable[..., Any] = Tally.execute
    calls = []

    def first_fails(self: Tally, *arguments: Any) -> Any:
        calls.append(time.now)
        if len(calls) == 1:
            raise UnavailableError("not now")
        if len(calls) == 2:
            time.now -= timedelta(minutes=30)
        return real(self, *arguments)

    monkeypatch.setattr(Tally, "execute", first_fails)
    with world.open(clock=time) as lake:
        Daemon(lake.home, lake.actor, Schedule({"tally": "15 * * * *"}), Options(time.stop), time.wait).serve()
        found = RunJournal(lake.home).recent("tally")
        assert calls[1] - calls[0] == timedelta(minutes=5)
        assert tallied(lake.home) == dict.fromkeys(ONCE, len(found))
        assert all(run.state == "done" for run in found)


def test_sweep_runs_under_it(world: World) -> None:
    """The plan says what goes, and the run removes it; options are checked."""
    orphan = next(iter(world.objects())).with_name("0" * 32 + ".parquet")
    orphan.write_bytes(b"left by nobody")
    with world.open() as lake:
        with pytest.raises(UsageError, match="number from 0"):
            make("sweep", lake.home, lake.actor, {"grace-hours": "soon"})
        with pytest.raises(UsageError, match="no option"):
            make("sweep", lake.home, lake.actor, {"grace": "1"})
        sweep = make("sweep", lake.home, lake.actor, {"grace-hours": "0"})
        assert sweep.plan().facts == {"orphans": 1, "bytes": 14, "uploads": 0}
        assert Runner(lake.home).run(sweep).counts == {"done": 1, "removed": 1}
    assert not orphan.exists()
