"""Splitting conforming rows by employee, sensitivity and month, within a bounded amount of memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from lake.clear.landing.kinds import bits
from lake.rules.model import EMPLOYEE_COLUMN, SENSITIVITY_COLUMN, TIME_COLUMN

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Slice:
    """Rows of one partition, sorted by time, without the partition's own columns.

    Columns in which no row of this sensitivity has a value are left out.
    """

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
    """The partitions of a table, each sorted by capture time: one sort, and one copy of the values that there are.

    Raises:
        ValueError: a row has no employee, no time or no sensitivity.
    """
    if not table.num_rows:
        return
    if any(table[name].null_count for name in (EMPLOYEE_COLUMN, TIME_COLUMN, SENSITIVITY_COLUMN)):
        raise ValueError("a row that belongs to no partition")
    employees = table[EMPLOYEE_COLUMN].combine_chunks().dictionary_encode()
    times = table[TIME_COLUMN].cast(pa.int64()).to_numpy()
    first, months = _months(times)
    levels = table[SENSITIVITY_COLUMN].to_numpy().astype(np.int64)
    people = employees.indices.to_numpy().astype(np.int64)
    # Levels first, so that what a level has no values of need not be copied for it.
    codes = (levels * len(employees.dictionary) + people) * (int(months.max()) + 1) + months
    order = _order(codes, times)
    ordered = codes[order]
    starts = np.flatnonzero(np.append(True, ordered[1:] != ordered[:-1]))
    ends = np.append(starts[1:], len(ordered))
    heads = order[starts]
    copies = _by_level(table, levels, order)
    found = zip(people[heads], levels[heads], months[heads], starts, ends, strict=True)
    # By employee, as files of one employee are read together.
    for person, level, month, start, end in sorted(tuple(map(int, part)) for part in found):
        before, rows = copies[level]
        yield Slice(
            employee=employees.dictionary[person].as_py(),
            sensitivity=level,
            month=str(first + month),
            rows=rows.slice(start - before, end - start),
        )


def _months(times: Ints) -> tuple[np.datetime64, Ints]:
    """The month of the earliest of some times (µs), and how many months after it each is."""
    ends = np.array([times.min(), times.max()]).astype("datetime64[us]").astype("datetime64[M]")
    begins = np.arange(ends[0] + 1, ends[1] + 1).astype("datetime64[us]").astype(np.int64)
    return ends[0], np.searchsorted(begins, times, side="right")


def _order(codes: Ints, times: Ints) -> Ints:
    """The rows by code and time, those alike in both as they came."""
    if codes.max() <= np.iinfo(np.uint16).max:
        codes = codes.astype(np.uint16)  # which are sorted by their digits, in a tenth of the time
    order = np.argsort(codes, kind="stable")
    sorted_codes, sorted_times = codes[order], times[order]
    # What is sent in the order of time, as nearly all is, is in order by now.
    if ((sorted_times[1:] >= sorted_times[:-1]) | (sorted_codes[1:] != sorted_codes[:-1])).all():
        return order
    return np.lexsort((times, codes))


def _by_level(table: pa.Table, levels: Ints, order: Ints) -> dict[int, tuple[int, pa.Table]]:
    """For each level, how many of the ordered rows come before its own, and these, without columns that are empty."""
    rows = table.drop_columns([EMPLOYEE_COLUMN, SENSITIVITY_COLUMN]).combine_chunks()
    full = {name for name in rows.column_names if not rows[name].null_count}
    partly = {name: pc.is_valid(rows[name]) for name in rows.column_names if 0 < rows[name].null_count < rows.num_rows}
    found: dict[int, tuple[int, pa.Table]] = {}
    before = 0
    for level, count in enumerate(np.bincount(levels).tolist()):
        if count:
            here = bits(levels == level)
            filled = full.union(name for name, valid in partly.items() if pc.any(pc.and_(valid, here)).as_py())
            chosen = rows.select([name for name in rows.column_names if name in filled])
            found[level] = before, chosen.take(pa.array(order[before : before + count]))
            before += count
    return found
