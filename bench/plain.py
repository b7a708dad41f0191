"""What a user would do without the lake: the same rows as plaintext Parquet in hive folders.

Two ways. The twin has the lake's own files in plaintext, row group for row group, so that nothing but protection
differs. The other is what pyarrow writes when it is left to itself.
"""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from itertools import count, repeat
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq
from pyarrow.parquet.encryption import create_decryption_properties

from bench.measure import BenchError
from keys.broker import LandingKey
from keys.refs import FileBinding, WrappedDek
from lake.clear.landing.encode import ROW_GROUP_ROWS, encode, filled, layout
from lake.clear.landing.split import Slice, gather, split
from lake.rules.model import EMPLOYEE_COLUMN, SENSITIVITY_COLUMN, TIME_COLUMN

SLICES_AT_ONCE = 64
_OF_PARTITION = {EMPLOYEE_COLUMN, SENSITIVITY_COLUMN}


@dataclass(frozen=True, slots=True)
class PlainFile:
    """A file of the twin, with what a catalog would know of it; times are inclusive."""

    path: Path
    employee: str
    first: datetime
    last: datetime
    rows: int


def write_parquet(rows: pa.Table, sink: Any) -> None:
    """Write rows with the lake's layout and without encryption."""
    with pq.ParquetWriter(sink, rows.schema, **layout(rows)) as writer:
        writer.write_table(rows, row_group_size=ROW_GROUP_ROWS)


def check_layout(rows: pa.Table) -> None:
    """Compare the layout of the twin with what the lake's own encoder makes of the same rows.

    Raises:
        BenchError: row groups, codecs or encodings differ, so that a comparison would not be fair.
    """
    dek, prefix = bytes(32), bytes(32)
    encoded = encode(rows, LandingKey("0" * 32, dek, prefix, _no_wrap))
    opened = create_decryption_properties(dek, aad_prefix=prefix, check_footer_integrity=True)
    sink = pa.BufferOutputStream()
    write_parquet(filled(rows), sink)
    sealed = pq.read_metadata(pa.BufferReader(encoded.content), decryption_properties=opened)
    if _layout(sealed) != _layout(pq.read_metadata(pa.BufferReader(sink.getvalue()))):
        raise BenchError("bench/plain.py does not write the layout of lake/clear/landing/encode.py any more")


def _no_wrap(_binding: FileBinding) -> WrappedDek:
    raise BenchError("a key of the benchmark is never wrapped")


def _layout(metadata: pq.FileMetaData) -> list[Any]:
    groups = [metadata.row_group(number) for number in range(metadata.num_row_groups)]
    columns = [group.column(number) for group in groups for number in range(group.num_columns)]
    found = [(column.path_in_schema, column.compression, column.encodings, column.num_values) for column in columns]
    return [[group.num_rows for group in groups], found]


def write_twin(
    batches: Iterable[pa.RecordBatch], folder: Path, *, budget: int, threads: int, complete: bool = False
) -> list[PlainFile]:
    """Write rows that carry their sensitivity: the lake's gathering, sorting and splitting, and then no encryption.

    Args:
        complete: also the columns that have no value: DuckDB reads a list of files by the columns of the first.
    """
    numbers = count()
    files: list[PlainFile] = []
    with ThreadPoolExecutor(threads, thread_name_prefix="plain") as pool:
        for table in gather(batches, budget):
            columns = pa.schema([field for field in table.schema if complete and field.name not in _OF_PARTITION])
            slices = list(split(table))
            for start in range(0, len(slices), SLICES_AT_ONCE):
                some = slices[start : start + SLICES_AT_ONCE]
                files += pool.map(_write_slice, some, repeat(folder), numbers, repeat(columns))
    return files


def _write_slice(part: Slice, folder: Path, number: int, columns: pa.Schema) -> PlainFile:
    place = folder / f"employee={part.employee}" / f"sensitivity={part.sensitivity}" / f"month={part.month}"
    place.mkdir(parents=True, exist_ok=True)
    path = place / f"{number:06d}.parquet"
    rows = part.rows
    if columns.names:
        rows = pa.table([_column(rows, field) for field in columns], schema=columns)
    write_parquet(rows if columns.names else filled(rows), path)
    bounds = pc.min_max(part.rows[TIME_COLUMN]).as_py()
    return PlainFile(path, part.employee, bounds["min"], bounds["max"], part.rows.num_rows)


def _column(rows: pa.Table, field: pa.Field) -> pa.ChunkedArray | pa.Array:
    return rows[field.name] if field.name in rows.column_names else pa.nulls(rows.num_rows, field.type)


def write_hive(batches: Iterable[pa.RecordBatch], schema: pa.Schema, folder: Path) -> None:
    """Write rows that carry their sensitivity with every default of pyarrow, in folders of employee and sensitivity."""
    keys = pa.schema([schema.field(EMPLOYEE_COLUMN), schema.field(SENSITIVITY_COLUMN)])
    ds.write_dataset(
        pa.RecordBatchReader.from_batches(schema, iter(batches)),
        folder,
        format="parquet",
        partitioning=ds.partitioning(keys, flavor="hive"),
        max_partitions=100_000,
        existing_data_behavior="overwrite_or_ignore",
    )
