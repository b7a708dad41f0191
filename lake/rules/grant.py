"""Grants and denies: what a role may read, and what is taken from it again. A deny wins over every grant."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from enum import StrEnum

from lake.rules.masks import Mask
from lake.rules.model import EMPLOYEE_COLUMN, SENSITIVITIES, SENSITIVITY_COLUMN, Principal
from lake.rules.row_filter import Expression

TEAM_ATTRIBUTE = "team"
"""The attribute of a principal that names their team."""


class EmployeeForm(StrEnum):
    """How a grant shows whose row it is."""

    REAL = "real"
    PSEUDONYM = "pseudonym"
    ABSENT = "absent"


class ScopeKind(StrEnum):
    """Whose rows a grant covers."""

    ALL = "all"
    SELF = "self"
    LISTED = "listed"
    CONSENTED = "consented"
    TEAM = "team"


@dataclass(frozen=True, slots=True)
class EmployeeScope:
    """Whose rows.

    Attributes:
        employees: ids, for LISTED only.
        by: ids by purpose for CONSENTED, by team for TEAM.
    """

    kind: ScopeKind
    employees: frozenset[str] = frozenset()
    by: Mapping[str, frozenset[str]] = field(default_factory=dict)

    def members(self, principal: Principal, purpose: str) -> frozenset[str] | None:
        """Employee ids for a principal and a purpose; None for all."""
        match self.kind:
            case ScopeKind.ALL:
                return None
            case ScopeKind.SELF:
                return frozenset({principal.employee} if principal.employee else ())
            case ScopeKind.LISTED:
                return self.employees
            case ScopeKind.CONSENTED:
                return self.by.get(purpose, frozenset())
            case ScopeKind.TEAM:
                return self.by.get(principal.attribute(TEAM_ATTRIBUTE) or "", frozenset())

    def is_known(self, principal: Principal, purpose: str) -> bool:
        """Whether it can be told who is meant; if not, a grant covers nobody and a deny everybody."""
        match self.kind:
            case ScopeKind.SELF:
                return bool(principal.employee)
            case ScopeKind.CONSENTED:
                return purpose in self.by
            case ScopeKind.TEAM:
                return principal.attribute(TEAM_ATTRIBUTE) in self.by
            case _:
                return True


@dataclass(frozen=True, slots=True)
class Window:
    """Which capture times: inclusive days in UTC, or the last so many days before the query."""

    first: date | None = None
    last: date | None = None
    last_days: int | None = None

    def bounds(self, now: datetime) -> tuple[datetime | None, datetime | None]:
        """Inclusive bounds as naive UTC times."""
        first = datetime.combine(self.first, time.min) if self.first else None
        last = datetime.combine(self.last, time.max) if self.last else None
        if self.last_days is not None:
            recent = now - timedelta(days=self.last_days)
            first = recent if first is None else max(first, recent)
        return first, last


@dataclass(frozen=True, slots=True)
class Limits:
    """What queries may use.

    Attributes:
        rows, bytes: of one result.
        seconds: wall-clock time of one query.
        concurrent: queries of one user at once under the grant.
    """

    rows: int | None = None
    bytes: int | None = None
    seconds: int | None = None
    concurrent: int | None = None


@dataclass(frozen=True, slots=True)
class Deny:
    """What is taken from every grant of whoever it concerns.

    Attributes:
        purposes: None for every purpose.
        sensitivity: rows from this rating on are taken; None: no row is, the columns are.
        employees: whose rows; None for everybody's.
        columns: columns that are taken; with rows, those that only such rows can have a value in.
        line: of the policy.
    """

    dataset: str
    purposes: frozenset[str] | None
    sensitivity: int | None
    employees: EmployeeScope | None
    columns: frozenset[str]
    line: int = field(compare=False)

    def concerns(self, dataset: str, purpose: str) -> bool:
        """Whether it says anything of a dataset and purpose."""
        return dataset == self.dataset and (self.purposes is None or purpose in self.purposes)


@dataclass(frozen=True, slots=True)
class Withheld:
    """People whose rows from a rating on a deny takes away."""

    sensitivity: int
    employees: frozenset[str]


@dataclass(frozen=True, slots=True)
class Grant:
    """One permission of a role. ``columns`` are stored column names, in order; the employee has a rule of its own.

    Attributes:
        smallest_group: results show groups of at least so many people, never single rows; None: rows too.
        withheld: who is left out; only in a grant that was decided on.
    """

    role: str
    dataset: str
    purposes: frozenset[str]
    sensitivity: int
    columns: tuple[str, ...]
    masks: Mapping[str, Mask]
    row_filter: Expression | None
    row_filter_text: str
    employees: EmployeeScope
    employee_form: EmployeeForm
    window: Window
    limits: Limits
    line: int
    smallest_group: int | None = None
    withheld: tuple[Withheld, ...] = ()

    def sensitivities(self) -> frozenset[int]:
        """The ratings that this grant opens."""
        return frozenset(level for level in SENSITIVITIES if level <= self.sensitivity)

    def visible_columns(self) -> tuple[str, ...]:
        """Columns of the table as its reader sees it."""
        shown = list(self.columns)
        if self.employee_form is not EmployeeForm.ABSENT:
            shown.insert(1 if SENSITIVITY_COLUMN in shown else 0, EMPLOYEE_COLUMN)
        return tuple(shown)

    def withheld_at(self, sensitivity: int) -> frozenset[str]:
        """Employees whose rows of a rating are left out."""
        return frozenset().union(*(one.employees for one in self.withheld if one.sensitivity <= sensitivity))

    def reaches(self, employee: str, sensitivity: int) -> bool:
        """Whether a grant that was decided on opens an employee's rows of a rating."""
        listed = self.employees.kind is ScopeKind.ALL or employee in self.employees.employees
        return sensitivity <= self.sensitivity and listed and employee not in self.withheld_at(sensitivity)


def scope_employees(grant: Grant, principal: Principal, purpose: str) -> frozenset[str] | None:
    """Employee ids that a grant covers for a principal and a purpose; None for all. Denies are not looked at."""
    return grant.employees.members(principal, purpose)
