"""Parameters: one row of plain values, whatever a stranger sends."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import date, datetime
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest

from lake.errors import UsageError
from lake.gateway.flight.binding import bound, parameter_schema, read_row
from lake.gateway.flight.limits import FlightLimits

LIMITS = FlightLimits()


class Sent:
    """Batches as a client sends them."""

    def __init__(self, batches: Iterable[pa.RecordBatch]) -> None:
        self._batches: Iterator[pa.RecordBatch] = iter(batches)

    def read_chunk(self) -> Any:
        """The next one."""
        batch = next(self._batches)
        return type("Chunk", (), {"data": batch})()


def row(**columns: Any) -> pa.RecordBatch:
    """One row."""
    return pa.record_batch({name: value if isinstance(value, pa.Array) else pa.array([value])
                            for name, value in columns.items()})  # fmt: skip


def test_values_go_by_position() -> None:
    """Whatever the client names them."""
    values = [1, "text", 2.5, None, True, b"x", Decimal("1.50"), date(2026, 1, 2), datetime(2026, 1, 2, 3), [1, 2]]  # noqa: DTZ001
    names = [str(number) for number in range(1, len(values) + 1)]
    sent = row(**{f"column{number}": value for number, value in enumerate(values)})
    assert bound(names, sent, LIMITS) == values


def test_values_go_by_name() -> None:
    """In any order; other names are refused."""
    assert bound(["low", "high"], row(high=2, low=1), LIMITS) == {"low": 1, "high": 2}
    for sent in (row(low=1, other=2), row(low=1), row(low=1, high=2, more=3)):
        with pytest.raises(UsageError):
            bound(["low", "high"], sent, LIMITS)


def test_one_row_is_taken() -> None:
    """Empty batches do not count; none at all is no values; two rows are refused, in one batch or two."""
    empty = row(a=1).slice(0, 0)
    assert read_row(Sent([empty, row(a=1), empty]), LIMITS) == row(a=1)
    assert read_row(Sent([]), LIMITS) is None
    two = pa.record_batch({"a": pa.array([1, 2])})
    for batches in ([two], [row(a=1), row(a=2)]):
        with pytest.raises(UsageError, match="one row"):
            read_row(Sent(batches), LIMITS)


def test_sizes_are_bounded() -> None:
    """Columns, bytes, and items of lists."""
    limits = FlightLimits(parameters=2, parameters_size=100, parameter_items=5)
    for sent in (row(a=1, b=2, c=3), row(a="x" * 101)):
        with pytest.raises(UsageError, match="too many or too large"):
            read_row(Sent([sent]), limits)
    with pytest.raises(UsageError, match="at most 5 items"):
        bound(["1"], row(a=[True] * 6), limits)


@pytest.mark.parametrize(
    "column",
    [
        pa.array([{"a": 1}]),
        pa.array([[[1]]]),
        pa.array(["x"]).dictionary_encode(),
        pa.array([[None]], pa.list_(pa.null())),
        pa.RunEndEncodedArray.from_arrays([1], [5]),
        pa.array([[1]], pa.list_view(pa.int8())),
        pa.array(["x"], pa.string_view()),
        pa.array([[("a", 1)]], pa.map_(pa.string(), pa.int8())),
        pa.array([[1]], pa.list_(pa.int8(), 1)),
        pa.UnionArray.from_sparse(pa.array([0], pa.int8()), [pa.array([1])]),
    ],
    ids=lambda column: str(column.type),
)
def test_types_that_could_grow_are_refused(column: pa.Array) -> None:
    """Nested, encoded and empty ones."""
    with pytest.raises(UsageError, match="of a type"):
        bound(["1"], pa.RecordBatch.from_arrays([column], ["a"]), LIMITS)


def lying(kind: pa.DataType, offsets: bytes, **parts: Any) -> pa.RecordBatch:
    """A row whose offsets change after it has been made."""
    content = bytearray(len(offsets))
    column = pa.Array.from_buffers(kind, 1, [None, pa.py_buffer(content), *parts.pop("values", [])], **parts)
    found = pa.RecordBatch.from_arrays([column], ["a"])
    content[:] = offsets
    return found


@pytest.mark.parametrize(
    ("kind", "offsets", "parts"),
    [
        (pa.string(), b"\0\0\0\0\xff\xff\xff\x7f", {"values": [pa.py_buffer(b"abc")]}),
        (pa.string(), b"\3\0\0\0\1\0\0\0", {"values": [pa.py_buffer(b"abc")]}),
        (pa.binary(), b"\xff\xff\xff\xff\1\0\0\0", {"values": [pa.py_buffer(b"abc")]}),
        (pa.string(), b"\0\0\0\0\2\0\0\0", {"values": [pa.py_buffer(b"\xff\xfe")]}),
        (pa.list_(pa.int8()), b"\0\0\0\0\0\0\0\x7f", {"children": [pa.array([1], pa.int8())]}),
    ],
    ids=["text beyond its end", "text backwards", "bytes before their start", "no UTF-8", "list beyond its end"],
)
def test_arrays_that_lie_are_refused(kind: pa.DataType, offsets: bytes, parts: dict[str, Any]) -> None:
    """Before anything of them is read."""
    with pytest.raises(UsageError, match="not readable"):
        read_row(Sent([lying(kind, offsets, **dict(parts))]), LIMITS)


def test_what_a_statement_takes_is_told_by_name() -> None:
    """And of any type."""
    assert parameter_schema(["1", "2"]) == pa.schema([("1", pa.null()), ("2", pa.null())])
