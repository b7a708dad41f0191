"""What a user sees under a policy, and why: for the owner of the lake, in words and numbers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from lake.errors import DeniedError
from lake.gateway.home import Home
from lake.gateway.reach import permitted_files
from lake.rules import words
from lake.rules.contract import Contract
from lake.rules.model import Identity, Principal
from lake.rules.policy import Grant, Policy, column_types, denies_of, every_decision


def explain(home: Home, contracts: Mapping[str, Contract], policy: Policy | None, who: Identity) -> dict[str, Any]:
    """Every grant of an identity with what it opens today, and every deny; with no grant, the reason.

    Returns:
        user, roles, grants (each as it counts after all denies), denied and doors in words, why there is no grant.
    """
    nothing: dict[str, Any] = {"user": who.user, "roles": [], "grants": [], "denied": [], "doors": []}
    if policy is None:
        return nothing | {"why": "no policy is in force, so nobody may read"}
    try:
        principal = policy.principal(who)
    except DeniedError:
        groups = " or a group of theirs" if who.groups else ""
        return nothing | {"why": f"the policy does not name this user{groups}"}
    grants = [_described(home, decision, purposes, contracts) for decision, purposes in _merged(policy, principal)]
    granted = any(policy.roles[role] for role in principal.roles)
    why = "nothing is left of what is granted" if granted else "no role of this user grants anything"
    return {
        "user": who.user,
        "roles": list(principal.roles),
        "grants": grants,
        "denied": [words.deny(deny) for deny in denies_of(policy, principal)],
        "doors": [words.door(door) for door in policy.break_glass.values() if who.user in door.request],
        "why": "" if grants else why,
    }


def _merged(policy: Policy, principal: Principal) -> Iterator[tuple[Grant, list[str]]]:
    """Decisions that differ in their purpose alone, as one, with all their purposes."""
    found: list[tuple[Grant, list[str]]] = []
    for decision in every_decision(policy, principal):
        (purpose,) = decision.purposes
        same = replace(decision, purposes=frozenset())
        if found and found[-1][0] == same:
            found[-1][1].append(purpose)
        else:
            found.append((same, [purpose]))
    yield from found


def _described(home: Home, decision: Grant, purposes: list[str], contracts: Mapping[str, Contract]) -> dict[str, Any]:
    visible = decision.visible_columns()
    hidden = [name for name in column_types(contracts[decision.dataset]) if name not in visible]
    files = permitted_files(home, decision)
    return {
        "dataset": decision.dataset,
        "role": decision.role,
        "purposes": purposes,
        "because": f"line {decision.line} of the policy",
        "highest sensitivity": decision.sensitivity,
        "columns": ", ".join(visible),
        "hidden columns": ", ".join(hidden) or "none",
        "masks": words.masks(decision),
        "row filter": decision.row_filter_text or "none",
        "employees": words.employees(decision),
        "employee id": decision.employee_form.value,
        "smallest group": f"{decision.smallest_group} people" if decision.smallest_group else "single rows are shown",
        "time window": words.window(decision.window),
        "limits": words.limits(decision.limits),
        "today": f"{len({number for _, number in files})} employees, {len(files)} files, "
        f"{sum(file.rows for file, _ in files):,} rows before the row filter and the time window",
    }
