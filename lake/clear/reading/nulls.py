"""What lies under a NULL. Arrow keeps a place for the value, and whoever is sent the column is sent that place too."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc


def cleared(column: pa.Array) -> pa.Array:
    """The same column with nothing under its NULLs: neither what a mask left there, nor what the memory held before."""
    if not column.null_count or pa.types.is_null(column.type):
        return column
    plain = pa.concat_arrays([column]) if column.offset else column
    nothing = pa.scalar("") if pa.types.is_string(column.type) else _ZERO.cast(column.type)
    filled = pc.fill_null(plain, nothing)
    return pa.Array.from_buffers(column.type, len(plain), [plain.buffers()[0], *filled.buffers()[1:]])


_ZERO = pa.scalar(0, pa.int64())
