"""What the owner of a lake is told of a user's view, held against what the user does see."""

from __future__ import annotations

from typing import Any

import pytest

from lake.gateway.explain import explain
from lake.rules.model import Identity
from tests.world import ADA, BEN, CLEO, POLICY, World


def told(world: World, user: str, policy: str | None = POLICY) -> dict[str, Any]:
    """The explanation under a policy, or under none."""
    with world.open() as opened:
        checked = None if policy is None else opened.policies.check(policy, "policy")
        return explain(opened.home, opened.contracts.newest(), checked, Identity(user))


def test_nobody_reads_without_a_policy_or_without_being_named(template: World) -> None:
    """Each way of having nothing is said in its own words."""
    assert told(template, "stu", None)["why"] == "no policy is in force, so nobody may read"
    assert told(template, "stranger")["why"] == "the policy does not name this user"
    assert told(template, "none")["why"] == "no role of this user grants anything"
    for user in ("stranger", "none"):
        assert told(template, user)["grants"] == []


def test_a_grant_of_own_rows_is_nothing_without_an_employee(template: World) -> None:
    """A user who is nobody in the lake has no rows of their own."""
    assert told(template, "noemi")["grants"] == []
    (grant,) = told(template, "olga")["grants"]
    assert grant["employees"] == "1 named"
    assert grant["today"].startswith("1 employees, ")


@pytest.mark.parametrize(("user", "purpose"), [("stu", "study"), ("coco", "study"), ("mina", "study")])
def test_the_columns_are_those_that_a_query_gives(world: World, user: str, purpose: str) -> None:
    """Visible columns are exactly those of SELECT *, and the others are named as hidden."""
    (grant,) = told(world, user)["grants"]
    with world.connect(user, purpose) as connection:
        seen = connection.sql("SELECT * FROM events").schema.names
    assert grant["columns"].split(", ") == seen
    assert not set(grant["hidden columns"].split(", ")) & set(seen)


def test_every_part_of_a_grant_is_said(template: World) -> None:
    """Masks, filter, form of the id, limits, window and the policy's line."""
    (grant,) = told(template, "stu")["grants"]
    assert (grant["role"], grant["purposes"], grant["highest sensitivity"]) == ("student", ["incident", "study"], 2)
    assert grant["employee id"] == "pseudonym"
    assert grant["row filter"].startswith("n >= -10")
    assert {part.split(":")[0] for part in grant["masks"].split(", ")} >= {"title", "ts", "n", "app", "big"}
    assert POLICY.splitlines()[int(grant["because"].split()[1]) - 1].strip() == "- dataset: events"
    assert told(template, "rolf")["grants"][0]["limits"] == "10 rows"
    assert told(template, "quin")["grants"][0]["limits"] == "1 seconds"
    assert told(template, "wim")["grants"][0]["time window"] == "from 2026-07-10, to 2026-08-05"
    assert told(template, "remy")["grants"][0]["time window"] == "the last 20 days"


def test_numbers_of_today_are_those_of_the_catalog(template: World) -> None:
    """All rows for who sees all levels of everyone; only the cohort's employees for a cohort."""
    found = {grant["dataset"]: grant["today"] for grant in told(template, "vera-canary")["grants"]}
    assert found["events"].startswith("4 employees, ")
    assert "144 rows" in found["events"]
    assert found["moods"].startswith("0 employees, 0 files, 0 rows")
    assert told(template, "coco")["grants"][0]["today"].startswith("2 employees, ")


def test_each_role_is_told_apart(template: World) -> None:
    """A user with two roles has the grants of both."""
    assert [grant["role"] for grant in told(template, "dual")["grants"]] == ["student", "cohort"]


ROLES = f"""\
  lead:
    grants:
      - {{dataset: events, purposes: [study], sensitivity: 4, employees: team, smallest_group: 2}}
  volunteers:
    grants:
      - {{dataset: events, purposes: [study], sensitivity: 4, employees: consented, limits: {{concurrent: 2}}}}
    deny:
      - {{dataset: events, columns: [note]}}
      - {{dataset: events, employees: {{list: [{BEN}]}}, sensitivity: 3}}
"""
MEMBERS = """\
  vic: {roles: [volunteers]}
  bart: {roles: [all], deny: [{dataset: events, purposes: [incident]}, {dataset: moods}]}
groups: {staff: {roles: [own]}, leads: {roles: [lead, volunteers]}}
break_glass: {fire: {role: all, purposes: [incident], request: [vic], approve: [none], at_most: 1h}}
"""
PEOPLE = f"teams: {{red: [{ADA}, {BEN}]}}\nconsents: {{study: [{CLEO}]}}\n"
RICH = PEOPLE + POLICY.strip().replace("  few_rows:", f"{ROLES}  few_rows:") + "\n" + MEMBERS


def explained(world: World, who: Identity) -> dict[str, Any]:
    """The explanation of an identity under the rich policy."""
    with world.open() as opened:
        return explain(opened.home, opened.contracts.newest(), opened.policies.check(RICH, "policy"), who)


def test_consents_denies_limits_and_doors_are_said(template: World) -> None:
    """What is left after the denies, and each deny with its line."""
    document = explained(template, Identity("vic"))
    (grant,) = document["grants"]
    assert (grant["employees"], grant["limits"]) == ("1 named", "2 queries at once")
    assert "note" in grant["hidden columns"].split(", ")
    assert grant["today"].startswith("1 employees, ")
    columns, people = document["denied"]
    line = next(n for n, text in enumerate(RICH.splitlines(), 1) if "columns: [note]" in text)
    assert columns == f"events, for every purpose: the columns note (line {line} of the policy)"
    assert people.startswith("events, for every purpose: sensitivity 3 and above of 1 named employees")
    assert document["doors"] == ["fire, for incident: the role all, when a second person approves"]


def test_all_that_is_denied_is_told_from_nothing_granted(template: World) -> None:
    """A user whose grants are all taken."""
    document = explained(template, Identity("bart"))
    assert (document["grants"], document["why"]) == ([], "nothing is left of what is granted")
    assert len(document["denied"]) == 2


def test_groups_and_claims_make_a_principal(template: World) -> None:
    """The roles of groups, one's own rows by a claimed id, the team by a claimed attribute, and people left out."""
    (own,) = explained(template, Identity("zoe", ("staff",), BEN))["grants"]
    assert (own["role"], own["employees"]) == ("own", "1 named")
    document = explained(template, Identity("zoe", ("leads", "x"), None, (("team", "red"),)))
    assert document["roles"] == ["lead", "volunteers"]
    lead, volunteers = document["grants"]
    assert lead["employees"] == "2 named, not 1 named from sensitivity 3 on"
    assert lead["smallest group"] == "2 people"
    assert volunteers["employees"] == "1 named"
    assert explained(template, Identity("zoe", ("x",)))["why"].endswith("name this user or a group of theirs")


def test_purposes_that_open_the_same_are_told_together(template: World) -> None:
    """And those that do not, apart."""
    assert [grant["purposes"] for grant in told(template, "stu")["grants"]] == [["incident", "study"]]
    denied = POLICY.replace(
        "  stu: {roles: [student]}",
        "  stu: {roles: [student], deny: [{dataset: events, purposes: [study], columns: [n]}]}",
    )
    assert [grant["purposes"] for grant in told(template, "stu", denied)["grants"]] == [["incident"], ["study"]]
