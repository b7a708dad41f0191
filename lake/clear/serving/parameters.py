"""Values of a query's parameters on their way to a sandbox: one row of Arrow, for which no code travels."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pyarrow as pa

from lake.clear.sandbox.answers import Parameters
from lake.errors import UsageError

WHOLE = {"whole": "1"}
"""Marks a whole number beyond 64 bits, which travels as a fraction without decimals."""


def encoded(parameters: Parameters) -> pa.Buffer | bytes:
    """Parameters as one row of Arrow; instants become UTC.

    Raises:
        UsageError: a value has no form in SQL.
    """
    if not parameters:
        return b""
    named = parameters.items() if isinstance(parameters, Mapping) else ((str(i), v) for i, v in enumerate(parameters))
    names, values = zip(*named, strict=True)
    try:
        arrays = [pa.array([_plain(value)]) for value in values]
        fields = [
            pa.field(name, array.type, metadata=WHOLE if _is_large(value) else None)
            for name, array, value in zip(names, arrays, values, strict=True)
        ]
        batch = pa.RecordBatch.from_arrays(arrays, schema=pa.schema(fields))
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, batch.schema) as writer:
            writer.write_batch(batch)
    except (pa.ArrowException, OverflowError, TypeError, ValueError):
        raise UsageError("a parameter is not a value that SQL knows") from None
    return sink.getvalue()


def _plain(value: Any) -> Any:
    if _is_large(value):
        return Decimal(value)
    if isinstance(value, datetime) and value.tzinfo is not None:
        return value.astimezone(UTC)
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    if isinstance(value, dict):
        return {name: _plain(one) for name, one in value.items()}
    return value


def _is_large(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and not -(1 << 63) <= value < 1 << 63
