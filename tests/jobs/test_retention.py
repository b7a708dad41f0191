"""Purges: exactly the rows that are past go, with the keys that opened them, whatever is killed where."""

# ruff: noqa: DTZ001 - capture times are naive UTC
from __future__ import annotations

import signal
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from jobs.runner.journal import RunJournal
from jobs.runner.run import Options, Runner
from jobs.sealed.retention.certificate import open_certificate
from jobs.sealed.retention.verify import Verification
from keys.errors import KeysError
from lake.errors import DeniedError, IntegrityError, UsageError
from lake.gateway.doctor import DAMAGE, Doctor
from lake.gateway.holds import HoldDesk
from lake.gateway.reconcile import reconcile
from lake.gateway.retention import RetentionDesk
from lake.rules.hold import HoldScope
from tests.jobs.purging import TODAY, approve, certified, files, job, kept, opens, purge, saved, tree
from tests.world import ADA, BEN, DORA, NOW, World, child, finished, known_rows, landed, make, row, same_rows, table

ROWS = known_rows()
EXPECTED = kept(ROWS)
FEW = [one for one in ROWS if one["employee"] in {ADA, DORA}]
"""Months that are over as a whole, and one that is over in part."""
RULES = """
rules:
  - {match: {dataset: events, sensitivity: 1}, keep: 60d, hard_max: 300d, method: crypto}
  - {match: {sensitivity: [3, 4]}, keep: 40d}
second_person_above: {rows: 5, employees: 1000}
"""


def whole(world: World, expected: list[dict[str, Any]]) -> None:
    """Exactly these rows are readable, each once, and everything that is there fits together."""
    assert same_rows(world.rows(), expected)
    with world.open() as lake:
        assert not [found for found in Doctor(lake.home).examine_lake() if found.state == DAMAGE]
        assert reconcile(lake.home, lake.actor).differences == []
        lake.home.catalog.verify()


def test_rows_that_are_past_go_and_the_others_stay_as_they_were(world: World) -> None:
    """Whole months by their keys, partial files written anew; counts equal an oracle's, wraps saved before are dead."""
    gone = [one for one in landed(ROWS) if one not in EXPECTED]
    assert 0 < len(gone) < len(ROWS)
    with world.open() as lake:
        before, wraps = files(lake), saved(lake)
        done = purge(lake)
        after = files(lake)
        assert done.counts["rows"] == len(gone)
        assert done.counts["rewritten"] > 0
        assert done.counts["files"] > 0
        replaced = before.keys() - after.keys()
        assert done.counts["files"] + done.counts["rewritten"] == len(replaced)
        assert not set(opens(lake, wraps)) & replaced, "no key that the lake has opens what went"
        assert not [before[name].object_key for name in replaced if (world.root / before[name].object_key).exists()]
    whole(world, EXPECTED)
    data = certified(world).data
    assert data["counts"]["rows"] == len(gone)
    assert data["deks"]["count"] == len(replaced)
    assert data["keks"]["count"] == done.counts["keks"]
    with world.open() as lake:
        assert job(lake).plan().items == ()


def test_planning_changes_no_byte_and_gives_the_same_hash(world: World) -> None:
    """All day long; on another day it is another plan."""
    with world.open() as lake:
        job(lake).plan()
    before = tree(world.root)
    with world.open(clock=lambda: NOW + timedelta(hours=3)) as lake:
        one = job(lake).plan()
    assert tree(world.root) == before
    with world.open() as lake:
        assert job(lake).plan().hash == one.hash
        assert job(lake, as_of=TODAY).plan().hash == one.hash
        assert job(lake, as_of=TODAY - timedelta(days=1)).plan().hash != one.hash
        with pytest.raises(UsageError, match="time that has come"):
            job(lake, as_of=TODAY + timedelta(days=1)).plan()


def test_a_stale_plan_and_one_that_nobody_approved_are_refused(world: World) -> None:
    """Nothing is begun: no run, no key and no row is touched."""
    with world.open() as lake:
        plan = job(lake).plan()
        with pytest.raises(DeniedError, match="second person"):
            Runner(lake.home).run(job(lake))
        RetentionDesk(lake.home).approve(plan.hash, "operator", {})
        with pytest.raises(DeniedError, match="second person"):
            Runner(lake.home).run(job(lake))
        approve(lake, plan.hash)
        late = row(ADA, datetime(2026, 8, 3, 9), "judge", note="late", n=1)
        lake.ingest("events", table([late]), batch_id="late")
        assert job(lake).plan().hash != plan.hash
        with pytest.raises(UsageError, match="not the one"):
            Runner(lake.home, Options(plan=plan.hash)).run(job(lake))
        assert RunJournal(lake.home).recent("retention") == []
    whole(world, landed([*ROWS, late]))


def test_a_plan_of_a_clock_that_was_put_back_waits(world: World) -> None:
    """What was planned as of a later day is not executed before it."""
    with world.open() as lake:
        plan = job(lake).plan()
        approve(lake, plan.hash)
    with world.open(clock=lambda: NOW - timedelta(days=20)) as lake, pytest.raises(UsageError, match="put back"):
        Runner(lake.home).run(job(lake), plan)
    whole(world, landed(ROWS))


def test_a_hold_between_plan_and_execution_keeps_its_rows(world: World) -> None:
    """They are counted, re-enter the next plan once two people release it, and the rest goes."""
    with world.open() as lake:
        plan = job(lake).plan()
        approve(lake, plan.hash)
        desk = HoldDesk(lake.home)
        scope = HoldScope(ADA, "events", datetime(2026, 7, 10), datetime(2026, 8, 10))
        hold = desk.place("lawyer", scope, "a claim is before the court", date(2026, 11, 1))
        assert job(lake).plan().hash == plan.hash, "a hold blocks execution, not planning"
        assert job(lake).plan().shown["held_files"] > 0
        done = Runner(lake.home, Options(plan=plan.hash)).run(job(lake))
        assert done.counts["held_files"] > 0
    held = [
        one
        for one in landed(ROWS)
        if one["employee"] == ADA and datetime(2026, 7, 10) <= one["ts"] < datetime(2026, 8, 10)
    ]
    spared = [one for one in landed(ROWS) if one in EXPECTED or one in held]
    assert len(spared) > len(EXPECTED)
    whole(world, spared)
    assert certified(world).data["counts"]["held_files"] == done.counts["held_files"]
    with world.open() as lake:
        desk = HoldDesk(lake.home)
        assert desk.release("lawyer", hold.id, "the claim was settled").active
        with pytest.raises(DeniedError, match="second person"):
            desk.release("lawyer", hold.id, "the claim was settled")
        assert not desk.release("judge", hold.id, "the claim was settled").active
        purge(lake)
    whole(world, EXPECTED)


STEPS = [
    *("job.recorded", "job.item", "retention.decided", "retention.closed", "keys.keks-made", "retention.fenced"),
    *("retention.intended", "retention.object-written", "retention.objects-durable", "retention.committed"),
    *("keys.deks-swapped", "retention.destroyed", "retention.deleted", "job.item-done", "job.item-closed"),
    *("job.finished", "job.closed"),
]
EXECUTE = """
from tests.jobs.purging import job
from jobs.runner.run import Runner

with world.open() as lake:
    sys.addaudithook(hook)
    Runner(lake.home).run(job(lake))
"""


@pytest.fixture(scope="module", name="few_template")
def _few_template(tmp_path_factory: pytest.TempPathFactory) -> World:
    """Rows of two people, for what is tried at every step; only to be copied."""
    return make(tmp_path_factory.mktemp("few"), rows=FEW)


@pytest.mark.parametrize(
    ("step", "turn"), [(step, turn) for step in STEPS for turn in (1, 2) if step[:4] != "job." or turn == 1]
)
def test_killed_anywhere_the_purge_goes_on(few: World, step: str, turn: int) -> None:
    """No kept row is ever missing, no purged one comes back, and nothing is certified before the end."""
    young = row(DORA, datetime(2026, 8, 25, 9), "judge", note="kept", n=1)
    with few.open() as lake:
        lake.ingest("events", table([young]), batch_id="young")
        before, wraps = files(lake), saved(lake)
        approve(lake, job(lake).plan().hash)
    code = finished(child(few, EXECUTE, step, turn))[0]
    if code == 0 and turn == 2:
        pytest.skip("passed once only")
    assert code == -signal.SIGKILL
    stay = [*kept(FEW), *landed([young])]
    readable = few.rows()
    assert same_rows([one for one in readable if any(same_rows([one], [other]) for other in stay)], stay)
    assert len(readable) <= len(FEW) + 1
    with few.open() as lake:
        if RunJournal(lake.home).unfinished("retention"):
            with pytest.raises(UsageError, match="no purge"):
                Verification(lake.home, lake.actor)
            Runner(lake.home).run(job(lake))
        replaced = before.keys() - files(lake).keys()
        assert not set(opens(lake, wraps)) & replaced
    whole(few, stay)
    data = certified(few).data
    assert data["counts"]["rows"] == len(FEW) - len(kept(FEW))
    assert data["deks"]["count"] == len(replaced)


def test_rules_shorten_what_contracts_promise(world: World) -> None:
    """Months go by destroying keys where they are wholly past; the shortest of several wins; rules have a version."""
    with world.open() as lake:
        desk = RetentionDesk(lake.home)
        assert desk.apply(RULES, "rules.yaml", "operator")[1]
        assert not desk.apply(RULES, "rules.yaml", "operator")[1]
        assert desk.version() == 1
        plan = job(lake).plan()
        assert plan.facts["rules"] == desk.current().digest
        assert plan.facts["second_person"]
        purge(lake)
    # July is past 60 days as a whole on 30 September only: level 1 stays; level 3 has 40 days of its own.
    whole(world, kept(ROWS, {1: 365, 2: 180, 3: 40, 4: 30}))
    month_later = NOW + timedelta(days=16)
    with world.open(clock=lambda: month_later) as lake:
        plan = job(lake).plan()
        approve(lake, plan.hash)
        Runner(lake.home).run(job(lake))
    at = datetime(2026, 10, 1)
    days = {1: 365, 2: 180, 3: 40, 4: 30}
    expected = [
        one for one in kept(ROWS, days, at) if not (one["sensitivity"] == 1 and one["ts"] < datetime(2026, 8, 1))
    ]
    assert len(expected) < len(kept(ROWS, days, at))
    whole(world, expected)


def test_late_rows_land_where_a_month_goes_on_and_not_where_it_is_over(world: World) -> None:
    """A month that no contract keeps is closed for good; another has a new key."""
    with world.open() as lake:
        purge(lake)
        rows = [row(BEN, datetime(2026, 8, 20, 9), "judge", note="late", n=1)]
        lake.ingest("events", table(rows), batch_id="late-august")
        with pytest.raises(Exception, match="disabled or destroyed"):
            lake.ingest(
                "events", table([row(BEN, datetime(2026, 7, 20), "judge", note="x", n=1)]), batch_id="late-july"
            )
    whole(world, [*EXPECTED, *landed(rows)])


def test_rows_of_the_future_stay_until_their_time(world: World) -> None:
    """Landed while the clock was ahead, which was put back then: nothing is purged early, and all of it in time."""
    ahead = row(ADA, datetime(2026, 9, 20), "judge", note="ahead", n=3)
    with world.open(clock=lambda: NOW + timedelta(days=6)) as lake:
        lake.ingest("events", table([ahead]), batch_id="ahead")
    with world.open() as lake:
        purge(lake)
    with world.open(clock=lambda: NOW + timedelta(days=34)) as lake:
        assert [file for file in files(lake).values() if file.first_ts == ahead["ts"]]
        approve(lake, job(lake).plan().hash)
        Runner(lake.home).run(job(lake))
        assert [file for file in files(lake).values() if file.first_ts == ahead["ts"]]
    with world.open(clock=lambda: NOW + timedelta(days=36)) as lake:
        approve(lake, job(lake).plan().hash)
        Runner(lake.home).run(job(lake))
        assert not [file for file in files(lake).values() if file.first_ts == ahead["ts"]]


def test_with_a_backup_no_older_copy_of_the_key_store_opens(world: World, tmp_path: Path) -> None:
    """Without one the certificate lists what may; the horizon is stated only if somebody says how long."""
    backups = tmp_path / "backups"
    with world.open() as lake:
        from lake.gateway.keykeeping import KeyKeeping

        backup, _ = KeyKeeping(lake.home, lake.actor).backup(backups)
        done = purge(lake, backup=backups)
        keeping = KeyKeeping(lake.home, lake.actor)
        with pytest.raises(KeysError):
            keeping.restore_test(backups, backup)
    data = certified(world).data
    assert data["erased"]["buckets"] > 0
    assert data["residuals"] == []
    assert done.counts["rows"] == data["counts"]["rows"]
    whole(world, EXPECTED)


def test_without_one_it_lists_what_may_open(world: World, tmp_path: Path) -> None:
    """The backup from before, and copies that nobody has told of."""
    with world.open() as lake:
        from lake.gateway.keykeeping import KeyKeeping

        backup, _ = KeyKeeping(lake.home, lake.actor).backup(tmp_path / "backups")
        purge(lake)
    data = certified(world, copies_kept=35).data
    assert (data["residuals"][0]["what"], data["residuals"][0]["id"]) == ("key backup", backup)
    assert all(one["readable"] for one in data["residuals"])
    assert data["horizon"]["after"].startswith("2026-10-20")


def test_a_certificate_is_checked_offline_and_breaks_on_any_change(world: World) -> None:
    """With the public key alone; every part of it, every line and every sort of edit counts."""
    with world.open() as lake:
        purge(lake)
        text = Verification(lake.home, lake.actor).certify()
        key = lake.home.config.audit_key
    found = open_certificate(text, key)
    assert found.data["plan"].startswith("sha256:")
    assert ADA not in text
    lines = text.split("\n")
    changed = [text.replace('"rows":', '"rows" :', 1), text + "\n", text.replace("\n", "\r\n"), text[:-1], " " + text]
    for index, line in enumerate(lines):
        if line:
            middle = len(line) // 2
            other = "A" if line[middle] != "A" else "B"
            changed.append("\n".join([*lines[:index], line[:middle] + other + line[middle + 1 :], *lines[index + 1 :]]))
            changed.append("\n".join(lines[:index] + lines[index + 1 :]))
    for edited in changed:
        with pytest.raises((IntegrityError, UsageError)):
            open_certificate(edited, key)


def test_nothing_is_certified_if_a_key_came_back(world: World) -> None:
    """A key store that was restored, or a catalog row that has its wrap again, is found."""
    with world.open() as lake:
        purge(lake)
        with lake.home.key_database.writing() as connection:
            connection.exec_driver_sql("UPDATE keks SET state = 'decrypt_only' WHERE state = 'destroyed'")
        with pytest.raises(IntegrityError, match="is in the key store"):
            Verification(lake.home, lake.actor).certify()


def test_an_employee_who_is_suspended_waits(world: World) -> None:
    """What cannot be read is not written anew; what goes as a whole goes, and the count says what is left."""
    from lake.gateway.keykeeping import KeyKeeping
    from lake.gateway.keyplans import KeyScope

    with world.open() as lake:
        KeyKeeping(lake.home, lake.actor).change_state(KeyScope(frozenset({DORA})), disabled=True, whole_level=False)
        done = purge(lake)
        assert done.counts["suspended"] == 1
        KeyKeeping(lake.home, lake.actor).change_state(KeyScope(frozenset({DORA})), disabled=False, whole_level=False)
        purge(lake)
    whole(world, EXPECTED)
