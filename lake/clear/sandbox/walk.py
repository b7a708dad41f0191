"""Walking a syntax tree by rules: what was found on the way, and the small rules that larger ones are made of.

A rule refuses what it does not know; none of them ever passes a field by default unless the field is empty.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from lake.clear.sandbox.kinds import ENUMS
from lake.errors import QueryRefusedError

RESERVED_PREFIX = "__lake_"
"""Names that begin so (any case) are the lake's own: a slice may hold such a column, and no query may name it."""

POSITIONS = frozenset({"query_location", "query_location_length"})
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
    elif isinstance(value, str) and value[: len(RESERVED_PREFIX)].lower() == RESERVED_PREFIX:
        raise QueryRefusedError(f"names that begin with {RESERVED_PREFIX} are not available here")


def text(_walk: Walk, value: object, _scope: Scope) -> None:
    """The text of a constant, whatever it says."""
    if not isinstance(value, str):
        raise unknown("value")


def only(*allowed: object) -> Rule:
    """One of these values."""

    def check(_walk: Walk, value: object, _scope: Scope) -> None:
        if value not in allowed:
            raise QueryRefusedError("the query uses a form that is not allowed here")

    return check


def kind(name: str) -> Rule:
    """An allowed value of this enumeration."""
    return only(*ENUMS[name].allowed)


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


@dataclass(frozen=True, slots=True)
class Parts:
    """A dictionary with these fields, each by its rule; any other field must be empty."""

    rules: Mapping[str, Rule]

    def __call__(self, walk: Walk, value: Any, scope: Scope) -> None:
        """Check one dictionary, or nothing in its place."""
        if value is None:
            return
        if not isinstance(value, dict):
            raise unknown("structure")
        for name, child in value.items():
            rule = self.rules.get(name)
            if rule is not None:
                rule(walk, child, scope)
            elif name not in POSITIONS and child not in _EMPTY:
                raise unknown("field")


def parts(**rules: Rule) -> Parts:
    """A dictionary with these fields."""
    return Parts(rules)
