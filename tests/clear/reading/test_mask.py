"""Masks: what remains of a value, in its own type, with NULL staying NULL; none raises on any value."""

# ruff: noqa: DTZ001, PLR0911 - capture times are naive UTC; one return for each mask
from __future__ import annotations

import hashlib
import hmac
import math
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lake.clear.reading.mask import apply_mask
from lake.rules.masks import Mask, MaskKind

KEY = bytes(range(32))
EPOCH = datetime(1970, 1, 1)
INT64 = st.integers(-(2**63), 2**63 - 1) | st.sampled_from([-(2**63), -(2**63) + 1, 2**63 - 1, 0, -1])
INT32 = st.integers(-(2**31), 2**31 - 1) | st.sampled_from([-(2**31), -(2**31) + 1, 2**31 - 1])
FLOAT64 = st.floats() | st.sampled_from([math.nan, math.inf, -math.inf, -0.0, 5e-324, 1.7976931348623157e308])
TEXT = st.text(max_size=20)

Oracle = Callable[[Any], Any]


def oracle(mask: Mask, kind: pa.DataType) -> Oracle:
    """The plain rule for one value that is not NULL."""
    digest = lambda text: hmac.new(KEY, text.encode(), hashlib.sha256).hexdigest()  # noqa: E731
    match mask.kind:
        case MaskKind.NULL:
            return lambda _: None
        case MaskKind.CONSTANT:
            return lambda _: mask.text
        case MaskKind.PSEUDONYM:
            return lambda text: digest(text)[:20]
        case MaskKind.HASH:
            return digest
        case MaskKind.TRUNCATE:
            return lambda text: text[: mask.number]
        case MaskKind.KEEP_LAST:
            return lambda text: text[-mask.number :]
        case MaskKind.TRUNCATE_TIME:
            return lambda micros: start(micros, mask.text)
        case MaskKind.ROUND if pa.types.is_floating(kind):
            return lambda value: float_multiple(value, mask.number)
        case MaskKind.ROUND:
            least = -(2 ** (kind.bit_width - 1))
            return lambda value: found if (found := value // mask.number * mask.number) >= least else None
        case MaskKind.BUCKET:
            return lambda value: max((edge for edge in mask.edges if edge <= value), default=None)


def start(micros: int, unit: str) -> int | None:
    """Where the unit that holds a time begins, in microseconds; None outside the years 1 to 9999."""
    try:
        moment = EPOCH + timedelta(microseconds=micros)
    except OverflowError:
        return None
    parts = {"microsecond": 0, "second": 0, "minute": 0, "hour": 0, "day": 1}
    kept = {"minute": 2, "hour": 3, "day": 4, "month": 5}[unit]
    return (moment.replace(**dict(list(parts.items())[:kept])) - EPOCH) // timedelta(microseconds=1)


def float_multiple(value: float, step: int) -> float:
    """Down to a multiple; what is no finite number stays."""
    return float(math.floor(value / step)) * step if math.isfinite(value) else value


def same(found: Any, expected: Any) -> bool:
    """Equal, NaN to NaN too."""
    both = isinstance(found, float) and isinstance(expected, float)
    return found == expected or (both and math.isnan(found) and math.isnan(expected))


def hold(values: list[Any], kind: pa.DataType, mask: Mask) -> None:
    """Hold a mask against its oracle: whole, as a slice with an offset, and as a dictionary."""
    rule = oracle(mask, kind)
    expected = [None if value is None else rule(value) for value in values]
    padded = pa.array([values[0] if values else None, *values, None], kind)
    for column in (pa.array(values, kind), padded.slice(1, len(values)), pa.array(values, kind).dictionary_encode()):
        found = apply_mask(column, mask, KEY)
        found.validate(full=True)
        assert found.type == kind
        plain = found.cast(pa.int64()) if pa.types.is_timestamp(kind) else found
        for one, wanted in zip(plain.to_pylist(), expected, strict=True):
            assert same(one, wanted), (one, wanted)


def columns(values: st.SearchStrategy[Any]) -> st.SearchStrategy[list[Any]]:
    """Columns of some values and NULLs."""
    return st.lists(st.none() | values, max_size=8)


@given(columns(TEXT), st.integers(1, 10))
def test_texts(values: list[Any], length: int) -> None:
    """Constant, shortened, emptied and hashed texts are those of the plain rule."""
    for mask in (
        Mask(MaskKind.NULL),
        Mask(MaskKind.CONSTANT, text="x"),
        Mask(MaskKind.PSEUDONYM),
        Mask(MaskKind.HASH),
        Mask(MaskKind.TRUNCATE, number=length),
        Mask(MaskKind.KEEP_LAST, number=length),
    ):
        hold(values, pa.string(), mask)


@given(columns(INT64), columns(INT32), columns(FLOAT64), st.integers(2, 10**9))
def test_numbers_go_down_to_a_multiple(longs: list[Any], shorts: list[Any], floats: list[Any], step: int) -> None:
    """Towards minus infinity, over the whole range; a multiple that the type does not have is NULL."""
    mask = Mask(MaskKind.ROUND, number=step)
    hold(longs, pa.int64(), mask)
    hold(shorts, pa.int32(), mask)
    hold(floats, pa.float64(), mask)


@given(columns(INT64), st.lists(INT64, min_size=1, max_size=5, unique=True))
def test_integers_go_down_to_the_edge_of_their_bucket(values: list[Any], edges: list[int]) -> None:
    """Below the first edge there is no bucket, hence NULL."""
    hold(values, pa.int64(), Mask(MaskKind.BUCKET, edges=tuple(sorted(edges))))


@given(columns(INT32), st.lists(INT32, min_size=1, max_size=5, unique=True))
def test_short_integers_go_down_to_the_edge_of_their_bucket(values: list[Any], edges: list[int]) -> None:
    """The same in 32 bits."""
    hold(values, pa.int32(), Mask(MaskKind.BUCKET, edges=tuple(sorted(edges))))


@given(columns(FLOAT64), st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=5))
def test_fractions_go_down_to_the_edge_of_their_bucket(values: list[Any], edges: list[float]) -> None:
    """Infinity is in the last bucket, what is no number in none."""
    hold(values, pa.float64(), Mask(MaskKind.BUCKET, edges=tuple(sorted(set(edges)))))


def test_buckets_by_example() -> None:
    """An edge belongs to the bucket that it opens."""
    hold([9, 10, 99, 100, 10**6, -1, None], pa.int64(), Mask(MaskKind.BUCKET, edges=(10, 100, 1000)))
    shown = apply_mask(pa.array([9, 10, 99, 100, 5000]), Mask(MaskKind.BUCKET, edges=(10, 100, 1000)), KEY)
    assert shown.to_pylist() == [None, 10, 10, 100, 1000]


@given(columns(INT64 | st.integers(-62_135_596_800_000_000, 253_402_300_799_999_999)))
def test_times_go_down_to_their_unit(values: list[Any]) -> None:
    """Minute, hour, day and month keep what they name and no more; times of no four-digit year are NULL."""
    for unit in ("minute", "hour", "day", "month"):
        mask = Mask(MaskKind.TRUNCATE_TIME, text=unit)
        rule = oracle(mask, pa.timestamp("us"))
        found = apply_mask(pa.array(values, pa.int64()).cast(pa.timestamp("us")), mask, KEY)
        assert found.type == pa.timestamp("us")
        assert found.cast(pa.int64()).to_pylist() == [None if one is None else rule(one) for one in values]


@pytest.mark.parametrize("kind", [MaskKind.TRUNCATE, MaskKind.KEEP_LAST, MaskKind.PSEUDONYM, MaskKind.HASH])
def test_a_text_that_is_not_utf8_raises_nothing(kind: MaskKind) -> None:
    """Bytes that are no text are replaced or hashed as they are."""
    offsets, data = pa.py_buffer(b"\0\0\0\0\2\0\0\0\5\0\0\0"), pa.py_buffer(b"\xff\xfeabc")
    column = pa.Array.from_buffers(pa.string(), 2, [None, offsets, data])
    found = apply_mask(column, Mask(kind, number=1), KEY)
    found.validate(full=True)
    assert found.null_count == 0
    assert found[1].as_py() == oracle(Mask(kind, number=1), pa.string())("abc")


def test_a_pseudonym_is_of_its_key() -> None:
    """Another key gives another pseudonym, so that a list of names hashed without the key matches nothing."""
    for mask in (Mask(MaskKind.PSEUDONYM), Mask(MaskKind.HASH)):
        column = pa.array(["a"])
        shown = apply_mask(column, mask, KEY).to_pylist()
        assert shown != apply_mask(column, mask, bytes(32)).to_pylist()
        assert shown != [hashlib.sha256(b"a").hexdigest()[: len(shown[0])]]
    assert len(apply_mask(pa.array(["a"]), Mask(MaskKind.HASH), KEY)[0].as_py()) == 64
