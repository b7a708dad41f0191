"""What the reports say, against sets computed by hand and against a calculation over the rows as sent."""

# ruff: noqa: S608 - capture times are naive UTC; the SQL is made of constants
from __future__ import annotations

import random
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import pytest

from lake.errors import DeniedError, UsageError
from lake.gateway.reports import Interval, Reports
from lake.sealed.audit import entries
from tests import world as w
from tests.world import ADA, BEN, CLEO, NOW, World, landed

LANDED = landed(w.known_rows())


def blast(world: World, user: str, within: Interval = Interval()) -> dict[str, Any]:  # noqa: B008 - frozen
    """The blast radius of a user."""
    with world.open() as lake:
        return Reports(lake.home, lake.policies, lake.actor).blast_radius(user, within)


def people(rows: list[dict[str, Any]]) -> list[str]:
    """The employees of some rows."""
    return sorted({one["employee"] for one in rows})


def test_could_unwrapped_and_did_are_three_sets(world: World) -> None:
    """Could is the grant, unwrapped the files that a query asked keys for, did the rows that it touched."""
    world.rows("SELECT n FROM events WHERE sensitivity = 3 AND n > 100", "coco", "study")
    radius = blast(world, "coco")
    cohort = [one for one in LANDED if one["employee"] in {ADA, CLEO} and one["sensitivity"] <= 3]
    did = [one for one in cohort if one["sensitivity"] == 3 and one["n"] > 100]
    assert radius["could"]["employee_ids"] == people(cohort)
    assert set(radius["could"]["by_dataset"]["events"]) == {str(one["sensitivity"]) for one in cohort}
    assert set(radius["unwrapped"]["by_dataset"]["events"]) == {"3"}
    assert radius["unwrapped"]["keys"] == len(
        {(one["employee"], one["ts"].month) for one in cohort if one["sensitivity"] == 3}
    )
    assert radius["did"]["employee_ids"] == people(did)
    assert radius["did"]["rows_released"] == len(did)
    assert (radius["queries"], radius["denials"]) == (1, 0)
    assert radius["possibly"]["open_intents"] == []


def test_a_grant_that_was_revoked_still_counts(world: World) -> None:
    """A policy that was wide for a while stays in the report, and not in the report of a time before or after it."""
    wide = w.POLICY.replace("none: {roles: []}", "none: {roles: [all]}")
    for minutes, policy in ((10, wide), (20, w.POLICY)):
        with world.open(clock=partial(_later, minutes)) as lake:
            lake.apply_policy(policy)
    assert blast(world, "none")["could"]["employees"] == 4
    within = Interval(NOW + timedelta(minutes=12), NOW + timedelta(minutes=15))
    assert blast(world, "none", within)["could"]["employees"] == 4
    assert blast(world, "none", Interval(last=NOW + timedelta(minutes=5)))["could"]["employees"] == 0
    assert blast(world, "none", Interval(first=NOW + timedelta(minutes=25)))["could"]["employees"] == 0
    assert blast(world, "stranger")["could"]["employees"] == 0


def test_denials_are_counted(world: World) -> None:
    """What was refused is in the report of who asked."""
    with world.connect("stu", "own_data") as connection, pytest.raises(DeniedError):
        connection.sql("SELECT 1 FROM events")
    assert blast(world, "stu")["denials"] == 1
    assert blast(world, "stu")["did"]["employees"] == 0


@pytest.mark.parametrize("identities", [False, True])
def test_an_employee_learns_what_was_read_and_by_whom_only_if_due(world: World, identities: bool) -> None:
    """The report of an employee lists batches and reads of their rows; readers are named only where that is due."""
    world.rows(f"SELECT n FROM events WHERE employee = '{BEN}'")
    world.rows(f"SELECT n FROM events WHERE employee = '{ADA}' AND sensitivity = 4")
    with world.open() as lake:
        report = Reports(lake.home, lake.policies, lake.actor)
        ada = report.subject_report(ADA, Interval(), identities=identities)
        with pytest.raises(UsageError):
            report.subject_report("EMP-NOBODY", Interval(), identities=identities)
    assert [(read["purpose"], read["roles"], read["sensitivities"], read["read"]) for read in ada["reads"]] == [
        ("incident", ["all"], [4], "yes")
    ]
    assert [read.get("user") for read in ada["reads"]] == [w.VERA if identities else None]
    assert [batch["sensitivities"] for batch in ada["collected"]] == [[1, 3, 4]]
    assert (w.VERA in str(ada)) == identities


def test_reading_the_log_is_recorded_and_names_are_sealed(world: World) -> None:
    """Every report leaves an entry, and no entry has a name in clear."""
    world.rows("SELECT 1 FROM events")
    blast(world, w.VERA)
    with world.open() as lake:
        report = Reports(lake.home, lake.policies, lake.actor)
        report.subject_report(ADA, Interval(), identities=True)
        shown = report.show(Interval(), kind=None, user=w.VERA, details=True, limit=5)
        report.activity(Interval())
    assert {entry["user"] for entry in shown} == {w.VERA}
    found = world.entries()
    assert [entry["report"] for entry in found if entry["type"] == entries.READ] == [
        "blast-radius",
        "subject-report",
        "show",
        "activity",
    ]
    assert not any(name in str(found) for name in (w.VERA, ADA, "SELECT"))


@pytest.mark.parametrize("times", [15, pytest.param(60, marks=pytest.mark.soak)])
def test_the_record_is_the_oracles_for_random_policies_and_queries(world: World, times: int) -> None:
    """Over random grants and queries, the employees on record are those whose rows the grant and query meet."""
    rng = random.Random(20260915)
    for _ in range(times):
        level, low = rng.randint(1, 4), rng.randint(-60, 60)
        scope = sorted(rng.sample(w.EMPLOYEES, rng.randint(1, 4)))
        grant = f"{{dataset: events, purposes: [study], sensitivity: {level}, employees: {{list: {scope}}}"
        grant += f", employee_id: real, row_filter: 'n >= {low}'}}"
        policy = w.POLICY.replace("quick:\n    grants: [", f"quick:\n    grants: [{grant}] #")
        at, name = rng.randint(1, 4), rng.choice(w.EMPLOYEES)
        conditions: dict[str, Callable[[dict[str, Any]], bool]] = {
            "true": lambda _: True,
            f"sensitivity <= {at}": partial(_at_most, "sensitivity", at),
            f"employee = '{name}'": partial(_equals, name),
            f"n <= {low + 30}": partial(_at_most, "n", low + 30),
        }
        condition, meets = rng.choice(list(conditions.items()))
        with world.open() as lake:
            lake.apply_policy(policy)
        with world.connect("quin", "study") as connection:
            result = connection.sql(f"SELECT n, ts FROM events WHERE {condition}")
            rows = result.arrow().num_rows
            (part,) = [entry for entry in _outcomes(connection) if entry["ref"] == result.receipt]
            touched = {
                number for one in part["touched"].get("events", {}).values() for number in entries.members(one["emp"])
            }
            names = set(connection._home.directory.names(touched).values())
        expected = [
            one
            for one in LANDED
            if one["sensitivity"] <= level and one["employee"] in scope and one["n"] >= low and meets(one)
        ]
        assert (rows, sorted(names)) == (len(expected), people(expected))


def _later(minutes: int) -> datetime:
    return NOW + timedelta(minutes=minutes)


def _at_most(name: str, most: int, one: dict[str, Any]) -> bool:
    return bool(one[name] <= most)


def _equals(name: str, one: dict[str, Any]) -> bool:
    return bool(one["employee"] == name)


def _outcomes(connection: Any) -> list[dict[str, Any]]:
    from lake.gateway.recorder import parse_entry

    found = [parse_entry(content) for _, content in connection._home.log.entries()]
    return [entry for entry in found if entry["type"] == entries.OUTCOME]
