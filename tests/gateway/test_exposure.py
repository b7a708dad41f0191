"""Who can read an employee's rows, held against who does read them in the known lake."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings

from lake.errors import DeniedError, UsageError
from lake.gateway.exposure import every_way, exceeding, exposure
from lake.rules.model import SENSITIVITIES, Identity
from lake.rules.policy import Policy, every_decision
from tests.rules.test_difference import policies
from tests.world import ADA, BEN, CLEO, EMPLOYEES, POLICY, World, copy

RICH = (
    POLICY.replace("cohorts:", f"teams: {{red: [{ADA}, {BEN}]}}\nconsents: {{study: [{CLEO}]}}\ncohorts:")
    .replace(
        "  few_rows:",
        "  lead: {grants: [{dataset: events, purposes: [study], sensitivity: 4, employees: team}]}\n  few_rows:",
    )
    .replace(
        "  coco: {roles: [cohort]}",
        f"  coco: {{roles: [cohort], deny: [{{dataset: events, employees: {{list: [{ADA}]}}, sensitivity: 2}}]}}",
    )
    + "  olaf: {roles: [lead], attributes: {team: red}}\n"
    "groups: {staff: {roles: [own]}, leads: {roles: [lead]}}\n"
    "break_glass: {fire: {role: all, purposes: [incident], request: [stu], approve: [none], at_most: 1h}}\n"
)


@pytest.fixture(scope="module")
def known(template: World, tmp_path_factory: pytest.TempPathFactory) -> World:
    """A copy, as every report leaves an entry."""
    return copy(template, tmp_path_factory.mktemp("exposure"))


def exposed(world: World, employee: str, sensitivity: int, policy: str | None = RICH) -> dict[str, Any]:
    """The report under a policy that is not in force."""
    with world.open() as opened:
        checked = None if policy is None else opened.policies.check(policy, "policy")
        return exposure(opened.home, checked, opened.actor, employee, sensitivity)


def test_everybody_who_can_read_is_listed(known: World) -> None:
    """By users, groups and doors, with what must be so besides."""
    found = exposed(known, ADA, 3)
    assert set(found["who"]) == {
        *("vera-canary", "wim", "remy", "rolf", "bill", "quin", "mina", "milo", "noemi", "dual", "olaf"),
        *("group:staff", "group:leads", "door:fire"),
    }
    conditions = {way["who"]: way["if"] for way in found["ways"]}
    assert conditions["vera-canary"] == conditions["olaf"] == ""
    assert ADA in conditions["group:staff"]
    assert ADA in conditions["noemi"]
    assert "red" in conditions["group:leads"]
    assert conditions["door:fire"].startswith("stu asks")
    assert {way["who"] for way in exposed(known, CLEO, 3)["ways"]} >= {"coco", "dual"}
    assert "coco" in exposed(known, ADA, 1)["who"]


def test_the_form_is_said(known: World) -> None:
    """Role, line, columns, masks, filter and form of the id are those of the grant."""
    way = next(way for way in exposed(known, BEN, 2)["ways"] if way["who"] == "stu" and way["purpose"] == "study")
    assert (way["role"], way["employee id"], way["smallest group"]) == ("student", "pseudonym", None)
    assert RICH.splitlines()[way["line"] - 1].strip() == "- dataset: events"
    assert "flag" not in way["columns"]
    assert "title: the first 4 characters" in way["masks"]
    assert way["row filter"].startswith("n >= -10")
    assert way["files today"] == 3


def test_who_is_listed_reads_and_who_is_not_does_not(world: World) -> None:
    """Held against queries: for every user and purpose, the rows that come are of whom the report says."""
    with world.open() as opened:
        opened.apply_policy(RICH)
        policy = opened.policies.current()
        assert policy is not None
    ways = {(w["who"], w["purpose"], w["role"]) for e in EMPLOYEES for w in exposed(world, e, 1)["ways"] if not w["if"]}
    for user, held in policy.users.items():
        for role in held.roles:
            for purpose in policy.purposes:
                may = (user, purpose, role) in ways
                with world.connect(user, purpose, role) as connection:
                    try:
                        connection.sql("SELECT count(*) FROM events").arrow()
                        assert may
                    except DeniedError:
                        assert not may


@settings(max_examples=60)
@given(policies())
def test_exposure_agrees_with_decisions(policy: Policy) -> None:
    """For every user and every claim: listed, with the same grant, exactly if a decision opens the rows."""
    for employee in (ADA, BEN):
        for level in SENSITIVITIES:
            ways = every_way(policy, employee, level)
            certain = {
                (a.user, g.dataset, *g.purposes, g.role) for a, g in ways if a.kind == "user" and not a.condition
            }
            possible = {(a.user, g.dataset, *g.purposes, g.role) for a, g in ways if a.kind == "user"}
            for user in policy.users:
                bare = reading(policy, Identity(user), employee, level)
                assert bare == {way for way in certain if way[0] == user}
                claimed = [
                    reading(policy, Identity(user, (), own, claims), employee, level)
                    for own in (None, ADA, BEN, "somebody")
                    for claims in ((), (("team", "red"),), (("team", "blue"),), (("team", "green"),))
                ]
                assert set().union(*claimed) == {way for way in possible if way[0] == user}


def reading(policy: Policy, who: Identity, employee: str, level: int) -> set[tuple[str, ...]]:
    """What opens an employee's rows to an identity, by the decisions alone."""
    principal = policy.principal(who)
    decisions = [one for one in every_decision(policy, principal) if one.reaches(employee, level)]
    return {(who.user, one.dataset, *one.purposes, one.role) for one in decisions}


def test_an_unknown_employee_is_an_error_and_a_known_one_is_recorded(world: World) -> None:
    """The report stands in the audit log, the employee sealed in it; without a policy nobody reads."""
    before = len(world.entries("audit.read"))
    with pytest.raises(UsageError, match="nothing under this employee id"):
        exposed(world, "EMP-NOBODY", 4)
    assert len(world.entries("audit.read")) == before
    assert exposed(world, ADA, 4, None)["who"] == []
    (entry,) = world.entries("audit.read")[before:]
    assert entry["report"] == "exposure"
    assert ADA not in str(entry)


@pytest.mark.parametrize(
    ("most", "allowed", "over"),
    [
        (None, None, []),
        (2, None, []),
        (1, None, ["a", "group:b"]),
        (0, ["a"], ["a", "group:b"]),
        (None, ["a", "group:b", "c"], []),
        (2, ["a"], ["group:b"]),
        (None, [], ["a", "group:b"]),
    ],
)
def test_who_exceeds(most: int | None, allowed: list[str] | None, over: list[str]) -> None:
    """All where they are too many; strangers however few."""
    assert exceeding(["a", "group:b"], most, allowed) == over
