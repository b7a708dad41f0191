"""Two policies held against each other, with employees and files of a lake in numbers; or without a lake."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lake.gateway.home import Home
from lake.gateway.reach import numbers_of
from lake.rules.difference import Difference, difference
from lake.rules.model import SENSITIVITIES
from lake.rules.people import People, people_at
from lake.rules.policy import Policy

Held = Mapping[tuple[str, int], Mapping[int, int]]
"""Live files by employee's number, by dataset and sensitivity."""


def policy_diff(old: Policy, new: Policy, home: Home | None = None) -> dict[str, Any]:
    """Who gains and who loses.

    Args:
        home: count its employees and files; without it, those that the policies name.

    Returns:
        ``widened``: whether something became wider or may have; ``differences``, each with its changes, and the
        employees of every rating before and after.
    """
    found = difference(old, new)
    counter = _Counter(home)
    return {
        "old": old.digest,
        "new": new.digest,
        "widened": any(one.widens() for one in found),
        "differences": [_described(one, counter) for one in found],
    }


def _described(one: Difference, counter: _Counter) -> dict[str, Any]:
    return {
        "who": one.asker.label,
        "if": one.asker.condition,
        "dataset": one.dataset,
        "purpose": one.purpose,
        "role": one.role,
        "effect": one.effect,
        "changes": [
            {"what": change.what, "effect": change.effect.value, "before": change.before, "after": change.after}
            for change in one.changes
        ],
        "employees": counter.employees(one),
    }


class _Counter:
    """Counts employees: those of a lake that have files, or those who are named."""

    def __init__(self, home: Home | None) -> None:
        self._home = home
        self._held = {} if home is None else _held(home)

    def employees(self, one: Difference) -> list[dict[str, Any]]:
        """Before and after, for every rating at which they differ and there is anybody."""
        rows: list[dict[str, Any]] = []
        for level in SENSITIVITIES:
            old, new = people_at(one.old, level), people_at(one.new, level)
            if old != new:
                numbers = self._in_lake(one.dataset, level, old, new) if self._home else self._named(old, new)
                if numbers["before"] or numbers["after"]:
                    rows.append({"sensitivity": level, **numbers})
        return rows

    @staticmethod
    def _named(old: People, new: People) -> dict[str, Any]:
        return {"before": str(old), "after": str(new), "gained": str(new.without(old)), "lost": str(old.without(new))}

    def _in_lake(self, dataset: str, level: int, old: People, new: People) -> dict[str, Any]:
        held = self._held.get((dataset, level), {})
        before, after = (self._those(people, held) for people in (old, new))
        return {
            "before": len(before),
            "after": len(after),
            "gained": len(after - before),
            "lost": len(before - after),
            "files before": sum(held[number] for number in before),
            "files after": sum(held[number] for number in after),
        }

    def _those(self, people: People, held: Mapping[int, int]) -> frozenset[int]:
        assert self._home is not None  # noqa: S101 - asked for only with a lake
        named = numbers_of(self._home, people.employees)
        return frozenset(held) - named if people.all_but else named & frozenset(held)


def _held(home: Home) -> Held:
    found: dict[tuple[str, int], dict[int, int]] = {}
    for row in home.catalog.holdings():
        files = found.setdefault((row["dataset"], row["sensitivity"]), {})
        files[row["number"]] = files.get(row["number"], 0) + row["files"]
    return found
