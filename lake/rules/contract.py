"""Collection contracts: what may be collected, why, how sensitive it is, and the sentence that employees are shown.

A contract is the only way for an event type or a field to land. What it does not name is never stored.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from types import MappingProxyType

from lake.errors import UsageError
from lake.rules.capture import NO_RULES, Rules, check_rules_follow, parse_rules
from lake.rules.document import Node, read_document
from lake.rules.model import NAME, RESERVED_COLUMNS, SENSITIVITIES


class FieldType(StrEnum):
    """Types of a field; ``timestamp`` is an instant, stored as microseconds in UTC."""

    STRING = "string"
    BOOLEAN = "boolean"
    INT32 = "int32"
    INT64 = "int64"
    FLOAT64 = "float64"
    TIMESTAMP = "timestamp"


@dataclass(frozen=True, slots=True)
class Field:
    """One field: a value of it raises its row to at least ``sensitivity``. ``max_length`` in characters.

    A retired field is no longer collected; rows that landed keep it.
    """

    name: str
    type: FieldType
    sensitivity: int
    notice: str
    max_length: int | None = None
    minimum: float | None = None
    maximum: float | None = None
    retired: bool = False


@dataclass(frozen=True, slots=True)
class EventType:
    """One kind of event and the fields that it may and must carry."""

    name: str
    sensitivity: int
    notice: str
    fields: tuple[str, ...]
    required: frozenset[str]


@dataclass(frozen=True, slots=True)
class Contract:
    """A contract of one dataset. ``retention`` maps sensitivity to days; ``digest`` is of the text.

    It binds from ``effective`` on, a day in UTC; None: as soon as it was approved. ``contact`` is whom employees ask.
    """

    dataset: str
    version: int
    title: str
    notice: str
    purposes: tuple[str, ...]
    retention: Mapping[int, int]
    fields: Mapping[str, Field]
    events: Mapping[str, EventType]
    text: str
    digest: str
    rules: Rules = NO_RULES
    effective: date | None = None
    contact: str | None = None

    def columns(self) -> tuple[str, ...]:
        """Names of the stored fields, in the contract's order."""
        return tuple(self.fields)


DEFAULT_MAX_LENGTH = 4096


def parse_contract(text: str, source: str = "contract") -> Contract:
    """Read and check a contract.

    Raises:
        DocumentError: anything unknown, missing or out of range; names line and column.
    """
    root = read_document(text, source)
    top = root.mapping(
        required=("dataset", "version", "title", "notice", "purposes", "retention", "fields", "events"),
        optional=("filter", "effective", "contact"),
    )
    fields = {name: _field(name, node) for name, node in top["fields"].items()}
    events = {name: _event(name, node, fields) for name, node in top["events"].items()}
    if not events:
        raise top["events"].error("a contract without event types collects nothing")
    used = {name for event in events.values() for name in event.fields}
    for name, node in top["fields"].items():
        if fields[name].retired == (name in used):
            complaint = "is retired, but an event type carries it" if name in used else "is carried by no event type"
            raise node.error(f"the field {name!r} {complaint}", hint="list it under an event, or set retired: true")
    purposes = tuple(node.name(NAME) for node in top["purposes"].sequence())
    if not purposes:
        raise top["purposes"].error("name at least one purpose")
    return Contract(
        dataset=top["dataset"].name(NAME),
        version=top["version"].integer(minimum=1, maximum=1_000_000),
        title=top["title"].string(max_length=200),
        notice=top["notice"].string(),
        purposes=purposes,
        retention=MappingProxyType(_retention(top["retention"])),
        fields=MappingProxyType(fields),
        events=MappingProxyType(events),
        text=text,
        digest="sha256:" + hashlib.sha256(text.encode()).hexdigest(),
        rules=parse_rules(top["filter"], fields, events, purposes) if "filter" in top else NO_RULES,
        effective=top["effective"].day() if "effective" in top else None,
        contact=top["contact"].string(max_length=300) if "contact" in top else None,
    )


def _field(name: str, node: Node) -> Field:
    if NAME.fullmatch(name) is None or name in RESERVED_COLUMNS:
        raise node.error(f"{name[:64]!r} cannot be the name of a field", hint=f"expected {NAME.pattern}, not reserved")
    part = node.mapping(
        required=("type", "sensitivity", "notice"), optional=("max_length", "minimum", "maximum", "retired")
    )
    kind = FieldType(part["type"].one_of([kind.value for kind in FieldType]))
    numeric = kind in {FieldType.INT32, FieldType.INT64, FieldType.FLOAT64}
    for bound in ("minimum", "maximum"):
        if bound in part and not numeric:
            raise part[bound].error(f"{bound!r} is only for numbers")
    if "max_length" in part and kind is not FieldType.STRING:
        raise part["max_length"].error("'max_length' is only for strings")
    length = part["max_length"].integer(minimum=1, maximum=1_000_000) if "max_length" in part else DEFAULT_MAX_LENGTH
    minimum = part["minimum"].number() if "minimum" in part else None
    maximum = part["maximum"].number() if "maximum" in part else None
    if minimum is not None and maximum is not None and minimum > maximum:
        raise part["maximum"].error("the maximum is below the minimum")
    return Field(
        name=name,
        type=kind,
        sensitivity=part["sensitivity"].integer(minimum=1, maximum=4),
        notice=part["notice"].string(),
        max_length=length if kind is FieldType.STRING else None,
        minimum=minimum,
        maximum=maximum,
        retired=part["retired"].boolean() if "retired" in part else False,
    )


def _event(name: str, node: Node, fields: Mapping[str, Field]) -> EventType:
    if NAME.fullmatch(name) is None:
        raise node.error(f"{name[:64]!r} cannot be the name of an event type", hint=f"expected {NAME.pattern}")
    part = node.mapping(required=("sensitivity", "notice", "fields"), optional=("required",))
    carried = tuple(item.one_of(fields) for item in part["fields"].sequence())
    if len(set(carried)) != len(carried):
        raise part["fields"].error("a field is listed twice")
    required = frozenset(item.one_of(carried) for item in part["required"].sequence()) if "required" in part else ()
    return EventType(
        name=name,
        sensitivity=part["sensitivity"].integer(minimum=1, maximum=4),
        notice=part["notice"].string(),
        fields=carried,
        required=frozenset(required),
    )


def _retention(node: Node) -> dict[int, int]:
    part = node.mapping(required=[str(level) for level in SENSITIVITIES], optional=())
    days = {level: part[str(level)].days() for level in SENSITIVITIES}
    for level in SENSITIVITIES[1:]:
        if days[level] > days[level - 1]:
            raise part[str(level)].error(f"sensitivity {level} may not be kept longer than {level - 1}")
    return days


def check_successor(old: Contract, new: Contract) -> None:
    """Refuse a new version that could not be read together with the files of the old one.

    Raises:
        UsageError: the version does not follow, a field vanished or changed its type, or a sensitivity falls.
    """
    if new.dataset != old.dataset:
        raise UsageError(f"a contract of {new.dataset!r} does not follow one of {old.dataset!r}")
    if new.version != old.version + 1:
        raise UsageError(
            f"dataset {old.dataset!r} has contract version {old.version}; version {new.version} does not follow",
            hint=f"set version: {old.version + 1}",
        )
    for name, field in old.fields.items():
        successor = new.fields.get(name)
        if successor is None or successor.type is not field.type:
            raise UsageError(
                f"field {name!r} must stay with type {field.type.value}",
                hint="to stop collecting it, take it from the events and set retired: true; rows that landed keep it",
            )
        if successor.sensitivity < field.sensitivity:
            raise UsageError(f"the sensitivity of field {name!r} may not fall", hint="sensitivity only rises")
    for name, event in old.events.items():
        if name in new.events and new.events[name].sensitivity < event.sensitivity:
            raise UsageError(f"the sensitivity of event type {name!r} may not fall", hint="sensitivity only rises")
    check_rules_follow(old.rules, new.rules)
