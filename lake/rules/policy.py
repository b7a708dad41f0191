"""Access policy: who may read what, for which purpose, in which form. Deny by default; no grant, no table.

A policy is valid only together with the contracts in force: it can't grant a purpose that employees were not told, nor
a column that does not exist.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from lake.errors import DeniedError
from lake.rules.contract import Contract, FieldType
from lake.rules.denial import Refusal, decided
from lake.rules.elevation import Door
from lake.rules.grant import (
    Deny,
    EmployeeForm,
    EmployeeScope,
    Grant,
    Limits,
    ScopeKind,
    Window,
    Withheld,
    scope_employees,
)
from lake.rules.model import SENSITIVITY_COLUMN, TIME_COLUMN, TYPE_COLUMN, Identity, Principal

__all__ = [
    "Deny",
    "EmployeeForm",
    "EmployeeScope",
    "Grant",
    "Limits",
    "Policy",
    "Refusal",
    "ScopeKind",
    "User",
    "Window",
    "Withheld",
    "applicable",
    "column_types",
    "datasets_for",
    "decide",
    "denies_of",
    "every_decision",
    "readable_columns",
    "scope_employees",
]


@dataclass(frozen=True, slots=True)
class User:
    """A member: roles, their own employee id if they have one, attributes for row filters, and what is denied them."""

    name: str
    roles: tuple[str, ...]
    employee: str | None
    attributes: tuple[tuple[str, str], ...]
    denies: tuple[Deny, ...] = ()


@dataclass(frozen=True, slots=True)
class Policy:
    """A whole policy.

    Attributes:
        groups: roles of the members of an identity provider's groups.
        denies: by role.
        digest: of the text.
    """

    purposes: Mapping[str, str]
    roles: Mapping[str, tuple[Grant, ...]]
    users: Mapping[str, User]
    text: str
    digest: str
    break_glass: Mapping[str, Door] = field(default_factory=dict)
    groups: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    denies: Mapping[str, tuple[Deny, ...]] = field(default_factory=dict)

    def principal(self, who: Identity) -> Principal:
        """The principal that an identity is: the roles of the user, then those of their groups, each once.

        What the policy says of a user's employee id and attributes wins over what the identity claims.

        Raises:
            DeniedError: the policy names neither them nor a group of theirs.
        """
        member = self.users.get(who.user)
        held = [self.groups[name] for name in who.groups if name in self.groups]
        if member is None and not held:
            raise DeniedError("access denied", hint="ask the owner of the lake for a grant")
        named = member or User(who.user, (), None, ())
        return Principal(
            user=who.user,
            roles=tuple(dict.fromkeys([*named.roles, *(role for roles in held for role in roles)])),
            employee=named.employee if named.employee is not None else who.employee,
            attributes=tuple((dict(who.attributes) | dict(named.attributes)).items()),
        )


def applicable(policy: Policy, principal: Principal, purpose: str, role: str | None = None) -> dict[str, list[Grant]]:
    """Grants of a principal for a purpose, by dataset; of one role if it is named."""
    found: dict[str, list[Grant]] = {}
    for name in principal.roles:
        if role is None or name == role:
            for grant in policy.roles[name]:
                if purpose in grant.purposes:
                    found.setdefault(grant.dataset, []).append(grant)
    return found


def denies_of(policy: Policy, principal: Principal) -> list[Deny]:
    """Every deny that concerns a principal: those of all roles that they hold, then their own."""
    found = [deny for role in principal.roles for deny in policy.denies.get(role, ())]
    member = policy.users.get(principal.user)
    return found if member is None else [*found, *member.denies]


def decide(
    policy: Policy, principal: Principal, purpose: str, dataset: str, role: str | None = None
) -> Grant | Refusal:
    """The one grant under which a principal may read a dataset for a purpose, or why there is none.

    The grant is as it counts for them: for this purpose alone, its employees named, narrowed by every deny of every
    role that they hold, whichever they ask under.
    """
    if purpose not in policy.purposes:
        return Refusal("unknown purpose")
    if role is not None and role not in principal.roles:
        return Refusal("the principal does not hold this role")
    grants = applicable(policy, principal, purpose, role).get(dataset, [])
    return _decided(policy, principal, purpose, grants)


def _decided(policy: Policy, principal: Principal, purpose: str, grants: Sequence[Grant]) -> Grant | Refusal:
    if not grants:
        return Refusal("no grant for this dataset and purpose")
    # Before any deny is looked at: a deny never makes a choice between roles for the principal.
    if len(grants) > 1:
        return Refusal("several roles grant this dataset for this purpose; one must be named")
    return decided(grants[0], denies_of(policy, principal), principal, purpose)


def every_decision(policy: Policy, principal: Principal) -> Iterator[Grant]:
    """Every grant that a principal could choose to read under: one for each role, dataset and purpose."""
    denies = denies_of(policy, principal)
    for grant in (grant for role in principal.roles for grant in policy.roles[role]):
        for purpose in sorted(grant.purposes):
            decision = decided(grant, denies, principal, purpose)
            if isinstance(decision, Grant):
                yield decision


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


def datasets_for(policy: Policy, principal: Principal, purpose: str, role: str | None) -> Sequence[Grant]:
    """Every grant that decides for this principal and purpose; ambiguous or refused datasets are absent."""
    if purpose not in policy.purposes or (role is not None and role not in principal.roles):
        return []
    found = sorted(applicable(policy, principal, purpose, role).items())
    decisions = [_decided(policy, principal, purpose, grants) for _, grants in found]
    return [decision for decision in decisions if isinstance(decision, Grant)]
