"""Reading the doors of a policy's ``break_glass``. A door that could not be opened when it is needed is an error."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from datetime import timedelta
from types import MappingProxyType

from lake.rules.document import Node
from lake.rules.elevation import Door
from lake.rules.model import NAME
from lake.rules.policy import Grant

LONGEST = timedelta(hours=72)
"""The most that ``at_most`` may say."""
_LENGTH = re.compile(r"([1-9][0-9]{0,3})([mh])")


def parse_length(text: str) -> timedelta | None:
    """A length of time written ``30m`` or ``4h``; None if it is none."""
    match = _LENGTH.fullmatch(text)
    if match is None:
        return None
    return timedelta(minutes=int(match[1])) if match[2] == "m" else timedelta(hours=int(match[1]))


def parse_doors(
    node: Node, purposes: Collection[str], roles: Mapping[str, Sequence[Grant]], users: Collection[str]
) -> Mapping[str, Door]:
    """The doors by name.

    Args:
        node: the value of ``break_glass``.
        purposes, roles, users: of the same policy.

    Raises:
        DocumentError: something unknown, or a door that could never be opened.
    """
    return MappingProxyType({key: _door(key, part, purposes, roles, users) for key, part in node.items()})


def _door(
    name: str, node: Node, purposes: Collection[str], roles: Mapping[str, Sequence[Grant]], users: Collection[str]
) -> Door:
    if NAME.fullmatch(name) is None:
        raise node.error(f"{name[:64]!r} is not a valid name", hint=f"expected {NAME.pattern}")
    part = node.mapping(required=("role", "purposes", "request", "approve", "at_most"), optional=())
    role = part["role"].one_of(roles)
    served = _purposes(part["purposes"], purposes, role, roles[role])
    request, approve = _people(part["request"], users), _people(part["approve"], users)
    for user in sorted(request):
        if not approve - {user}:
            raise part["approve"].error(f"nobody else could approve what {user!r} asks for", hint="name two people")
    return Door(name, role, served, request, approve, _at_most(part["at_most"]))


def _purposes(node: Node, known: Collection[str], role: str, grants: Sequence[Grant]) -> frozenset[str]:
    named = {item.one_of(known): item for item in node.sequence()}
    if not named:
        raise node.error("name at least one purpose")
    for purpose, item in named.items():
        if not any(purpose in grant.purposes for grant in grants):
            raise item.error(f"the role {role!r} grants nothing for the purpose {purpose!r}")
    return frozenset(named)


def _people(node: Node, users: Collection[str]) -> frozenset[str]:
    named = {item.scalar(): item for item in node.sequence()}
    if not named:
        raise node.error("the list is empty", hint="leave the door out instead")
    for name, item in named.items():
        if name not in users:
            raise item.error(f"{name[:64]!r} is no user of this policy", hint="a user may have no roles: {roles: []}")
    return frozenset(named)


def _at_most(node: Node) -> timedelta:
    length = parse_length(node.scalar())
    if length is None:
        raise node.error("a length of time such as 30m or 4h is expected here")
    if length > LONGEST:
        raise node.error(f"this is longer than {LONGEST // timedelta(hours=1)}h", hint="make it a grant")
    return length
