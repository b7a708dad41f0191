"""How a contract's events are filtered: what its fields hold, how closely keys are captured, where it may be collected.

Deny by default. A contract whose fields can show what somebody did in a program, on a site or on the keyboard says here
which field shows what, and lists the programs and sites; what is not listed is not collected, and an empty list lists
nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING

from lake.errors import UsageError
from lake.rules import contexts
from lake.rules.document import Node
from lake.rules.model import NAME

if TYPE_CHECKING:
    from lake.rules.contract import Contract, EventType, Field


class Level(StrEnum):
    """How closely keys are captured, from not at all to key by key."""

    NONE = "none"
    COUNTS = "counts"
    CLASSES = "classes"
    RUNS = "runs"
    RAW = "raw"


NUMBER = frozenset({"int32", "int64"})
STRING = frozenset({"string"})
ROLES: Mapping[str, frozenset[str]] = MappingProxyType(
    {
        "app": STRING,
        "url": STRING,
        "title": STRING,
        "incognito": frozenset({"boolean"}),
        "kind": STRING,
        "device": STRING,
        "window": STRING,
        "field": STRING,
        "key": STRING,
        "modifiers": STRING,
        "class": STRING,
        "text": STRING,
        "seq": NUMBER,
        "caret": NUMBER,
        "selected": NUMBER,
        "timing": NUMBER,
    }
)
"""What a field can hold. ``seq`` numbers the key events of an employee's device from 1, without a gap."""
SEVERAL = frozenset({"url", "title", "timing"})
"""Roles that more than one field may have."""
OUTPUTS: Mapping[Level, tuple[tuple[str, ...], tuple[str, ...]]] = MappingProxyType(
    {
        Level.NONE: ((), ()),
        Level.COUNTS: (("keys",), ("duration_ms",)),
        Level.CLASSES: ((), ()),
        Level.RUNS: (("text",), ("keys", "edits", "duration_ms")),
        Level.RAW: ((), ()),
    }
)
"""Fields that a level fills: those that it must have, and those that it may have."""
KEYED = ("key", "modifiers", "class", "seq", "caret", "selected", "timing")
"""Roles that belong to a single key; what is made of several keys does not have them."""
TELLING = frozenset(
    {"app", "application", "url", "url_host", "window_title", "key", "key_code", "keycode", "vk", "typed", "typed_text"}
)
"""Names of fields that a contract without a filter section may not have: their meaning is known, and needs a rule."""


@dataclass(frozen=True, slots=True)
class Capture:
    """What becomes of the keys of one event type: ``into`` which type, and which field takes which result."""

    level: Level
    into: str
    outputs: Mapping[str, str] = field(default_factory=dict)
    purpose: str | None = None


@dataclass(frozen=True, slots=True)
class Rules:
    """The filter section of a contract, in force.

    Attributes:
        roles: names of fields by what they hold.
        capture: by event type; every type that carries keys is here.
        apps, sites: categories of what may be collected, by normalised name.
        ceilings: fields that are dropped, as a breach, if a value is found to be more sensitive than this.
    """

    roles: Mapping[str, tuple[str, ...]]
    capture: Mapping[str, Capture]
    apps: Mapping[str, str]
    sites: Mapping[str, str]
    ceilings: Mapping[str, int]

    def one(self, role: str) -> str | None:
        """The field of a role that has one at most."""
        return next(iter(self.roles.get(role, ())), None)


NO_RULES = Rules(*(MappingProxyType({}) for _ in range(5)))


def parse_rules(
    node: Node, fields: Mapping[str, Field], events: Mapping[str, EventType], purposes: Iterable[str]
) -> Rules:
    """Read a contract's ``filter`` section.

    Raises:
        DocumentError: anything unknown, missing or contradictory; names line and column.
    """
    part = node.mapping(required=("fields",), optional=("capture", "apps", "sites", "ceilings"))
    roles = _roles(part["fields"], fields)
    listed = {name: _listed(part[name], name) if name in part else None for name in ("apps", "sites")}
    for name, role in (("apps", "app"), ("sites", "url")):
        if role in roles and listed[name] is None:
            raise node.error(
                f"a field holds the {role}, but the list {name!r} is missing",
                hint=f"list what may be collected; '{name}: {{}}' collects nothing",
            )
    named = dict(part["capture"].items()) if "capture" in part else {}
    for event, place in named.items():
        if event not in events:
            raise place.error(f"there is no event type {event[:64]!r}")
    section = _Section(fields, events, tuple(purposes), roles)
    capture = {
        name: section.capture(named.get(name, node), event)
        for name, event in events.items()
        if name in named or section.carries(event, "key")
    }
    for carrier in events.values():
        section.check_context(node, carrier)
    ceilings = dict(part["ceilings"].items()) if "ceilings" in part else {}
    return Rules(
        roles=MappingProxyType(roles),
        capture=MappingProxyType(capture),
        apps=MappingProxyType(listed["apps"] or {}),
        sites=MappingProxyType(listed["sites"] or {}),
        ceilings=MappingProxyType({name: _ceiling(name, place, fields) for name, place in ceilings.items()}),
    )


def unfiltered(contract: Contract) -> tuple[str, ...]:
    """Fields that a contract may not have without a filter section that says what they hold."""
    if contract.rules is not NO_RULES:
        return ()
    return tuple(name for name, spec in contract.fields.items() if name in TELLING and not spec.retired)


def check_filtered(contract: Contract) -> None:
    """Refuse a contract that has to say how it is filtered and does not.

    Raises:
        UsageError: it has a field whose name tells what it holds, and no filter section.
    """
    bare = unfiltered(contract)
    if bare:
        raise UsageError(
            f"the contract of {contract.dataset!r} has the field {bare[0]!r} and does not say how it is filtered",
            hint="add a filter section: docs/filter.md",
        )


def _roles(node: Node, fields: Mapping[str, Field]) -> dict[str, tuple[str, ...]]:
    roles: dict[str, tuple[str, ...]] = {}
    for role, place in node.mapping(optional=tuple(ROLES)).items():
        nodes = [place] if place.is_scalar() else place.sequence()
        if not nodes or (len(nodes) > 1 and role not in SEVERAL):
            raise place.error("one field is expected here")
        names = tuple(item.one_of(fields) for item in nodes)
        for item, name in zip(nodes, names, strict=True):
            if fields[name].type not in ROLES[role]:
                raise item.error(f"the field {name!r} is {fields[name].type.value} and cannot hold the {role}")
            if any(name in taken for taken in roles.values()):
                raise item.error(f"the field {name!r} holds one thing only")
        roles[role] = names
    return roles


def _listed(node: Node, name: str) -> dict[str, str]:
    """A list of programs or sites: name → category."""
    found: dict[str, str] = {}
    clean = contexts.app_name if name == "apps" else contexts.host_name
    for text, place in node.items():
        key = clean(text)
        if not key or (name == "sites" and not contexts.is_site(key)):
            raise place.error(f"{text[:64]!r} is not the name of a {name[:-1]}")
        if key in found:
            raise place.error(f"{text[:64]!r} is listed twice")
        denied = contexts.denied_app(key) if name == "apps" else contexts.denied_host(key)
        if denied is not None:
            raise place.error(f"{text[:64]!r} is never collected ({denied})", hint="deny wins: take it from the list")
        found[key] = place.name(NAME)
    return found


@dataclass(frozen=True, slots=True)
class _Section:
    """What a filter section is read against."""

    fields: Mapping[str, Field]
    events: Mapping[str, EventType]
    purposes: tuple[str, ...]
    roles: Mapping[str, tuple[str, ...]]

    def carries(self, event: EventType, role: str) -> bool:
        """Whether an event type carries a field of a role."""
        return any(name in event.fields for name in self.roles.get(role, ()))

    def capture(self, node: Node, event: EventType) -> Capture:
        """What becomes of an event type's keys; counts, if the section does not say."""
        stated: dict[str, Node] = {}
        if "level" in dict(node.items()):
            names = {name for required, optional in OUTPUTS.values() for name in (*required, *optional)}
            stated = node.mapping(required=("level",), optional=("into", "purpose", *names))
        level = Level(stated["level"].one_of([level.value for level in Level])) if stated else Level.COUNTS
        place = stated.get("level", node)
        into = self.events[stated["into"].one_of(self.events)] if "into" in stated else event
        if not self.carries(event, "key") and level not in {Level.NONE, Level.COUNTS}:
            raise place.error(
                f"the event type {event.name!r} carries no key", hint="say which field holds it: filter.fields.key"
            )
        required, optional = OUTPUTS[level]
        outputs: dict[str, str] = {}
        for name in (*required, *optional):
            if name in stated:
                outputs[name] = stated[name].one_of(into.fields)
                kinds = STRING if name == "text" else NUMBER
                if self.fields[outputs[name]].type not in kinds:
                    raise stated[name].error(f"the field {outputs[name]!r} cannot hold {name}")
            elif name in required:
                raise place.error(
                    f"keys of {event.name!r} are captured as {level.value}: say which field holds {name!r}",
                    hint=f"under filter.capture.{event.name}: level, into, {name}",
                )
        for name in set(stated) - {"level", "into", "purpose", *outputs}:
            raise stated[name].error(f"the level {level.value} has no {name!r}")
        if level in {Level.RUNS, Level.RAW}:
            holder = outputs["text"] if level is Level.RUNS else self.roles["key"][0]
            if max(into.sensitivity, self.fields[holder].sensitivity) < 4 or "purpose" not in stated:
                raise place.error(f"{level.value} needs sensitivity 4 and a named purpose")
        if level is Level.RUNS and not self.carries(event, "seq"):
            raise place.error(f"runs need an order: {event.name!r} carries no field that holds seq")
        if level is Level.CLASSES and not self.carries(event, "class"):
            raise place.error(f"{event.name!r} carries no field that holds the class")
        missing = self._missing(level, event, into, outputs)
        if missing:
            raise place.error(f"{into.name!r} needs {missing[0]!r}, which the level {level.value} does not give")
        purpose = stated["purpose"].one_of(self.purposes) if "purpose" in stated else None
        return Capture(level, into.name, MappingProxyType(outputs), purpose)

    def _missing(self, level: Level, event: EventType, into: EventType, outputs: Mapping[str, str]) -> list[str]:
        """Fields that the resulting type must carry and that nothing fills."""
        given = set(outputs.values())
        if level is Level.RUNS:
            given |= set(event.fields) - {name for role in KEYED for name in self.roles.get(role, ())}
        elif level is Level.COUNTS:
            given |= {name for role in ("app", "device") for name in self.roles.get(role, ()) if name in event.fields}
        else:
            return []
        return sorted(into.required - given)

    def check_context(self, node: Node, event: EventType) -> None:
        """What was typed is judged by its field and its program, and a title by its program: they must be carried."""
        typed = self.carries(event, "key") or self.carries(event, "text")
        if typed and not self.carries(event, "kind"):
            raise node.error(f"{event.name!r} carries keys or typed text, and no field that holds the kind of field")
        placed = self.carries(event, "app") or self.carries(event, "url")
        if (typed or self.carries(event, "title")) and not placed:
            raise node.error(f"{event.name!r} carries keys, typed text or titles, and no field that holds app or url")


def _ceiling(name: str, node: Node, fields: Mapping[str, Field]) -> int:
    if name not in fields:
        raise node.error(f"there is no field {name[:64]!r}")
    return node.integer(minimum=fields[name].sensitivity, maximum=4)


def check_rules_follow(old: Rules, new: Rules) -> None:
    """Refuse a new version that forgets how the old one was filtered.

    Raises:
        UsageError: the section is gone.
    """
    if old is not NO_RULES and new is NO_RULES:
        raise UsageError("a new version may not leave out the filter section", hint="copy it from the version in force")
