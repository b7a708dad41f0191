"""Pauses, enrolments and leases killed at every step: each counts wholly or not at all, and can be repeated."""

from __future__ import annotations

import signal

import pytest

from lake.errors import PausedError
from lake.gateway.doctor import DAMAGE, Doctor
from tests.gateway.collection.fleet import TYPES, Fleet, fleet_of, kinds
from tests.world import ADA, World, child, finished

ACTING = """
from tests.gateway.collection.fleet import Fleet
from tests.gateway.collection.test_faults import act as do

fleet = Fleet(world)
with world.open(clock=fleet.clock) as fleet.lake:
    fleet.serving = fleet.collection
    sys.addaudithook(hook)
    do(fleet, sys.argv[5])
print("finished")
"""
ENTRIES = {
    "pause": "collection.pause",
    "resume": "collection.resume",
    "enrol": "device.enrol",
    "retire": "device.retire",
    "grant": "lease.grant",
}
HALTING = ("halt.recorded", "halt.committed", "collection.advanced")
ENROLLING = ("collection.recorded", "collection.committed", "collection.advanced")
LOGGING = ("audit.journal-written", "audit.journal-synced")
CASES = [
    *(("pause", step) for step in (*LOGGING, *HALTING)),
    *(("resume", step) for step in HALTING[:2]),
    *(("enrol", step) for step in ENROLLING),
    *(("retire", step) for step in ENROLLING[:2]),
    *(("grant", step) for step in ("audit.journal-written", "lease.recorded")),
]
COMMITTED = {"halt.committed", "collection.committed", "collection.advanced"}


def prepare(fleet: Fleet, what: str) -> None:
    """What must be there before; everybody is known already."""
    for user in ("olga", "stu"):
        fleet.lake.home.actor(user)
    if what == "resume":
        fleet.resume(fleet.pause(), "olga")


def act(fleet: Fleet, what: str) -> None:
    """Let it happen."""
    if what == "pause":
        fleet.pause()
    elif what == "resume":
        fleet.halts.resume("stu", next(iter(fleet.halts.known().halts)))
    elif what == "enrol":
        fleet.enrol("new-1", ADA, "eu", "sales")
    elif what == "retire":
        fleet.collection.devices.retire(fleet.lake.actor, "ada-1")
    else:
        fleet.grant("ada-1")


def happened(fleet: Fleet, what: str) -> bool:
    """Whether it is in force."""
    if what in {"pause", "resume"}:
        try:
            fleet.serving.grant(fleet.device("ben-1"), "events", None, TYPES)
        except PausedError:
            return what == "pause"
        return what == "resume"
    live = {device.name for device in fleet.collection.devices.known().live.values()}
    return "new-1" in live if what == "enrol" else "ada-1" not in live


@pytest.mark.parametrize(("what", "step"), CASES)
def test_a_kill_leaves_it_whole_or_absent(world: World, what: str, step: str) -> None:
    """Before the commit nothing has happened, after it everything has, on record; again it happens once."""
    with fleet_of(world) as fleet:
        prepare(fleet, what)
        before = kinds(fleet, ENTRIES[what]).count(ENTRIES[what])
    status, out, err = finished(child(world, ACTING, step, 1, what))
    assert (status, out) == (-signal.SIGKILL, ""), err
    fleet = Fleet(world)
    with world.open(clock=fleet.clock) as fleet.lake:
        fleet.serving = fleet.collection
        if what != "grant":
            assert happened(fleet, what) is (step in COMMITTED)
            recorded = kinds(fleet, ENTRIES[what]).count(ENTRIES[what]) - before
            assert recorded == 1 or step == "audit.journal-written"
        act(fleet, what)
        act(fleet, what)
        assert what == "grant" or happened(fleet, what)
        assert [found for found in Doctor(fleet.lake.home).examine_lake() if found.state == DAMAGE] == []


def test_a_lease_that_nobody_got_is_waited_for(world: World) -> None:
    """Killed between its row and its entry: the pause counts it as outstanding, so the bound stays true."""
    with fleet_of(world):
        pass
    assert finished(child(world, ACTING, "lease.committed", 1, "grant"))[0] == -signal.SIGKILL
    fleet = Fleet(world)
    with world.open(clock=fleet.clock) as fleet.lake:
        assert kinds(fleet, "lease.") == []
        fleet.pause()
        assert [one.leases for one in fleet.status().devices] == [1]


def test_without_a_kill_the_same_child_finishes(world: World) -> None:
    """The control."""
    with fleet_of(world) as fleet:
        prepare(fleet, "pause")
    status, out, err = finished(child(world, ACTING, "", 1, "pause"))
    assert (status, out) == (0, "finished\n"), err
    fleet = Fleet(world)
    with world.open(clock=fleet.clock) as fleet.lake:
        assert len(fleet.statuses()) == 1
