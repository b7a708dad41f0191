"""Walking a syntax tree by rules: what was found on the way, and the small rules that larger ones are made of.

A rule refuses what it does not know; none of them ever passes a field by default unless the field is empty.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from lake.errors import QueryRefusedError

_POSITIONS = frozenset({"query_location", "query_location_length"})
_EMPTY: tuple[object, ...] = (None, "", False, [], {})


@dataclass(slots=True)
class Walk:
    """The names that are granted, and what a query has used so far."""

    granted: Mapping[str, str]
    columns: frozenset[str]
    tables: set[str] = field(default_factory=set)
    functions: set[str] = field(default_factory=set)
    parameters: set[str] = field(default_factory=set)
    literals: list[str] = field(default_factory=list)


Scope = frozenset[str]
Rule = Callable[[Walk, Any, Scope], None]


def unknown(what: str) -> QueryRefusedError:
    """The refusal of what is on no list."""
    return QueryRefusedError(f"the query holds an unknown {what}", hint="only plain SELECT queries are allowed")


def plain(_walk: Walk, value: object, _scope: Scope) -> None:
    """A scalar, or lists of scalars: names and flags that cannot reach anything by themselves."""
    if isinstance(value, list):
        for item in value:
            plain(_walk, item, _scope)
    elif isinstance(value, dict):
        raise unknown("value")


def only(*allowed: object) -> Rule:
    """One of these values."""

    def check(_walk: Walk, value: object, _scope: Scope) -> None:
        if value not in allowed:
            raise QueryRefusedError("the query uses a form that is not allowed here")

    return check


def never(what: str) -> Rule:
    """Must be empty."""

    def check(_walk: Walk, value: object, _scope: Scope) -> None:
        if value:
            raise QueryRefusedError(f"{what} is not allowed")

    return check


def many(rule: Rule) -> Rule:
    """A list, each item by the rule."""

    def check(walk: Walk, value: Any, scope: Scope) -> None:
        if not isinstance(value, list):
            raise unknown("list")
        for item in value:
            rule(walk, item, scope)

    return check


def parts(**rules: Rule) -> Rule:
    """A dictionary with these fields; any other field must be empty."""

    def check(walk: Walk, value: Any, scope: Scope) -> None:
        if value is None:
            return
        if not isinstance(value, dict):
            raise unknown("structure")
        for name, child in value.items():
            rule = rules.get(name)
            if rule is not None:
                rule(walk, child, scope)
            elif name not in _POSITIONS and child not in _EMPTY:
                raise unknown("field")

    return check
