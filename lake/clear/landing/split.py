"""Splitting conforming rows by employee, sensitivity and month, within a bounded amount of memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from lake.rules.model import EMPLOYEE_COLUMN, SENSITIVITY_COLUMN, TIME_COLUMN

_MONTHS = 1 << 16
_LEVELS = 8


@dataclass(frozen=True, slots=True)
class Slice:
    """Rows of one partition, sorted by time, without the partition's own columns."""

    employee: str
    sensitivity: int
    month: str
    rows: pa.Table


def gather(batches: Iterable[pa.RecordBatch], budget: int) -> Iterator[pa.Table]:
    """Join batches to tables of about ``budget`` bytes, so that each partition gets few and large files."""
    held: list[pa.RecordBatch] = []
    size = 0
    for batch in batches:
        held.append(batch)
        size += batch.nbytes
        if size >= budget:
            yield pa.Table.from_batches(held)
            held, size = [], 0
    if held:
        yield pa.Table.from_batches(held)


def split(table: pa.Table) -> Iterator[Slice]:
    """The partitions of a table, each sorted by capture time: one sort and one copy of the rows for all of them."""
    if not table.num_rows:
        return
    employees = table[EMPLOYEE_COLUMN].combine_chunks().dictionary_encode()
    times = table[TIME_COLUMN]
    month = pc.add(pc.multiply(pc.year(times), 12), pc.subtract(pc.month(times), 1))
    level = table[SENSITIVITY_COLUMN].cast(pa.int64())
    code = pc.add(pc.multiply(pc.add(pc.multiply(employees.indices.cast(pa.int64()), _LEVELS), level), _MONTHS), month)
    keys = pa.table({"code": code, "ts": times})
    order = pc.sort_indices(keys, sort_keys=[("code", "ascending"), ("ts", "ascending")])
    sorted_rows = table.drop_columns([EMPLOYEE_COLUMN, SENSITIVITY_COLUMN]).take(order).combine_chunks()
    runs = pc.run_end_encode(keys["code"].take(order).combine_chunks())
    start = 0
    for end, value in zip(runs.run_ends.to_pylist(), runs.values.to_pylist(), strict=True):
        rest, months = divmod(value, _MONTHS)
        index, sensitivity = divmod(rest, _LEVELS)
        yield Slice(
            employee=employees.dictionary[index].as_py(),
            sensitivity=sensitivity,
            month=f"{months // 12:04d}-{months % 12 + 1:02d}",
            rows=sorted_rows.slice(start, end - start),
        )
        start = end
