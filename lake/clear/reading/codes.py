"""Texts that repeat, as dictionaries: decoded, handed over and grouped as numbers, each different text once.

A dictionary holds nothing that no row refers to, for who is sent the rows is sent the dictionary too.
"""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lake.clear.reading.nulls import cleared

CODED = pa.dictionary(pa.int32(), pa.string())


def carried(schema: pa.Schema, coded: Collection[str]) -> pa.Schema:
    """The schema with these columns as dictionaries."""
    return pa.schema([field.with_type(CODED) if field.name in coded else field for field in schema])


def plain(column: pa.Array) -> pa.Array:
    """The column with its texts in place."""
    return column.dictionary_decode() if pa.types.is_dictionary(column.type) else column


def all_plain(batch: pa.RecordBatch) -> pa.RecordBatch:
    """The batch with all texts in place."""
    return pa.RecordBatch.from_arrays([plain(column) for column in batch.columns], names=batch.schema.names)


def repeated(value: pa.Scalar, kind: pa.DataType, rows: int) -> pa.Array:
    """One value in every row, as a column of a type."""
    if kind == CODED:
        first = pa.array(np.zeros(rows, np.int32))
        return pa.DictionaryArray.from_arrays(first, pa.array([value], pa.string()), safe=False)
    if pa.types.is_integer(kind):  # pa.repeat takes ten times as long
        return pa.array(np.full(rows, value.as_py(), kind.to_pandas_dtype()))
    return pa.repeat(value, rows)


def clean(column: pa.DictionaryArray) -> pa.DictionaryArray:
    """The same with nothing under its NULLs."""
    if not column.null_count:
        return column
    return pa.DictionaryArray.from_arrays(cleared(column.indices), column.dictionary, safe=False)


def compacted(column: pa.DictionaryArray) -> pa.DictionaryArray:
    """The same with no text in its dictionary that is not in a row."""
    used = pc.unique(column.indices).drop_null()
    if len(used) == len(column.dictionary):
        return column
    return pa.DictionaryArray.from_arrays(pc.index_in(column.indices, value_set=used), column.dictionary.take(used))
