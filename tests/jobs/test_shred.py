"""Shredding as a job: keys, objects in every version, a certificate; refused under a hold, resumed after a kill."""

# ruff: noqa: DTZ001, S608 - capture times are naive UTC; the SQL is made of constants
from __future__ import annotations

import base64
import signal
from contextlib import suppress
from datetime import date, datetime
from pathlib import Path

import pytest

from jobs.runner.journal import RunJournal
from jobs.runner.run import Runner
from jobs.sealed.retention.shred import ShredJob, opted_out
from keys.errors import EmployeeErasedError, KeyIntegrityError
from lake.errors import DeniedError, IntegrityError, UsageError
from lake.gateway.collection.devices import Devices
from lake.gateway.collection.halts import Halts
from lake.gateway.doctor import DAMAGE, Doctor
from lake.gateway.erased import Erased
from lake.gateway.holds import HoldDesk
from lake.rules.halt import EventKind, Order, Scope, ScopeKind
from lake.rules.hold import HoldScope
from lake.sealed.catalog import dump
from tests.jobs.purging import certified, files, opens, saved
from tests.world import ADA, BEN, CLEO, World, child, finished, known_rows, landed, row, same_rows, table

SHRED = """
from jobs.runner.run import Runner
from jobs.sealed.retention.shred import ShredJob

with world.open() as lake:
    sys.addaudithook(hook)
    Runner(lake.home).run(ShredJob(lake.home, lake.actor, employees=[w.ADA, w.BEN], backup=Path(sys.argv[5])))
"""
REMAINING = [one for one in landed(known_rows()) if one["employee"] not in {ADA, BEN}]


def check(world: World, before: set[str]) -> None:
    """Nothing of theirs is left, everything of the others is, and the certificate says so."""
    assert same_rows(world.rows(), REMAINING)
    assert not [path for path in world.objects() if path.relative_to(world.root).as_posix() in before]
    data = certified(world).data
    assert data["kind"] == "shred"
    assert data["counts"]["employees"] == 2
    assert data["keks"]["count"] == data["counts"]["keks"] > 0
    assert data["residuals"] == []
    assert data["searched"]["wraps_tried"] >= 0
    assert data["counts"]["refused"] > 0
    with world.open() as lake:
        assert lake.home.directory.find([ADA, BEN, CLEO]).keys() == {CLEO}
        assert len(lake.home.catalog.directory()) == 2
        lake.home.catalog.verify()
        assert not [one for one in Doctor(lake.home).examine_lake() if one.state == DAMAGE]
        with lake.home.catalog.database.reading() as connection:
            pages = {
                each.name: [one for _, part in dump.pages(connection, each) for one in part] for each in dump.TABLES
            }
        assert (
            dump.verify(lambda name: map(dict, pages[name]), lake.home.control.catalog_mac) == lake.home.catalog.head()
        )


def theirs(world: World) -> set[str]:
    """Keys of the objects of two employees."""
    with world.open() as lake:
        names = {subject.id for subject in lake.home.directory.find([ADA, BEN]).values()}
        return {file.object_key for file in files(lake).values() if file.partition.subject in names}


def test_keys_and_objects_go_and_the_others_stay(world: World, tmp_path: Path) -> None:
    """The plan changes nothing; wraps saved before open no more; a late batch is refused."""
    before = theirs(world)
    with world.open() as lake:
        wraps = saved(lake)
        job = ShredJob(lake.home, lake.actor, employees=[ADA, BEN], backup=tmp_path / "backup")
        plan = job.plan()
        assert plan.hash == job.plan().hash
        assert (plan.facts["employees"], plan.facts["objects"]) == (2, len(before))
        done = Runner(lake.home).run(job)
        assert done.counts["objects"] == len(before)
        left = {request.binding.object_key for request in wraps if request.binding.file_id in opens(lake, wraps)}
        assert not left & before
        with pytest.raises(EmployeeErasedError):
            lake.ingest("events", table([row(ADA, datetime(2026, 9, 1), "judge", note="x", n=1)]), batch_id="late")
    check(world, before)


def test_what_the_log_says_of_them_goes_too(world: World, tmp_path: Path) -> None:
    """Details that named one of them open no more, whoever asks; the others do, and the log is whole."""
    with world.connect() as connection:
        for name in (ADA, CLEO):
            connection.sql(f"SELECT n FROM events WHERE employee = '{name}'").arrow()
    of_ada, of_cleo = world.entries("query.intent")[-2:]
    with world.open() as lake:
        assert ADA in lake.home.recorder.open_detail(of_ada)["sql"]  # type: ignore[index]
        former = [sealed for _, sealed in lake.home.catalog.directory().values()]
        Runner(lake.home).run(ShredJob(lake.home, lake.actor, employees=[ADA], backup=tmp_path / "backup"))
        assert lake.home.recorder.open_detail(of_ada) == {"erased": True}
        assert CLEO in lake.home.recorder.open_detail(of_cleo)["sql"]  # type: ignore[index]
        # Nor with any entry that is left.
        name, sealed = f"{of_ada['actor']['p']}/{of_ada['ts'][:7]}", base64.b64decode(of_ada["sealed"])
        opened = 0
        for entry in former:
            left = entry in [found for _, found in lake.home.catalog.directory().values()]
            with suppress(KeyIntegrityError):
                lake.home.control.open_detail(name, sealed, [entry])
                opened += 1
                assert not left
        assert opened == 1
        assert not [one for one in Doctor(lake.home).examine_lake() if one.state == DAMAGE]


def test_who_is_hired_again_starts_afresh(world: World, tmp_path: Path) -> None:
    """Once somebody has said so: another pseudonym, and shredded again without a trace of the first time."""
    sent = row(ADA, datetime(2026, 9, 1), "judge", note="back", n=1)
    with world.open() as lake:
        (former,) = lake.home.directory.find([ADA]).values()
        for turn in range(2):
            job = ShredJob(lake.home, lake.actor, employees=[ADA], backup=tmp_path / "backup")
            assert Runner(lake.home).run(job).counts["entries"] == 1
            with pytest.raises(EmployeeErasedError):
                lake.ingest("events", table([sent]), batch_id=f"late-{turn}")
            Erased(lake.home).admit("hr", ADA)
            with pytest.raises(UsageError, match="not erased"):
                Erased(lake.home).admit("hr", ADA)
            lake.ingest("events", table([sent]), batch_id=f"again-{turn}")
            (fresh,) = lake.home.directory.find([ADA]).values()
            assert fresh.id != former.id
            former = fresh
        lake.home.catalog.verify()
    others = [one for one in landed(known_rows()) if one["employee"] != ADA]
    assert same_rows(world.rows(), [*others, *landed([sent])])


def test_a_hold_refuses_it(world: World, tmp_path: Path) -> None:
    """On the employee, or on everybody; not one on another employee. Nothing was changed."""
    with world.open() as lake:
        job = ShredJob(lake.home, lake.actor, employees=[ADA], backup=tmp_path / "backup")
        desk = HoldDesk(lake.home)
        desk.place("lawyer", HoldScope(CLEO), "a claim of somebody else", date(2026, 12, 1))
        assert job.plan().shown == {"holds": 0}
        hold = desk.place("lawyer", HoldScope(dataset="events"), "a claim before the court", date(2026, 12, 1))
        assert job.plan().shown == {"holds": 1}
        with pytest.raises(DeniedError, match="legal holds"):
            Runner(lake.home).run(job)
        assert RunJournal(lake.home).recent("shred") == []
        desk.release("lawyer", hold.id, "the claim was settled")
        desk.release("judge", hold.id, "the claim was settled")
    assert same_rows(world.rows(), landed(known_rows()))
    with world.open() as lake, pytest.raises(UsageError, match="name the employees"):
        Runner(lake.home).run(ShredJob(lake.home, lake.actor))


def test_a_hold_that_comes_late_stops_before_the_keys_are_gone(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are unreadable by then; a backup still has them until the old roots go, and the run can be finished."""
    with world.open() as lake:
        job = ShredJob(lake.home, lake.actor, employees=[ADA, BEN], backup=tmp_path / "backup")
        real, asked = ShredJob._refuse_held, []

        def late(self: ShredJob, numbers: list[int]) -> None:
            asked.append(1)
            if len(asked) == 2:
                HoldDesk(lake.home).place("lawyer", HoldScope(ADA), "a claim before the court", date(2026, 12, 1))
            real(self, numbers)

        monkeypatch.setattr(ShredJob, "_refuse_held", late)
        with pytest.raises(DeniedError, match="legal holds"):
            Runner(lake.home).run(job)
        assert RunJournal(lake.home).unfinished("shred")


@pytest.mark.parametrize(
    ("step", "turn"),
    [
        *(("job.begun", 1), ("shred.named", 1), ("shred.tombstoned", 1), ("keys.backup-proven", 1)),
        *(("keys.root-trimmed", 2), ("shred.proven", 1), ("shred.keys-destroyed", 1), ("shred.object-deleted", 1)),
        *(("shred.object-deleted", 9), ("job.item-done", 1), ("job.item-closed", 1), ("job.closed", 1)),
        *(("directory.remembered", 1), ("directory.erased", 1)),
    ],
)
def test_killed_anywhere_it_goes_on(world: World, tmp_path: Path, step: str, turn: int) -> None:
    """The same command, or the job without names, finishes what was begun."""
    before = theirs(world)
    code = finished(child(world, SHRED, step, turn, tmp_path / "backup"))[0]
    assert code == -signal.SIGKILL
    with world.open() as lake:
        if RunJournal(lake.home).unfinished("shred"):
            Runner(lake.home).run(ShredJob(lake.home, lake.actor))
        wraps = [request for request in saved(lake) if request.binding.object_key in before]
        assert wraps == []
    check(world, before)


def test_nothing_is_certified_while_a_way_is_left(world: World, tmp_path: Path) -> None:
    """A key that is in the key store again is found."""
    with world.open() as lake:
        Runner(lake.home).run(ShredJob(lake.home, lake.actor, employees=[ADA], backup=tmp_path / "backup"))
        with lake.home.key_database.writing() as connection:
            connection.exec_driver_sql("UPDATE keks SET state = 'enabled' WHERE state = 'destroyed'")
    with pytest.raises(IntegrityError, match="in the key store"):
        certified(world)


def test_who_waits_goes_with_the_others(world: World, tmp_path: Path) -> None:
    """Asked for one after another, shredded together: one rekeying of the buckets, and nobody waits any more."""
    with world.open() as lake:
        erased = Erased(lake.home)
        assert erased.asked() == []
        assert erased.ask("hr", [ADA]) == [ADA]
        assert erased.ask("hr", [ADA, BEN]) == [BEN]
        with pytest.raises(UsageError, match="not known"):
            erased.ask("hr", [CLEO, "nobody"])
    assert same_rows(world.rows(), landed(known_rows()))
    with world.open() as lake:
        erased = Erased(lake.home)
        assert erased.asked() == sorted([ADA, BEN])
        done = Runner(lake.home).run(
            ShredJob(lake.home, lake.actor, employees=erased.asked(), backup=tmp_path / "backup")
        )
        assert done.counts["employees"] == 2
        assert erased.asked() == []
        begun = [one for one in world.entries("key.operation") if (one["verb"], one["step"]) == ("shred", "begin")]
        assert len(begun) == 1
        # Who is hired again does not wait for anything.
        erased.admit("hr", ADA)
        lake.ingest("events", table([row(ADA, datetime(2026, 9, 1), "judge", note="x", n=1)]), batch_id="again")
        assert erased.asked() == []


def test_an_opt_out_is_a_plan_to_shred(world: World, tmp_path: Path) -> None:
    """Who opted out and has rows is planned for; who is paused, or was shredded since, is not."""
    with world.open() as lake:
        halts = Halts(lake.home, Devices(lake.home))
        assert opted_out(lake.home) == []
        halts.order("ann", Order(Scope(ScopeKind.EMPLOYEE, ADA), "they asked for it in writing"), EventKind.OPT_OUT)
        halts.order("ann", Order(Scope(ScopeKind.EMPLOYEE, BEN), "a pause for their leave"))
        assert opted_out(lake.home) == [ADA]
        job = ShredJob(lake.home, lake.actor, employees=opted_out(lake.home), backup=tmp_path / "backup")
        assert Runner(lake.home).run(job).counts["employees"] == 1
        assert opted_out(lake.home) == []
    assert not [one for one in world.rows() if one["employee"] == ADA]
    assert [one for one in world.rows() if one["employee"] == BEN]
