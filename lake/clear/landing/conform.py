"""Holding rows against their contract: what it does not name never passes, and every row gets its sensitivity.

Rows of unknown event types and values of unknown fields are dropped and counted, without their values. Anything else
that is wrong refuses the whole batch: half a batch would be neither the sender's truth nor ours.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lake.clear.arrow_schema import incoming_schema
from lake.clear.landing.gate import admit
from lake.errors import ContractBreachError, MalformedInputError
from lake.rules.contract import Contract, Field, FieldType
from lake.rules.lease import Gate
from lake.rules.model import (
    EMPLOYEE_COLUMN,
    MAX_EMPLOYEE_ID,
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
        # The type's place among the contract's: texts are looked up once, and numbers after that.
        position = pc.index_in(rows[TYPE_COLUMN], value_set=pa.array(list(self._contract.events), pa.string()))
        known = pc.is_valid(position)
        self.dropped.counts[UNKNOWN_TYPE] += rows.num_rows - _true_count(known)
        for spec in self._contract.fields.values():
            self._check_field(rows[spec.name], spec, known)
        rows = self._drop_misplaced(rows, position)
        rows = rows.set_column(rows.num_columns - 1, SENSITIVITY_COLUMN, self._sensitivity(rows, position))
        self._row += batch.num_rows
        return admit(rows.filter(known), self._gate, self.dropped.counts)

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
            self._refuse(pc.is_null(rows[name]), name, "is missing")
        length = pc.utf8_length(rows[EMPLOYEE_COLUMN])
        self._refuse(pc.equal(length, 0), EMPLOYEE_COLUMN, "is empty")
        self._refuse(pc.greater(length, MAX_EMPLOYEE_ID), EMPLOYEE_COLUMN, f"is longer than {MAX_EMPLOYEE_ID}")
        times = rows[TIME_COLUMN]
        if self._gate.last is None:  # what lies beyond a lease is dropped
            late = pc.greater(times, pa.scalar(self._latest, times.type))
            self._refuse(late, TIME_COLUMN, "lies in the future", "check the clock")
        self._refuse(pc.less(times, pa.scalar(EARLIEST, times.type)), TIME_COLUMN, "lies before 2000")

    def _check_field(self, column: pa.Array, spec: Field, known: pa.Array) -> None:
        """Bounds of one field, over the rows that would land."""
        if spec.max_length is not None:
            wrong = pc.greater(pc.utf8_length(column), spec.max_length)
            self._refuse(pc.and_(known, wrong), spec.name, f"is longer than {spec.max_length}")
        if spec.type is FieldType.FLOAT64:
            self._refuse(pc.and_(known, pc.invert(pc.is_finite(column))), spec.name, "is not a finite number")
        if spec.minimum is not None:
            wrong = pc.less(column, spec.minimum)
            self._refuse_breach(pc.and_(known, wrong), spec.name, f"is below {spec.minimum:g}")
        if spec.maximum is not None:
            wrong = pc.greater(column, spec.maximum)
            self._refuse_breach(pc.and_(known, wrong), spec.name, f"is above {spec.maximum:g}")

    def _drop_misplaced(self, rows: pa.RecordBatch, position: pa.Array) -> pa.RecordBatch:
        """Null the fields that a row's event type does not carry, and refuse rows that lack one that it must."""
        events = self._contract.events.values()
        unknown = len(events)
        codes = pc.fill_null(position, unknown).to_numpy(zero_copy_only=False)
        for name in self._contract.fields:
            column = rows[name]
            if column.null_count < rows.num_rows:
                # Of an unknown type the whole row is dropped, and no field by itself.
                carried = pa.array(np.array([*(name in event.fields for event in events), True])[codes])
                misplaced = _true_count(pc.and_(pc.invert(carried), pc.is_valid(column)))
                if misplaced:
                    self.dropped.counts[MISPLACED_FIELD] += misplaced
                    column = pc.if_else(carried, column, pa.scalar(None, column.type))
                    index = rows.schema.get_field_index(name)
                    rows = rows.set_column(index, rows.schema.field(index), column)
            needing = np.array([*(name in event.required for event in events), False])
            if needing.any():
                self._refuse(pc.and_(pa.array(needing[codes]), pc.is_null(column)), name, "is missing")
        return rows

    def _sensitivity(self, rows: pa.RecordBatch, position: pa.Array) -> pa.Array:
        """The highest of what the event type, each present field and the sender say."""
        declared = rows[SENSITIVITY_COLUMN]
        outside = pc.or_(pc.less(declared, 1), pc.greater(declared, 4))
        self._refuse(outside, SENSITIVITY_COLUMN, "is not between 1 and 4")
        events = list(self._contract.events.values())
        levels: list[pa.Array] = [
            declared.cast(pa.int8()),
            pc.take(pa.array([event.sensitivity for event in events], pa.int8()), position),
        ]
        for spec in self._contract.fields.values():
            if spec.sensitivity > 1 and rows[spec.name].null_count < rows.num_rows:
                present = pc.is_valid(rows[spec.name])
                levels.append(pc.if_else(present, pa.scalar(spec.sensitivity, pa.int8()), pa.scalar(1, pa.int8())))
        return pc.max_element_wise(*levels, skip_nulls=True)

    def _refuse(self, wrong: pa.Array, name: str, complaint: str, hint: str = "") -> None:
        if _true_count(wrong):
            raise self._malformed(name, _first(wrong), complaint, hint)

    def _refuse_breach(self, wrong: pa.Array, name: str, complaint: str) -> None:
        if _true_count(wrong):
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


def _true_count(mask: pa.Array) -> int:
    return int(pc.sum(mask).as_py() or 0)


def _first(mask: pa.Array) -> int:
    return int(pc.index(pc.fill_null(mask, False), True).as_py())


def conform_all(batches: Iterable[pa.RecordBatch], conformer: Conformer) -> Iterable[pa.RecordBatch]:
    """Conform a stream."""
    for batch in batches:
        if batch.num_rows:
            yield conformer.conform(batch)
