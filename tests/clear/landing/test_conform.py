"""Conforming: what passes a contract, with which sensitivity, and what is counted or refused."""

# ruff: noqa: DTZ001 - capture times are naive UTC
from __future__ import annotations

from datetime import datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lake.clear.landing.conform import Conformer, is_ascii
from lake.errors import ContractBreachError, MalformedInputError
from lake.rules.contract import parse_contract
from tests import world as w
from tests.world import SCHEMA

FIXED = parse_contract(w.CONTRACT, "contract")
NOW = datetime(2026, 9, 15, 12)
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "app": st.text(max_size=40),
    "n": st.integers(-500, 500),
    "big": st.integers(-(2**63), 2**63 - 1),
    "score": st.floats(-1000, 1000),
    "flag": st.booleans(),
    "at": st.datetimes(datetime(1700, 1, 1), datetime(2200, 1, 1)),
    "title": st.text(max_size=80),
    "said": st.text(max_size=80),
    "note": st.text(max_size=80),
    "sensitivity": st.integers(1, 4),
}
ROW = st.fixed_dictionaries(
    {
        "employee": st.text(min_size=1, max_size=128),
        "ts": st.datetimes(datetime(2000, 1, 1), NOW),
        "type": st.sampled_from(["focus", "say", "judge", "unheard"]),
        **{name: st.none() | values for name, values in VALUES.items()},
    }
)


def conformed(rows: list[dict[str, Any]]) -> tuple[list[dict[str, Any]], dict[str, int]]:
    """What passes, and what is counted."""
    conformer = Conformer(FIXED, NOW)
    batch = pa.RecordBatch.from_pylist(rows, SCHEMA)
    return conformer.conform(batch).to_pylist(), dict(conformer.dropped.counts)


@settings(max_examples=150, deadline=None)
@given(rows=st.lists(ROW, min_size=1, max_size=8))
def test_what_passes_is_what_the_contract_says(rows: list[dict[str, Any]]) -> None:
    """Against the same rules in plain Python: rows, values, sensitivities and counts are equal."""
    expected, unknown, misplaced, lacking = [], 0, 0, False
    for one in rows:
        event = FIXED.events.get(one["type"])
        if event is None:
            unknown += 1
            continue
        kept = dict(one)
        for name in FIXED.fields:
            if name not in event.fields and kept[name] is not None:
                kept[name] = None
                misplaced += 1
        lacking |= any(kept[name] is None for name in event.required)
        ratings = [spec.sensitivity for name, spec in FIXED.fields.items() if kept[name] is not None]
        kept["sensitivity"] = max([event.sensitivity, one["sensitivity"] or 1, *ratings])
        expected.append(kept)
    if lacking:
        with pytest.raises(MalformedInputError, match="is missing"):
            conformed(rows)
        return
    found, counts = conformed(rows)
    assert found == expected
    assert {reason: count for reason, count in counts.items() if count} == {
        reason: count for reason, count in (("unknown_event_type", unknown), ("field_not_of_event", misplaced)) if count
    }


@pytest.mark.parametrize(
    "kind",
    [pa.dictionary(pa.int8(), pa.string()), pa.large_string(), pa.string_view()],
    ids=["dictionary", "large", "view"],
)
def test_every_arrow_form_of_text_is_text(kind: pa.DataType) -> None:
    """Dictionaries, large strings and views land as the texts that they show."""
    batch = pa.RecordBatch.from_pylist([w.row("e", NOW, "focus", app="x", title="ä")], SCHEMA)
    for name in ("employee", "type", "app"):
        index = SCHEMA.get_field_index(name)
        values = batch[name].dictionary_encode().cast(kind) if pa.types.is_dictionary(kind) else batch[name].cast(kind)
        batch = batch.set_column(index, name, values)
    (found,) = Conformer(FIXED, NOW).conform(batch).to_pylist()
    assert (found["employee"], found["type"], found["app"], found["sensitivity"]) == ("e", "focus", "x", 2)


def test_narrow_integers_and_floats_are_widened_and_nothing_else() -> None:
    """Whole numbers fit any number column that holds them exactly; texts and booleans fit none."""
    base = pa.RecordBatch.from_pylist([w.row("e", NOW, "focus", app="x")], SCHEMA)

    def with_n(values: pa.Array, name: str = "n") -> pa.RecordBatch:
        return base.set_column(SCHEMA.get_field_index(name), name, values)

    for kind in (pa.int8(), pa.uint16(), pa.int64()):
        assert Conformer(FIXED, NOW).conform(with_n(pa.array([7], kind)))["n"].to_pylist() == [7]
    assert Conformer(FIXED, NOW).conform(with_n(pa.array([7]), "score"))["score"].to_pylist() == [7.0]
    for values in (pa.array([True]), pa.array(["7"]), pa.array([7.0]), pa.array([b"7"])):
        with pytest.raises(MalformedInputError, match="'n'"):
            Conformer(FIXED, NOW).conform(with_n(values))
    with pytest.raises(MalformedInputError, match="'n'"):
        Conformer(FIXED, NOW).conform(with_n(pa.array([2**40])))
    with pytest.raises(MalformedInputError, match="'score'"):
        Conformer(FIXED, NOW).conform(with_n(pa.array([2**53 + 1]), "score"))


def test_characters_count_and_not_bytes() -> None:
    """A text of as many characters as the contract allows passes, however many bytes it has; one more is too long."""
    longest = FIXED.fields["app"].max_length
    assert longest is not None
    ((found,), _) = conformed([w.row("e", NOW, "focus", app="ä" * longest)])
    assert found["app"] == "ä" * longest
    for long in ("ä" * (longest + 1), "a" * (longest + 1)):
        with pytest.raises(MalformedInputError, match="row 2: the field 'app'"):
            conformed([w.row("e", NOW, "focus", app="x"), w.row("e", NOW, "focus", app=long)])


def test_bounds_hold_for_rows_that_would_land() -> None:
    """What stands in a row of an unknown type is dropped with it, however wrong it is."""
    outside = {"n": -9393, "app": "a" * 1000, "score": float("nan")}
    good = w.row("e", NOW, "focus", app="x", n=1)
    found, counts = conformed([good, w.row("e", NOW, "unheard", **outside)])
    assert [row["app"] for row in found] == ["x"]
    assert counts["unknown_event_type"] == 1
    for name, value in outside.items():
        with pytest.raises((MalformedInputError, ContractBreachError), match=f"row 2: the field '{name}'"):
            conformed([good, good | {name: value}])


@pytest.mark.parametrize(("moment", "complaint"), [(2**63 - 1, "future"), (-(2**63), "before 2000")])
def test_a_time_beyond_all_calendars_is_refused(moment: int, complaint: str) -> None:
    """Every 64-bit time gets a typed error that names the row."""
    batch = pa.RecordBatch.from_pylist([w.row("e", NOW, "focus", app="x")] * 2, SCHEMA)
    times = pa.array([NOW, None], pa.timestamp("us")).cast(pa.int64()).fill_null(moment).cast(pa.timestamp("us"))
    with pytest.raises(MalformedInputError, match=f"row 2: the field 'ts' lies .*{complaint}"):
        Conformer(FIXED, NOW).conform(batch.set_column(SCHEMA.get_field_index("ts"), "ts", times))


@settings(max_examples=200)
@given(
    texts=st.lists(st.none() | st.text(st.characters(codec="utf-8") | st.just("a"), max_size=5)),
    start=st.integers(0, 4),
)
def test_a_quick_look_knows_ascii(texts: list[str | None], start: int) -> None:
    """Of any part of a column of texts: it is ASCII if all texts in it are."""
    part = pa.array(texts, pa.string()).slice(start)
    assert is_ascii(part) == all(text is None or text.isascii() for text in texts[start:])


@pytest.mark.parametrize("ends", [[0, 2, 1], [0, 9, 3], [2, 0, 3]])
def test_texts_without_sound_bounds_are_refused(ends: list[int]) -> None:
    """Ends that go back or lie beyond the texts are noticed before anybody follows them."""
    buffers = [None, pa.py_buffer(np.array(ends, np.int32)), pa.py_buffer(b"abc")]
    texts = pa.Array.from_buffers(pa.string(), 2, buffers)
    assert not is_ascii(texts)
    batch = pa.RecordBatch.from_pylist([w.row("e", NOW, "focus", app="x")] * 2, SCHEMA)
    with pytest.raises(MalformedInputError, match="'app'"):
        Conformer(FIXED, NOW).conform(batch.set_column(SCHEMA.get_field_index("app"), "app", texts))
