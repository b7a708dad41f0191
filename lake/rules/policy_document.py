"""Reading a policy from YAML, checked against the contracts in force; complaints name line and column."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from types import MappingProxyType

from lake.rules.contract import Contract
from lake.rules.document import Node, read_document
from lake.rules.elevation_document import parse_doors
from lake.rules.grant_document import Named, RoleReader, employee_ids
from lake.rules.model import MAX_EMPLOYEE_ID, NAME
from lake.rules.policy import Grant, Policy, User

USER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@+-]{0,127}")
MAX_TEAM_NAME = 200
MAX_GROUP_NAME = 256
"""Characters in the name of an identity provider's group."""


def parse_policy(text: str, contracts: Mapping[str, Contract], source: str = "policy") -> Policy:
    """Read and check a policy.

    Raises:
        DocumentError: anything unknown, contradictory, or wider than a contract allows.
    """
    document = read_document(text, source)
    optional = ("cohorts", "consents", "teams", "groups", "break_glass")
    top = document.mapping(required=("purposes", "roles", "users"), optional=optional)
    purposes = {_name(node, key): node.string() for key, node in top["purposes"].items()}
    reader = RoleReader(contracts, _named(top, purposes))
    roles = {_name(node, key): reader.role(key, node) for key, node in top["roles"].items()}
    grants = {name: granted for name, (granted, _) in roles.items()}
    users = {key: _user(key, node, grants, reader) for key, node in top["users"].items()}
    groups = {_group_name(node, key): _roles(node, grants) for key, node in _items(top, "groups")}
    return Policy(
        purposes=MappingProxyType(purposes),
        roles=MappingProxyType(grants),
        users=MappingProxyType(users),
        text=text,
        digest="sha256:" + hashlib.sha256(text.encode()).hexdigest(),
        break_glass=parse_doors(top["break_glass"], purposes, grants, users) if "break_glass" in top else {},
        groups=MappingProxyType(groups),
        denies=MappingProxyType({name: denied for name, (_, denied) in roles.items() if denied}),
    )


def _items(top: Mapping[str, Node], key: str) -> Iterator[tuple[str, Node]]:
    return top[key].items() if key in top else iter(())


def _named(top: Mapping[str, Node], purposes: Mapping[str, str]) -> Named:
    consents: dict[str, frozenset[str]] = {}
    for key, node in _items(top, "consents"):
        if key not in purposes:
            raise node.error(f"{key[:64]!r} is no purpose of this policy")
        consents[key] = employee_ids(node, or_none=True)
    return Named(
        purposes=purposes,
        cohorts={_name(node, key): employee_ids(node) for key, node in _items(top, "cohorts")},
        consents=MappingProxyType(consents),
        teams=MappingProxyType({_team(node, key): employee_ids(node) for key, node in _items(top, "teams")}),
    )


def _name(node: Node, key: str) -> str:
    if NAME.fullmatch(key) is None:
        raise node.error(f"{key[:64]!r} is not a valid name", hint=f"expected {NAME.pattern}")
    return key


def _team(node: Node, key: str) -> str:
    """A team as an attribute may name it."""
    if not key.strip() or len(key) > MAX_TEAM_NAME:
        raise node.error("this cannot be the name of a team", hint=f"a text of at most {MAX_TEAM_NAME} characters")
    return key


def _group_name(node: Node, key: str) -> str:
    if not key.isprintable() or key != key.strip() or not 0 < len(key) <= MAX_GROUP_NAME:
        raise node.error("this cannot be the name of a group", hint="as the identity provider writes it")
    return key


def _roles(node: Node, roles: Mapping[str, tuple[Grant, ...]]) -> tuple[str, ...]:
    """The roles of a group."""
    held = node.mapping(required=("roles",), optional=())["roles"]
    return tuple(dict.fromkeys(item.one_of(roles) for item in held.sequence()))


def _user(name: str, node: Node, roles: Mapping[str, tuple[Grant, ...]], reader: RoleReader) -> User:
    if USER.fullmatch(name) is None:
        raise node.error(f"{name[:64]!r} is not a valid user name")
    part = node.mapping(required=("roles",), optional=("employee", "attributes", "deny"))
    held = tuple(item.one_of(roles) for item in part["roles"].sequence())
    pairs = part["attributes"].items() if "attributes" in part else ()
    return User(
        name=name,
        roles=tuple(dict.fromkeys(held)),
        employee=part["employee"].string(max_length=MAX_EMPLOYEE_ID) if "employee" in part else None,
        attributes=tuple((_name(value, key), value.string(max_length=200)) for key, value in pairs),
        denies=reader.denies(part["deny"]) if "deny" in part else (),
    )
