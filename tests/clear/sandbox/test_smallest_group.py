"""Aggregate-only queries: DuckDB's answers against groups counted in Python."""

# ruff: noqa: S608, DTZ001 - the SQL of these tests is made of their own constants; times are naive UTC
from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.clear.sandbox.smallest import PERSON, Row, comparable, people, restrict, run

Truth = Callable[[Row], bool | None]


def _known(column: str, test: Callable[[Any], bool | None]) -> Truth:
    return lambda row: None if row[column] is None else test(row[column])


def _as_number(text: str) -> bool | None:
    return int(text) == 5 if text.isdecimal() else None


PREDICATES: list[tuple[str, Truth]] = [
    ("app = 'a'", _known("app", lambda v: v == "a")),
    ("'b' <> app", _known("app", lambda v: v != "b")),
    ("app = 5", _known("app", _as_number)),
    ("n = 'five'", lambda _row: None),
    ("n >= 1", _known("n", lambda v: v >= 1)),
    ("n IN (0, 2)", _known("n", lambda v: v in {0, 2})),
    ("n NOT IN (1, 5)", _known("n", lambda v: v not in {1, 5})),
    ("x BETWEEN -1 AND 1.5", _known("x", lambda v: -1 <= v <= 1.5)),
    ("app LIKE '%a%'", _known("app", lambda v: "a" in v)),
    ("app NOT ILIKE 'B'", _known("app", lambda v: v.lower() != "b")),
    ("flag = true", _known("flag", lambda v: v)),
    ("n IS NULL", lambda row: row["n"] is None),
    ("app IS NOT NULL", lambda row: row["app"] is not None),
    ("ts < TIMESTAMP '2026-01-03'", lambda row: row["ts"] < datetime(2026, 1, 3)),
    ("n IS DISTINCT FROM 1", lambda row: row["n"] != 1),
]
GROUPS: dict[str, Callable[[Row], Any]] = {
    "app": lambda row: row["app"],
    "n": lambda row: row["n"],
    "flag": lambda row: row["flag"],
    "date_trunc('day', ts)": lambda row: row["ts"].replace(hour=0),
    "time_bucket(INTERVAL 12 HOURS, ts)": lambda row: row["ts"].replace(hour=row["ts"].hour // 12 * 12),
    "date_part('day', ts)": lambda row: row["ts"].day,
}
FIGURES: dict[str, tuple[str | None, Callable[[list[Any]], Any]]] = {
    "count(*)": (None, len),
    "count(n)": ("n", len),
    "count(DISTINCT app)": ("app", lambda values: len(set(values))),
    "sum(n)": ("n", sum),
    "avg(x)": ("x", lambda values: sum(values) / len(values)),
    "sum(big)": ("big", sum),
}


def holds(where: list[tuple[str, int]], row: Row) -> bool:
    """AND over predicates, the odd ones negated, in SQL's three values."""
    truths = [(PREDICATES[index][1](row), word) for word, index in where]
    return all(truth is not None and truth is not (word == "NOT") for truth, word in truths)


@dataclass(frozen=True, slots=True)
class Query:
    where: list[tuple[str, int]]
    groups: list[str]
    figures: list[str]
    at_least: int

    def sql(self) -> str:
        where = " AND ".join(f"{word} ({PREDICATES[index][0]})" for word, index in self.where)
        return (
            f"SELECT {', '.join([*self.groups, *self.figures])} FROM t"
            + (f" WHERE {where}" if where else "")
            + (f" GROUP BY {', '.join(self.groups)}" if self.groups else "")
            + (f" HAVING count(*) >= {self.at_least}" if self.at_least else "")
        )

    def expected(self, rows: list[Row], smallest: int) -> list[tuple[Any, ...]]:
        """The rows of the result, with nothing of DuckDB's."""
        found: dict[tuple[Any, ...], list[Row]] = defaultdict(list)
        for row in rows:
            if holds(self.where, row):
                found[tuple(GROUPS[group](row) for group in self.groups)].append(row)
        return [
            (*key, *(self._figure(figure, members) for figure in self.figures))
            for key, members in found.items()
            if len(members) >= self.at_least and self._enough(members, smallest)
        ]

    def _enough(self, members: list[Row], smallest: int) -> bool:
        needed = [None, *(FIGURES[figure][0] for figure in self.figures)]
        return all(
            len({row[PERSON] for row in members if column is None or row[column] is not None}) >= smallest
            for column in needed
        )

    @staticmethod
    def _figure(figure: str, members: list[Row]) -> Any:
        column, compute = FIGURES[figure]
        return compute(members if column is None else [row[column] for row in members if row[column] is not None])


QUERIES = st.builds(
    Query,
    st.lists(st.tuples(st.sampled_from(["", "NOT"]), st.integers(0, len(PREDICATES) - 1)), max_size=3),
    st.lists(st.sampled_from(sorted(GROUPS)), max_size=2, unique=True),
    st.lists(st.sampled_from(sorted(FIGURES)), min_size=1, max_size=3, unique=True),
    st.integers(0, 4),
)


@pytest.mark.parametrize("examples", [100, pytest.param(1_000, marks=pytest.mark.soak)])
def test_no_row_of_a_result_rests_on_fewer_people(examples: int) -> None:
    """The result is exactly the groups that, counted in Python, rest on enough people, with their right figures."""

    @settings(max_examples=examples)
    @given(query=QUERIES, seed=st.integers(0, 2**32), count=st.integers(0, 60), smallest=st.integers(1, 5))
    def check(query: Query, seed: int, count: int, smallest: int) -> None:
        rows = people(random.Random(seed), count)
        found = run(restrict(query.sql(), smallest), rows)
        assert comparable(found) == comparable(query.expected(rows, smallest))

    check()


@pytest.mark.parametrize("examples", [40, pytest.param(400, marks=pytest.mark.soak)])
def test_a_group_of_exactly_enough_goes_with_any_of_them(examples: int) -> None:
    """Each group that rests on exactly the smallest number of people is gone once one of them is."""

    @settings(max_examples=examples)
    @given(query=QUERIES, seed=st.integers(0, 2**32), smallest=st.integers(2, 5))
    def check(query: Query, seed: int, smallest: int) -> None:
        check_borders(query, people(random.Random(seed), 60), smallest)

    check()


def check_borders(query: Query, rows: list[Row], smallest: int) -> None:
    """Take each member of each group that rests on exactly the smallest number away, one at a time."""
    sql, width = restrict(query.sql(), smallest), len(query.groups)
    for shown in run(sql, rows):
        key = shown[:width]
        members = {
            row[PERSON]
            for row in rows
            if holds(query.where, row) and tuple(GROUPS[g](row) for g in query.groups) == key
        }
        if len(members) == smallest:
            for person in members:
                left = [row for row in rows if row[PERSON] != person]
                assert key not in [other[:width] for other in run(sql, left)]
