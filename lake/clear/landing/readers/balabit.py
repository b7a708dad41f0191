"""Recordings of mouse movements, ``USER/session_NUMBER.csv[.gz]``, as the Balabit Mouse Dynamics Challenge has them.

The recordings hold seconds since the session began and no date. A session is therefore placed at ``session_start`` plus
(its number modulo 90) days: a rule that depends on the file's name alone, so that reading it again gives the same rows.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lake.clear.arrow_schema import TIMESTAMP, incoming_schema
from lake.clear.landing.readers.convert import Rows, all_true, assemble, each_distinct, from_text, times
from lake.clear.landing.readers.csv_rows import Table, tables
from lake.clear.landing.readers.inputs import Input
from lake.errors import UsageError
from lake.rules.contract import Contract
from lake.rules.model import EMPLOYEE_COLUMN, TIME_COLUMN, TYPE_COLUMN

FILE_NAME = re.compile(r"session_(\d{1,18})\.csv(\.gz)?")
COLUMNS = ("record timestamp", "client timestamp", "button", "state", "x", "y")
OUT_OF_RANGE = "65535"
DAYS = 90
MAX_SECONDS = 30 * 86_400

TYPES = {"Move": "mouse_move", "Drag": "mouse_drag", "Pressed": "mouse_press", "Released": "mouse_release"}
SCROLLS = {"Up": "up", "Down": "down"}
STATES = TYPES | dict.fromkeys(SCROLLS, "scroll")
BUTTONS: dict[str, str | None] = {
    "NoButton": None,
    "Scroll": None,
    "Left": "left",
    "Right": "right",
    "XButton": "xbutton",
    "Middle": "middle",
}


class BalabitSource:
    """One recorded session; the employee is the name of its folder, the second clock stays as found."""

    def __init__(self, source: Input, contract: Contract) -> None:
        name = FILE_NAME.fullmatch(source.name)
        if name is None or not source.path.resolve().parent.name:
            raise UsageError(f"{source.name} is not named USER/session_NUMBER.csv or .csv.gz")
        self._source = source
        self._contract = contract
        self._session = name.group(1)
        self._employee = source.path.resolve().parent.name
        self._start = source.options.session_start + timedelta(days=int(self._session) % DAYS)
        self.schema = incoming_schema(contract)
        self.dropped: Counter[str] = Counter()

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        with self._source.text() as data:
            for table in tables(self._source, data, expected=COLUMNS):
                yield self._batch(self._without_headers(table))

    def _without_headers(self, table: Table) -> Table:
        """Some recordings were joined from parts and repeat the header."""
        repeated = pc.equal(table.columns["state"], "state")
        count = pc.sum(repeated, min_count=0).as_py()
        if not count:
            return table
        self.dropped["balabit:repeated_header"] += count
        keep = pc.invert(repeated)
        numbers = np.asarray(table.numbers)[keep.to_numpy(zero_copy_only=False)].tolist()
        return Table(numbers, {name: column.filter(keep) for name, column in table.columns.items()})

    def _batch(self, table: Table) -> pa.RecordBatch:
        places = Rows(self._source, table.numbers)
        count = len(table.numbers)
        states, buttons = table.columns["state"], table.columns["button"]
        found = {
            EMPLOYEE_COLUMN: pa.repeat(self._employee, count),
            TIME_COLUMN: places.fit(table.columns["client timestamp"], TIME_COLUMN, TIMESTAMP, self._instants),
            TYPE_COLUMN: self._words(table.numbers, states, "state", STATES),
            "session": pa.repeat(self._session, count),
            "button": self._words(table.numbers, buttons, "button", BUTTONS),
            "direction": each_distinct(states, SCROLLS.get, pa.string()),
            "record timestamp": table.columns["record timestamp"],
        }
        for axis in ("x", "y"):
            pixels = table.columns[axis]
            inside = pc.if_else(pc.equal(pixels, OUT_OF_RANGE), None, pixels)
            found[axis] = places.fit(inside, axis, pa.int32(), from_text)
        return assemble(places, found, self._contract, count)

    def _instants(self, seconds: pa.Array, target: pa.DataType) -> pa.Array:
        elapsed = from_text(seconds, pa.float64())
        if not all_true(pc.and_(pc.greater_equal(elapsed, 0), pc.less(elapsed, MAX_SECONDS))):
            raise ValueError
        since = times("unix_s")(seconds, target).cast(pa.int64()).cast(pa.duration("us"))
        return pc.add(pa.scalar(self._start, TIMESTAMP), since)

    def _words(
        self, numbers: Sequence[int], found: pa.Array, column: str, meanings: Mapping[str, str | None]
    ) -> pa.Array:
        """What the words of a column mean; one that has no meaning is named by its line."""
        known = pc.is_in(found, value_set=pa.array(meanings.keys(), pa.string()))
        if not all_true(known):
            line = numbers[pc.index(known, False).as_py()]
            raise self._source.malformed(f"unknown {column}", hint=f"one of {', '.join(meanings)}", line=line)
        return each_distinct(found, meanings.__getitem__, pa.string())
