"""Splitting: every row in exactly one partition, its own, in the order of time, whatever the budget."""

# ruff: noqa: DTZ001 - capture times are naive UTC
from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import datetime, timedelta

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lake.clear.landing.split import gather, split

ROW = st.tuples(
    st.sampled_from(["a", "b", "ä-long-name", "c" * 128]),
    st.integers(1, 4),
    st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1)) | st.just(datetime(2026, 7, 31, 23, 59, 59, 999_999)),
    st.none() | st.integers(0, 9),
)

Row = tuple[str, int, datetime, int | None]


def table(rows: Sequence[Row]) -> pa.Table:
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
def test_every_row_is_in_its_own_partition_once(rows: list[Row]) -> None:
    """The slices hold the rows sent, each under its employee, level and month, sorted, one slice per partition."""
    slices = list(split(table(rows)))
    found = []
    for part in slices:
        filled = any(level == part.sensitivity and value is not None for _, level, _, value in rows)
        assert part.rows.schema.names == (["ts", "n"] if filled else ["ts"])
        times = part.rows["ts"].to_pylist()
        assert times == sorted(times)
        assert {f"{ts:%Y-%m}" for ts in times} == {part.month}
        found += [(part.employee, part.sensitivity, one["ts"], one.get("n")) for one in part.rows.to_pylist()]
    assert Counter(found) == Counter(rows)
    names = [(part.employee, part.sensitivity, part.month) for part in slices]
    assert len(set(names)) == len(names)


@settings(max_examples=60, deadline=None)
@given(rows=st.lists(st.tuples(st.sampled_from("ab"), st.integers(1, 2), st.integers(0, 3)), max_size=30))
def test_rows_of_one_time_stay_in_their_order(rows: list[tuple[str, int, int]]) -> None:
    """Among rows of a partition with the same time, those that came first stand first, sorted or not."""
    sent: list[Row] = [
        (who, level, datetime(2026, 7, 1) + timedelta(days=day), number)
        for number, (who, level, day) in enumerate(rows)
    ]
    for given_rows in (sent, sorted(sent, key=lambda one: one[2])):
        for part in split(table(given_rows)):
            own = [(ts, n) for who, level, ts, n in given_rows if (who, level) == (part.employee, part.sensitivity)]
            assert list(zip(part.rows["ts"].to_pylist(), part.rows["n"].to_pylist(), strict=True)) == sorted(
                own, key=lambda one: one[0]
            )


@pytest.mark.parametrize("missing", ["employee", "ts", "sensitivity"])
def test_a_row_of_no_partition_is_in_none(missing: str) -> None:
    """Nothing is guessed of whose a row is, of when, or how sensitive."""
    rows = table([("a", 1, datetime(2026, 7, 1), 1), ("b", 2, datetime(2026, 7, 2), 2)])
    index = rows.schema.get_field_index(missing)
    with pytest.raises(ValueError, match="no partition"):
        list(split(rows.set_column(index, missing, pa.array([rows[missing][0], None]))))


def test_gathering_keeps_order_and_bounds_what_is_held() -> None:
    """Batches are joined until the budget is met, and none is lost."""
    rows = [("a", 1, datetime(2026, 7, 1) + timedelta(minutes=index), index) for index in range(100)]
    batches = table(rows).to_batches(max_chunksize=7)
    size = batches[0].nbytes
    tables = list(gather(iter(batches), 3 * size))
    assert pa.concat_tables(tables).to_pylist() == table(rows).to_pylist()
    assert [one.num_rows for one in tables] == [21, 21, 21, 21, 16]
    assert list(gather(iter(()), size)) == []
