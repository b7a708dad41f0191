"""Capture levels: how much of a key lands. Counts in five seconds, classes with coarse times, or nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from lake.clear.arrow_schema import TIMESTAMP
from lake.clear.landing.kinds import Kinds, flags
from lake.clear.landing.rating import Rating
from lake.clear.landing.strokes import CLASSES, key_class
from lake.rules.capture import Level
from lake.rules.contract import Contract
from lake.rules.model import EMPLOYEE_COLUMN, SENSITIVITY_COLUMN, TIME_COLUMN, TYPE_COLUMN

COUNT_US = 5_000_000
BUCKET_US = 50_000
BUCKET_MS = 50
NOT_A_CLASS = "capture.class"


class Levels:
    """Brings rows down to the level at which their event type is captured."""

    def __init__(self, contract: Contract, schema: pa.Schema) -> None:
        self._rules = contract.rules
        self._schema = schema
        self._rating = Rating(contract)
        self._events = contract.events
        self._classed = [
            name
            for name, event in contract.events.items()
            if set(self._rules.roles.get("class", ())) & set(event.fields)
            and self._level(name) not in {Level.NONE, Level.COUNTS, Level.RAW, Level.RUNS}
        ]
        self.counts: Counter[str] = Counter()

    def _level(self, event: str) -> Level | None:
        capture = self._rules.capture.get(event)
        return None if capture is None else capture.level

    def of(self, level: Level) -> list[str]:
        """Event types captured at a level."""
        return [event for event, capture in self._rules.capture.items() if capture.level is level]

    def lower(self, rows: pa.RecordBatch, kinds: Kinds) -> list[pa.RecordBatch]:
        """The rows that are left, of which those that are counted come as counts. Runs are not for here."""
        counted = self.of(Level.COUNTS)
        made = []
        for event in counted:
            some = rows.filter(kinds.of({event}))
            if some.num_rows:
                made.append(self._count(some, event))
        if made:
            rows = rows.filter(pc.invert(kinds.of(counted)))
            kinds = Kinds(rows[TYPE_COLUMN], list(self._events))
        if self._classed and kinds.of(self._classed).true_count:
            rows = self._classify(rows, kinds)
        return [rows, *made]

    def _count(self, rows: pa.RecordBatch, event: str) -> pa.RecordBatch:
        """One row for each five seconds in which there was any."""
        capture = self._rules.capture[event]
        into = self._events[capture.into].fields
        kept = [name for role in ("app", "device") for name in self._rules.roles.get(role, ()) if name in into]
        keys = pa.table(
            {
                EMPLOYEE_COLUMN: rows[EMPLOYEE_COLUMN],
                TIME_COLUMN: floored(rows[TIME_COLUMN].cast(pa.int64()), COUNT_US),
                SENSITIVITY_COLUMN: self._rating.stated(rows),
                **{name: rows[name] for name in kept},
            }
        )
        grouped = keys.group_by([EMPLOYEE_COLUMN, TIME_COLUMN, *kept]).aggregate(
            [(SENSITIVITY_COLUMN, "max"), ([], "count_all")]
        )
        found: dict[str, pa.ChunkedArray | pa.Array] = {name: grouped[name] for name in (EMPLOYEE_COLUMN, *kept)}
        found[TIME_COLUMN] = grouped[TIME_COLUMN].cast(TIMESTAMP)
        found[TYPE_COLUMN] = pa.repeat(capture.into, grouped.num_rows)
        found[capture.outputs["keys"]] = grouped["count_all"]
        if "duration_ms" in capture.outputs:
            found[capture.outputs["duration_ms"]] = pa.repeat(pa.scalar(COUNT_US // 1000), grouped.num_rows)
        made = filled(self._schema, found, grouped.num_rows)
        return self._rating.rated(made, grouped[f"{SENSITIVITY_COLUMN}_max"])

    def _classify(self, rows: pa.RecordBatch, kinds: Kinds) -> pa.RecordBatch:
        """The class in the place of the key, and every time in steps of 50 ms."""
        here = kinds.of(self._classed)
        places = np.flatnonzero(flags(here))
        changed = {TIME_COLUMN: _coarse(rows[TIME_COLUMN].cast(pa.int64()), places, BUCKET_US).cast(TIMESTAMP)}
        for timing in self._filled(rows, "timing"):
            changed[timing] = _coarse(rows[timing], places, BUCKET_MS)
        (name,) = self._rules.roles["class"]
        said = self._said(rows, rows[name], kinds)
        if said is not None:
            changed[name] = pc.if_else(here, said, rows[name])
        for single in self._filled(rows, "key", "modifiers", "caret", "selected"):
            changed[single] = pc.if_else(here, pa.scalar(None, rows[single].type), rows[single])
        made = filled(self._schema, {name: rows[name] for name in rows.schema.names} | changed, rows.num_rows)
        if not self._rating.differs(rows, made, changed):
            return made
        lowered = self._rating.rated(made, self._rating.stated(rows))[SENSITIVITY_COLUMN]
        index = rows.num_columns - 1
        return made.set_column(index, SENSITIVITY_COLUMN, pc.if_else(here, lowered, rows[SENSITIVITY_COLUMN]))

    def _filled(self, rows: pa.RecordBatch, *roles: str) -> list[str]:
        """Fields of some roles that have a value in any row."""
        names = [name for role in roles for name in self._rules.roles.get(role, ())]
        return [name for name in names if rows[name].null_count < rows.num_rows]

    def _said(self, rows: pa.RecordBatch, sent: pa.Array, kinds: Kinds) -> pa.Array | None:
        """The class of each key: the one that was sent, if it is one, or that of the key; None if all were sent so."""
        by_key = kinds.of(self.of(Level.CLASSES))
        derived = "key" in self._rules.roles and by_key.true_count
        classes = pa.array(CLASSES)
        if not derived and pc.is_in(sent, value_set=classes).true_count == len(sent) - sent.null_count:
            return None
        coded = sent.dictionary_encode()
        proper = pc.is_in(coded.dictionary, value_set=classes)
        said = pc.if_else(proper, coded.dictionary, pa.scalar(None, pa.string())).take(coded.indices)
        sent_here = pc.and_not(kinds.of(self._classed), by_key)
        self.counts[NOT_A_CLASS] += pc.and_(sent_here, pc.xor(said.is_null(), sent.is_null())).true_count
        if derived:
            pressed = rows[self._rules.roles["key"][0]].dictionary_encode()
            classes = pa.array([key_class(key) for key in pressed.dictionary.to_pylist()], pa.string())
            said = pc.if_else(by_key, classes.take(pressed.indices), said)
        return said


def floored(values: pa.Array, step: int) -> pa.Array:
    """Whole numbers down to a multiple of ``step``."""
    scalar = pa.scalar(step, values.type)
    down = pc.multiply(pc.divide(values, scalar), scalar)
    return pc.if_else(pc.greater(down, values), pc.subtract(down, scalar), down)


def _coarse(values: pa.Array, places: npt.NDArray[np.int64], step: int) -> pa.Array:
    """Whole numbers, those at some places down to a multiple of ``step``."""
    plain = (values.fill_null(0) if values.null_count else values).to_numpy()
    over = np.zeros(len(plain), plain.dtype)
    over[places] = plain[places] % step
    return pc.subtract(values, pa.array(over))


def filled(schema: pa.Schema, columns: Mapping[str, pa.Array | pa.ChunkedArray], rows: int) -> pa.RecordBatch:
    """A batch of the schema from the columns that there are."""
    made = []
    for spec in schema:
        column = columns.get(spec.name)
        if isinstance(column, pa.ChunkedArray):
            column = column.combine_chunks()
        made.append(pa.nulls(rows, spec.type) if column is None else column.cast(spec.type))
    return pa.RecordBatch.from_arrays(made, schema=schema)
