"""What a user sees under a policy, and why: for the owner of the lake, in words and numbers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lake.gateway.home import Home
from lake.rules.contract import Contract
from lake.rules.masks import describe
from lake.rules.model import Identity
from lake.rules.policy import Grant, Policy, ScopeKind, Window, column_types, scope_employees
from lake.sealed.catalog.catalog import Selection


def explain(home: Home, contracts: Mapping[str, Contract], policy: Policy | None, user: str) -> dict[str, Any]:
    """Every grant of a user with what it opens today; with no grant, the reason."""
    if policy is None:
        return {"user": user, "roles": [], "grants": [], "why": "no policy is in force, so nobody may read"}
    member = policy.users.get(user)
    if member is None:
        return {"user": user, "roles": [], "grants": [], "why": "the policy does not name this user"}
    principal = policy.principal(Identity(user))
    grants = []
    for grant in (grant for role in member.roles for grant in policy.roles[role]):
        contract = contracts[grant.dataset]
        employees = scope_employees(grant, principal)
        if grant.employees.kind is ScopeKind.SELF and principal.employee is None:
            continue
        numbers = (
            None
            if employees is None
            else frozenset(subject.number for subject in home.directory.find(employees).values())
        )
        files = home.catalog.select(Selection(grant.dataset, grant.sensitivities(), numbers))
        grants.append(
            _described(grant, contract, employees)
            | {
                "today": f"{len({number for _, number in files})} employees, {len(files)} files, "
                f"{sum(file.rows for file, _ in files):,} rows before the row filter and the time window"
            }
        )
    why = "" if grants else "no role of this user grants anything"
    return {"user": user, "roles": list(member.roles), "grants": grants, "why": why}


def _described(grant: Grant, contract: Contract, employees: frozenset[str] | None) -> dict[str, Any]:
    visible = grant.visible_columns()
    hidden = [name for name in column_types(contract) if name not in visible]
    return {
        "dataset": grant.dataset,
        "role": grant.role,
        "purposes": sorted(grant.purposes),
        "because": f"line {grant.line} of the policy",
        "highest sensitivity": grant.sensitivity,
        "columns": ", ".join(visible),
        "hidden columns": ", ".join(hidden) or "none",
        "masks": ", ".join(f"{name}: {describe(mask)}" for name, mask in grant.masks.items()) or "none",
        "row filter": grant.row_filter_text or "none",
        "employees": "all" if employees is None else f"{len(employees)} named",
        "employee id": grant.employee_form.value,
        "time window": _window(grant.window),
        "limits": ", ".join(
            f"{value:,} {name}"
            for name in ("rows", "bytes", "seconds")
            if (value := getattr(grant.limits, name)) is not None
        )
        or "none",
    }


def _window(window: Window) -> str:
    parts = [f"from {window.first}" if window.first else "", f"to {window.last}" if window.last else ""]
    parts.append(f"the last {window.last_days} days" if window.last_days else "")
    return ", ".join(part for part in parts if part) or "all"
