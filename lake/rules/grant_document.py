"""Reading roles from a policy: their grants and denies, checked against the contracts in force."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from lake.rules.contract import Contract
from lake.rules.document import Node
from lake.rules.masks import Mask, parse_mask
from lake.rules.model import EMPLOYEE_COLUMN, MAX_EMPLOYEE_ID, NAME
from lake.rules.policy import (
    Deny,
    EmployeeForm,
    EmployeeScope,
    Grant,
    Limits,
    ScopeKind,
    Window,
    column_types,
    readable_columns,
)
from lake.rules.row_filter import Expression, RowFilterError, attributes, parse_row_filter

_GRANT_KEYS = (
    "columns",
    "except",
    "masks",
    "row_filter",
    "employees",
    "employee_id",
    "smallest_group",
    "window",
    "limits",
)
MAX_GROUP = 1_000_000


@dataclass(frozen=True, slots=True)
class Named:
    """What grants and denies may refer to: purposes, and employee ids by cohort, by purpose and by team."""

    purposes: Mapping[str, str]
    cohorts: Mapping[str, frozenset[str]]
    consents: Mapping[str, frozenset[str]]
    teams: Mapping[str, frozenset[str]]


def employee_ids(node: Node, *, or_none: bool = False) -> frozenset[str]:
    """A list of employee ids; an empty one only where ``or_none``."""
    listed = [item.string(max_length=MAX_EMPLOYEE_ID) for item in node.sequence()]
    if not listed and not or_none:
        raise node.error("the list is empty", hint="leave the grant out instead")
    return frozenset(listed)


class RoleReader:
    """Reads the grants and denies of one policy."""

    def __init__(self, contracts: Mapping[str, Contract], named: Named) -> None:
        self._contracts = contracts
        self._named = named

    def role(self, name: str, node: Node) -> tuple[tuple[Grant, ...], tuple[Deny, ...]]:
        """What a role grants and what it denies; one of the two may be left out."""
        part = node.mapping(optional=("description", "grants", "deny"))
        if "grants" not in part and "deny" not in part:
            raise node.error("the key 'grants' is missing")
        grants: list[Grant] = []
        for item in part["grants"].sequence() if "grants" in part else ():
            grant = self._grant(name, item)
            for other in grants:
                if other.dataset == grant.dataset and other.purposes & grant.purposes:
                    raise item.error(
                        f"role {name!r} grants {grant.dataset!r} twice for one purpose",
                        hint="make it one grant, or two roles",
                    )
            grants.append(grant)
        return tuple(grants), self.denies(part["deny"]) if "deny" in part else ()

    def denies(self, node: Node) -> tuple[Deny, ...]:
        """A list of denies."""
        return tuple(self._deny(item) for item in node.sequence())

    def _deny(self, node: Node) -> Deny:
        part = node.mapping(required=("dataset",), optional=("purposes", "sensitivity", "columns", "employees"))
        contract = self._contracts[part["dataset"].one_of(self._contracts)]
        purposes = self._purposes_of(part["purposes"]) if "purposes" in part else None
        columns, sensitivity, employees = frozenset[str](), None, None
        if "columns" in part:
            for other in ("sensitivity", "employees"):
                if other in part:
                    raise part[other].error("a deny of columns holds for all rows", hint="make it a deny of its own")
            known = {*column_types(contract), EMPLOYEE_COLUMN}
            columns = frozenset(item.one_of(known) for item in part["columns"].sequence())
            if not columns:
                raise part["columns"].error("the list is empty")
        else:
            sensitivity = part["sensitivity"].integer(minimum=1, maximum=4) if "sensitivity" in part else 1
            columns = frozenset(column_types(contract)) - {*readable_columns(contract, sensitivity - 1)}
            asked = purposes if purposes is not None else frozenset(self._named.purposes)
            employees = self._scope(part["employees"], asked) if "employees" in part else None
        return Deny(contract.dataset, purposes, sensitivity, employees, columns, node.node.start_mark.line + 1)

    def _purposes_of(self, node: Node) -> frozenset[str]:
        found = frozenset(item.one_of(self._named.purposes) for item in node.sequence())
        if not found:
            raise node.error("name at least one purpose")
        return found

    def _grant(self, role: str, node: Node) -> Grant:
        part = node.mapping(required=("dataset", "purposes", "sensitivity"), optional=_GRANT_KEYS)
        contract = self._contracts[part["dataset"].one_of(self._contracts)]
        sensitivity = part["sensitivity"].integer(minimum=1, maximum=4)
        columns = self._columns(part, contract, sensitivity)
        text = part["row_filter"].string(max_length=10_000) if "row_filter" in part else ""
        purposes = self._grant_purposes(part["purposes"], contract)
        scope = self._scope(part["employees"], purposes) if "employees" in part else EmployeeScope(ScopeKind.ALL)
        form = part["employee_id"].one_of([form.value for form in EmployeeForm]) if "employee_id" in part else "absent"
        return Grant(
            role=role,
            dataset=contract.dataset,
            purposes=purposes,
            sensitivity=sensitivity,
            columns=columns,
            masks=MappingProxyType(self._masks(part["masks"], contract, columns) if "masks" in part else {}),
            row_filter=self._row_filter(part["row_filter"], contract) if text else None,
            row_filter_text=text,
            employees=scope,
            employee_form=EmployeeForm(form),
            window=self._window(part["window"]) if "window" in part else Window(),
            limits=self._limits(part["limits"]) if "limits" in part else Limits(),
            line=node.node.start_mark.line + 1,
            smallest_group=_smallest_group(part, scope) if "smallest_group" in part else None,
        )

    def _grant_purposes(self, node: Node, contract: Contract) -> frozenset[str]:
        named = [(item, item.one_of(self._named.purposes)) for item in node.sequence()]
        for item, purpose in named:
            if purpose not in contract.purposes:
                raise item.error(
                    f"the contract of {contract.dataset!r} does not name the purpose {purpose!r}",
                    hint="employees were not told of it; a new contract version has to",
                )
        if not named:
            raise node.error("name at least one purpose")
        return frozenset(purpose for _, purpose in named)

    @staticmethod
    def _columns(part: Mapping[str, Node], contract: Contract, sensitivity: int) -> tuple[str, ...]:
        known, readable = column_types(contract), readable_columns(contract, sensitivity)
        if "columns" in part and "except" in part:
            raise part["except"].error("give either 'columns' or 'except'")
        if "except" in part:
            hidden = {item.one_of(known) for item in part["except"].sequence()}
            if not set(readable) - hidden:
                raise part["except"].error("this leaves no column", hint="leave the grant out instead")
            return tuple(name for name in readable if name not in hidden)
        if "columns" not in part or (part["columns"].is_scalar() and part["columns"].one_of(["all"])):
            return readable
        named: set[str] = set()
        for item in part["columns"].sequence():
            name = item.one_of(known)
            if name not in readable:
                raise item.error(f"the column {name!r} is more sensitive than {sensitivity}, which this grant allows")
            named.add(name)
        if not named:
            raise part["columns"].error("the list is empty", hint="leave the grant out instead")
        return tuple(name for name in readable if name in named)

    @staticmethod
    def _masks(node: Node, contract: Contract, columns: tuple[str, ...]) -> dict[str, Mask]:
        types = column_types(contract)
        masks: dict[str, Mask] = {}
        for name, item in node.items():
            if name not in columns:
                raise item.error(f"{name[:64]!r} is not among this grant's columns", hint="mask what is shown")
            if name == "sensitivity":
                raise item.error("the sensitivity of a row is not masked")
            masks[name] = parse_mask(item, types[name])
        return masks

    @staticmethod
    def _row_filter(node: Node, contract: Contract) -> Expression:
        try:
            expression = parse_row_filter(node.scalar(), column_types(contract))
        except RowFilterError as error:
            raise node.error(f"row filter, character {error.position + 1}: {error.message}") from None
        for attribute in attributes(expression):
            if NAME.fullmatch(attribute) is None:
                raise node.error(f"principal.{attribute[:64]} is not a valid attribute")
        return expression

    def _scope(self, node: Node, purposes: frozenset[str]) -> EmployeeScope:
        named = self._named
        if node.is_scalar():
            kind = ScopeKind(node.one_of([kind.value for kind in ScopeKind if kind is not ScopeKind.LISTED]))
            if kind is ScopeKind.TEAM and not named.teams:
                raise node.error("the policy names no teams", hint="list them under 'teams'")
            unasked = sorted(purposes - set(named.consents)) if kind is ScopeKind.CONSENTED else []
            if unasked:
                raise node.error(f"'consents' says nothing of the purpose {unasked[0]!r}", hint="[] if nobody has")
            return EmployeeScope(
                kind, by={ScopeKind.CONSENTED: named.consents, ScopeKind.TEAM: named.teams}.get(kind, {})
            )
        part = node.mapping(optional=("cohort", "list"))
        if len(part) != 1:
            raise node.error("give all, self, team, consented, {cohort: NAME} or {list: [...]}")
        if "cohort" in part:
            return EmployeeScope(ScopeKind.LISTED, named.cohorts[part["cohort"].one_of(named.cohorts)])
        return EmployeeScope(ScopeKind.LISTED, employee_ids(part["list"]))

    @staticmethod
    def _window(node: Node) -> Window:
        part = node.mapping(optional=("from", "to", "last"))
        window = Window(
            first=part["from"].day() if "from" in part else None,
            last=part["to"].day() if "to" in part else None,
            last_days=part["last"].days() if "last" in part else None,
        )
        if window.first and window.last and window.first > window.last:
            raise node.error("the window ends before it starts")
        return window

    @staticmethod
    def _limits(node: Node) -> Limits:
        part = node.mapping(optional=("rows", "bytes", "seconds", "concurrent"))
        return Limits(**{name: value.integer(minimum=1, maximum=10**15) for name, value in part.items()})


def _smallest_group(part: Mapping[str, Node], scope: EmployeeScope) -> int:
    node = part["smallest_group"]
    smallest = node.integer(minimum=2, maximum=MAX_GROUP)
    if scope.kind is ScopeKind.SELF or (scope.kind is ScopeKind.LISTED and len(scope.employees) < smallest):
        raise node.error(f"the grant covers fewer than {smallest} people, so no group would ever be shown")
    if "employee_id" in part and part["employee_id"].scalar() != EmployeeForm.ABSENT.value:
        raise part["employee_id"].error("a grant with 'smallest_group' shows groups, and no employee of them")
    return smallest
