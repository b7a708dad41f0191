"""What the owner of a lake is told of a user's view, held against what the user does see."""

from __future__ import annotations

from typing import Any

import pytest

from lake.gateway.explain import explain
from lake.rules.model import Identity
from tests.world import POLICY, World


def told(world: World, user: str, policy: str | None = POLICY, groups: tuple[str, ...] = ()) -> dict[str, Any]:
    """The explanation under a policy, or under none."""
    with world.open() as opened:
        checked = None if policy is None else opened.policies.check(policy, "policy")
        return explain(opened.home, opened.contracts.newest(), checked, Identity(user, groups))


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
