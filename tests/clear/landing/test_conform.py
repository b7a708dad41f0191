"""Conforming: what passes a contract, with which sensitivity, and what is counted or refused."""

# ruff: noqa: DTZ001 - capture times are naive UTC
from __future__ import annotations

from datetime import datetime
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lake.clear.landing.conform import Conformer
from lake.errors import MalformedInputError
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
