"""A grant as it counts for one principal and purpose, after every deny: it is only ever narrowed here."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from types import MappingProxyType

from lake.rules.grant import Deny, EmployeeForm, EmployeeScope, Grant, ScopeKind, Withheld
from lake.rules.model import EMPLOYEE_COLUMN, Principal


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why there is no grant; for the audit log and the operator, not for the caller."""

    reason: str


def decided(grant: Grant, denies: Iterable[Deny], principal: Principal, purpose: str) -> Grant | Refusal:
    """The grant for this purpose alone, its employees named, without what the denies take; or why nothing remains.

    Args:
        denies: all that concern the principal; those of other datasets and purposes are passed over.
    """
    employees = grant.employees.members(principal, purpose)
    if employees is not None and not employees:
        return Refusal("the grant covers nobody for this principal and purpose")
    highest, hidden, withheld = grant.sensitivity, set[str](), list[Withheld]()
    for deny in denies:
        if not deny.concerns(grant.dataset, purpose):
            continue
        people = _people(deny, principal, purpose)
        if people is not None:
            withheld.append(Withheld(deny.sensitivity or 1, people))
            continue
        hidden |= deny.columns
        if deny.sensitivity is not None:
            highest = min(highest, deny.sensitivity - 1)
    if employees is not None:
        employees = employees.difference(*(one.employees for one in withheld if one.sensitivity == 1))
    columns = tuple(name for name in grant.columns if name not in hidden)
    if highest < 1 or not columns or (employees is not None and not employees):
        return Refusal("a deny takes all that is granted")
    return replace(
        grant,
        purposes=frozenset({purpose}),
        sensitivity=highest,
        columns=columns,
        masks=MappingProxyType({name: mask for name, mask in grant.masks.items() if name in columns}),
        employees=EmployeeScope(ScopeKind.ALL) if employees is None else EmployeeScope(ScopeKind.LISTED, employees),
        employee_form=EmployeeForm.ABSENT if EMPLOYEE_COLUMN in hidden else grant.employee_form,
        withheld=_of_those(withheld, employees, highest),
    )


def _people(deny: Deny, principal: Principal, purpose: str) -> frozenset[str] | None:
    """Whom a deny takes; None for everybody, also where it cannot be told whom."""
    scope = deny.employees
    if scope is None or not scope.is_known(principal, purpose):
        return None
    return scope.members(principal, purpose)


def _of_those(withheld: Iterable[Withheld], employees: frozenset[str] | None, highest: int) -> tuple[Withheld, ...]:
    """What is left to withhold of the people and ratings that remain, one for each rating."""
    by_rating: dict[int, frozenset[str]] = {}
    lower: frozenset[str] = frozenset()
    for rating in sorted({one.sensitivity for one in withheld if one.sensitivity <= highest}):
        people = frozenset().union(*(one.employees for one in withheld if one.sensitivity == rating))
        people = (people if employees is None else people & employees) - lower
        lower |= people
        if people:
            by_rating[rating] = people
    return tuple(Withheld(rating, people) for rating, people in by_rating.items())
