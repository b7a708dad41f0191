"""What lies under a NULL. Arrow keeps a place for the value, and whoever is sent the column is sent that place too."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc


def cleared(column: pa.Array) -> pa.Array:
    """The same column with nothing under its NULLs: neither what a mask left there, nor what the memory held before."""
    if not column.null_count or pa.types.is_null(column.type):
        return column
    plain = pa.concat_arrays([column]) if column.offset else column
    return pa.Array.from_buffers(column.type, len(plain), [plain.buffers()[0], *_cleared(plain)])


def _cleared(column: pa.Array) -> list[pa.Buffer]:
    """The buffers after the validity's."""
    kind, rows = column.type, len(column)
    if pa.types.is_string(kind):
        filled: list[pa.Buffer] = pc.fill_null(column, pa.scalar("")).buffers()[1:]
        return filled
    validity, values = column.buffers()
    valid = np.frombuffer(validity, np.uint8, -(-rows // 8))
    if pa.types.is_boolean(kind):
        return [pa.py_buffer(np.frombuffer(values, np.uint8, len(valid)) & valid)]
    # Of whatever type: all bits of a value that is there, and none of one that is not.
    width = np.dtype(f"i{kind.bit_width // 8}")
    there = np.unpackbits(valid, count=rows, bitorder="little").view(np.int8)
    return [pa.py_buffer(np.frombuffer(values, width, rows) & np.negative(there).astype(width))]
