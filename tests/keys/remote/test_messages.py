"""Requests and answers are read back field by field, and a wrong field is a typed error."""

# ruff: noqa: DTZ001 - capture times are naive UTC
from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keys.errors import BrokerMessageError
from keys.receipts import Receipt
from keys.refs import DekRequest, FileBinding, KeyEvent, PartitionRef, SubjectRef, WrappedDek
from keys.remote import messages as m
from keys.remote import wire

BINDING = FileBinding(
    partition=PartitionRef("desktop", "a" * 26, 3, "2026-03"),
    file_id="f" * 32,
    object_key="data/desktop/x.parquet",
    format="pme",
    format_version=1,
    schema_version=2,
    length=4096,
    sha256=bytes(range(32)),
    rows=17,
    first_ts=datetime(2026, 3, 1),
    last_ts=datetime(2026, 3, 2, 3, 4, 5, 678),
)
WRAPPED = WrappedDek("k" * 32, 2, b"blob" * 30)
RECEIPT = Receipt("proof text", b"{}", b"scope", (b"1" * 32, b"2" * 32))
SUBJECT = SubjectRef("s" * 26, 7, 200, disabled=True)
EVENT = KeyEvent("create", "kek", "k" * 32, 1)

PAIRS: list[tuple[Any, Callable[[Any], Any], Callable[[Any], Any]]] = [
    (BINDING, m.binding_fields, m.binding_of),
    (WRAPPED, m.wrapped_fields, m.wrapped_of),
    (DekRequest(BINDING, WRAPPED), m.request_fields, m.request_of),
    (DekRequest(BINDING, WRAPPED, held=True), m.request_fields, m.request_of),
    (RECEIPT, m.receipt_fields, m.receipt_of),
    (Receipt("p", b"{}", None, ()), m.receipt_fields, m.receipt_of),
    (SUBJECT, m.subject_fields, m.subject_of),
    (EVENT, m.event_fields, m.event_of),
]
UNHURRIED = settings(deadline=None)
"""The machine may be busy with something else."""
JUNK = st.none() | st.booleans() | st.integers() | st.text() | st.binary() | st.lists(st.integers()) | st.just({})


@pytest.mark.parametrize(("value", "write", "read"), PAIRS)
def test_a_value_arrives_as_it_was(value: object, write: Callable[[Any], Any], read: Callable[[Any], Any]) -> None:
    """Through the wire and back."""
    assert read(wire.decode(wire.encode(write(value)))) == value


@UNHURRIED
@given(pair=st.sampled_from(PAIRS), data=st.data())
def test_a_wrong_field_is_a_typed_error_or_another_value(pair: tuple[Any, Any, Any], data: st.DataObject) -> None:
    """Whatever stands in place of a field: never another exception."""
    value, write, read = pair
    fields = list(write(value))
    position = data.draw(st.integers(0, len(fields) - 1))
    fields[position] = data.draw(JUNK)
    try:
        found = read(fields)
    except BrokerMessageError:
        return
    assert type(found) is type(value)


@UNHURRIED
@given(pair=st.sampled_from(PAIRS), junk=JUNK, cut=st.integers(0, 20))
def test_missing_and_further_fields_are_refused(pair: tuple[Any, Any, Any], junk: object, cut: int) -> None:
    """A list of another length, or no list."""
    value, write, read = pair
    fields = list(write(value))
    for wrong in (fields[:cut] if cut < len(fields) else [*fields, junk], junk, {"0": fields}):
        with pytest.raises(BrokerMessageError):
            read(wrong)


@pytest.mark.parametrize(
    ("position", "wrong"),
    [
        (1, 7),
        (2, 0),
        (2, 5),
        (2, True),
        (3, "2026-13"),
        (3, "2026-03-01"),
        (3, "../../etc"),
        (9, -1),
        (9, True),
        (10, "text"),
        (12, "2026-03-01T00:00:00+00:00"),
        (12, "2026-03-01"),
        (13, "yesterday"),
    ],
)
def test_a_binding_is_checked_field_by_field(position: int, wrong: object) -> None:
    """Levels, months, lengths and times have bounds and one form."""
    fields = m.binding_fields(BINDING)
    fields[position] = wrong
    with pytest.raises(BrokerMessageError):
        m.binding_of(fields)


@pytest.mark.parametrize("size", [0, 16, 31, 33, 64])
def test_a_key_has_32_bytes(size: int) -> None:
    """A short DEK is not wrapped, and not used."""
    with pytest.raises(BrokerMessageError):
        m.key(bytes(size))
