"""Holds: there or not after a kill, in force until two people end them, and missed if they are taken away."""

from __future__ import annotations

import signal
from datetime import date, timedelta
from typing import Any

import pytest

from jobs.clear.retention.execute import RetentionJob
from jobs.runner.run import Runner
from keys.errors import KeysError
from lake.errors import DeniedError, IntegrityError, UsageError
from lake.gateway.holds import HoldDesk, hold_document
from lake.rules.hold import HoldScope
from tests.jobs.purging import approve, certified, job, kept
from tests.world import ADA, NOW, World, child, finished, known_rows, landed, same_rows

REVIEW = date(2026, 11, 1)
WHY = "a claim is before the court"
PLACE = """
from datetime import date
from lake.gateway.holds import HoldDesk
from lake.rules.hold import HoldScope

with world.open() as lake:
    sys.addaudithook(hook)
    HoldDesk(lake.home).place("lawyer", HoldScope(w.ADA), "a claim is before the court", date(2026, 11, 1))
"""


@pytest.mark.parametrize(("step", "there"), [("hold.recorded", False), ("hold.committed", True)])
def test_killed_while_it_is_placed(world: World, step: str, there: bool) -> None:
    """Recorded and not committed does not count; committed does."""
    assert finished(child(world, PLACE, step))[0] == -signal.SIGKILL
    with world.open() as lake:
        assert bool(HoldDesk(lake.home).standing().active()) == there
    assert len(world.entries("hold.place")) == 1


def test_it_is_recorded_signed_and_sealed(world: World) -> None:
    """No name of an employee is in the catalog or in the log; the document says everything."""
    with world.open() as lake:
        desk = HoldDesk(lake.home)
        placed = desk.place("lawyer", HoldScope(ADA, "events"), WHY, REVIEW)
        document = hold_document(placed, NOW.date())
        assert (document["employee"], document["state"], document["overdue"]) == (ADA, "in force", False)
        assert document["placed"]["signature"].startswith("telemetry-lake hold v1\n")
        assert hold_document(placed, REVIEW + timedelta(days=1))["overdue"]
        for wrong in (
            lambda: desk.place("lawyer", HoldScope(ADA), "short", REVIEW),
            lambda: desk.place("lawyer", HoldScope(ADA), WHY, NOW.date()),
            lambda: desk.place("lawyer", HoldScope(ADA), WHY, date(2030, 1, 1)),
            lambda: desk.release("judge", "0" * 32, WHY),
        ):
            with pytest.raises(UsageError):
                wrong()
        desk.release("judge", placed.id, WHY)
        with pytest.raises(DeniedError):
            desk.release("judge", placed.id, WHY)
        assert desk.release("lawyer", placed.id, WHY).released is not None
        assert desk.release("anybody", placed.id, WHY).released is not None
    entries = [entry for entry in world.entries() if str(entry["type"]).startswith("hold.")]
    assert [entry["type"] for entry in entries] == ["hold.place", "hold.ask", "hold.deny", "hold.release"]
    assert ADA not in str(entries)


@pytest.mark.parametrize(
    "tampering",
    [
        "DELETE FROM holds",
        "DELETE FROM holds WHERE kind = 'ask'",
        "UPDATE holds SET kind = 'release' WHERE kind = 'ask'",
        "UPDATE holds SET at = at + 1 WHERE kind = 'place'",
    ],
)
def test_one_that_is_taken_away_is_missed(world: World, tampering: str) -> None:
    """Nothing is purged then."""
    with world.open() as lake:
        desk = HoldDesk(lake.home)
        placed = desk.place("lawyer", HoldScope(ADA), WHY, REVIEW)
        desk.release("lawyer", placed.id, WHY)
        plan = job(lake).plan()
        approve(lake, plan.hash)
        with lake.home.catalog.database.writing() as connection:
            connection.exec_driver_sql(tampering)
    with world.open() as lake, pytest.raises((IntegrityError, KeysError)):
        Runner(lake.home).run(job(lake), plan)
    assert same_rows(world.rows(), landed(known_rows()))


def test_one_that_comes_right_before_the_commit_counts(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is asked for in the commit's own transaction; what was decided before is decided again."""
    real: Any = RetentionJob._commit
    placed = []

    def late(self: RetentionJob, *arguments: Any) -> Any:
        if not placed:
            placed.append(HoldDesk(lake.home).place("lawyer", HoldScope(ADA), WHY, REVIEW))
        return real(self, *arguments)

    monkeypatch.setattr(RetentionJob, "_commit", late)
    with world.open() as lake:
        approve(lake, job(lake).plan().hash)
        done = Runner(lake.home).run(job(lake))
        assert done.counts["held_files"] > 0
    expected = kept(known_rows())
    spared = [one for one in landed(known_rows()) if one in expected or one["employee"] == ADA]
    assert len(spared) > len(expected)
    assert same_rows(world.rows(), spared)
    assert certified(world).data["counts"]["held_files"] == done.counts["held_files"]
