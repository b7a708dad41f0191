"""Thrift's compact protocol: what is written is found again, and what is not asked for is stepped over."""

from __future__ import annotations

import io
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lake.clear.reading.image import compact as c

_SCALARS = st.one_of(
    st.tuples(st.just(c.I32), st.integers(0, 2**31 - 1).map(c.number)),
    st.tuples(st.just(c.I64), st.integers(0, 2**63 - 1).map(c.number)),
    st.tuples(st.just(c.BINARY), st.binary(max_size=300).map(c.binary)),
    st.tuples(st.just(3), st.binary(min_size=1, max_size=1)),
    st.tuples(st.just(7), st.binary(min_size=8, max_size=8)),
    st.tuples(st.sampled_from([1, 2]), st.just(b"")),
)


def _list(values: list[tuple[int, bytes]]) -> tuple[int, bytes]:
    kind = values[0][0] if values else c.I32
    return c.LIST, c.list_of(kind, [value for one, value in values if one == kind])


def _struct(fields: dict[int, tuple[int, bytes]]) -> tuple[int, bytes]:
    return c.STRUCT, c.struct_of([(number, *fields[number]) for number in sorted(fields)])


VALUES = st.recursive(
    _SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=20).map(_list), st.dictionaries(st.integers(1, 15), inner, max_size=8).map(_struct)
    ),
    max_leaves=30,
)


@given(st.dictionaries(st.integers(1, 15), VALUES, max_size=8))
def test_every_field_lies_where_it_was_written(fields: dict[int, tuple[int, bytes]]) -> None:
    """Of any struct, each field's bytes are found, and the end is the end."""
    _, data = _struct(fields)
    found, end = c.fields(data + b"more", 0)
    assert end == len(data)
    assert {number: data[slice(*place)] for number, place in found.items()} == {
        number: value for number, (_, value) in fields.items()
    }


@given(st.integers(0, 2**63 - 1), st.binary(max_size=300))
def test_numbers_and_texts_come_back(value: int, content: bytes) -> None:
    """As they were written, wherever they stand."""
    assert c.integer(b"x" + c.number(value), 1) == (value, 1 + len(c.number(value)))
    assert c.text(c.binary(content), 0) == (content, len(c.binary(content)))


@given(st.binary(max_size=200))
def test_whatever_is_no_struct_is_refused_in_bounds(data: bytes) -> None:
    """It is read, or refused with the errors that are promised; never read beyond its end."""
    try:
        _, end = c.fields(data, 0)
    except (ValueError, IndexError, RecursionError):
        return
    assert end <= len(data) or not data


def test_a_footer_of_pyarrow_is_understood() -> None:
    """The fields of FileMetaData in a file that Arrow wrote."""
    sink = io.BytesIO()
    pq.write_table(pa.table({"a": list(range(100)), "b": ["x"] * 100}), sink, row_group_size=10)
    content = sink.getvalue()
    size = int.from_bytes(content[-8:-4], "little")

    def group(data: bytes, at: int) -> tuple[Any, int]:
        return c.fields(data, at)

    found, end = c.fields(content[-8 - size : -8], 0, {2: c.many(c.raw), 3: c.integer, 4: c.many(group)})
    assert (end, len(found[2]), found[3], len(found[4])) == (size, 3, 100, 10)


@pytest.mark.parametrize("kind", [0, 11, 13, 14, 15])
def test_an_unknown_type_is_refused(kind: int) -> None:
    """A type that no footer has."""
    with pytest.raises(ValueError, match="no footer"):
        c.fields(bytes([1 << 4 | kind, 0, 0]), 0)
