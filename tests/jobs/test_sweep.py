"""The sweep: only old objects that no catalog row names go, recorded first, and a crash leaves nothing worse."""

from __future__ import annotations

import os
import signal
import time
from datetime import timedelta
from pathlib import Path

from jobs.sealed import sweep
from tests import world as w
from tests.world import World, child, finished, landed, same_rows


def orphan(world: World, number: int, *, hours: float) -> Path:
    """An object that no row names, written some hours ago."""
    path = world.objects()[0].parent / f"{number:032x}.parquet"
    path.write_bytes(b"orphan")
    os.utime(path, (time.time() - hours * 3600,) * 2)
    return path


def test_only_old_orphans_go(world: World) -> None:
    """Young orphans and named objects of any age stay; the plan alone changes nothing; a second run has no work."""
    for path in world.objects():
        os.utime(path, (time.time() - 10**7,) * 2)
    named = world.objects()
    old, young = orphan(world, 1, hours=25), orphan(world, 2, hours=1)
    seen: list[int] = []
    with world.open() as lake:
        planned = sweep.plan(lake.home)
        assert ([found.key for found in planned.orphans], planned.waiting, planned.bytes) == (
            [old.relative_to(world.root).as_posix()],
            1,
            6,
        )
        assert old.exists()
        assert sweep.execute(lake.home, planned, lake.actor, seen.append) == 1
        assert sweep.plan(lake.home).orphans == ()
        assert len(sweep.plan(lake.home, timedelta(0)).orphans) == 1
    assert seen == [1]
    assert world.objects() == sorted([*named, young])
    assert same_rows(world.rows(), landed(w.known_rows()))
    (entry,) = world.entries(sweep.SWEEP)
    assert (entry["files"], entry["bytes"]) == (1, 6)


def test_an_object_that_was_named_after_the_plan_stays(world: World) -> None:
    """A batch that lands between plan and execution keeps its objects."""
    named = world.objects()
    with world.open() as lake:
        listed = tuple(lake.home.objects.list())
        assert sweep.execute(lake.home, sweep.SweepPlan(listed, 0), lake.actor) == 0
    assert world.objects() == named


def test_a_kill_in_between_is_gone_on_from(world: World) -> None:
    """Killed after the first removal, the rest is found and removed by the next run."""
    named = world.objects()
    for number in range(3):
        orphan(world, number, hours=30)
    source = """
from jobs.sealed import sweep
with world.open() as lake:
    sys.addaudithook(hook)
    sweep.execute(lake.home, sweep.plan(lake.home), lake.actor)
"""
    status, _, err = finished(child(world, source, "sweep.removed"))
    assert status == -signal.SIGKILL, err
    assert len(world.objects()) == len(named) + 2
    with world.open() as lake:
        assert sweep.execute(lake.home, sweep.plan(lake.home), lake.actor) == 2
    assert world.objects() == named
