"""Splitting: every row in exactly one partition, its own, in the order of time, whatever the budget."""

# ruff: noqa: DTZ001 - capture times are naive UTC
from __future__ import annotations

from datetime import datetime, timedelta

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from lake.clear.landing.split import gather, split

ROW = st.tuples(
    st.sampled_from(["a", "b", "ä-long-name", "c" * 128]),
    st.integers(1, 4),
    st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1)) | st.just(datetime(2026, 7, 31, 23, 59, 59, 999_999)),
    st.integers(0, 9),
)


def table(rows: list[tuple[str, int, datetime, int]]) -> pa.Table:
    employees, levels, times, values = zip(*rows, strict=True) if rows else ((), (), (), ())
    return pa.table(
        {
            "employee": pa.array(employees, pa.string()),
            "ts": pa.array(times, pa.timestamp("us")),
            "n": pa.array(values, pa.int64()),
            "sensitivity": pa.array(levels, pa.int8()),
        }
    )


@settings(max_examples=60, deadline=None)
@given(rows=st.lists(ROW, max_size=40))
def test_every_row_is_in_its_own_partition_once(rows: list[tuple[str, int, datetime, int]]) -> None:
    """The slices hold the rows sent, each under its employee, level and month, sorted, one slice per partition."""
    slices = list(split(table(rows)))
    found = []
    for part in slices:
        assert part.rows.schema.names == ["ts", "n"]
        times = part.rows["ts"].to_pylist()
        assert times == sorted(times)
        assert {f"{ts:%Y-%m}" for ts in times} == {part.month}
        found += [(part.employee, part.sensitivity, one["ts"], one["n"]) for one in part.rows.to_pylist()]
    assert sorted(found) == sorted(rows)
    names = [(part.employee, part.sensitivity, part.month) for part in slices]
    assert len(set(names)) == len(names)


def test_gathering_keeps_order_and_bounds_what_is_held() -> None:
    """Batches are joined until the budget is met, and none is lost."""
    rows = [("a", 1, datetime(2026, 7, 1) + timedelta(minutes=index), index) for index in range(100)]
    batches = table(rows).to_batches(max_chunksize=7)
    size = batches[0].nbytes
    tables = list(gather(iter(batches), 3 * size))
    assert pa.concat_tables(tables).to_pylist() == table(rows).to_pylist()
    assert [one.num_rows for one in tables] == [21, 21, 21, 21, 16]
    assert list(gather(iter(()), size)) == []
