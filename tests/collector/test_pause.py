"""A pause stops whatever collector there is, and the time by which it says that it has stopped is true."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import pytest

from lake.clock import utc_now
from lake.collector import Collector
from lake.gateway.collection.status import HaltStatus, Statuses
from lake.rules.lease import SKEW, TTL
from lake.sealed.catalog.rows import microseconds
from tests import forking
from tests.collector.lab import Lab, focus, naive, upload
from tests.collector.processes import ignore, packed
from tests.gateway.receiving.site import DEVICES, Site, wait_for


@dataclass
class Agent:
    """One collector of the fleet, with what it has captured: the lake's time and a number."""

    name: str
    collector: Collector
    awake: bool = True
    online: bool = True
    captured: list[tuple[datetime, int]] = field(default_factory=list)


NAMES = ("online", "offline", "ignoring", "ahead", "behind", "asleep")


def status_of(lab: Lab) -> HaltStatus:
    """Of the only pause."""
    serving = lab.site.collection
    (found,) = Statuses(lab.site.lake.home, serving.halts, serving.devices).all()
    return found


def test_the_fleet_stops_and_nothing_captured_after_the_pause_lands(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """Online, offline, ignoring everything, clocks 2 h off, suspended until the next day."""
    fleet: list[Agent] = []
    for number, name in enumerate(NAMES):
        monkeypatch.setitem(DEVICES, name, f"EMP-{number}")
        lab.site.collection.devices.enrol(
            lab.site.lake.actor, name, employee=f"EMP-{number}", region="eu", team="sales"
        )
        lab.skew = timedelta(hours={"ahead": 2, "behind": -2}.get(name, 0))
        agent = Agent(name, lab.collector(name, keep=name in {"offline", "asleep"}))
        if name == "ignoring":
            ignore(agent.collector)
        fleet.append(agent)
    next_number = 0

    def live(seconds: int, every: int = 20) -> None:
        nonlocal next_number
        for _ in range(seconds // every):
            lab.pass_(every)
            for agent in fleet:
                if not agent.awake:
                    continue
                if agent.online:
                    agent.collector.keeper.step()
                next_number += 1
                if agent.collector.record(focus(next_number % 500)):
                    agent.captured.append((naive(lab.site.now), next_number % 500))
                if agent.online:
                    upload(agent.collector)

    live(160)
    assert all(agent.captured for agent in fleet)
    by_name = {agent.name: agent for agent in fleet}
    by_name["offline"].online = by_name["asleep"].awake = False
    live(20)
    lab.pass_(1)
    halt = lab.pause()
    paused = naive(lab.site.now)
    status = status_of(lab)
    assert not status.halted
    assert status.bound <= paused + TTL + SKEW
    live(600, every=60)
    for name in ("online", "ahead", "behind"):
        assert by_name[name].captured[-1][0] <= paused + timedelta(seconds=60)
    honest = [agent for agent in fleet if agent.name != "ignoring"]
    assert all(moment <= status.bound for agent in honest for moment, _ in agent.captured)
    status = status_of(lab)
    assert [one.device.name for one in status.devices if one.ignoring()] == ["ignoring"]
    assert not status.halted
    lab.pass_(24 * 3600)
    by_name["offline"].online = by_name["asleep"].awake = True
    by_name["ignoring"].awake = False
    live(120, every=60)
    assert by_name["asleep"].captured[-1][0] < paused
    for agent in fleet:
        upload(agent.collector)
    landed = set(lab.site.numbers())
    before = {number for agent in fleet for moment, number in agent.captured if moment < paused}
    after = {number for agent in fleet for moment, number in agent.captured if moment >= paused}
    assert landed
    assert landed <= before
    assert not landed & after
    refused = {one.device.name: one.refused for one in status_of(lab).devices}
    assert refused["ignoring"] >= 3
    assert refused["online"] == 1
    assert status_of(lab).halt.id == halt.id


COLLECTING = """
import sys
from tests.collector.processes import run_until_told, unpacked
run_until_told(unpacked(sys.argv[1]), sys.argv[2], obeys=sys.argv[3] == "obeys")
"""


@pytest.fixture
def ticking(monkeypatch: pytest.MonkeyPatch) -> None:
    """The lake's clock is the machine's."""
    monkeypatch.setattr(Site, "now", property(lambda _: utc_now(), lambda *_: None))


def test_as_processes_on_real_clocks(ticking: None, lab: Lab) -> None:
    """One that obeys and one that ignores everything; of what was captured after the pause nothing lands."""
    ways = {"ada-1": ("One-QX", "obeys"), "ben-1": ("Two-QX", "ignores")}
    agents: dict[str, subprocess.Popen[str]] = {}
    try:
        for name, (app, how) in ways.items():
            settings = lab.settings(name, batch_seconds=0.1, flush_seconds=0.1)
            agents[name] = forking.python(
                *(COLLECTING, packed(settings), app, how),
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            )  # fmt: skip
        for agent in agents.values():
            assert agent.stdout is not None
            assert agent.stdout.readline() == "sending\n"
        lab.pause()
        status = status_of(lab)
        wait_for(lambda: _met(lab))
    finally:
        said = {name: agent.communicate("end\n", timeout=60) for name, agent in agents.items()}
    counts = {name: json.loads(out.splitlines()[-1]) for name, (out, _) in said.items()}
    rows = lab.site.world.rows("SELECT app, big, ts FROM events WHERE app IN ('One-QX', 'Two-QX')")
    for name, (app, _) in ways.items():
        assert len([row for row in rows if row["app"] == app]) == counts[name]["landed"] > 0
    assert max(row["big"] for row in rows) < microseconds(status.halt.begun.at)
    assert counts["ada-1"]["paused"] >= 1
    found = {one.device.name: one for one in status_of(lab).devices}
    assert found["ada-1"].state(naive(utc_now())) == "acknowledged"
    assert found["ben-1"].state(naive(utc_now())) == "lease runs"
    assert status.bound <= status.halt.since + TTL + SKEW


def _met(lab: Lab) -> bool:
    found = {one.device.name: one for one in status_of(lab).devices}
    stopped = "ada-1" in found and found["ada-1"].acknowledged is not None
    return stopped and "ben-1" in found and found["ben-1"].refused >= 3
