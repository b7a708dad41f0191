"""Reading a policy from YAML, checked against the contracts in force; complaints name line and column."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from types import MappingProxyType

from lake.rules.contract import Contract
from lake.rules.document import Node, read_document
from lake.rules.elevation_document import parse_doors
from lake.rules.masks import Mask, parse_mask
from lake.rules.model import MAX_EMPLOYEE_ID, NAME
from lake.rules.policy import (
    EmployeeForm,
    EmployeeScope,
    Grant,
    Limits,
    Policy,
    ScopeKind,
    User,
    Window,
    column_types,
    readable_columns,
)
from lake.rules.row_filter import Expression, RowFilterError, attributes, parse_row_filter

USER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@+-]{0,127}")
_GRANT_KEYS = (
    "columns",
    "except",
    "masks",
    "row_filter",
    "employees",
    "employee_id",
    "window",
    "limits",
)


def parse_policy(text: str, contracts: Mapping[str, Contract], source: str = "policy") -> Policy:
    """Read and check a policy.

    Raises:
        DocumentError: anything unknown, contradictory, or wider than a contract allows.
    """
    document = read_document(text, source)
    top = document.mapping(required=("purposes", "roles", "users"), optional=("cohorts", "break_glass"))
    purposes = {_name(node, key): node.string() for key, node in top["purposes"].items()}
    cohorts = {_name(node, key): _employees(node) for key, node in top["cohorts"].items()} if "cohorts" in top else {}
    reader = _Reader(contracts, purposes, cohorts)
    roles = {_name(node, key): reader.role(key, node) for key, node in top["roles"].items()}
    users = {key: _user(key, node, roles) for key, node in top["users"].items()}
    return Policy(
        purposes=MappingProxyType(purposes),
        roles=MappingProxyType(roles),
        users=MappingProxyType(users),
        text=text,
        digest="sha256:" + hashlib.sha256(text.encode()).hexdigest(),
        break_glass=parse_doors(top["break_glass"], purposes, roles, users) if "break_glass" in top else {},
    )


def _name(node: Node, key: str) -> str:
    if NAME.fullmatch(key) is None:
        raise node.error(f"{key[:64]!r} is not a valid name", hint=f"expected {NAME.pattern}")
    return key


def _employees(node: Node) -> frozenset[str]:
    listed = [item.string(max_length=MAX_EMPLOYEE_ID) for item in node.sequence()]
    if not listed:
        raise node.error("the list is empty", hint="leave the grant out instead")
    return frozenset(listed)


def _user(name: str, node: Node, roles: Mapping[str, tuple[Grant, ...]]) -> User:
    if USER.fullmatch(name) is None:
        raise node.error(f"{name[:64]!r} is not a valid user name")
    part = node.mapping(required=("roles",), optional=("employee", "attributes"))
    held = tuple(item.one_of(roles) for item in part["roles"].sequence())
    pairs = part["attributes"].items() if "attributes" in part else ()
    return User(
        name=name,
        roles=tuple(dict.fromkeys(held)),
        employee=part["employee"].string(max_length=MAX_EMPLOYEE_ID) if "employee" in part else None,
        attributes=tuple((_name(value, key), value.string(max_length=200)) for key, value in pairs),
    )


class _Reader:
    """Grants of one policy, with what they may refer to."""

    def __init__(
        self,
        contracts: Mapping[str, Contract],
        purposes: Mapping[str, str],
        cohorts: Mapping[str, frozenset[str]],
    ) -> None:
        self._contracts = contracts
        self._purposes = purposes
        self._cohorts = cohorts

    def role(self, name: str, node: Node) -> tuple[Grant, ...]:
        part = node.mapping(required=("grants",), optional=("description",))
        grants: list[Grant] = []
        for item in part["grants"].sequence():
            grant = self._grant(name, item)
            for other in grants:
                if other.dataset == grant.dataset and other.purposes & grant.purposes:
                    raise item.error(
                        f"role {name!r} grants {grant.dataset!r} twice for one purpose",
                        hint="make it one grant, or two roles",
                    )
            grants.append(grant)
        return tuple(grants)

    def _grant(self, role: str, node: Node) -> Grant:
        part = node.mapping(required=("dataset", "purposes", "sensitivity"), optional=_GRANT_KEYS)
        contract = self._contracts[part["dataset"].one_of(self._contracts)]
        sensitivity = part["sensitivity"].integer(minimum=1, maximum=4)
        columns = self._columns(part, contract, sensitivity)
        text = part["row_filter"].string(max_length=10_000) if "row_filter" in part else ""
        form = part["employee_id"].one_of([form.value for form in EmployeeForm]) if "employee_id" in part else "absent"
        return Grant(
            role=role,
            dataset=contract.dataset,
            purposes=self._grant_purposes(part["purposes"], contract),
            sensitivity=sensitivity,
            columns=columns,
            masks=MappingProxyType(self._masks(part["masks"], contract, columns) if "masks" in part else {}),
            row_filter=self._row_filter(part["row_filter"], contract) if text else None,
            row_filter_text=text,
            employees=self._scope(part["employees"]) if "employees" in part else EmployeeScope(ScopeKind.ALL),
            employee_form=EmployeeForm(form),
            window=self._window(part["window"]) if "window" in part else Window(),
            limits=self._limits(part["limits"]) if "limits" in part else Limits(),
            line=node.node.start_mark.line + 1,
        )

    def _grant_purposes(self, node: Node, contract: Contract) -> frozenset[str]:
        named = [(item, item.one_of(self._purposes)) for item in node.sequence()]
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

    def _scope(self, node: Node) -> EmployeeScope:
        if node.is_scalar():
            return EmployeeScope(ScopeKind(node.one_of([ScopeKind.ALL.value, ScopeKind.SELF.value])))
        part = node.mapping(optional=("cohort", "list"))
        if len(part) != 1:
            raise node.error("give all, self, {cohort: NAME} or {list: [...]}")
        if "cohort" in part:
            return EmployeeScope(ScopeKind.LISTED, self._cohorts[part["cohort"].one_of(self._cohorts)])
        return EmployeeScope(ScopeKind.LISTED, _employees(part["list"]))

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
        part = node.mapping(optional=("rows", "bytes", "seconds"))
        return Limits(**{name: value.integer(minimum=1, maximum=10**15) for name, value in part.items()})
