"""The canonical form: what equal rows have in common, and what serialises exactly as a copy of the rows does."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lake.clear.landing.canonical import canonical, decoded

KINDS: dict[pa.DataType, st.SearchStrategy[Any]] = {
    pa.int8(): st.integers(-128, 127),
    pa.int32(): st.integers(-(2**31), 2**31 - 1),
    pa.int64(): st.integers(-(2**63), 2**63 - 1),
    pa.timestamp("us"): st.integers(-(2**63), 2**63 - 1),
    pa.float64(): st.floats(),
    pa.bool_(): st.booleans(),
    pa.string(): st.text(max_size=4),
    pa.large_string(): st.text(max_size=4),
    pa.binary(): st.binary(max_size=4),
    pa.decimal128(9, 2): st.decimals(-9999, 9999, places=2),
    pa.list_(pa.int8()): st.lists(st.integers(0, 9), max_size=3),
}


@st.composite
def columns(draw: st.DrawFn) -> pa.Array:
    """A column of any type whose places under NULLs may hold anything, and a part of it that may begin anywhere."""
    kind = draw(st.sampled_from(list(KINDS)))
    rows = draw(st.sampled_from([0, 1, 7, 8, 16, 24, 64]))
    start, after = draw(st.sampled_from([0, 1, 8, 16])), draw(st.integers(0, 9))
    values = draw(st.lists(KINDS[kind], min_size=start + rows + after, max_size=start + rows + after))
    full = pa.array(values, kind)
    there = np.array(draw(st.lists(st.booleans(), min_size=len(values), max_size=len(values))), bool)
    if values and draw(st.booleans()) and not pa.types.is_nested(kind):
        bits = np.packbits(there, bitorder="little")
        bits[-1] |= draw(st.sampled_from([0, 0xFF << len(values) % 8 & 0xFF if len(values) % 8 else 0]))
        full = pa.Array.from_buffers(kind, len(values), [pa.py_buffer(bits), *full.buffers()[1:]])
    return full.slice(start, rows)


def copied(column: pa.Array) -> pa.Array:
    """The reference: what taking each row in turn makes of it."""
    return column.take(pa.array(range(len(column)), pa.int32()))


@settings(max_examples=500, deadline=None)
@given(column=columns())
def test_it_serialises_as_a_copy_of_its_rows_does(column: pa.Array) -> None:
    """Byte for byte, whatever was under NULLs, before the first row or after the last."""
    found = canonical(pa.record_batch([column], ["c"]))
    found.validate(full=True)
    assert found.serialize().equals(pa.record_batch([copied(column)], ["c"]).serialize())
    same = found["c"].equals(column)
    assert same or (pa.types.is_floating(column.type) and str(found["c"].to_pylist()) == str(column.to_pylist()))


def test_what_is_in_order_is_not_copied() -> None:
    """Texts and numbers without NULLs, and texts with nothing under theirs, stay where they are."""
    rows = pa.record_batch({"n": pa.array(range(16)), "a": pa.array(["x"] * 16), "b": pa.array(["x", None] * 8)})
    for name in ("n", "a", "b"):
        kept = [buffer.address for buffer in canonical(rows)[name].buffers() if buffer]
        assert kept == [buffer.address for buffer in rows[name].buffers() if buffer]


@pytest.mark.parametrize("rows", [0, 3])
def test_rows_without_columns_keep_their_number(rows: int) -> None:
    """Nothing is made of nothing, and rows are counted."""
    bare = pa.record_batch([pa.nulls(rows)], ["c"]).select([])
    assert canonical(decoded(bare)).num_rows == rows


def test_dictionaries_are_replaced_by_their_values() -> None:
    """So that they are part of what is serialised; a value that no row has is not."""
    codes = pa.array([0, None, 1], pa.int8())
    first, other = (
        decoded(pa.record_batch([pa.DictionaryArray.from_arrays(codes, pa.array(values))], ["c"]))
        for values in (["x", "y", "unused"], ["x", "z"])
    )
    assert first["c"].to_pylist() == ["x", None, "y"]
    assert first.schema.field("c").type == pa.string()
    assert first.serialize() != other.serialize()
