"""A column as numbers for training, in a type that depends on the column and never on its values."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lake.errors import UsageError


def as_numbers(name: str, column: pa.Array) -> Any:
    """A column as a numpy array of its own memory; None if it does not hold numbers.

    Times and durations are whole numbers of their unit (microseconds for the lake's own), dates are days since 1970,
    exact fractions become float64, NULL becomes NaN.

    Raises:
        UsageError: whole numbers or truth values with a NULL, which no array of them can hold.
    """
    kind = column.type
    if pa.types.is_null(kind):
        return np.full(len(column), np.nan)
    if pa.types.is_decimal(kind):
        column = column.cast(pa.float64())
    elif pa.types.is_temporal(kind) and not pa.types.is_interval(kind):
        column = column.cast(pa.int32() if kind.bit_width == 32 else pa.int64())
    if pa.types.is_floating(column.type):
        nan = pa.scalar(float("nan")).cast(column.type)
        return np.array(pc.fill_null(column, nan).to_numpy(zero_copy_only=False))
    if not (pa.types.is_integer(column.type) or pa.types.is_boolean(column.type)):
        return None
    if column.null_count:
        hint = f"replace it in the query: coalesce({name}, 0), or cast to DOUBLE for NaN"
        raise UsageError(f"the column {name!r} holds NULL, which a tensor of whole numbers cannot", hint=hint)
    return np.array(column.to_numpy(zero_copy_only=False))
