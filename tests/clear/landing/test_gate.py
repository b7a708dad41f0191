"""The gate over columns does what it does row by row, and counts every row that it keeps out once."""

from __future__ import annotations

from collections import Counter
from datetime import datetime, timedelta

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from lake.clear.landing.gate import NOT_LEASED, OTHER_EMPLOYEE, OUTSIDE, PAUSED, admit
from lake.rules.halt import Closed
from lake.rules.lease import Gate
from tests.rules.collecting import START, at, passes

SCHEMA = pa.schema({"employee": pa.string(), "ts": pa.timestamp("us"), "type": pa.string()})
EMPLOYEES, KINDS = ("ada", "ben"), ("key", "window")
SOME = st.one_of(st.none(), st.frozensets(st.sampled_from(EMPLOYEES)), st.just(frozenset(EMPLOYEES)))
TIMES = st.integers(0, 20).map(at)
CLOSED = st.builds(
    Closed, TIMES, st.one_of(st.none(), TIMES), st.one_of(st.none(), st.frozensets(st.sampled_from(KINDS))), SOME
)
GATES = st.builds(
    Gate,
    st.one_of(st.none(), TIMES),
    st.one_of(st.none(), TIMES),
    st.one_of(st.none(), st.sampled_from(EMPLOYEES)),
    st.one_of(st.none(), st.frozensets(st.sampled_from(KINDS))),
    st.lists(CLOSED, max_size=3).map(tuple),
)
ROWS = st.lists(st.tuples(st.sampled_from(EMPLOYEES), TIMES, st.sampled_from(KINDS)), max_size=30)


def batch(rows: list[tuple[str, datetime, str]]) -> pa.RecordBatch:
    """Rows as they come out of the contract's check."""
    columns = list(zip(*rows, strict=True)) or [(), (), ()]
    return pa.RecordBatch.from_arrays(
        [pa.array(c, f.type) for c, f in zip(columns, SCHEMA, strict=True)], schema=SCHEMA
    )


@settings(max_examples=300)
@given(GATES, ROWS)
def test_columns_and_rows_agree(gate: Gate, rows: list[tuple[str, datetime, str]]) -> None:
    """The same rows, in the same order, and as many counted as are gone."""
    dropped: Counter[str] = Counter()
    found = admit(batch(rows), gate, dropped)
    assert [tuple(row.values()) for row in found.to_pylist()] == [
        row for row in rows if passes(gate, row[0], row[2], row[1])
    ]
    assert sum(dropped.values()) == len(rows) - found.num_rows


def test_each_reason_is_counted_under_its_name() -> None:
    """One row of each, and one that passes."""
    gate = Gate(START, at(10), "ada", frozenset({"key"}), (Closed(at(5), at(6)),))
    rows = [
        ("ada", at(1), "key"),
        ("ben", at(1), "key"),
        ("ada", at(1), "window"),
        ("ada", at(5), "key"),
        ("ada", at(11), "key"),
        ("ada", at(0) - timedelta(microseconds=1), "key"),
    ]
    dropped: Counter[str] = Counter()
    assert admit(batch(rows), gate, dropped).num_rows == 1
    assert dropped == {OTHER_EMPLOYEE: 1, NOT_LEASED: 1, PAUSED: 1, OUTSIDE: 2}
