"""Who can read one employee's rows of a sensitivity now: the question that a policy must be able to answer."""

from __future__ import annotations

from collections.abc import Collection
from datetime import UTC, datetime
from typing import Any

from lake.errors import UsageError
from lake.gateway.home import Home
from lake.gateway.recorder import Actor
from lake.rules import words
from lake.rules.askers import Asker, askers
from lake.rules.policy import Grant, Policy
from lake.sealed.audit import entries
from lake.sealed.catalog.catalog import Selection


def exposure(home: Home, policy: Policy | None, actor: Actor, employee: str, sensitivity: int) -> dict[str, Any]:
    """Everybody whom the policy lets read an employee's rows of a sensitivity. That it was asked is recorded.

    Returns:
        ``who``: labels of users, groups and doors, each once; ``ways``: by which role, purpose and line, in which form.

    Raises:
        UsageError: the lake does not know the employee.
    """
    subject = home.directory.find([employee]).get(employee)
    if subject is None:
        raise UsageError("the lake holds nothing under this employee id", hint="check the spelling")
    detail = {"employee": employee, "sensitivity": sensitivity}
    home.recorder.record(entries.READ, actor, {"report": "exposure"}, detail)
    now = home.clock().astimezone(UTC).replace(tzinfo=None)
    ways = [] if policy is None else every_way(policy, employee, sensitivity)
    return {
        "employee": employee,
        "sensitivity": sensitivity,
        "who": list(dict.fromkeys(asker.label for asker, _ in ways)),
        "ways": [
            _described(asker, grant) | {"files today": _files(home, grant, subject.number, sensitivity, now)}
            for asker, grant in ways
        ],
    }


def every_way(policy: Policy, employee: str, sensitivity: int) -> list[tuple[Asker, Grant]]:
    """Askers with the grants that open an employee's rows of a rating to them, each under the least condition."""
    found: list[tuple[Asker, Grant]] = []
    bare: set[tuple[str, str, str]] = set()
    for asker in askers([policy], employee):
        plain = asker.employee is None and asker.team is None
        ways = {key: one for key, one in asker.decisions(policy).items() if one.reaches(employee, sensitivity)}
        found += [(asker, one) for key, one in ways.items() if plain or key not in bare]
        bare = set(ways) if plain else bare
    return found


def exceeding(who: Collection[str], most: int | None, allowed: Collection[str] | None) -> list[str]:
    """Those who are too many: all where there are more than ``most``, and whoever is not ``allowed``."""
    over = set(who) if most is not None and len(who) > most else set()
    strangers = set() if allowed is None else set(who) - set(allowed)
    return sorted(over | strangers)


def _described(asker: Asker, grant: Grant) -> dict[str, Any]:
    return {
        "who": asker.label,
        "if": asker.condition,
        "dataset": grant.dataset,
        "purpose": next(iter(grant.purposes)),
        "role": grant.role,
        "line": grant.line,
        "columns": list(grant.visible_columns()),
        "masks": words.masks(grant),
        "row filter": grant.row_filter_text or "none",
        "employee id": grant.employee_form.value,
        "smallest group": grant.smallest_group,
        "time window": words.window(grant.window),
    }


def _files(home: Home, grant: Grant, number: int, sensitivity: int, now: datetime) -> int:
    first, last = grant.window.bounds(now)
    wanted = Selection(grant.dataset, frozenset({sensitivity}), frozenset({number}), first, last)
    return len(home.catalog.select(wanted))
