"""Any order of landing, reading, other jobs, rotating, holding and purging, with a kill at any step: what is left?

Exactly the rows that rules and holds keep, each once; no wrap saved before opens what was purged; and the certificate's
counts are those of an oracle, which knows rows and rules and nothing of files or keys.
"""

# ruff: noqa: DTZ001 - capture times are naive UTC
from __future__ import annotations

import shutil
import signal
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from jobs.runner import registry
from jobs.runner.journal import DONE
from jobs.runner.run import Runner
from lake.gateway.holds import HoldDesk
from lake.gateway.keykeeping import KeyKeeping
from lake.gateway.keyplans import KeyScope
from lake.gateway.retention import RetentionDesk
from lake.rules.hold import Hold, HoldScope
from tests import world as w
from tests.jobs import purging
from tests.jobs.purging import approve, certified, files, job, opens, saved
from tests.world import World, child, copy, finished, make

START = datetime(2026, 9, 15, 12)
STEPS = (
    *("job.recorded", "retention.decided", "retention.closed", "retention.fenced", "retention.object-written"),
    *("retention.committed", "retention.destroyed", "retention.deleted", "job.item-closed", "job.finished"),
)
RULES = {
    "": {},
    "rules:\n  - {match: {sensitivity: 3}, keep: 20d}\n": {3: (20, 20)},
    "rules:\n  - {match: {sensitivity: 4}, keep: 10d, hard_max: 25d, method: crypto}\n": {4: (10, 25)},
    "rules:\n  - {match: {}, keep: 45d, method: crypto}\n": dict.fromkeys((1, 2, 3, 4), (45, 10_000)),
}
PURGE = """
from datetime import UTC, datetime
from tests.jobs.purging import job
from jobs.runner.run import Runner

now = datetime.fromisoformat(sys.argv[5]).replace(tzinfo=UTC)
with world.open(clock=lambda: now) as lake:
    sys.addaudithook(hook)
    Runner(lake.home).run(job(lake))
"""
UPKEEP = {"compact": {}, "rekey": {"all": "yes"}, "rescan": {}, "scrub": {}, "sweep": {"grace-hours": "0"}}
JOB_STEPS = ("job.begun", "job.item-done", "job.item-closed", "job.finished", *(f"{name}.replaced" for name in UPKEEP))
JOB = """
from datetime import UTC, datetime
from jobs.runner.registry import make
from jobs.runner.run import Runner
from tests.jobs.test_purge_machine import UPKEEP

now = datetime.fromisoformat(sys.argv[5]).replace(tzinfo=UTC)
with world.open(clock=lambda: now) as lake:
    sys.addaudithook(hook)
    Runner(lake.home).run(make(sys.argv[6], lake.home, lake.actor, UPKEEP[sys.argv[6]]))
"""
FIRST = [w.row(w.DORA, START, "judge", note="first", n=0)]
_template: list[World] = []


def rank(row: dict[str, Any]) -> str:
    """A row's identity: each has a number of its own."""
    return w.key_of(row)


class Machine(RuleBasedStateMachine):
    """The lake, and what the oracle knows of it."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="purging-"))
        self.world = copy(_template[0], self.folder)
        self.now = START
        self.rows = {rank(one): one for one in w.landed(FIRST)}
        self.wraps: list[Any] = []
        self.holds: list[Hold] = []
        self.pending: dict[str, dict[str, Any]] | None = None
        self.rules = ""
        self.batch = 0

    def teardown(self) -> None:
        """Remove the lake."""
        shutil.rmtree(self.folder)

    def open(self) -> Any:
        """The lake at the machine's time."""
        return self.world.open(clock=lambda: self.now.replace(tzinfo=UTC))

    def read(self) -> list[str]:
        """Every row that can be read."""
        with self.world.connect(clock=lambda: self.now.replace(tzinfo=UTC)) as connection:
            return sorted(map(rank, connection.sql("SELECT * FROM events").arrow().to_pylist()))

    @initialize(days=st.lists(st.integers(0, 75), min_size=1, max_size=6))
    def first(self, days: list[int]) -> None:
        """Some rows to begin with."""
        self.land(days, 0)

    @rule(days=st.lists(st.integers(0, 75), min_size=1, max_size=6), who=st.integers(0, 1))
    def land(self, days: list[int], who: int) -> None:
        """A batch; rows of months that are over are not sent, as they would be refused."""
        self.batch += 1
        sent = []
        for index, back in enumerate(days):
            ts = self.now - timedelta(days=back, microseconds=self.batch * 100 + index + 1)
            kind = ("say", "judge")[index % 2]
            level = {"say": 3, "judge": 4}[kind]
            if self.month_over(level, ts):
                continue
            values = {"said": f"s{self.batch}"} if kind == "say" else {"note": f"n{self.batch}"}
            sent.append(w.row(w.EMPLOYEES[who], ts, kind, n=index, **values))
        if not sent:
            return
        with self.open() as lake:
            lake.ingest("events", w.table(sent), batch_id=f"batch-{self.batch}")
        self.rows |= {rank(one): one for one in w.landed(sent)}

    def limits(self, level: int) -> tuple[int, int]:
        """Days after which rows of a level may go, and must."""
        promised = purging.DAYS[level]
        may, must = RULES[self.rules].get(level, (promised, promised))
        return min(may, promised), min(must, promised)

    def month_over(self, level: int, ts: datetime) -> bool:
        """Whether a row's month is closed for good, under the strictest rules that there may have been."""
        end = datetime(ts.year + ts.month // 12, ts.month % 12 + 1, 1)
        return end + timedelta(days=10 if level == 4 else 20) <= self.now

    def held(self, row: dict[str, Any]) -> bool:
        """Whether a hold spares a row."""
        scopes = [hold.scope for hold in self.holds]
        return any(
            one.employee in {None, row["employee"]} and (one.last is None or row["ts"] < one.last) for one in scopes
        )

    def due(self) -> dict[str, dict[str, Any]]:
        """What a purge of now takes, holds aside: by month of an employee and level."""
        at = datetime(self.now.year, self.now.month, self.now.day)
        groups: dict[tuple[str, int, str], list[tuple[str, dict[str, Any]]]] = {}
        for key, row in self.rows.items():
            groups.setdefault((row["employee"], row["sensitivity"], f"{row['ts']:%Y-%m}"), []).append((key, row))
        found: dict[str, dict[str, Any]] = {}
        for (_, level, _), members in groups.items():
            may, must = (timedelta(days=days) for days in self.limits(level))
            past = {key: row for key, row in members if row["ts"] + may <= at}
            if len(past) == len(members) or any(row["ts"] + must <= at for _, row in members):
                found |= past
        return found

    @rule(days=st.integers(1, 25))
    def wait(self, days: int) -> None:
        """Time passes."""
        self.now += timedelta(days=days)

    @precondition(lambda self: self.pending is None)
    @rule(text=st.sampled_from(sorted(RULES)))
    def change_rules(self, text: str) -> None:
        """Other rules."""
        with self.open() as lake:
            RetentionDesk(lake.home).apply(text or "rules: []\n", "rules.yaml", "operator")
        self.rules = text

    @rule(who=st.integers(0, 2), back=st.none() | st.integers(0, 60))
    def hold(self, who: int, back: int | None) -> None:
        """A hold on somebody, or on everybody, on older rows or on all."""
        employee = None if who == 2 else w.EMPLOYEES[who]
        last = None if back is None else self.now - timedelta(days=back)
        with self.open() as lake:
            review = self.now.date() + timedelta(days=30)
            placed = HoldDesk(lake.home).place("lawyer", HoldScope(employee, None, None, last), "for a claim", review)
        self.holds.append(placed)

    @precondition(lambda self: self.holds)
    @rule()
    def release(self) -> None:
        """Two people end the oldest."""
        gone = self.holds.pop(0)
        with self.open() as lake:
            for by in ("lawyer", "judge"):
                HoldDesk(lake.home).release(by, gone.id, "the claim was settled")

    @precondition(lambda self: self.pending is None)
    @rule(
        name=st.sampled_from(sorted(UPKEEP)), kill=st.none() | st.tuples(st.sampled_from(JOB_STEPS), st.integers(1, 2))
    )
    def upkeep(self, name: str, kill: tuple[str, int] | None) -> None:
        """Other work on the same files; killed on the way, it goes on."""
        if kill is not None:
            code, _, error = finished(child(self.world, JOB, kill[0], kill[1], self.now.isoformat(), name))
            assert code in {0, -signal.SIGKILL}, error
        with self.open() as lake:
            run = Runner(lake.home).run(registry.make(name, lake.home, lake.actor, UPKEEP[name]))
        assert run.state == DONE
        assert not run.counts.get("damaged")

    @precondition(lambda self: self.pending is None)
    @rule()
    def rotate(self) -> None:
        """The KEKs get new versions."""
        with self.open() as lake:
            KeyKeeping(lake.home, lake.actor).rotate_keks(KeyScope())

    @precondition(lambda self: self.pending is None)
    @rule(kill=st.none() | st.tuples(st.sampled_from(STEPS), st.integers(1, 2)))
    def purge(self, kill: tuple[str, int] | None) -> None:
        """Plan, approve and execute; perhaps killed on the way."""
        due = self.due()
        with self.open() as lake:
            plan = job(lake).plan()
            approve(lake, plan.hash)
            wraps = saved(lake)
        self.pending = due
        before = set(self.rows)
        if kill is not None:
            code, _, error = finished(child(self.world, PURGE, kill[0], kill[1], self.now.isoformat()))
            assert code in {0, -signal.SIGKILL}, error
        else:
            code = 0
            with self.open() as lake:
                done = Runner(lake.home).run(job(lake))
        self.wraps = wraps
        if code == 0:
            self.ended()
            if kill is None:
                data = certified(self.world, run_id=done.id).data
                assert data["counts"]["rows"] == len(before) - len(self.rows)
        else:
            readable = self.read()
            assert len(readable) == len(set(readable))
            kept = {key for key in self.rows if key not in due or self.held(self.rows[key])}
            assert kept <= set(readable) <= set(self.rows)

    @precondition(lambda self: self.pending is not None)
    @rule()
    def resume(self) -> None:
        """The same command again, or a new purge if only the end of it was missing."""
        with self.open() as lake:
            runner = Runner(lake.home)
            if runner.journal.unfinished("retention"):
                runner.run(job(lake))
        self.ended()

    def ended(self) -> None:
        """What was planned and is not held is gone; what was placed under a hold after the plan may be."""
        assert self.pending is not None
        readable = set(self.read())
        for key, row in self.pending.items():
            if not self.held(row):
                assert key not in readable, "a row that is past is still there"
            if key not in readable:
                self.rows.pop(key, None)
        self.pending = None
        with self.open() as lake:
            live = {file.partition for file in files(lake).values()}
            gone = [one for one in self.wraps if one.binding.file_id not in files(lake)]
            assert not opens(lake, gone), f"a wrap of before opens; {len(live)} partitions live"
            lake.home.catalog.verify()

    @invariant()
    def exactly_the_kept_rows_are_readable(self) -> None:
        """Each once; while a purge is unfinished, what it takes may be there or not."""
        readable = self.read()
        unsure = set(self.pending or {})
        assert [key for key in readable if key not in unsure] == sorted(key for key in self.rows if key not in unsure)
        assert len(readable) == len(set(readable))


@pytest.fixture(scope="module", autouse=True)
def _made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    _template[:] = [make(tmp_path_factory.mktemp("empty"), rows=FIRST)]
    yield
    _template.clear()


OPTIONS = settings(
    deadline=None,
    stateful_step_count=12,
    suppress_health_check=list(HealthCheck),
)


def test_whatever_happens_in_whatever_order() -> None:
    """A few stories; `make soak` tells more."""
    run_state_machine_as_test(Machine, settings=settings(OPTIONS, max_examples=4))


@pytest.mark.soak
def test_whatever_happens_in_whatever_order_at_length() -> None:
    """Many."""
    run_state_machine_as_test(Machine, settings=settings(OPTIONS, max_examples=60, stateful_step_count=20))
