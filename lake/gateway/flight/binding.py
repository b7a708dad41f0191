"""Values of a statement's parameters, as a client sends them: one row of Arrow."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa
from pyarrow import types

from lake.clear.sandbox.answers import Parameters
from lake.errors import UsageError
from lake.gateway.flight.failures import NotOfferedError
from lake.gateway.flight.limits import FlightLimits

_SCALARS = (
    types.is_boolean,
    types.is_integer,
    types.is_floating,
    types.is_decimal,
    types.is_string,
    types.is_large_string,
    types.is_binary,
    types.is_large_binary,
    types.is_fixed_size_binary,
    types.is_date,
    types.is_time,
    types.is_timestamp,
    types.is_duration,
)


def parameter_schema(names: Sequence[str]) -> pa.Schema:
    """What a statement takes: its parameters by name, of any type."""
    return pa.schema([pa.field(name, pa.null()) for name in names])


def read_row(reader: Any, limits: FlightLimits) -> pa.RecordBatch | None:
    """The one row that a client sends; None for none.

    Raises:
        UsageError: it sends more, or too much.
    """
    row: pa.RecordBatch | None = None
    while (chunk := _next(reader)) is not None:
        batch = chunk.data
        if batch is None or batch.num_rows == 0:
            continue
        if row is not None or batch.num_rows > 1:
            raise NotOfferedError("a statement takes one row of parameters at a time", hint="execute it for each row")
        _validate(batch)
        if batch.num_columns > limits.parameters or batch.nbytes > limits.parameters_size:
            raise UsageError(
                "the parameters are too many or too large",
                hint=f"at most {limits.parameters}, {limits.parameters_size} bytes",
            )
        row = batch
    return row


def _validate(batch: pa.RecordBatch) -> None:
    # Offsets of a stranger may point anywhere, and even the size of a batch is read from them.
    try:
        batch.validate(full=True)
    except (pa.ArrowException, ValueError):
        raise UsageError("the parameters are not readable Arrow data") from None


def _next(reader: Any) -> Any:
    try:
        return reader.read_chunk()
    except StopIteration:
        return None
    except (pa.ArrowException, ValueError, TypeError, OSError):
        raise UsageError("the parameters are not readable Arrow data") from None


def bound(names: Sequence[str], row: pa.RecordBatch, limits: FlightLimits) -> Parameters:
    """A row as the values of parameters: by position for ``?`` and ``$1``, else by name.

    Raises:
        UsageError: they are not those of the statement, or not of a type that a query takes.
    """
    if row.num_columns != len(names):
        raise UsageError(f"the statement has {len(names)} parameters, and {row.num_columns} values were sent")
    values = _values(row, limits)
    if all(name.isdigit() for name in names):
        return values
    if set(row.schema.names) != set(names):
        raise UsageError("the names of the values are not those of the parameters", hint="name them as the query does")
    return dict(zip(row.schema.names, values, strict=True))


def _values(row: pa.RecordBatch, limits: FlightLimits) -> list[Any]:
    if not all(_is_taken(field.type) for field in row.schema):
        raise UsageError("a parameter is of a type that a query does not take", hint="a scalar, or a list of scalars")
    try:
        lengths = [column[0].values for column in row.columns if _is_list(column.type) and column[0].is_valid]
        if sum(map(len, lengths)) > limits.parameter_items:
            raise UsageError(f"lists in parameters have at most {limits.parameter_items} items in all")
        return [column[0].as_py() for column in row.columns]
    except (pa.ArrowException, ValueError, TypeError, OverflowError, NotImplementedError):
        raise UsageError("a parameter cannot be read") from None


def _is_list(kind: pa.DataType) -> bool:
    return bool(types.is_list(kind) or types.is_large_list(kind))


def _is_taken(kind: pa.DataType) -> bool:
    """Scalars that take space, and lists of them: what looks small must not grow when it is read."""
    return bool(_is_scalar(kind) or types.is_null(kind) or (_is_list(kind) and _is_scalar(kind.value_type)))


def _is_scalar(kind: pa.DataType) -> bool:
    return any(is_kind(kind) for is_kind in _SCALARS)
