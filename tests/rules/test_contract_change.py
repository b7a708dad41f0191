"""Two versions of a contract compared: one person alone may only narrow, whatever else is said."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from lake.rules.capture import Level
from lake.rules.contract import Contract, parse_contract
from lake.rules.contract_change import Direction, compare
from tests.clear.landing.typing_world import CONTRACT as TYPING
from tests.clear.landing.typing_world import LEVELS as CAPTURES

Document = dict[str, Any]
BASE = """
dataset: doors
version: 1
title: Doors
notice: Doors that you open.
purposes: [study, incident]
retention: {"1": 90d, "2": 60d, "3": 30d, "4": 30d}
fields:
  door: {type: string, sensitivity: 1, max_length: 20, notice: Which door.}
  tries: {type: int32, sensitivity: 2, minimum: 1, maximum: 9, notice: How often.}
  app: {type: string, sensitivity: 1, notice: A program.}
  old: {type: string, sensitivity: 1, notice: No more., retired: true}
events:
  opened: {sensitivity: 1, notice: It opened., fields: [door, app], required: [door]}
  refused: {sensitivity: 2, notice: It stayed closed., fields: [door, tries], required: [door]}
filter:
  fields: {app: app}
  apps: {editor: office}
  ceilings: {door: 2}
"""


def base() -> Document:
    """The contract as a document."""
    return yaml.safe_load(BASE)  # type: ignore[no-any-return]


def parsed(document: Document) -> Contract:
    """A document as a contract."""
    return parse_contract(yaml.safe_dump(document))


def put(*path: Any) -> Callable[[Document], None]:
    """Sets what the last but one names to the last."""

    def change(document: Document) -> None:
        *names, last, value = path
        for name in names:
            document = document[name]
        document[last] = value

    return change


def drop(*path: Any) -> Callable[[Document], None]:
    """Takes out what the last names."""

    def change(document: Document) -> None:
        *names, last = path
        for name in names:
            document = document[name]
        del document[last]

    return change


def unlist(*path: Any) -> Callable[[Document], None]:
    """Takes the last from a list."""

    def change(document: Document) -> None:
        *names, value = path
        for name in names:
            document = document[name]
        document.remove(value)  # type: ignore[attr-defined]

    return change


def new_field(document: Document) -> None:
    """A field that was not there."""
    document["fields"]["screenshot"] = {"type": "string", "sensitivity": 4, "notice": "Your screen."}
    document["events"]["opened"]["fields"].append("screenshot")


WIDER = {
    "event type": put("events", "seen", {"sensitivity": 1, "notice": "Seen.", "fields": ["door"]}),
    "field": new_field,
    "field carried by more": put("events", "refused", "fields", ["door", "tries", "app"]),
    "retired field again": lambda d: (d["fields"]["old"].pop("retired"), d["events"]["opened"]["fields"].append("old")),
    "required": put("events", "refused", "required", ["door", "tries"]),
    "longer text": put("fields", "door", "max_length", 21),
    "no length": drop("fields", "door", "max_length"),
    "higher maximum": put("fields", "tries", "maximum", 10),
    "no maximum": drop("fields", "tries", "maximum"),
    "lower minimum": put("fields", "tries", "minimum", 0),
    "no minimum": drop("fields", "tries", "minimum"),
    "longer kept": put("retention", "1", "91d"),
    "purpose": put("purposes", ["study", "incident", "review"]),
    "program": put("filter", "apps", "reader", "office"),
    "ceiling raised": put("filter", "ceilings", "door", 3),
    "ceiling gone": drop("filter", "ceilings"),
    "filter gone": drop("filter"),
}
NARROWER = {
    "event type": drop("events", "refused"),
    "field of an event": unlist("events", "opened", "fields", "app"),
    "optional": drop("events", "opened", "required"),
    "shorter text": put("fields", "door", "max_length", 19),
    "lower maximum": put("fields", "tries", "maximum", 8),
    "higher minimum": put("fields", "tries", "minimum", 2),
    "shorter kept": put("retention", "4", "29d"),
    "purpose": put("purposes", ["study"]),
    "program": put("filter", "apps", {}),
    "ceiling lowered": put("filter", "ceilings", "door", 1),
    "ceiling": put("filter", "ceilings", "tries", 2),
    "more sensitive": put("fields", "door", "sensitivity", 2),
    "event more sensitive": put("events", "opened", "sensitivity", 3),
}
OTHER = {
    "title": put("title", "Gates"),
    "notice": put("notice", "Nothing to see."),
    "notice of a field": put("fields", "door", "notice", "Hardly anything."),
    "notice of an event": put("events", "opened", "notice", "Hardly anything."),
    "category": put("filter", "apps", "editor", "games"),
    "field that was never collected": put(
        "fields", "gone", {"type": "string", "sensitivity": 1, "notice": "-", "retired": True}
    ),
}


def changed(*changes: Callable[[Document], Any]) -> Contract:
    """The contract with changes; fields that no event carries any more are retired."""
    document = base()
    for change in changes:
        change(document)
    used = {name for event in document["events"].values() for name in event["fields"]}
    for name, field in document["fields"].items():
        if name not in used:
            field["retired"] = True
    return parsed(document)


def directions(new: Contract) -> set[Direction]:
    """Where the changes of the contract go."""
    return {change.direction for change in compare(parsed(base()), new).changes}


@pytest.mark.parametrize("name", WIDER)
def test_what_collects_more_is_wider(name: str) -> None:
    """Each alone needs a second person."""
    assert Direction.WIDER in directions(changed(WIDER[name]))


@pytest.mark.parametrize("name", NARROWER)
def test_what_only_collects_less_is_narrower(name: str) -> None:
    """Each alone takes one person."""
    assert directions(changed(NARROWER[name])) == {Direction.NARROWER}


@pytest.mark.parametrize("name", OTHER)
def test_what_is_said_otherwise_needs_a_second_person(name: str) -> None:
    """Neither wider nor narrower: not for one person alone."""
    assert directions(changed(OTHER[name])) == {Direction.OTHER}
    assert compare(parsed(base()), changed(OTHER[name])).needs_second


def test_a_first_version_and_the_same_version() -> None:
    """The first collects something where nothing was; the same changes nothing."""
    assert compare(None, parsed(base())).needs_second
    assert compare(parsed(base()), parsed(base())).changes == ()


LENGTHS, DAYS = st.integers(1, 50), st.integers(1, 200)


@st.composite
def documents(draw: st.DrawFn) -> Document:
    """Contracts of the same dataset: any part of the base, with any bounds."""
    document = base()
    document["purposes"] = draw(st.lists(st.sampled_from(["study", "incident", "review"]), min_size=1, unique=True))
    days = sorted(draw(st.lists(DAYS, min_size=4, max_size=4)), reverse=True)
    document["retention"] = {str(level): f"{count}d" for level, count in zip(range(1, 5), days, strict=True)}
    document["fields"]["door"]["max_length"] = draw(LENGTHS)
    low, high = sorted(draw(st.tuples(LENGTHS, LENGTHS)))
    document["fields"]["tries"] |= {"minimum": low, "maximum": high}
    for name in ("opened", "refused"):
        carried = draw(st.lists(st.sampled_from(["door", "tries", "app"]), unique=True))
        required = [field for field in carried if draw(st.booleans())]
        document["events"][name] |= {"fields": carried, "required": required}
    if draw(st.booleans()):
        del document["events"]["refused"]
    document["filter"]["apps"] = dict.fromkeys(draw(st.sets(st.sampled_from(["editor", "reader", "shell"]))), "office")
    ceilings = draw(st.dictionaries(st.sampled_from(["door", "app"]), st.integers(1, 4)))
    document["filter"]["ceilings"] = ceilings
    used = {field for event in document["events"].values() for field in event["fields"]}
    for name, field in document["fields"].items():
        field.pop("retired", None)
        if name not in used:
            field["retired"] = True
    return document


def within(new: Contract, old: Contract) -> bool:
    """Whether the new version admits nothing that the old one does not: said apart from the comparison, as sets."""

    def admits(contract: Contract) -> set[tuple[Any, ...]]:
        found: set[tuple[Any, ...]] = {("purpose", name) for name in contract.purposes}
        found |= {("kept", level, day) for level, days in contract.retention.items() for day in range(days)}
        for event in contract.events.values():
            found.add(("event", event.name))
            found |= {("carries", event.name, name) for name in event.fields}
        lengths = contract.fields["door"].max_length or 10**6
        found |= {("length", count) for count in range(lengths + 1)}
        tries = contract.fields["tries"]
        found |= {("tries", n) for n in range(int(tries.minimum or 0), int(tries.maximum or 0) + 1)}
        found |= {("app", name) for name in contract.rules.apps}
        found |= {
            ("landed", name, level)
            for name in contract.fields
            for level in range(1, contract.rules.ceilings.get(name, 5) + 1)
        }
        return found

    return admits(new) <= admits(old)


@settings(max_examples=150, deadline=None)
@given(documents(), documents())
def test_whatever_admits_more_needs_a_second_person(old: Document, new: Document) -> None:
    """Never alone unless all that lands under the new version would have landed under the old one."""
    before, after = parsed(old), parsed(new)
    if not compare(before, after).needs_second:
        assert within(after, before)


@pytest.mark.parametrize("narrower", ["shorter kept", "event more sensitive", "shorter text", "higher minimum"])
@pytest.mark.parametrize("wider", [name for name in WIDER if name not in {"no length", "longer text"}])
def test_a_widening_does_not_hide_behind_a_narrowing(wider: str, narrower: str) -> None:
    """Together with something that narrows elsewhere it still needs a second person."""
    assert compare(parsed(base()), changed(NARROWER[narrower], WIDER[wider])).needs_second


@pytest.mark.parametrize("after", sorted(CAPTURES))
@pytest.mark.parametrize("before", sorted(CAPTURES))
def test_a_higher_capture_level_needs_a_second_person(before: str, after: str) -> None:
    """Going up is wider; going down is never alone either unless nothing else moves."""
    old, new = (parse_contract(TYPING.replace("CAPTURE", CAPTURES[level])) for level in (before, after))
    levels = [level.value for level in Level]
    found = compare(old, new)
    rises = any(
        levels.index(new.rules.capture[name].level) > levels.index(old.rules.capture[name].level)
        for name in new.rules.capture
        if name in old.rules.capture
    )
    assert any(change.direction is Direction.WIDER and change.what == "capture" for change in found.changes) == rises
    if rises:
        assert found.needs_second


def test_comparing_leaves_the_contracts_alone() -> None:
    """Words and data for the same two are the same again."""
    document = base()
    kept = copy.deepcopy(document)
    old, new = parsed(document), changed(WIDER["field"])
    assert compare(old, new) == compare(old, new)
    assert document == kept
    assert "'screenshot'" in " ".join(change.words for change in compare(old, new).changes)
