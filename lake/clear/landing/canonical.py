"""Rows in the one form in which equal rows serialise equally, however their sender had sliced and filled them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa


def decoded(rows: pa.RecordBatch) -> pa.RecordBatch:
    """The same with every dictionary's values in place: Arrow serialises rows without their dictionaries."""
    if not any(pa.types.is_dictionary(kind) for kind in rows.schema.types):
        return rows
    columns = [column.dictionary_decode() if pa.types.is_dictionary(column.type) else column for column in rows.columns]
    return pa.RecordBatch.from_arrays(columns, schema=decoded_schema(rows.schema))


def decoded_schema(schema: pa.Schema) -> pa.Schema:
    """The schema of ``decoded`` rows."""
    return pa.schema(
        [field.with_type(field.type.value_type) if pa.types.is_dictionary(field.type) else field for field in schema]
    )


def canonical(rows: pa.RecordBatch) -> pa.RecordBatch:
    """Rows with nothing under their NULLs, nor before or behind them. Texts stay where they are, if they can."""
    if not rows.num_columns:
        return rows
    return pa.RecordBatch.from_arrays([_canonical(column) for column in rows.columns], schema=rows.schema)


def _canonical(column: pa.Array) -> pa.Array:
    made = None
    # The bits of its NULLs, if there are any, are whole bytes.
    if len(column) and (not column.null_count or column.offset % 8 == len(column) % 8 == 0):
        if pa.types.is_string(column.type):
            made = _texts(column)
        elif pa.types.is_primitive(column.type) and column.type.bit_width in {8, 16, 32, 64}:
            made = _numbers(column)
    return column.take(pa.array(np.arange(len(column), dtype=np.int32))) if made is None else made


def _numbers(column: pa.Array) -> pa.Array:
    """The column of what is in its place alone, and zeros under NULLs."""
    width = column.type.bit_width // 8
    values = column.buffers()[1].slice(column.offset * width, len(column) * width)
    if not column.null_count:
        return pa.Array.from_buffers(column.type, len(column), [None, values])
    valid = _valid(column)
    # All bits of a value that is there, and none of one that is not.
    masks = np.negative(np.unpackbits(valid, bitorder="little").view(np.int8)).astype(f"i{width}")
    kept = np.frombuffer(values, masks.dtype) & masks
    return pa.Array.from_buffers(column.type, len(column), [pa.py_buffer(valid), pa.py_buffer(kept)])


def _texts(column: pa.Array) -> pa.Array | None:
    """The same, if there is no text under a NULL."""
    _, ends, texts = column.buffers()
    ends = ends.slice(column.offset * 4, (len(column) + 1) * 4)
    bounds = np.frombuffer(ends, np.int32)
    valid = None
    if column.null_count:
        valid = _valid(column)
        if (np.packbits(bounds[1:] != bounds[:-1], bitorder="little") & ~valid).any():
            return None
    if texts is not None:  # up to 63 bytes behind the last text would be serialised
        texts = texts.slice(0, int(bounds[-1]))
    return pa.Array.from_buffers(
        column.type, len(column), [valid if valid is None else pa.py_buffer(valid), ends, texts]
    )


def _valid(column: pa.Array) -> npt.NDArray[np.uint8]:
    return np.frombuffer(column.buffers()[0], np.uint8, len(column) // 8, column.offset // 8)
