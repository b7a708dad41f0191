"""Masks: what remains of a value, in its own type, with NULL staying NULL."""

# ruff: noqa: DTZ001 - capture times are naive UTC
from __future__ import annotations

import hashlib
import hmac
import math
from datetime import datetime

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from lake.clear.reading.mask import apply_mask
from lake.rules.masks import Mask, MaskKind

KEY = bytes(range(32))


def masked(values: list[object], kind: pa.DataType, mask: Mask, key: bytes = KEY) -> list[object]:
    found = apply_mask(pa.array(values, kind), mask, key)
    assert found.type == kind
    return list(found.to_pylist())


@given(st.lists(st.none() | st.text(max_size=20), max_size=8), st.integers(1, 10))
def test_texts(values: list[object], length: int) -> None:
    """Constant, truncated, emptied and pseudonymised texts are those of the plain rule."""
    kind = pa.string()
    assert masked(values, kind, Mask(MaskKind.NULL)) == [None] * len(values)
    assert masked(values, kind, Mask(MaskKind.CONSTANT, text="x")) == [None if one is None else "x" for one in values]
    assert masked(values, kind, Mask(MaskKind.TRUNCATE, number=length)) == [
        None if one is None else str(one)[:length] for one in values
    ]
    assert masked(values, kind, Mask(MaskKind.PSEUDONYM)) == [
        None if one is None else hmac.new(KEY, str(one).encode(), hashlib.sha256).hexdigest()[:20] for one in values
    ]


@given(st.lists(st.none() | st.integers(-(10**6), 10**6), max_size=8), st.integers(2, 1000))
def test_numbers_go_down_to_a_multiple(values: list[int | None], step: int) -> None:
    """Integers and floats are rounded towards minus infinity."""
    mask = Mask(MaskKind.ROUND, number=step)
    expected = [None if one is None else one // step * step for one in values]
    assert masked(list(values), pa.int64(), mask) == expected
    assert masked(list(values), pa.int32(), mask) == expected
    assert masked([None if one is None else one / 4 for one in values], pa.float64(), mask) == [
        None if one is None else math.floor(one / 4 / step) * float(step) for one in values
    ]


def test_times_go_down_to_their_unit() -> None:
    """Minute, hour, day and month keep what they name and no more, before 1970 too."""
    for moment in (datetime(2026, 9, 15, 12, 34, 56, 789), datetime(1969, 12, 31, 23, 59, 59, 1)):
        expected = {
            "minute": moment.replace(second=0, microsecond=0),
            "hour": moment.replace(minute=0, second=0, microsecond=0),
            "day": moment.replace(hour=0, minute=0, second=0, microsecond=0),
            "month": moment.replace(day=1, hour=0, minute=0, second=0, microsecond=0),
        }
        for unit, shown in expected.items():
            mask = Mask(MaskKind.TRUNCATE_TIME, text=unit)
            assert masked([moment, None], pa.timestamp("us"), mask) == [shown, None]


def test_a_pseudonym_is_of_its_key() -> None:
    """Another key gives another pseudonym, so that a list of names hashed without the key matches nothing."""
    mask = Mask(MaskKind.PSEUDONYM)
    assert masked(["a"], pa.string(), mask) != masked(["a"], pa.string(), mask, bytes(32))
    assert masked(["a"], pa.string(), mask) != [hashlib.sha256(b"a").hexdigest()[:20]]
