"""Queries killed or cut off from the log at every step: no record, no rows, and what is unfinished counts as read."""

from __future__ import annotations

import shutil
import signal
from typing import Any

import pytest

from lake.errors import AuditUnavailableError
from lake.gateway.reports import Interval, Reports
from tests import world as w
from tests.world import World, child, finished

ASKING = """
with world.connect(settings=w.small_settings(release_bytes=20_000, threads=1)) as connection:
    sys.addaudithook(hook)
    result = connection.sql(sys.argv[5])
    for batch in result.batches():
        print(batch.num_rows, flush=True)
print("finished", flush=True)
"""
LARGE = "SELECT a.n, b.ts FROM events a, events b"
"""Several parts of 20,000 bytes each, as the engine hands out 2,048 rows or more at a time."""


def reports(world: World) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The blast radius of the reader, and the reads of an employee's rows."""
    with world.open() as lake:
        report = Reports(lake.home, lake.policies, lake.actor)
        radius = report.blast_radius(w.VERA, Interval())
        subject = report.subject_report(w.ADA, Interval(), identities=False)
        return radius, subject["reads"]


def rows_on_record(world: World) -> int:
    """Rows that the log says were released."""
    return sum(entry["rows"] for entry in world.entries("query.outcome"))


@pytest.mark.parametrize(
    ("step", "turn"),
    [
        ("query.intended", 1),
        ("query.keys-released", 1),
        ("query.computed", 1),
        ("query.outcome-recorded", 1),
        ("query.computed", 2),
        ("query.outcome-recorded", 2),
        ("audit.journal-written", 1),
        ("audit.journal-synced", 1),
        ("audit.journal-written", 2),
    ],
)
def test_no_row_leaves_before_its_record(world: World, step: str, turn: int) -> None:
    """Killed anywhere, a reader has seen no more rows than the log says, and the open query counts as a read."""
    status, out, err = finished(child(world, ASKING, step, turn, "SELECT a.n, b.ts FROM events a, events b, range(40)"))
    assert status == -signal.SIGKILL, err
    seen = sum(int(line) for line in out.split())
    recorded = rows_on_record(world)
    assert seen <= recorded
    if turn == 1 and step != "query.outcome-recorded":
        assert seen == recorded == 0
    intents = world.entries("query.intent")
    radius, reads = reports(world)
    released = (step.startswith("query.") and step != "query.intended") or (step, turn) == ("audit.journal-written", 2)
    assert radius["unwrapped"]["keys"] == (32 if released else 0)
    assert radius["possibly"]["open_intents"] == [intents[0]["index"]]
    assert radius["possibly"]["employees"] == 4
    assert [read["read"] == "yes" for read in reads] == [recorded > 0]
    assert reads[0]["sensitivities"] == [1, 3, 4]
    assert len(world.rows()) == 144


def test_without_a_kill_the_same_child_finishes(world: World) -> None:
    """The control: nothing is open, and the rows seen are the rows on record."""
    status, out, err = finished(child(world, ASKING, "", 1, LARGE))
    assert status == 0, err
    lines = out.split()
    assert lines.pop() == "finished"
    assert sum(map(int, lines)) == 144 * 144 == rows_on_record(world)
    radius, reads = reports(world)
    assert radius["possibly"]["open_intents"] == []
    assert [read["read"] for read in reads] == ["yes"]


FAILING = """
import errno, resource
from lake.errors import AuditUnavailableError

def full_disk():
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))

def failing_sync():
    def fdatasync(descriptor):
        raise OSError(errno.EIO, "injected")
    os.fdatasync = fdatasync

def act():
    {"full": full_disk, "sync": failing_sync}[sys.argv[5]]()

rows = 0
with world.connect(settings=w.small_settings(release_bytes=20_000, threads=1)) as connection:
    sys.addaudithook(hook)
    if step == "now":
        act()
    try:
        for batch in connection.sql(sys.argv[6]).batches():
            rows += batch.num_rows
        print("no error")
    except AuditUnavailableError as error:
        print("unavailable", error.exit_code, rows)
    try:
        connection.sql("SELECT 1").arrow()
        print("answered")
    except AuditUnavailableError:
        print("still unavailable", flush=True)
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
"""


@pytest.mark.parametrize("how", ["full", "sync"])
def test_no_intent_no_key(world: World, how: str) -> None:
    """Where the INTENT cannot be recorded, no key is released and no row leaves, until the log is opened anew."""
    world.rows("SELECT 1")  # the reader is known to the catalog, so that the log alone fails
    status, out, err = finished(child(world, FAILING, "now", 1, how, "SELECT n FROM events"))
    assert (status, out) == (0, "unavailable 5 0\nstill unavailable\n"), err
    with world.open() as lake:
        assert lake.home.key_store.releases() == {}
    assert len(world.rows()) == 144


@pytest.mark.parametrize("how", ["full", "sync"])
@pytest.mark.parametrize("step", ["query.keys-released", "query.computed"])
def test_no_outcome_no_row(world: World, how: str, step: str) -> None:
    """Where the OUTCOME cannot be recorded, keys were released and no row leaves; the query stays open in reports."""
    world.rows("SELECT 1")
    status, out, err = finished(child(world, FAILING, step, 1, how, "SELECT n FROM events"))
    assert (status, out) == (0, "unavailable 5 0\nstill unavailable\n"), err
    radius, _ = reports(world)
    assert radius["unwrapped"]["keys"] == 32
    if how == "full":
        assert len(radius["possibly"]["open_intents"]) == 1
    assert len(world.rows()) == 144


def test_a_stream_stops_where_the_log_does(world: World) -> None:
    """A log that fails between the parts of a result ends the stream at the last recorded part."""
    world.rows("SELECT 1")
    sql = "SELECT a.n, b.ts FROM events a, events b, range(40)"
    status, out, err = finished(child(world, FAILING, "query.computed", 2, "full", sql))
    assert status == 0, err
    assert out.startswith("unavailable 5 ")
    assert 0 < int(out.split()[2]) == rows_on_record(world) - 1 < 144 * 144 * 40  # 1: the row of SELECT 1


def test_a_lost_log_stops_everything(world: World) -> None:
    """With its folder gone, the log is unavailable or damaged and no query is answered."""
    with world.connect() as connection:
        shutil.rmtree(world.root / "audit")
        for _ in range(2):
            with pytest.raises(AuditUnavailableError):
                connection.sql("SELECT n FROM events")
        assert connection._home.key_store.releases() == {}
        (world.root / "audit").mkdir()
        (world.root / "audit" / "lock").touch()
        with pytest.raises(AuditUnavailableError):
            connection.sql("SELECT n FROM events")
