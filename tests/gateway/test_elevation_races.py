"""Break-glass asked for, approved and revoked by several at once: one of them counts, and all are told the same."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from lake.errors import LakeError
from lake.gateway.elevations import Elevations
from tests.gateway.elevated import Desk, desk_of, kinds, wish
from tests.world import World


@pytest.fixture
def desk(world: World) -> Iterator[Desk]:
    """Break-glass on a copy of the known lake."""
    with desk_of(world) as opened:
        yield opened


def race(desk: Desk, *acts: tuple[str, str]) -> list[str]:
    """Do each (method, by) at once, in threads with elevations of their own; gives what became of each."""
    (one,) = desk.elevations.all()
    policy, gate = desk.policy, threading.Barrier(len(acts))
    said: list[str] = [""] * len(acts)

    def run(place: int, act: str, by: str) -> None:
        own = Elevations(desk.lake.home)
        gate.wait()
        try:
            after = getattr(own, act)(policy, by, one.id)
            said[place] = f"{after.approved.by if after.approved else None} {after.ended.by if after.ended else None}"
        except LakeError as error:
            said[place] = error.code

    threads = [threading.Thread(target=run, args=(place, *act)) for place, act in enumerate(acts)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return said


def test_of_two_approvals_one_wins_and_both_see_it(desk: Desk) -> None:
    """The same result for both, one entry, one row."""
    one = desk.ask()
    said = race(desk, ("approve", "olga"), ("approve", "wim"), ("approve", "olga"), ("approve", "coco"))
    assert len(set(said)) == 1
    assert desk.ids() == [one.id]
    assert kinds(desk) == ["break_glass.request", "break_glass.approve"]
    assert desk.lake.home.catalog.verify() == desk.lake.home.catalog.head()


def test_a_revocation_that_races_an_approval_wins(desk: Desk) -> None:
    """Whichever comes first, it is closed afterwards, and entries and rows agree."""
    one = desk.ask()
    said = race(desk, ("approve", "olga"), ("revoke", "stu"), ("revoke", "wim"))
    assert desk.ids() == []
    assert said[1] == said[2]
    recorded = kinds(desk)
    assert recorded.count("break_glass.revoke") == 1
    assert recorded.count("break_glass.approve") == (said[0] != "usage")
    (after,) = desk.elevations.all()
    assert after.id == one.id
    assert (after.approved is None) == (said[0] == "usage")


def test_equal_requests_that_race_are_one(desk: Desk) -> None:
    """Four at once make one request."""
    gate = threading.Barrier(4)
    policy = desk.policy
    found: set[str] = set()

    def run() -> None:
        gate.wait()
        found.add(Elevations(desk.lake.home).request(policy, "stu", wish()).id)

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == len(desk.elevations.all()) == 1
    assert kinds(desk) == ["break_glass.request"]
