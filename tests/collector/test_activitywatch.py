"""The bridge: what happened under leases lands once, whatever dies or is absent; what happened outside never does."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import pytest

from lake.collector import Collector
from lake.collector.activitywatch import ActivityWatchBridge
from lake.collector.aw_server import AwServer
from lake.errors import MalformedInputError, UnavailableError
from tests.collector.aw_double import AwDouble, serving
from tests.collector.lab import Lab, crash, naive, upload
from tests.world import ADA

CONTRACT = """
dataset: desk
version: 1
title: Desk
notice: Made up for tests.
purposes: [incident]
retention: {"1": 90d, "2": 60d, "3": 30d, "4": 30d}
fields:
  app: {type: string, sensitivity: 1, notice: A program.}
  window_title: {type: string, sensitivity: 2, notice: A title.}
  url_host: {type: string, sensitivity: 2, notice: A site.}
  status: {type: string, sensitivity: 1, notice: Whether in use.}
  presses: {type: int64, sensitivity: 1, notice: Keys.}
  clicks: {type: int64, sensitivity: 1, notice: Clicks.}
  duration_ms: {type: int64, sensitivity: 1, notice: How long.}
  seq: {type: int64, sensitivity: 1, notice: Number.}
events:
  window_focus: {sensitivity: 1, notice: W., fields: [app, window_title, duration_ms, seq], required: [app]}
  url_visit: {sensitivity: 2, notice: U., fields: [url_host, duration_ms, seq], required: [url_host]}
  afk: {sensitivity: 1, notice: A., fields: [status, duration_ms, seq], required: [status]}
  input_counts: {sensitivity: 1, notice: I., fields: [presses, clicks, duration_ms, seq]}
filter:
  fields: {app: app, title: window_title, url: url_host}
  apps: {editor: office}
  sites: {wiki.example.com: office}
"""
POLICY = """
purposes: {incident: Incidents}
roles: {all: {grants: [{dataset: desk, purposes: [incident], sensitivity: 4, employee_id: real}]}}
users: {vera: {roles: [all]}}
"""


@dataclass
class Desk:
    """A laptop with ActivityWatch and a bridge."""

    lab: Lab
    double: AwDouble
    window: str = ""
    collector: Collector = field(init=False)
    bridge: ActivityWatchBridge = field(init=False)

    def start(self, boot_id: str = "boot-1", **options: Any) -> None:
        """The collector and the bridge, as after a start of their process."""
        self.collector = self.lab.collector(dataset="desk", types=None, boot_id=boot_id, **options)
        self.bridge = ActivityWatchBridge(AwServer(self.double.url, page=3), self.collector)

    @property
    def wall(self) -> datetime:
        """The laptop's own clock."""
        return self.lab.site.now + self.lab.skew

    def work(self, *apps: str, seconds: int = 5) -> None:
        """So long in each window, with a heartbeat each second, and a look of the bridge after each."""
        for app in apps:
            for _ in range(seconds):
                self.lab.pass_(1)
                self.double.heartbeat(self.window, self.wall, {"app": "editor", "title": app}, 2.5)
                self.collector.keeper.step()
            self.bridge.step()

    def rows(self) -> list[tuple[str, int]]:
        """Titles and seconds that have landed, in order."""
        upload(self.collector)
        found = self.lab.site.world.rows("SELECT window_title, duration_ms, ts, employee FROM desk ORDER BY ts", "vera")
        assert {row["employee"] for row in found} <= {ADA}
        return [(row["window_title"], round(row["duration_ms"] / 1000)) for row in found]


@pytest.fixture
def desk(lab: Lab) -> Iterator[Desk]:
    """Under a contract and a policy for it."""
    lab.site.lake.add_contract(CONTRACT)
    lab.site.lake.apply_policy(POLICY)
    with serving(AwDouble()) as double:
        made = Desk(lab, double)
        made.window = double.bucket("aw-watcher-window_laptop", "currentwindow")
        made.start()
        made.collector.keeper.step()
        made.bridge.step()
        yield made


def test_closed_events_land_once_and_the_newest_waits(desk: Desk) -> None:
    desk.work("one", "two", "three")
    assert desk.rows() == [("one", 4), ("two", 4)]
    desk.bridge.step()
    desk.work("four")
    assert desk.rows() == [("one", 4), ("two", 4), ("three", 4)]


def test_every_kind_of_bucket_and_only_of_this_machine(desk: Desk) -> None:
    kinds = {
        "afk": ("afkstatus", {"status": "not-afk"}),
        "web": ("web.tab.current", {"url": "https://wiki.example.com/secret?q=1", "title": "t", "incognito": False}),
        "private": ("web.tab.current", {"url": "https://wiki.example.com/", "title": "t", "incognito": True}),
        "bank": ("web.tab.current", {"url": "https://paypal.com/", "title": "t", "incognito": False}),
        "input": ("os.hid.input", {"presses": 3, "clicks": 1, "deltaX": 9, "shortcut": "ctrl+c"}),
        "other": ("general.stopwatch", {"label": "x"}),
    }
    for name, (kind, data) in kinds.items():
        desk.double.bucket(name, kind)
        desk.double.bucket(f"{name}-elsewhere", kind, "another-laptop")
        for bucket in (name, f"{name}-elsewhere"):
            desk.double.insert(bucket, desk.wall + timedelta(seconds=1), 2, data)
            desk.double.insert(bucket, desk.wall + timedelta(seconds=4), 2, data)
    desk.lab.pass_(10)
    desk.bridge.step()
    upload(desk.collector)
    found = desk.lab.site.world.rows("SELECT type, status, url_host, presses, clicks FROM desk ORDER BY type", "vera")
    assert [row["type"] for row in found] == ["afk", "input_counts", "url_visit"]
    assert [found[0]["status"], found[1]["presses"], found[2]["url_host"]] == ["not-afk", 3, "wiki.example.com"]
    counts = desk.collector.counts
    assert counts["activitywatch.incognito"] == 1
    assert counts["context.denied.banking"] == 1


def test_what_happened_before_the_first_lease_is_not_taken(lab: Lab) -> None:
    lab.site.lake.add_contract(CONTRACT)
    lab.site.lake.apply_policy(POLICY)
    with serving(AwDouble()) as double:
        desk = Desk(lab, double)
        desk.window = double.bucket("w", "currentwindow")
        desk.start()
        for app in ("before", "over"):
            for _ in range(20):
                lab.pass_(1)
                double.heartbeat(desk.window, desk.wall, {"app": "editor", "title": app}, 2.5)
        desk.collector.keeper.step()
        desk.bridge.step()
        desk.work("over", "after")
        # Of what reached over the beginning only the rest is taken.
        assert desk.rows() == [("over", 5)]
        assert desk.collector.counts["activitywatch.unleased"] == 1


def test_a_long_event_lands_whole_under_the_lease_in_which_it_began(desk: Desk) -> None:
    desk.work("begin")
    for _ in range(10):
        desk.work("long", seconds=60)
    assert desk.rows() == [("begin", 4)]
    assert len(desk.collector.keeper.leases.encode()) >= 4
    desk.work("end")
    assert desk.rows() == [("begin", 4), ("long", 599)]


@pytest.mark.parametrize("hours", [2, -2])
def test_a_wall_clock_that_is_wrong_or_set_brings_nothing_to_another_time(desk: Desk, hours: int) -> None:
    begun = naive(desk.lab.site.now)
    desk.work("one", "two")
    desk.lab.skew = timedelta(hours=hours)
    desk.work("three", "four", "five")
    rows = desk.rows()
    assert [title for title, _ in rows][:1] == ["one"]
    assert ("four", 4) in rows
    times = [row["ts"] for row in desk.lab.site.world.rows("SELECT ts FROM desk", "vera")]
    assert all(begun <= ts <= naive(desk.lab.site.now) for ts in times)


def test_what_happens_in_a_pause_never_lands(desk: Desk) -> None:
    desk.work("one", "two")
    assert desk.rows() == [("one", 4)]
    halt = desk.lab.pause()
    paused = naive(desk.lab.site.now)
    desk.collector.keeper._next = desk.lab.boot
    desk.work("secret", "more", "still")
    assert not desk.collector.recording
    asked = len(desk.double.requests)
    desk.work("unseen")
    assert len(desk.double.requests) == asked
    desk.lab.resume(halt)
    resumed = naive(desk.lab.site.now)
    desk.lab.pass_(120)
    desk.work("five", "six", "seven")
    assert [title for title, _ in desk.rows()] == ["one", "five", "six"]
    times = [row["ts"] for row in desk.lab.site.world.rows("SELECT ts FROM desk", "vera")]
    assert all(ts < paused or ts >= resumed for ts in times)
    assert not {"secret", "more", "still", "unseen"} & {title for title, _ in desk.rows()}


@pytest.mark.parametrize("seconds", [-30, -25, -20, 25])
def test_setting_the_clock_moves_nothing_from_a_pause_into_a_lease(desk: Desk, seconds: int) -> None:
    desk.work("one", "two")
    halt = desk.lab.pause()
    desk.collector.keeper._next = desk.lab.boot
    desk.work("secret", "more")
    assert not desk.collector.recording
    desk.lab.resume(halt)
    desk.lab.pass_(16)
    desk.work("five")
    assert desk.collector.recording
    desk.lab.skew = timedelta(seconds=seconds)
    desk.work("six", "seven", "eight")
    titles = {title for title, _ in desk.rows()}
    assert "seven" in titles
    assert not {"secret", "more"} & titles


def test_killed_between_any_two_looks_nothing_is_lost_or_doubled(desk: Desk) -> None:
    names = [f"w{number}" for number in range(12)]
    for name in names:
        desk.work(name)
        crash(desk.collector)
        desk.start()
        desk.collector.keeper.step()
    desk.work("end")
    assert desk.rows() == [(name, 4) for name in names]


def test_what_came_while_the_bridge_was_away_is_taken_in_few_steps(desk: Desk) -> None:
    """Several leases' worth at once, each event under its own; dying in between takes none twice."""
    for number in range(60):
        for _ in range(10):
            desk.lab.pass_(1)
            desk.double.heartbeat(desk.window, desk.wall, {"app": "editor", "title": f"w{number:02}"}, 2.5)
        desk.collector.keeper.step()
    append, steps = desk.collector.spool.append, list[int]()

    def dying(*arguments: Any, **options: Any) -> bool:
        steps.append(len(arguments[2]))
        if len(steps) == 2:
            raise KeyboardInterrupt
        return append(*arguments, **options)

    desk.collector.spool.append = dying  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        desk.bridge.step()
    crash(desk.collector)
    desk.start()
    desk.collector.keeper.step()
    desk.bridge.step()
    assert desk.rows() == [(f"w{number:02}", 9) for number in range(59)]
    assert steps[0] > 5
    assert desk.collector.counts["batches"] >= 4


def test_a_server_that_is_away_or_wrong_loses_nothing(desk: Desk) -> None:
    desk.work("one")
    for fault, error in (("error", UnavailableError), ("garbage", MalformedInputError), ("cut", UnavailableError)):
        desk.double.fault = fault
        with pytest.raises(error):
            desk.work(fault)
        desk.double.fault = ""
    desk.work("end")
    assert desk.rows() == [("one", 4), ("error", 4), ("garbage", 4), ("cut", 4)]


def test_a_bucket_that_is_garbage_holds_up_no_other(desk: Desk) -> None:
    desk.work("one", "two")
    bad = desk.double.bucket("a-first", "afkstatus")
    desk.double.insert(bad, desk.wall, 1e9, {"status": "afk"})
    with pytest.raises(MalformedInputError):
        desk.work("three")
    with pytest.raises(MalformedInputError):
        desk.work("four")
    assert desk.rows() == [("one", 4), ("two", 4), ("three", 4)]


def test_what_a_watcher_brings_late_is_taken_once(desk: Desk) -> None:
    desk.work("one", "two", "three")
    desk.double.insert(desk.window, desk.wall - timedelta(seconds=7), 1, {"app": "editor", "title": "late"})
    desk.work("four", "five")
    assert sorted(title for title, _ in desk.rows()) == ["four", "late", "one", "three", "two"]


def test_a_full_spool_leaves_the_rest_with_the_server(desk: Desk) -> None:
    desk.work("one")
    most, desk.collector.spool._most = desk.collector.spool._most, 0
    desk.work("two", "three")
    assert desk.collector.counts.get("recorded", 0) == 0
    desk.collector.spool._most = most
    desk.work("four")
    assert [title for title, _ in desk.rows()] == ["one", "two", "three"]
    assert "spool.full" not in desk.collector.counts
