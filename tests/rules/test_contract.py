"""Collection contracts: what is written is what is collected, and a fault is refused where it stands."""

from __future__ import annotations

from pathlib import Path

import pytest

from lake.errors import DocumentError, UsageError
from lake.rules.contract import DEFAULT_MAX_LENGTH, FieldType, check_successor, parse_contract

MOUSE = Path(__file__).resolve().parents[2] / "examples" / "contracts" / "mouse.yaml"


def change(text, *pairs):
    """A text with passages replaced, each of which stands there once."""
    for old, new in pairs:
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    return text


def test_a_contract_is_read_wholly(contract_text):
    """Fields, events, purposes and retention are those of the text, and the digest is of the text."""
    contract = parse_contract(contract_text)
    assert (contract.dataset, contract.version, contract.purposes) == ("desktop", 1, ("security", "ergonomics"))
    assert contract.columns() == ("app", "title", "idle", "count", "total", "speed", "since")
    assert dict(contract.retention) == {1: 365, 2: 180, 3: 90, 4: 30}
    assert (contract.fields["app"].max_length, contract.fields["title"].max_length) == (200, DEFAULT_MAX_LENGTH)
    assert contract.fields["count"].max_length is None
    assert (contract.fields["count"].minimum, contract.fields["count"].maximum) == (0, 1000)
    assert contract.fields["speed"].type is FieldType.FLOAT64
    assert contract.events["focus"].required == {"app"}
    assert contract.events["pulse"].required == frozenset()
    assert contract.text == contract_text
    assert contract.digest != parse_contract(contract_text + "\n").digest
    with pytest.raises(TypeError):
        contract.fields["more"] = contract.fields["app"]


@pytest.mark.parametrize(
    ("old", "new", "place", "words"),
    [
        ("dataset: desktop", "dataset: Desk-top", (1, 10), "not a valid name"),
        ("version: 1", "version: 0", (2, 10), "outside"),
        ("version: 1", "version: one", (2, 10), "whole number"),
        ("title: Desktop work", "title: 7", (3, 8), "text is expected"),
        ("title: Desktop work", "headline: Desktop work", (3, 1), "unknown key"),
        ("title: Desktop work\n", "", (1, 1), "'title' is missing"),
        ("[security, ergonomics]", "[]", (5, 11), "at least one purpose"),
        ("[security, ergonomics]", "[security, B]", (5, 22), "not a valid name"),
        ("3: 90d", "3: 200d", (6, 34), "may not be kept longer"),
        ("4: 30d", "4: 30", (6, 42), "number of days"),
        (", 4: 30d", "", (6, 12), "'4' is missing"),
        ("4: 30d", "4: 30d, 5: 1d", (6, 47), "unknown key '5'"),
        ("  title: {type", "  Title: {type", (9, 10), "cannot be the name"),
        ("  title: {type", "  ts: {type", (9, 7), "cannot be the name"),
        ("  title: {type", "  app: {type", (9, 3), "twice"),
        ("type: boolean", "type: bool", (10, 16), "not known here"),
        ("title: {type: string, sensitivity: 4", "title: {type: string, sensitivity: 5", (9, 38), "outside"),
        ("notice: Whether nobody works.", "max_length: 3, notice: x", (10, 53), "only for strings"),
        ("maximum: 1000", "max_length: 3", (11, 83), "only for strings"),
        ("max_length: 200", "minimum: 2", (8, 70), "only for numbers"),
        ("minimum: 0.5", "minimum: .inf", (13, 70), "a number is expected"),
        ("[app, title, since]", "[app, titel, since]", (19, 19), "not known here"),
        ("[app, title, since]", "[app, title, since, app]", (19, 13), "listed twice"),
        ("required: [app]", "required: [idle]", (20, 16), "not known here"),
        ("[idle, count, total, speed]", "[idle, count, total]", (13, 10), "is carried by no event type"),
        ("  focus:\n", "  Focus:\n", (17, 5), "cannot be the name"),
    ],
)
def test_a_fault_is_refused_where_it_stands(contract_text, old, new, place, words):
    """What is unknown, missing, contradictory or out of range names its line and column."""
    with pytest.raises(DocumentError) as caught:
        parse_contract(change(contract_text, (old, new)), "desktop.yaml")
    assert ((caught.value.line, caught.value.column), words in caught.value.message) == (place, True), caught.value


def test_a_contract_collects_something(contract_text):
    """Neither a contract without events nor one with fields that nothing carries is accepted."""
    head, _, _ = contract_text.partition("fields:\n")
    with pytest.raises(DocumentError, match="collects nothing"):
        parse_contract(head + "fields: {}\nevents: {}\n")


@pytest.mark.parametrize(
    "pairs",
    [
        [],
        [("sensitivity: 3, notice: How fast.", "sensitivity: 4, notice: How fast.")],
        [("title, since]", "title, since]\n    # less\n"), ("required: [app]", "required: []")],
        [
            ("fields:\n  app", "fields:\n  extra: {type: string, sensitivity: 1, notice: New.}\n  app"),
            ("[idle,", "[extra, idle,"),
        ],
    ],
)
def test_a_later_version_may_say_more(contract_text, pairs):
    """A new field, a higher sensitivity and another wording follow the old version."""
    old = parse_contract(contract_text)
    check_successor(old, parse_contract(change(contract_text, ("version: 1", "version: 2"), *pairs)))


@pytest.mark.parametrize(
    ("pairs", "words"),
    [
        ([("version: 1", "version: 1")], "does not follow"),
        ([("version: 1", "version: 3")], "does not follow"),
        ([("type: boolean", "type: string")], "must stay with type boolean"),
        ([("  since: {type: timestamp, sensitivity: 1, notice: Since when.}\n", ""), (", since]", "]")], "must stay"),
        ([("sensitivity: 3, notice: How fast.", "sensitivity: 2, notice: How fast.")], "may not fall"),
        ([("sensitivity: 2\n    notice: A window", "sensitivity: 1\n    notice: A window")], "may not fall"),
    ],
)
def test_a_later_version_cannot_break_old_files(contract_text, pairs, words):
    """Versions follow each other, fields stay with their types, and sensitivity never falls."""
    if not any(old == "version: 1" for old, _ in pairs):
        pairs = [("version: 1", "version: 2"), *pairs]
    with pytest.raises(UsageError, match=words):
        check_successor(parse_contract(contract_text), parse_contract(change(contract_text, *pairs)))


def test_a_field_is_retired_by_saying_so() -> None:
    """A successor takes a field from every event and keeps it as retired; a retired field is carried by none."""
    old = parse_contract(MOUSE.read_text(encoding="utf-8"))
    text = (
        old.text.replace("version: 1", "version: 2")
        .replace(", direction", "")
        .replace("    required: [direction]\n", "")
    )
    with pytest.raises(DocumentError, match="is carried by no event type"):
        parse_contract(text)
    retired = text.replace("  direction:\n", "  direction:\n    retired: true\n")
    new = parse_contract(retired)
    check_successor(old, new)
    assert new.fields["direction"].retired
    with pytest.raises(DocumentError, match="is retired, but an event type carries it"):
        parse_contract(old.text.replace("  direction:\n", "  direction:\n    retired: true\n"))
