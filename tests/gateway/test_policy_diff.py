"""Employees and files of a difference, counted in the known lake and without one."""

from __future__ import annotations

from typing import Any

from lake.gateway.policy_diff import policy_diff
from lake.sealed.catalog.catalog import Selection
from tests.world import ADA, BEN, EMPLOYEES, GRANT_ALL, POLICY, World

DENIED = POLICY.replace(f"[{GRANT_ALL},", f"[{GRANT_ALL.replace('sensitivity: 4', 'sensitivity: 3')},").replace(
    "  vera-canary: {roles: [all]}",
    f"  vera-canary: {{roles: [all], deny: [{{dataset: events, employees: {{list: [{ADA}, nobody-7]}}}}]}}",
)


def compared(world: World, old: str, new: str, *, counted: bool = True) -> dict[str, Any]:
    """The difference of two policies."""
    with world.open() as opened:
        before, after = (opened.policies.check(text, "policy") for text in (old, new))
        return policy_diff(before, after, opened.home if counted else None)


def test_employees_and_files_are_those_of_the_catalog(template: World) -> None:
    """Before and after, at every rating, as the catalog selects them."""
    found = compared(template, POLICY, DENIED)
    (one,) = found["differences"]
    assert (one["who"], one["dataset"], one["purpose"], one["effect"]) == (
        "vera-canary",
        "events",
        "incident",
        "narrowed",
    )
    assert not found["widened"]
    with template.open() as opened:
        ada = opened.home.directory.find([ADA])[ADA].number
        for row in one["employees"]:
            level = row["sensitivity"]
            files = opened.home.catalog.select(Selection("events", frozenset({level})))
            kept = [] if level == 4 else [number for _, number in files if number != ada]
            assert row["files before"] == len(files)
            assert row["files after"] == len(kept)
            assert row["before"] == len({number for _, number in files})
            assert row["after"] == len(set(kept))
            assert (row["gained"], row["lost"]) == (0, row["before"] - row["after"])
    assert compared(template, DENIED, POLICY)["widened"]


def test_without_a_lake_the_named_are_counted(template: World) -> None:
    """All but so many, where everybody else is covered."""
    (one,) = compared(template, POLICY, DENIED, counted=False)["differences"]
    first, *_, last = one["employees"]
    assert first == {"sensitivity": 1, "before": "all", "after": "all but 2", "gained": "0", "lost": "2"}
    assert last == {"sensitivity": 4, "before": "all", "after": "0", "gained": "0", "lost": "all"}


def test_nobody_is_named_but_those_who_ask(template: World) -> None:
    """A difference tells numbers of employees, never who they are."""
    listed = POLICY.replace("employees: {cohort: two}", f"employees: {{list: [{BEN}]}}")
    for counted in (True, False):
        found = compared(template, POLICY, listed, counted=counted)
        assert {one["who"] for one in found["differences"]} == {"coco", "dual"}
        assert not any(employee in str(found) for employee in EMPLOYEES)
