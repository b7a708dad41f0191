"""Rows by event type, and flags as bits: the same as row by row."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from lake.clear.landing.kinds import UNKNOWN, Kinds, bits, flags

NAMES = ["mouse", "key", "ä"]


@given(types=st.lists(st.sampled_from([*NAMES, "other", ""])), some=st.sets(st.sampled_from([*NAMES, "never"])))
def test_rows_are_found_by_their_types(types: list[str], some: set[str]) -> None:
    """Sets of types are the union of their types; of unknown ones only where they are asked for."""
    kinds = Kinds(pa.array(types, pa.string()), NAMES)
    assert kinds.places.tolist() == [NAMES.index(name) if name in NAMES else UNKNOWN for name in types]
    assert kinds.unknown == sum(name not in NAMES for name in types)
    assert kinds.known().to_pylist() == [name in NAMES for name in types]
    for unknown in (False, True, False):
        expected = [name in some if name in NAMES else unknown for name in types]
        assert kinds.of(some, unknown=unknown).to_pylist() == expected


@given(values=st.lists(st.booleans()), start=st.integers(0, 20))
def test_flags_and_bits_are_the_same(values: list[bool], start: int) -> None:
    """Of any length, and of any part."""
    column = bits(np.array(values, bool))
    column.validate(full=True)
    assert column.to_pylist() == values
    assert flags(column.slice(start)).tolist() == values[start:]
