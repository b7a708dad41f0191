"""Break-glass killed at every step: an event counts wholly or not at all, never unrecorded, and can be repeated."""

from __future__ import annotations

import signal
from datetime import timedelta

import pytest

from lake.gateway.doctor import DAMAGE, Doctor
from tests.gateway.elevated import START, Desk, desk_of
from tests.world import World, child, finished

ACTING = """
from tests.gateway.elevated import Desk
from tests.gateway.test_elevation_faults import act as do

desk = Desk(world)
with world.open(clock=desk.clock) as desk.lake:
    sys.addaudithook(hook)
    do(desk, sys.argv[5])
print("finished")
"""
STATES = {
    "request": ("", "requested"),
    "approve": ("requested", "active"),
    "revoke": ("active", "revoked"),
    "expire": ("active", "expired"),
}


def prepare(desk: Desk, event: str) -> None:
    """What must be there before; everybody is known already, so that the event's own commit is the only one."""
    for user in ("stu", "olga"):
        desk.lake.home.actor(user)
    if event != "request":
        one = desk.ask()
        if event != "approve":
            desk.approve(one)


def act(desk: Desk, event: str) -> None:
    """Let it happen."""
    if event == "request":
        desk.ask()
    elif event == "expire":
        desk.now = START + timedelta(hours=3)
        desk.active()
        desk.now = START
    elif event == "approve":
        desk.approve(desk.elevations.all()[0])
    else:
        desk.revoke(desk.elevations.all()[0], "stu")


def state(desk: Desk) -> str:
    """Where the only elevation stands."""
    found = desk.elevations.all()
    assert len(found) <= 1
    return str(found[0].state(desk.now)) if found else ""


@pytest.mark.parametrize(
    "step", ["audit.journal-written", "audit.journal-synced", "break-glass.recorded", "break-glass.committed"]
)
@pytest.mark.parametrize("event", STATES)
def test_a_kill_leaves_an_event_whole_or_absent(world: World, event: str, step: str) -> None:
    """Before the commit nothing has happened, after it everything has; again it happens once, and all is sound."""
    with desk_of(world) as desk:
        prepare(desk, event)
    status, out, err = finished(child(world, ACTING, step, 1, event))
    assert (status, out) == (-signal.SIGKILL, ""), err
    before, after = STATES[event]
    committed = step == "break-glass.committed"
    with desk_of(world) as desk:
        recorded = len([entry for entry in world.entries() if entry["type"] == f"break_glass.{event}"])
        assert state(desk) == (after if committed else before)
        assert desk.ids() == ([desk.elevations.all()[0].id] if state(desk) == "active" else [])
        assert recorded == 1 or step == "audit.journal-written"
        act(desk, event)
        act(desk, event)
        assert state(desk) == after
        assert [found for found in Doctor(desk.lake.home).examine_lake() if found.state == DAMAGE] == []
    entries = [entry for entry in world.entries() if entry["type"] == f"break_glass.{event}"]
    assert len(entries) == recorded + (not committed)


@pytest.mark.parametrize("event", STATES)
def test_without_a_kill_the_same_child_finishes(world: World, event: str) -> None:
    """The control."""
    with desk_of(world) as desk:
        prepare(desk, event)
    status, out, err = finished(child(world, ACTING, "", 1, event))
    assert (status, out) == (0, "finished\n"), err
    with desk_of(world) as desk:
        assert state(desk) == STATES[event][1]
