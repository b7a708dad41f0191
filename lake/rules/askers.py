"""Everybody whom a policy lets in: users, members of groups, and users behind a break-glass door.

Whose rows a grant covers can hang on claims of an identity provider (an employee id, a team), which a policy does not
hold. Where it does, one asker stands for each claim that makes a difference.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from lake.errors import DeniedError
from lake.rules.grant import TEAM_ATTRIBUTE
from lake.rules.model import Identity, Principal
from lake.rules.policy import EmployeeScope, Grant, Policy, ScopeKind, denies_of, every_decision

USER, GROUP, DOOR = "user", "group", "door"
STRANGER = "\0"
"""An employee whom no policy names: no YAML text can hold it."""

Decisions = dict[tuple[str, str, str], Grant]
"""Grants that were decided on, by dataset, purpose and role."""


@dataclass(frozen=True, slots=True)
class Asker:
    """Someone who may ask.

    Attributes:
        kind: USER, GROUP or DOOR; ``name`` is that of the user, the group or the door.
        user: who asks; empty for a group.
        employee, team: what an identity provider claims of them.
    """

    kind: str
    name: str
    user: str
    employee: str | None = None
    team: str | None = None

    @property
    def label(self) -> str:
        """``mira``, ``group:staff`` or ``door:open_all``."""
        return self.name if self.kind == USER else f"{self.kind}:{self.name}"

    @property
    def condition(self) -> str:
        """What must be so besides; empty if nothing."""
        own = "an employee whom the policy does not name" if self.employee == STRANGER else self.employee
        parts = [
            f"{self.user} asks and a second person approves" if self.kind == DOOR else "",
            f"they are {own}" if self.employee is not None else "",
            f"their team is {self.team}" if self.team is not None else "",
        ]
        return " and ".join(part for part in parts if part)

    def principal(self, policy: Policy) -> Principal | None:
        """What a policy makes of them; None if it does not let them in."""
        door = policy.break_glass.get(self.name) if self.kind == DOOR else None
        if self.kind == DOOR and (door is None or self.user not in door.request):
            return None
        claims = () if self.team is None else ((TEAM_ATTRIBUTE, self.team),)
        groups = (self.name,) if self.kind == GROUP else ()
        with suppress(DeniedError):
            found = policy.principal(Identity(self.user, groups, self.employee, claims))
            return found if door is None else replace(found, roles=(*dict.fromkeys([*found.roles, door.role]),))
        return None

    def decisions(self, policy: Policy) -> Decisions:
        """Every grant under which they may read; behind a door, those that it opens."""
        principal = self.principal(policy)
        if principal is None:
            return {}
        found = {(one.dataset, next(iter(one.purposes)), one.role): one for one in every_decision(policy, principal)}
        if self.kind != DOOR:
            return found
        door = policy.break_glass[self.name]
        if door.role in policy.users[self.user].roles:
            return {}
        return {key: one for key, one in found.items() if one.role == door.role and key[1] in door.purposes}


def askers(policies: Sequence[Policy], employee: str | None = None) -> Iterator[Asker]:
    """Everybody whom one of the policies lets in, each once, in order.

    Args:
        employee: of special interest: whoever may be said to be them is told apart from other employees.
    """
    ids = [None, *([] if employee is None else [employee]), STRANGER]
    teams = sorted({team for policy in policies for scope in _every_scope(policy) for team in _teams(scope)})
    for base in _bases(policies):
        unclaimed = set().union(*(_unclaimed(base, policy) for policy in policies))
        for own in ids if ScopeKind.SELF in unclaimed else [None]:
            for team in [None, *teams] if ScopeKind.TEAM in unclaimed else [None]:
                yield replace(base, employee=own, team=team)


def _bases(policies: Sequence[Policy]) -> list[Asker]:
    users = sorted({name for policy in policies for name in policy.users})
    groups = sorted({name for policy in policies for name in policy.groups})
    doors = {(door.name, user) for policy in policies for door in policy.break_glass.values() for user in door.request}
    return [
        *(Asker(USER, name, name) for name in users),
        *(Asker(GROUP, name, "") for name in groups),
        *(Asker(DOOR, name, user) for name, user in sorted(doors)),
    ]


def _unclaimed(base: Asker, policy: Policy) -> set[ScopeKind]:
    """Kinds of scopes that concern them and hang on what the policy does not say of them."""
    principal = base.principal(policy)
    if principal is None:
        return set()
    grants = [grant for role in principal.roles for grant in policy.roles[role]]
    kinds = {grant.employees.kind for grant in grants}
    kinds |= {deny.employees.kind for deny in denies_of(policy, principal) if deny.employees is not None}
    known = {
        ScopeKind.SELF: principal.employee is not None,
        ScopeKind.TEAM: principal.attribute(TEAM_ATTRIBUTE) is not None,
    }
    return {kind for kind in kinds if not known.get(kind, True)}


def _every_scope(policy: Policy) -> Iterator[EmployeeScope]:
    yield from (grant.employees for grants in policy.roles.values() for grant in grants)
    denies = [*policy.denies.values(), *(user.denies for user in policy.users.values())]
    yield from (deny.employees for some in denies for deny in some if deny.employees is not None)


def _teams(scope: EmployeeScope) -> Sequence[str]:
    return list(scope.by) if scope.kind is ScopeKind.TEAM else []
