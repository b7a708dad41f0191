"""Messages have one form, and whatever else arrives is refused with a typed error and without an echo."""

from __future__ import annotations

import json
from contextlib import suppress

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from keys import errors
from keys.errors import BrokerFailedError, BrokerMessageError, EmployeeErasedError, KeysError
from keys.remote import wire

UNHURRIED = settings(deadline=None)
"""The machine may be busy with something else."""
SCALARS = st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.text() | st.binary(max_size=64)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4), max_leaves=12
)


def sendable(value: object) -> bool:
    """Whether a value is one that a message can hold."""
    try:
        wire.encode(value)
    except BrokerMessageError:
        return False
    return True


@UNHURRIED
@given(VALUES.filter(sendable))
def test_what_is_sent_arrives(value: object) -> None:
    """Every value comes back as it was, from its one form."""
    framed = wire.frame(value)
    assert wire.body_length(framed[:4], 2**20) == len(framed) - 4
    found = wire.decode(framed[4:])
    assert found == value
    assert wire.encode(found) == framed[4:]


@UNHURRIED
@given(st.binary(max_size=200))
@example(b"")
@example(b"[" * 100_000)
@example(b'{"b":"AAA"}')
@example(b'{"b":1}')
@example(b'"\\ud800"')
@example(b"\xff")
def test_any_bytes_give_a_value_or_a_typed_error(raw: bytes) -> None:
    """No crash and no other exception, and what is accepted is canonical."""
    try:
        value = wire.decode(raw)
    except BrokerMessageError:
        return
    assert wire.encode(value) == raw


@UNHURRIED
@given(VALUES.filter(sendable), st.integers(0, 400), st.binary(min_size=1, max_size=3))
def test_a_changed_message_is_another_one_or_none(value: object, position: int, replacement: bytes) -> None:
    """Bytes that are flipped, added or cut off never pass as the same message."""
    raw = wire.encode(value)
    changed = raw[:position] + replacement + raw[position + 1 :]
    try:
        found = wire.decode(changed)
    except BrokerMessageError:
        return
    assert changed == raw or found != value or type(found) is not type(value)


@pytest.mark.parametrize(
    "text",
    [
        '{"a":1,"a":2}',
        '{"b":"AA==","c":1,"b":"AA=="}',
        '{"z":1,"a":2}',
        '{"a": 1}',
        " 1",
        "1.0",
        "1e3",
        "NaN",
        "Infinity",
        "-0",
        "01",
        str(2**63),
        str(-(2**63) - 1),
        "9" * 5000,
        '"\\u0041"',
        '{"b":"A A="}',
        '{"b":"AB=="}',
        "1 2",
        "[" * 20 + "]" * 20,
        "{}" + "\n",
    ],
)
def test_a_second_form_is_refused(text: str) -> None:
    """Duplicate keys, white space, floats, escapes, large numbers, loose base64, deep nesting."""
    with pytest.raises(BrokerMessageError):
        wire.decode(text.encode())


@pytest.mark.parametrize("value", [1.5, {1, 2}, {1: 2}, {"b": "x"}, 2**63, object(), "\ud800", [[[[[[[[[[[1]]]]]]]]]]]])
def test_what_has_no_form_is_not_sent(value: object) -> None:
    """The sender hears it, not the receiver."""
    with pytest.raises(BrokerMessageError):
        wire.frame(value)


def test_a_length_above_the_limit_is_refused_before_it_is_read() -> None:
    """Four bytes are enough to decide, on both sides."""
    with pytest.raises(BrokerMessageError):
        wire.body_length(b"\xff\xff\xff\xff", wire.MOST_BYTES)
    with pytest.raises(BrokerMessageError):
        wire.frame("x" * 100, most=100)


CLASSES = sorted(
    {kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, KeysError)},
    key=lambda kind: kind.__name__,
)


def test_every_error_has_a_code_of_its_own() -> None:
    """Otherwise one would arrive as another."""
    assert len({kind.code for kind in CLASSES}) == len(CLASSES) > 15


@pytest.mark.parametrize("kind", CLASSES)
def test_an_error_arrives_as_its_class_with_message_and_hint_only(kind: type[KeysError]) -> None:
    """Details and the rest of its state stay at home."""
    error = kind("what is wrong", hint="what to do")
    error.details = {"secret": "detailcanary"}
    error.add_note("notecanary")
    sent = wire.encode(wire.error_fields(error))
    assert b"canary" not in sent
    found = wire.error_of(wire.decode(sent))
    assert type(found) is kind
    assert (found.message, found.hint, found.details) == ("what is wrong", "what to do", {})


def test_an_error_of_an_unknown_code_loses_its_text() -> None:
    """What this side does not know it does not repeat."""
    found = wire.error_of({"code": "new", "message": "textcanary", "hint": ""})
    assert type(found) is BrokerFailedError
    assert "canary" not in str(found)


@UNHURRIED
@given(VALUES)
def test_any_value_in_place_of_an_error_is_typed(value: object) -> None:
    """A broken answer does not break the caller."""
    with suppress(BrokerMessageError):
        assert isinstance(wire.error_of(value), KeysError)


def test_long_texts_of_errors_are_cut() -> None:
    """Nothing makes an answer long."""
    sent = wire.error_fields(EmployeeErasedError("x" * 10_000, hint="y" * 10_000))
    assert len(json.dumps(sent)) < 2500
