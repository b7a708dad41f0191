"""Access policy: who may read what, for which purpose, in which form. Deny by default; no grant, no table.

A policy is valid only together with the contracts in force: it can't grant a purpose that employees were not told, nor
a column that does not exist.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from enum import StrEnum

from lake.errors import DeniedError
from lake.rules.contract import Contract, FieldType
from lake.rules.elevation import Door
from lake.rules.masks import Mask
from lake.rules.model import (
    EMPLOYEE_COLUMN,
    SENSITIVITIES,
    SENSITIVITY_COLUMN,
    TIME_COLUMN,
    TYPE_COLUMN,
    Identity,
    Principal,
)
from lake.rules.row_filter import Expression


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


@dataclass(frozen=True, slots=True)
class EmployeeScope:
    """Whose rows; ``employees`` are ids, for LISTED only."""

    kind: ScopeKind
    employees: frozenset[str] = frozenset()


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
    """What one query may return and use: rows and bytes of the result, seconds of wall-clock time."""

    rows: int | None = None
    bytes: int | None = None
    seconds: int | None = None


@dataclass(frozen=True, slots=True)
class Grant:
    """One permission of a role. ``columns`` are stored column names, in order; the employee has a rule of its own."""

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

    def sensitivities(self) -> frozenset[int]:
        """The ratings that this grant opens."""
        return frozenset(level for level in SENSITIVITIES if level <= self.sensitivity)

    def visible_columns(self) -> tuple[str, ...]:
        """Columns of the table as its reader sees it."""
        shown = list(self.columns)
        if self.employee_form is not EmployeeForm.ABSENT:
            shown.insert(1 if SENSITIVITY_COLUMN in shown else 0, EMPLOYEE_COLUMN)
        return tuple(shown)


@dataclass(frozen=True, slots=True)
class User:
    """A member: their roles, their own employee id if they have one, attributes for row filters."""

    name: str
    roles: tuple[str, ...]
    employee: str | None
    attributes: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Policy:
    """A whole policy. ``digest`` is of its text."""

    purposes: Mapping[str, str]
    roles: Mapping[str, tuple[Grant, ...]]
    users: Mapping[str, User]
    text: str
    digest: str
    break_glass: Mapping[str, Door] = field(default_factory=dict)

    def principal(self, who: Identity) -> Principal:
        """The principal that an identity is.

        Raises:
            DeniedError: the policy does not know them.
        """
        member = self.users.get(who.user)
        if member is None:
            raise DeniedError("access denied", hint="ask the owner of the lake for a grant")
        return Principal(who.user, member.roles, member.employee, member.attributes)


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why there is no grant; for the audit log and the operator, not for the caller."""

    reason: str


def applicable(policy: Policy, principal: Principal, purpose: str, role: str | None = None) -> dict[str, list[Grant]]:
    """Grants of a principal for a purpose, by dataset; of one role if it is named."""
    found: dict[str, list[Grant]] = {}
    for name in principal.roles:
        if role is None or name == role:
            for grant in policy.roles[name]:
                if purpose in grant.purposes:
                    found.setdefault(grant.dataset, []).append(grant)
    return found


def decide(
    policy: Policy, principal: Principal, purpose: str, dataset: str, role: str | None = None
) -> Grant | Refusal:
    """The one grant under which a principal may read a dataset for a purpose, or why there is none."""
    if purpose not in policy.purposes:
        return Refusal("unknown purpose")
    if role is not None and role not in principal.roles:
        return Refusal("the principal does not hold this role")
    grants = applicable(policy, principal, purpose, role).get(dataset, [])
    if not grants:
        return Refusal("no grant for this dataset and purpose")
    if len(grants) > 1:
        return Refusal("several roles grant this dataset for this purpose; one must be named")
    grant = grants[0]
    if grant.employees.kind is ScopeKind.SELF and principal.employee is None:
        return Refusal("the grant covers the principal's own rows, and the principal is no employee")
    return grant


def column_types(contract: Contract) -> dict[str, FieldType]:
    """Types of a dataset's columns as a policy may name them."""
    fixed = {
        SENSITIVITY_COLUMN: FieldType.INT32,
        TIME_COLUMN: FieldType.TIMESTAMP,
        TYPE_COLUMN: FieldType.STRING,
    }
    return fixed | {field.name: field.type for field in contract.fields.values()}


def readable_columns(contract: Contract, sensitivity: int) -> tuple[str, ...]:
    """Columns that rows up to a sensitivity can have a value in."""
    fields = [field.name for field in contract.fields.values() if field.sensitivity <= sensitivity]
    return (SENSITIVITY_COLUMN, TIME_COLUMN, TYPE_COLUMN, *fields)


def scope_employees(grant: Grant, principal: Principal) -> frozenset[str] | None:
    """Employee ids that a grant covers for a principal; None for all."""
    match grant.employees.kind:
        case ScopeKind.ALL:
            return None
        case ScopeKind.SELF:
            return frozenset({principal.employee} if principal.employee else ())
        case ScopeKind.LISTED:
            return grant.employees.employees


def datasets_for(policy: Policy, principal: Principal, purpose: str, role: str | None) -> Sequence[Grant]:
    """Every grant that decides for this principal and purpose; ambiguous or refused datasets are absent."""
    names = applicable(policy, principal, purpose, role)
    decisions = [decide(policy, principal, purpose, dataset, role) for dataset in sorted(names)]
    return [decision for decision in decisions if isinstance(decision, Grant)]
