"""The rows that may land: those of a lease, in its time, and of no time that was paused. The rest is counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from datetime import datetime
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from lake.rules.halt import Closed
from lake.rules.lease import Gate
from lake.rules.model import EMPLOYEE_COLUMN, TIME_COLUMN, TYPE_COLUMN

OTHER_EMPLOYEE, NOT_LEASED, PAUSED, OUTSIDE = "other_employee", "type_not_leased", "paused", "outside_lease"


def admit(rows: pa.RecordBatch, gate: Gate, dropped: Counter[str]) -> pa.RecordBatch:
    """The rows that a gate lets through; each other one is counted once, by the first reason that it meets."""
    if gate.employee is not None:
        rows = _keep(rows, pc.equal(rows[EMPLOYEE_COLUMN], gate.employee), OTHER_EMPLOYEE, dropped)
    if gate.types is not None:
        rows = _keep(rows, _is_in(rows[TYPE_COLUMN], gate.types), NOT_LEASED, dropped)
    if gate.closed and rows.num_rows:
        rows = _outside(rows, gate.closed, dropped)
    times = rows[TIME_COLUMN]
    if gate.first is not None:
        rows = _keep(rows, pc.greater_equal(times, _scalar(gate.first, times)), OUTSIDE, dropped)
    if gate.last is not None:
        times = rows[TIME_COLUMN]
        rows = _keep(rows, pc.less_equal(times, _scalar(gate.last, times)), OUTSIDE, dropped)
    return rows


def _outside(rows: pa.RecordBatch, pauses: Iterable[Closed], dropped: Counter[str]) -> pa.RecordBatch:
    """The rows that lie in no pause; most pauses are over long before, and cost nothing."""
    ends = pc.min_max(rows[TIME_COLUMN])
    first, last = ends["min"].as_py(), ends["max"].as_py()
    for closed in pauses:
        if closed.since > last or (closed.until is not None and closed.until <= first):
            continue
        times = rows[TIME_COLUMN]
        inside = pc.greater_equal(times, _scalar(closed.since, times))
        if closed.until is not None:
            inside = pc.and_(inside, pc.less(times, _scalar(closed.until, times)))
        if closed.types is not None:
            inside = pc.and_(inside, _is_in(rows[TYPE_COLUMN], closed.types))
        if closed.employees is not None:
            inside = pc.and_(inside, _is_in(rows[EMPLOYEE_COLUMN], closed.employees))
        rows = _keep(rows, pc.invert(inside), PAUSED, dropped)
    return rows


def _keep(rows: pa.RecordBatch, wanted: pa.Array, reason: str, dropped: Counter[str]) -> pa.RecordBatch:
    kept = rows.filter(wanted)
    if kept.num_rows < rows.num_rows:
        dropped[reason] += rows.num_rows - kept.num_rows
    return kept


def _is_in(column: pa.Array, names: frozenset[str]) -> pa.Array:
    return pc.is_in(column, value_set=pa.array(sorted(names), column.type))


def _scalar(moment: datetime, column: pa.Array) -> Any:
    return pa.scalar(moment, column.type)
