"""Collectors as processes on real clocks, and an operator's command that pauses them."""

from __future__ import annotations

import subprocess
import sys
import time

from lake.clock import utc_now
from lake.gateway.collection.service import Collection
from lake.gateway.collection.status import HaltStatus, Statuses
from lake.sealed.catalog.rows import microseconds
from tests.gateway.collection.fleet import DEVICES, REASON, fleet_of
from tests.gateway.collection.processes import APPS
from tests.world import World, child

COLLECTING = """
from tests.gateway.collection.processes import collect
collect(world, sys.argv[5], obeys=sys.argv[6] == "obeys")
"""
PATIENCE = 60


def lake_command(world: World, *words: str) -> None:
    """Run the command line as a process."""
    place = ("--lake", str(world.root), "--key-file", str(world.key))
    done = subprocess.run(
        [sys.executable, "-m", "lake.cli.main", *words, *place], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def status_of(world: World) -> HaltStatus:
    """Of the only pause, now."""
    with world.open(clock=utc_now) as lake:
        serving = Collection(lake.home, lake.contracts)
        (status,) = Statuses(lake.home, serving.halts, serving.devices).all()
        return status


def test_a_paused_fleet_stops_and_who_goes_on_lands_nothing(world: World) -> None:
    """One that obeys and one that ignores everything; an operator pauses; what was captured later never lands."""
    with fleet_of(world):
        pass
    ways = {"ada-1": "obeys", "ben-1": "ignores"}
    agents = {name: child(world, COLLECTING, "", 1, name, how) for name, how in ways.items()}
    try:
        for agent in agents.values():
            assert agent.stdout is not None
            assert agent.stdout.readline() == "sending\n"
        lake_command(world, "pause", "--scope", "global", "--reason", REASON)
        status = _wait_until_both_have_met_it(world)
    finally:
        said = {name: agent.communicate("end\n", timeout=PATIENCE) for name, agent in agents.items()}
    counts = {name: list(map(int, out.split())) for name, (out, _) in said.items()}
    rows = world.rows("SELECT app, big FROM events WHERE app IN ('One-QX', 'Two-QX')")
    for name in ways:
        assert len([row for row in rows if row["app"] == APPS[name]]) == counts[name][0] > 0
    assert max(row["big"] for row in rows) < microseconds(status.halt.begun.at)
    assert counts["ada-1"][1] == 1
    assert counts["ben-1"][1] >= 3
    found = {one.device.name: one for one in status.devices}
    assert found["ada-1"].state(status.now) == "acknowledged"
    assert found["ben-1"].state(status.now) == "lease runs"
    assert not status.halted
    assert set(DEVICES) > set(found)


def _wait_until_both_have_met_it(world: World) -> HaltStatus:
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        status = status_of(world)
        counts = {one.device.name: one.refused for one in status.devices}
        acknowledged = [one.device.name for one in status.devices if one.acknowledged is not None]
        if counts.get("ben-1", 0) >= 3 and acknowledged == ["ada-1"]:
            return status
        time.sleep(0.1)
    raise AssertionError("the collectors did not meet the pause")
