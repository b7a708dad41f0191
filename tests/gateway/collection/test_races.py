"""A pause that comes between judgement and commit wins; others on their way are left alone."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from lake.errors import LakeError, PausedError
from lake.rules.halt import Halt, Scope, ScopeKind
from tests.gateway.collection.fleet import GLOBAL, REASON, START, Fleet, kinds, sent
from tests.world import ADA, BEN

_HOOKS: dict[str, Callable[[], None]] = {}


def _hook(event: str, arguments: tuple[object, ...]) -> None:
    if event == "lake.step" and _HOOKS and (act := _HOOKS.pop(str(arguments[0]), None)):
        act()


sys.addaudithook(_hook)


@contextmanager
def at_step(step: str, act: Callable[[], object]) -> Iterator[None]:
    """Have something done when a step is reached, once."""
    _HOOKS[step] = lambda: (act(), None)[1]
    try:
        yield
        assert step not in _HOOKS, "the step was not reached"
    finally:
        _HOOKS.pop(step, None)


STEPS = ("ingest.judged", "ingest.object-written", "ingest.objects-durable", "ingest.announced")


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("leased", [True, False], ids=["leased", "file"])
def test_a_pause_before_the_commit_wins(fleet: Fleet, step: str, leased: bool) -> None:
    """Nothing of the batch is there, its objects are gone, and it is counted; a file sent again is cut."""
    objects = fleet.world.objects()
    rows = [sent(ADA, START, 1)]
    judgement = None
    if leased:
        judgement = fleet.serving.judge(fleet.grant("ada-1").token, fleet.device("ada-1"), fleet.header("ada-1"))
    with at_step(step, fleet.pause), pytest.raises(PausedError):
        fleet.land(rows, judgement=judgement)
    assert fleet.rows() == []
    assert fleet.world.objects() == objects
    assert fleet.world.entries("ingest.refused")[-1]["reason"] == "paused"
    (status,) = fleet.statuses()
    assert [one.refused for one in status.devices] == ([1] if leased else [])
    report = fleet.land([*rows, sent(BEN, START.replace(hour=1), 2)])
    assert report.dropped == {"paused": 1}
    assert fleet.rows() == [2]


@pytest.mark.parametrize("scope", [Scope(ScopeKind.EMPLOYEE, BEN), Scope(ScopeKind.PROGRAMME, "moods")], ids=str)
def test_a_pause_of_others_leaves_a_batch_on_its_way_alone(fleet: Fleet, scope: Scope) -> None:
    """It is asked again, and lands."""
    judgement = fleet.serving.judge(fleet.grant("ada-1").token, fleet.device("ada-1"), fleet.header("ada-1"))
    with at_step("ingest.announced", lambda: fleet.pause(scope)):
        assert fleet.land([sent(ADA, START, 1)], judgement=judgement).rows == 1
    assert fleet.rows() == [1]


def test_a_pause_after_the_commit_leaves_what_landed(fleet: Fleet) -> None:
    """It was captured before."""
    token = fleet.grant("ada-1").token
    with at_step("ingest.committed", fleet.pause):
        assert fleet.upload("ada-1", token, [sent(ADA, START, 1)]).rows == 1
    assert fleet.rows() == [1]
    with pytest.raises(PausedError):
        fleet.upload("ada-1", token, [sent(ADA, START, 2)])


def test_a_pause_that_is_recorded_and_not_committed_is_not_in_force(fleet: Fleet) -> None:
    """A commit waits for the pause that is being made, and then sees it."""
    token = fleet.grant("ada-1").token
    found: list[object] = []

    def upload() -> None:
        try:
            found.append(fleet.upload("ada-1", token, [sent(ADA, START, 1)]).rows)
        except LakeError as error:
            found.append(error.code)

    started = threading.Thread(target=upload)
    with at_step("halt.recorded", started.start):
        fleet.pause()
    started.join()
    assert found == ["paused"]
    assert fleet.rows() == []


def _together(*acts: Callable[[], Halt]) -> list[str]:
    gate, said = threading.Barrier(len(acts)), [""] * len(acts)

    def run(place: int, act: Callable[[], Halt]) -> None:
        gate.wait()
        try:
            said[place] = act().id
        except LakeError as error:
            said[place] = error.code

    threads = [threading.Thread(target=run, args=(place, act)) for place, act in enumerate(acts)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return said


def test_equal_pauses_at_once_are_one(fleet: Fleet) -> None:
    """All are told the same, and one stands there."""
    assert len(set(_together(*[fleet.pause] * 4))) == 1
    assert kinds(fleet, "collection.") == ["collection.pause"]
    assert fleet.lake.home.catalog.verify() == fleet.lake.home.catalog.head()


def test_of_several_approvals_one_counts(fleet: Fleet) -> None:
    """All are told that it has ended."""
    halt = fleet.pause(GLOBAL)
    fleet.resume(halt, "olga")
    people = ("stu", "coco", "wim")
    said = _together(*[lambda who=who: fleet.halts.resume(who, halt.id, REASON) for who in people])
    assert said == [halt.id] * 3
    assert kinds(fleet, "collection.") == ["collection.pause", "collection.resume", "collection.resume"]
    assert fleet.statuses() == []
