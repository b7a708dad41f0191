"""Ingest killed or cut off at every announced step: a batch is wholly there or wholly absent, and resending mends."""

# ruff: noqa: DTZ001 - capture times are naive UTC
from __future__ import annotations

import os
import signal
import time
from datetime import datetime

import pytest

from jobs.sealed import sweep
from lake.gateway.doctor import DAMAGE, WARNING, Doctor
from tests import world as w
from tests.world import World, child, finished, landed, row, same_rows, table

LANDING = """
rows = [w.row(f"EMP-NEW-{number}", w.datetime(2026, 9, 1), "focus", app="New-QX", n=number) for number in range(6)]
with world.open(settings=w.small_settings(threads=1)) as lake:
    sys.addaudithook(hook)
    lake.ingest("events", w.table(rows), batch_id="killed")
    print("landed", flush=True)
    sys.stdin.readline()
"""
SENT = [row(f"EMP-NEW-{number}", datetime(2026, 9, 1), "focus", app="New-QX", n=number) for number in range(6)]
BEFORE_COMMIT = (
    ("ingest.object-written", 1),
    ("ingest.object-written", 6),
    ("ingest.objects-durable", 1),
    ("audit.journal-written", 1),  # what the filter did
    ("audit.journal-synced", 1),
    ("audit.journal-written", 2),  # the keys that were made
    ("audit.journal-synced", 2),
    ("audit.journal-written", 3),  # the announcement
    ("audit.journal-synced", 3),
    ("ingest.announced", 1),
)
AFTER_COMMIT = (
    ("ingest.committed", 1),
    ("ingest.anchored", 1),
    ("audit.journal-written", 4),  # the report that it landed
    ("audit.journal-synced", 4),
    ("ingest.audited", 1),
)


def findings(world: World) -> dict[str, list[str]]:
    """What the doctor says of a lake, by state."""
    with world.open() as lake:
        found: dict[str, list[str]] = {DAMAGE: [], WARNING: []}
        for finding in Doctor(lake.home).examine_lake():
            found.setdefault(finding.state, []).append(finding.check)
        return found


@pytest.mark.parametrize("crash", [*BEFORE_COMMIT, *AFTER_COMMIT], ids=lambda crash: f"{crash[0]}-{crash[1]}")
def test_a_kill_leaves_a_batch_whole_or_absent(world: World, crash: tuple[str, int]) -> None:
    """After kill -9 the batch is there or not, as the commit says; sent again it is there once, and nothing is hurt."""
    status, out, err = finished(child(world, LANDING, *crash))
    assert status == -signal.SIGKILL, err
    assert out == ""
    there = landed([*w.known_rows(), *SENT]) if crash in AFTER_COMMIT else landed(w.known_rows())
    assert same_rows(world.rows(), there)
    health = findings(world)
    assert health[DAMAGE] == []
    assert ("stray files" in health[WARNING]) == (crash in BEFORE_COMMIT)
    with world.open() as lake:
        again = lake.ingest("events", table(SENT), batch_id="killed")
    assert again.status == ("already landed" if crash in AFTER_COMMIT else "landed")
    assert same_rows(world.rows(), landed([*w.known_rows(), *SENT]))


def test_a_batch_killed_without_an_id_lands_once_when_it_is_sent_again(world: World) -> None:
    """The content alone names a batch as well as an id does, before and after the commit."""
    source = LANDING.replace(', batch_id="killed"', "")
    for step, expected in (("ingest.announced", "landed"), ("ingest.committed", "already landed")):
        offset = 0 if expected == "landed" else 100
        changed = source.replace("n=number)", f"n=number + {offset})")
        assert finished(child(world, changed, step))[0] == -signal.SIGKILL
        sent = [one | {"n": one["n"] + offset} for one in SENT]
        with world.open() as lake:
            assert lake.ingest("events", table(sent)).status == expected
    assert len(world.rows()) == 144 + 12


def test_orphans_are_swept_after_the_grace_period_and_not_before(world: World) -> None:
    """Objects of a killed batch stay while they are young; once old they go, and nothing else does."""
    named = world.objects()
    assert finished(child(world, LANDING, "ingest.object-written", 6))[0] == -signal.SIGKILL
    orphans = set(world.objects()) - set(named)
    assert len(orphans) == 6
    with world.open() as lake:
        young = sweep.plan(lake.home)
        assert (young.orphans, young.waiting) == ((), 6)
        assert sweep.execute(lake.home, young, lake.actor) == 0
    assert set(world.objects()) == orphans | set(named)
    for path in world.objects():
        os.utime(path, (time.time() - 90_000,) * 2)
    with world.open() as lake:
        old = sweep.plan(lake.home)
        assert {world.root / orphan.key for orphan in old.orphans} == orphans
        assert sweep.execute(lake.home, old, lake.actor) == 6
    assert world.objects() == named
    assert findings(world)[WARNING].count("stray files") == 0
    assert same_rows(world.rows(), landed(w.known_rows()))


@pytest.mark.parametrize("step", ["ingest.committed", "ingest.anchored", "ingest.audited", "audit.journal-written"])
def test_an_interrupt_after_the_commit_takes_nothing_back(world: World, step: str) -> None:
    """Control-C, or a log that fails, after the commit does not remove the objects that the catalog now names."""
    source = """
def act():
    raise KeyboardInterrupt
rows = [w.row(f"EMP-NEW-{number}", w.datetime(2026, 9, 1), "focus", app="New-QX", n=number) for number in range(6)]
with world.open() as lake:
    sys.addaudithook(hook)
    try:
        lake.ingest("events", w.table(rows), batch_id="killed")
    except KeyboardInterrupt:
        print("interrupted")
"""
    turn = 4 if step == "audit.journal-written" else 1
    status, out, err = finished(child(world, source, step, turn))
    assert (status, out) == (0, "interrupted\n"), err
    assert same_rows(world.rows(), landed([*w.known_rows(), *SENT]))
    assert findings(world)[DAMAGE] == []


def test_a_log_that_fails_after_the_commit_takes_nothing_back(world: World) -> None:
    """Where only the last entry cannot be written, the sender is told to try again, and then finds it landed."""
    source = """
import resource
from lake.errors import AuditUnavailableError
def act():
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
rows = [w.row(f"EMP-NEW-{number}", w.datetime(2026, 9, 1), "focus", app="New-QX", n=number) for number in range(6)]
with world.open() as lake:
    sys.addaudithook(hook)
    try:
        lake.ingest("events", w.table(rows), batch_id="killed")
    except AuditUnavailableError as error:
        print("unavailable", error.exit_code)
"""
    status, out, err = finished(child(world, source, "ingest.anchored"))
    assert (status, out) == (0, "unavailable 5\n"), err
    assert same_rows(world.rows(), landed([*w.known_rows(), *SENT]))
    with world.open() as lake:
        assert lake.ingest("events", table(SENT), batch_id="killed").status == "already landed"
    assert findings(world)[DAMAGE] == []


def test_a_killed_child_shows_what_a_living_one_would_have_done(world: World) -> None:
    """The control of this file: without a kill the same child lands its batch."""
    process = child(world, LANDING)
    status, out, err = finished(process)
    assert (status, out) == (0, "landed\n"), err
    assert same_rows(world.rows(), landed([*w.known_rows(), *SENT]))
