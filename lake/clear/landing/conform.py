"""Holding rows against their contract: what it does not name never passes, and every row gets its sensitivity.

Rows of unknown event types and values of unknown fields are dropped and counted, without their values. Anything else
that is wrong refuses the whole batch: half a batch would be neither the sender's truth nor ours.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import reduce
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from lake.clear.arrow_schema import incoming_schema
from lake.clear.landing.gate import admit
from lake.clear.landing.kinds import Kinds, flags
from lake.errors import ContractBreachError, MalformedInputError
from lake.rules.contract import Contract, Field, FieldType
from lake.rules.lease import Gate
from lake.rules.model import (
    EMPLOYEE_COLUMN,
    MAX_EMPLOYEE_ID,
    SENSITIVITIES,
    SENSITIVITY_COLUMN,
    TIME_COLUMN,
    TYPE_COLUMN,
)

FUTURE_SKEW = timedelta(minutes=5)
"""How far a capture time may lie ahead of the lake's clock."""
EARLIEST = datetime(2000, 1, 1)  # noqa: DTZ001 - capture times are naive UTC
UNKNOWN_TYPE, UNKNOWN_FIELD, MISPLACED_FIELD = "unknown_event_type", "unknown_field", "field_not_of_event"


@dataclass(slots=True)
class Dropped:
    """What did not pass, as counts by reason; names of unknown fields are for the sender only, never stored."""

    counts: Counter[str] = field(default_factory=Counter)
    unknown_fields: set[str] = field(default_factory=set)


class Conformer:
    """Checks the batches of one delivery in order, so that errors can name the row counted from its start."""

    def __init__(self, contract: Contract, now: datetime, gate: Gate | None = None) -> None:
        self._contract = contract
        self._gate = gate or Gate()
        self._schema = incoming_schema(contract)
        events, fields = contract.events.values(), contract.fields.values()
        self._carriers = {spec.name: {event.name for event in events if spec.name in event.fields} for spec in fields}
        self._needing = {spec.name: {event.name for event in events if spec.name in event.required} for spec in fields}
        self._raising = {
            level: [spec.name for spec in fields if spec.sensitivity == level] for level in SENSITIVITIES if level > 1
        }
        self._latest = now + FUTURE_SKEW
        self._row = 0
        self.dropped = Dropped()

    def conform(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """The rows that may land, in the incoming schema, with each row's ``sensitivity`` (int8) last.

        Raises:
            MalformedInputError: wrong types, missing values, bad text or times; names row and field, not the value.
            ContractBreachError: a value outside the contract's bounds.
        """
        self._require(batch)
        self._count_unknown_fields(batch)
        columns = [self._column(batch, field.name, field.type) for field in self._schema]
        rows = pa.RecordBatch.from_arrays(columns, schema=self._schema)
        self._check_identity(rows)
        kinds = Kinds(rows[TYPE_COLUMN], list(self._contract.events))
        self.dropped.counts[UNKNOWN_TYPE] += kinds.unknown
        for spec in self._contract.fields.values():
            if rows[spec.name].null_count < rows.num_rows:
                self._check_field(rows[spec.name], spec, kinds)
        rows = self._drop_misplaced(rows, kinds)
        rows = rows.set_column(rows.num_columns - 1, SENSITIVITY_COLUMN, self._sensitivity(rows, kinds))
        self._row += batch.num_rows
        return admit(rows.filter(kinds.known()) if kinds.unknown else rows, self._gate, self.dropped.counts)

    def _require(self, batch: pa.RecordBatch) -> None:
        names = batch.schema.names
        for name in (EMPLOYEE_COLUMN, TIME_COLUMN, TYPE_COLUMN):
            if names.count(name) != 1:
                raise MalformedInputError(
                    f"the column {name!r} is missing or stands there twice",
                    hint="every row needs an employee, a capture time 'ts' and a type",
                )
        if len(set(names)) != len(names):
            raise MalformedInputError("a column name stands there twice")

    def _count_unknown_fields(self, batch: pa.RecordBatch) -> None:
        for name in batch.schema.names:
            if name not in self._schema.names:
                values = batch.num_rows - batch[name].null_count
                if values:
                    self.dropped.counts[UNKNOWN_FIELD] += values
                    self.dropped.unknown_fields.add(name)

    def _column(self, batch: pa.RecordBatch, name: str, kind: pa.DataType) -> pa.Array:
        if name not in batch.schema.names:
            return pa.nulls(batch.num_rows, kind)
        column = batch[name]
        if pa.types.is_dictionary(column.type):
            column = column.dictionary_decode()
        if column.type != kind:
            column = self._cast(column, name, kind)
        if kind == pa.string():
            try:
                column.validate()
                if not is_ascii(column):
                    column.validate(full=True)
            except pa.ArrowInvalid:
                raise self._malformed(name, None, "holds text that is not UTF-8") from None
        return column

    def _cast(self, column: pa.Array, name: str, kind: pa.DataType) -> pa.Array:
        source = column.type
        allowed = (
            pa.types.is_null(source)
            or (pa.types.is_integer(source) and (pa.types.is_integer(kind) or pa.types.is_floating(kind)))
            or (pa.types.is_floating(source) and pa.types.is_floating(kind))
            or (pa.types.is_timestamp(source) and pa.types.is_timestamp(kind))
            or (kind == pa.string() and (pa.types.is_large_string(source) or pa.types.is_string_view(source)))
        )
        if not allowed:
            raise self._malformed(name, None, f"is {source} and not {kind}")
        try:
            if pa.types.is_timestamp(source) and source.tz is not None:
                # An instant: its UTC reading is what is stored.
                column = column.cast(pa.timestamp(source.unit, "UTC")).cast(pa.timestamp(source.unit))
            return column.cast(kind, safe=True)
        except pa.ArrowInvalid:
            raise self._malformed(name, None, f"holds values that do not fit {kind}") from None

    def _check_identity(self, rows: pa.RecordBatch) -> None:
        for name in (EMPLOYEE_COLUMN, TIME_COLUMN, TYPE_COLUMN):
            if rows[name].null_count:
                self._refuse(pc.is_null(rows[name]), name, "is missing")
        sizes = np.diff(_ends(rows[EMPLOYEE_COLUMN]))
        if sizes.min() < 1 or sizes.max() > MAX_EMPLOYEE_ID:
            length = pc.utf8_length(rows[EMPLOYEE_COLUMN])
            self._refuse(pc.equal(length, 0), EMPLOYEE_COLUMN, "is empty")
            self._refuse(pc.greater(length, MAX_EMPLOYEE_ID), EMPLOYEE_COLUMN, f"is longer than {MAX_EMPLOYEE_ID}")
        times = rows[TIME_COLUMN]
        first, last = _bounds(times.cast(pa.int64()))
        earliest, latest = (pa.scalar(moment, times.type) for moment in (EARLIEST, self._latest))
        if last > latest.value and self._gate.last is None:  # what lies beyond a lease is dropped
            self._refuse(pc.greater(times, latest), TIME_COLUMN, "lies in the future", "check the clock")
        if first < earliest.value:
            self._refuse(pc.less(times, earliest), TIME_COLUMN, "lies before 2000")

    def _check_field(self, column: pa.Array, spec: Field, kinds: Kinds) -> None:
        """Bounds of one field, over the rows that would land. Rows are only looked at where any can be wrong."""
        if spec.max_length is not None and np.diff(_ends(column)).max() > spec.max_length:
            wrong = pc.greater(pc.utf8_length(column), spec.max_length)
            self._refuse(pc.and_(kinds.known(), wrong), spec.name, f"is longer than {spec.max_length}")
        if spec.type is FieldType.FLOAT64:
            finite = pc.is_finite(column)
            self._refuse(pc.and_(kinds.known(), pc.invert(finite)), spec.name, "is not a finite number")
        if spec.minimum is None and spec.maximum is None:
            return
        least, most = _bounds(column)
        if spec.minimum is not None and (least is None or least < spec.minimum):
            wrong = pc.less(column, spec.minimum)
            self._refuse_breach(pc.and_(kinds.known(), wrong), spec.name, f"is below {spec.minimum:g}")
        if spec.maximum is not None and (most is None or most > spec.maximum):
            wrong = pc.greater(column, spec.maximum)
            self._refuse_breach(pc.and_(kinds.known(), wrong), spec.name, f"is above {spec.maximum:g}")

    def _drop_misplaced(self, rows: pa.RecordBatch, kinds: Kinds) -> pa.RecordBatch:
        """Null the fields that a row's event type does not carry, and refuse rows that lack one that it must."""
        for name in self._contract.fields:
            column = rows[name]
            if column.null_count < rows.num_rows:
                # Of an unknown type the whole row is dropped, and no field by itself.
                carried = kinds.of(self._carriers[name], unknown=True)
                misplaced = pc.and_not(pc.is_valid(column), carried).true_count
                if misplaced:
                    self.dropped.counts[MISPLACED_FIELD] += misplaced
                    column = pc.if_else(carried, column, pa.scalar(None, column.type))
                    index = rows.schema.get_field_index(name)
                    rows = rows.set_column(index, rows.schema.field(index), column)
            if self._needing[name] and column.null_count:
                self._refuse(pc.and_(kinds.of(self._needing[name]), pc.is_null(column)), name, "is missing")
        return rows

    def _sensitivity(self, rows: pa.RecordBatch, kinds: Kinds) -> pa.Array:
        """The highest of what the event type, each present field and the sender say; of an unknown type any."""
        # The last place is that of unknown types.
        of_types = [*(event.sensitivity for event in self._contract.events.values()), 1]
        levels = np.array(of_types, np.int8)[kinds.places]
        declared = rows[SENSITIVITY_COLUMN]
        if declared.null_count < rows.num_rows:
            outside = pc.or_(pc.less(declared, 1), pc.greater(declared, 4))
            self._refuse(outside, SENSITIVITY_COLUMN, "is not between 1 and 4")
            levels = np.maximum(levels, declared.fill_null(1).to_numpy().astype(np.int8))
        for level, names in self._raising.items():
            present = [pc.is_valid(rows[name]) for name in names if rows[name].null_count < rows.num_rows]
            if present:
                levels = np.maximum(levels, flags(reduce(pc.or_, present)) * np.int8(level))
        return pa.array(levels)

    def _refuse(self, wrong: pa.Array, name: str, complaint: str, hint: str = "") -> None:
        if wrong.true_count:
            raise self._malformed(name, _first(wrong), complaint, hint)

    def _refuse_breach(self, wrong: pa.Array, name: str, complaint: str) -> None:
        if wrong.true_count:
            raise ContractBreachError(
                f"row {self._row + _first(wrong) + 1}: the field {name!r} {complaint}, which the contract forbids",
                hint="nothing of the batch landed; correct it and send it again",
            )

    def _malformed(self, name: str, row: int | None, complaint: str, hint: str = "") -> MalformedInputError:
        place = f"row {self._row + row + 1}: " if row is not None else ""
        return MalformedInputError(
            f"{place}the field {name!r} {complaint}",
            hint=hint or "nothing of the batch landed; correct it and send it again",
        )


def _bounds(column: pa.Array) -> tuple[Any, Any]:
    """The least and the most of a column's values, of which those that are not numbers do not count."""
    found = pc.min_max(column).as_py()
    return found["min"], found["max"]


def is_ascii(column: pa.Array) -> bool:
    """Whether a valid column of texts holds ASCII alone, in sound order: a quick look, before a full one."""
    if not len(column):
        return True
    ends = _ends(column)
    if (ends[1:] < ends[:-1]).any():
        return False
    return bool(ends[0] == ends[-1] or np.frombuffer(column.buffers()[2], np.uint8)[ends[0] : ends[-1]].max() < 128)


def _ends(column: pa.Array) -> npt.NDArray[np.int32]:
    """Where the first text of a column begins, and where each ends; bytes, of which a character may have several."""
    return np.frombuffer(column.buffers()[1], np.int32, len(column) + 1, column.offset * 4)


def _first(mask: pa.Array) -> int:
    return int(pc.index(pc.fill_null(mask, False), True).as_py())


def conform_all(batches: Iterable[pa.RecordBatch], conformer: Conformer) -> Iterable[pa.RecordBatch]:
    """Conform a stream."""
    for batch in batches:
        if batch.num_rows:
            yield conformer.conform(batch)
