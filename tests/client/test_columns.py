"""Columns as numbers: the type follows from the column alone, and nothing is invented for NULL."""

from __future__ import annotations

from datetime import date, datetime, time, timedelta
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pytest

from lake.client.columns import as_numbers
from lake.errors import UsageError

AT = datetime(2026, 9, 1, 10)  # noqa: DTZ001 - the lake's times are naive UTC
MICROSECONDS = 1_788_256_800_000_000


@pytest.mark.parametrize(
    ("column", "dtype", "values"),
    [
        (pa.array([1, -2], pa.int8()), "int8", [1, -2]),
        (pa.array([1, 2**63 - 1], pa.int64()), "int64", [1, 2**63 - 1]),
        (pa.array([2**64 - 1], pa.uint64()), "uint64", [2**64 - 1]),
        (pa.array([True, False]), "bool", [True, False]),
        (pa.array([1.5, -0.0], pa.float32()), "float32", [1.5, -0.0]),
        (pa.array([Decimal("1.25")], pa.decimal128(38, 2)), "float64", [1.25]),
        (pa.array([AT], pa.timestamp("us")), "int64", [MICROSECONDS]),
        (pa.array([date(1970, 1, 3)]), "int32", [2]),
        (pa.array([time(0, 0, 1)], pa.time64("us")), "int64", [1_000_000]),
        (pa.array([time(0, 0, 1)], pa.time32("s")), "int32", [1]),
        (pa.array([timedelta(seconds=1)], pa.duration("us")), "int64", [1_000_000]),
        (pa.array([], pa.int16()), "int16", []),
        (pa.array([9, 1, 2, 9], pa.int16()).slice(1, 2), "int16", [1, 2]),
    ],
)
def test_a_column_of_numbers(column: pa.Array, dtype: str, values: list[object]) -> None:
    """Its type, its values, and memory of its own that may be written."""
    found = as_numbers("n", column)
    assert (str(found.dtype), found.tolist()) == (dtype, values)
    assert found.flags.writeable
    assert found.flags.owndata


@pytest.mark.parametrize("kind", [pa.float16(), pa.float32(), pa.float64(), pa.decimal128(9, 1), pa.null()])
def test_null_among_fractions_is_nan(kind: pa.DataType) -> None:
    """And the column's type stays."""
    found = as_numbers("n", pa.array([None, None], kind))
    assert np.isnan(found).all()
    assert found.dtype == as_numbers("n", pa.array([], kind)).dtype


@pytest.mark.parametrize("kind", [pa.int32(), pa.bool_(), pa.timestamp("us"), pa.date32()])
def test_null_among_whole_numbers_is_refused(kind: pa.DataType) -> None:
    """No number stands for it; the message says what to write."""
    with pytest.raises(UsageError, match=r"the column 'n' holds NULL.*coalesce\(n, 0\)"):
        as_numbers("n", pa.array([None], kind))


@pytest.mark.parametrize("column", [pa.array(["1"]), pa.array([b"1"]), pa.array([[1]]), pa.array([{"a": 1}])])
def test_other_columns_are_not_numbers(column: pa.Array) -> None:
    """Texts, bytes, lists and structs stay what they are."""
    assert as_numbers("n", column) is None
