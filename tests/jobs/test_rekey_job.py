"""Rekey as a job: items of files, each replaced once, counted exactly wherever it was cut off."""

from __future__ import annotations

import signal

import pytest

from jobs.clear import rekey_job
from jobs.clear.rekey_job import RekeyJob
from jobs.runner.registry import make
from jobs.runner.run import Options, Runner, StoppedError
from keys.operations import rotate_keks
from lake.api import Lake
from lake.errors import UsageError
from lake.gateway.doctor import DAMAGE, Doctor
from lake.gateway.keykeeping import KeyKeeping
from lake.gateway.keyplans import KeyScope
from lake.gateway.reconcile import reconcile
from lake.rules.model import DataFile
from lake.sealed.catalog.upkeep import FileScope
from tests import world as w
from tests.world import World, child, finished, landed, same_rows

EXPECTED = landed(w.known_rows())
FILES = 32
JOB = """
from jobs.clear import rekey_job
from jobs.runner.run import Runner

rekey_job.PAGE_FILES = 6
with world.open() as lake:
    sys.addaudithook(hook)
    Runner(lake.home).run(rekey_job.RekeyJob(lake.home, lake.actor, all=True))
"""


def files(lake: Lake) -> dict[str, DataFile]:
    """Live files by id."""
    return {file.file_id: file for page in lake.home.upkeep.pages(FileScope(), 7) for file, _ in page}


def whole(world: World) -> None:
    """Every row is there once, every wrap, digest and commit holds, and both books agree."""
    assert same_rows(world.rows(), EXPECTED)
    with world.open() as lake:
        assert not [found for found in Doctor(lake.home).examine_lake() if found.state == DAMAGE]
        assert reconcile(lake.home, lake.actor).differences == []


def test_options_say_which_files(world: World) -> None:
    """In one way; of some levels and months only theirs; of all, all are others."""
    with world.open() as lake:
        old = files(lake)
        for wrong in ({}, {"all": "yes", "levels": "4"}, {"levels": "5"}, {"months": "2026-13"}, {"all": "no"}):
            with pytest.raises(UsageError):
                make("rekey", lake.home, lake.actor, wrong).plan()
        some = make("rekey", lake.home, lake.actor, {"levels": "3,4", "months": "2026-07"})
        meant = {
            name for name, file in old.items() if file.partition.sensitivity > 2 and file.partition.month == "2026-07"
        }
        planned = some.plan()
        assert planned.facts["files"] == len(meant) > 0
        assert Runner(lake.home).run(some).counts["files"] == len(meant)
        assert old.keys() - files(lake).keys() == meant
        run = Runner(lake.home).run(make("rekey", lake.home, lake.actor, {"all": "yes"}))
        assert (run.counts["files"], run.counts["rows"]) == (FILES, len(EXPECTED))
        assert not old.keys() & files(lake).keys()
    whole(world)


@pytest.mark.parametrize(
    ("step", "turn"),
    [
        ("job.begun", 1),
        ("rekey.intended", 2),
        ("rekey.keys-released", 1),
        ("rekey.object-written", 9),
        ("rekey.objects-durable", 3),
        ("rekey.replaced", 1),
        ("rekey.replaced", 6),
        ("rekey.recorded", 2),
        ("job.item-done", 4),
        ("job.finished", 1),
    ],
)
def test_killed_anywhere_it_goes_on_and_counts_each_file_once(world: World, step: str, turn: int) -> None:
    """The next run finishes the plan; nothing is written anew twice."""
    with world.open() as lake:
        old = files(lake)
    assert finished(child(world, JOB, step, turn))[0] == -signal.SIGKILL
    assert same_rows(world.rows(), EXPECTED)
    with world.open() as lake:
        run = Runner(lake.home).run(RekeyJob(lake.home, lake.actor))
        assert (run.counts["files"], run.counts["rows"]) == (FILES, len(EXPECTED))
        assert not old.keys() & files(lake).keys()
    whole(world)


def test_it_stops_between_items(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Asked to stop, it ends after the item in hand; what is done stays done."""
    monkeypatch.setattr(rekey_job, "PAGE_FILES", 6)
    closed: list[int] = []
    with world.open() as lake:
        old = files(lake)
        options = Options(stopping=lambda: len(closed) == 2, progress=closed.append)
        with pytest.raises(StoppedError):
            Runner(lake.home, options).run(RekeyJob(lake.home, lake.actor, all=True))
        assert len(old.keys() - files(lake).keys()) == 12
        assert Runner(lake.home).run(RekeyJob(lake.home, lake.actor)).counts["files"] == FILES
    whole(world)


def test_files_that_went_meanwhile_are_left_out(world: World) -> None:
    """Between plan and run others replace some: they are not written a second time."""
    with world.open() as lake:
        job = RekeyJob(lake.home, lake.actor, all=True)
        plan = job.plan()
        Runner(lake.home).run(RekeyJob(lake.home, lake.actor, levels=[4]))
        gone = FILES - len(set(files(lake)) & {name for item in plan.items for name in item.work["files"]})
        assert Runner(lake.home).run(job, plan).counts["files"] == FILES - gone
    whole(world)


def test_it_opens_what_is_compromised(world: World) -> None:
    """Files whose keys somebody may have come under others; until then no query opens them."""
    with world.open() as lake:
        keeping = KeyKeeping(lake.home, lake.actor)
        scope, _ = keeping.kek_scope(KeyScope())
        rotate_keks.next_page(keeping.keeper, scope, lake.home.hierarchy.now() + 1, "", compromised=True)
        assert Runner(lake.home).run(RekeyJob(lake.home, lake.actor, all=True)).counts["files"] == FILES
        assert {file.kek_version for file in files(lake).values()} == {2}
    whole(world)
