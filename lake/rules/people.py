"""Sets of employees, some of whom a policy does not name: so many listed, or all but so many."""

from __future__ import annotations

from dataclasses import dataclass

from lake.rules.policy import Grant, ScopeKind


@dataclass(frozen=True, slots=True)
class People:
    """The listed employees; or, with ``all_but``, everybody else."""

    employees: frozenset[str]
    all_but: bool = False

    def is_empty(self) -> bool:
        """Whether it is surely nobody."""
        return not self.all_but and not self.employees

    def without(self, other: People) -> People:
        """Those who are not among others."""
        if not self.all_but:
            kept = self.employees & other.employees if other.all_but else self.employees - other.employees
            return People(kept)
        if other.all_but:
            return People(other.employees - self.employees)
        return People(self.employees | other.employees, all_but=True)

    def __str__(self) -> str:
        if not self.all_but:
            return str(len(self.employees))
        return f"all but {len(self.employees)}" if self.employees else "all"


def people_at(grant: Grant | None, sensitivity: int) -> People:
    """Whose rows of a rating a grant that was decided on opens; None is no grant."""
    if grant is None or sensitivity > grant.sensitivity:
        return People(frozenset())
    withheld = grant.withheld_at(sensitivity)
    if grant.employees.kind is ScopeKind.ALL:
        return People(withheld, all_but=True)
    return People(grant.employees.employees - withheld)
