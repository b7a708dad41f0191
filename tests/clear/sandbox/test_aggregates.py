# ruff: noqa: S608, DTZ001 - the SQL of these tests is made of their own constants; times are naive UTC
"""Aggregate-only queries: DuckDB's answers against groups counted in Python, and what the grammar does not let in."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lake.clear.sandbox import aggregates
from lake.clear.sandbox.guard import admit
from lake.clear.sandbox.syntax import Statement, parse
from lake.errors import LakeError, QueryRefusedError

PERSON = "__lake_person"
COLUMNS = ["app", "n", "x", "flag", "ts", "big"]
TYPES = [pa.string(), pa.int32(), pa.float64(), pa.bool_(), pa.timestamp("us"), pa.int64(), pa.int32()]
SCHEMA = pa.schema(list(zip([*COLUMNS, PERSON], TYPES, strict=True)))
Row = dict[str, Any]


def restrict(sql: str, smallest: int = 3) -> str:
    statement = parse(sql)
    admit(statement, {"t": COLUMNS})
    return aggregates.restrict(statement, "t", COLUMNS, smallest, PERSON)


def run(sql: str, rows: list[Row], *parameters: Any) -> list[tuple[Any, ...]]:
    connection = duckdb.connect(config={"threads": "1"})
    connection.register("t", pa.Table.from_pylist(rows, schema=SCHEMA))
    found = connection.execute(sql, list(parameters)).fetchall()
    connection.close()
    return found


def people(rng: random.Random, count: int) -> list[Row]:
    """Rows of a few people, with nulls, and texts that are numbers now and then."""
    return [
        {
            "app": rng.choice(["a", "b", "5", None]),
            "n": rng.choice([0, 1, 2, 5, None]),
            "x": rng.choice([0.5, 1.5, -2.0, None]),
            "flag": rng.choice([True, False, None]),
            "ts": datetime(2026, 1, rng.randint(1, 3), rng.randint(0, 23)),
            "big": rng.choice([2**62, -(2**62), 7]),
            PERSON: rng.randint(1, 6),
        }
        for _ in range(count)
    ]


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


def comparable(rows: list[tuple[Any, ...]]) -> list[str]:
    return sorted(repr([round(v, 9) if isinstance(v, float) else v for v in row]) for row in rows)


QUERIES = st.builds(
    Query,
    st.lists(st.tuples(st.sampled_from(["", "NOT"]), st.integers(0, len(PREDICATES) - 1)), max_size=3),
    st.lists(st.sampled_from(sorted(GROUPS)), max_size=2, unique=True),
    st.lists(st.sampled_from(sorted(FIGURES)), min_size=1, max_size=3, unique=True),
    st.integers(0, 4),
)


@settings(max_examples=300, deadline=None)
@given(query=QUERIES, seed=st.integers(0, 2**32), count=st.integers(0, 60), smallest=st.integers(1, 5))
def test_no_row_of_a_result_rests_on_fewer_people(query: Query, seed: int, count: int, smallest: int) -> None:
    """The result is exactly the groups that, counted in Python, rest on enough people, with their right figures."""
    rows = people(random.Random(seed), count)
    found = run(restrict(query.sql(), smallest), rows)
    assert comparable(found) == comparable(query.expected(rows, smallest))


@settings(max_examples=100, deadline=None)
@given(query=QUERIES, seed=st.integers(0, 2**32), smallest=st.integers(2, 5))
def test_a_group_of_exactly_enough_goes_with_any_of_them(query: Query, seed: int, smallest: int) -> None:
    """Each group that rests on exactly the smallest number of people is gone once one of them is."""
    rows = people(random.Random(seed), 60)
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


def test_a_value_of_one_in_a_group_of_many_is_not_shown() -> None:
    """A sum over a column that only one of the group has a value in is not shown; a count of the group is."""
    rows = people(random.Random(1), 30)
    for index, row in enumerate(rows):
        row.update({"app": "a", "x": 1234.5 if index == 0 else None, PERSON: index % 10})
    assert run(restrict("SELECT app, count(*) FROM t GROUP BY app"), rows) == [("a", 30)]
    for figure in ("sum(x)", "avg(x)", "median(x)", "count(x)", "approx_quantile(x, 0.5)", "stddev(x)"):
        assert run(restrict(f"SELECT app, {figure} FROM t GROUP BY app"), rows) == []
    assert run(restrict("SELECT app FROM t GROUP BY app HAVING sum(x) > 1000"), rows) == []
    assert run(restrict("SELECT app FROM t GROUP BY app ORDER BY sum(x)"), rows) == []


ADMITTED = [
    "SELECT count(*) FROM t",
    "SELECT app, count(*) AS c FROM t GROUP BY app ORDER BY c DESC, app LIMIT 10 OFFSET 0",
    "SELECT e.app, stddev(e.x) FROM t e WHERE e.n > 1 GROUP BY e.app",
    "SELECT date_trunc('month', ts) AS m, avg(n) FROM t GROUP BY m ORDER BY m",
    "SELECT date_trunc('month', ts), avg(n) FROM t GROUP BY 1 ORDER BY 1",
    "SELECT extract(hour FROM ts), count(DISTINCT app) FROM t GROUP BY ALL ORDER BY ALL",
    "SELECT time_bucket(INTERVAL '2 days', ts), sum(n) FROM t GROUP BY ALL",
    "SELECT app, median(n), approx_quantile(x, 0.9) AS q FROM t GROUP BY app HAVING q > 0 AND avg(n) BETWEEN 1 AND 9",
    "SELECT app AS n, count(n) FROM t GROUP BY app HAVING NOT (count(n) > 5 OR sum(n) = 0.5)",
    "SELECT 'total', 1, count(*) FROM t -- a comment",
    "SELECT app FROM t WHERE n = ? AND ts BETWEEN '2026-01-01' AND DATE '2026-02-01' GROUP BY app",
    "SELECT variance(n), mean(x), var_pop(n), stddev_pop(x), approx_count_distinct(app) FROM t ORDER BY sum(n)",
    "FROM t SELECT app GROUP BY app",
]


@pytest.mark.parametrize("sql", ADMITTED)
def test_useful_queries_are_admitted_and_keep_their_meaning(sql: str) -> None:
    """Where every group is large enough, the rewritten query gives what the plain one gives, under the same names."""
    rows = [row | {PERSON: i % 40} for i, row in enumerate(people(random.Random(7), 2_000))]
    rows = [row | {"n": row["n"] or 1, "x": row["x"] or 0.25, "app": row["app"] or "c"} for row in rows]
    parameters = [1] if "?" in sql else []
    assert comparable(run(restrict(sql), rows, *parameters)) == comparable(run(sql, rows, *parameters))


REFUSED = [
    "SELECT * FROM t",
    "SELECT n FROM t",
    "SELECT min(n) FROM t",
    "SELECT max(app) FROM t",
    "SELECT any_value(n) FROM t",
    "SELECT first(n) FROM t",
    "SELECT list(n) FROM t",
    "SELECT mode(app) FROM t",
    "SELECT string_agg(app) FROM t",
    "SELECT arg_max(app, n) FROM t",
    "SELECT histogram(n) FROM t",
    "SELECT median(n + 0) FROM t",
    "SELECT quantile_cont(n, 0.5) FROM t",
    "SELECT approx_quantile(n, 0) FROM t",
    "SELECT approx_quantile(n, 1.0) FROM t",
    "SELECT approx_quantile(n, 0.99) FROM t",
    "SELECT approx_quantile(n, 0.001) FROM t",
    "SELECT approx_quantile(n, [0.1, 0.9]) FROM t",
    "SELECT sum(DISTINCT n) FROM t",
    "SELECT sum(n) FILTER (WHERE app = 'a') FROM t",
    "SELECT count(*) FILTER (n > 1) FROM t",
    "SELECT sum(n ORDER BY x) FROM t",
    "SELECT sum(n) + 1 FROM t",
    "SELECT sum(n + 1) FROM t",
    "SELECT sum(n) OVER () FROM t",
    "SELECT n.sum() FROM t",
    "SELECT CASE WHEN count(*) > 1 THEN 1 END FROM t",
    "SELECT (SELECT count(*) FROM t)",
    "SELECT count(*) FROM t WHERE n IN (SELECT n FROM t)",
    "SELECT count(*) FROM t WHERE EXISTS (FROM t)",
    "SELECT count(*) FROM t WHERE n + 1 = 2",
    "SELECT count(*) FROM t WHERE n = x",
    "SELECT count(*) FROM t WHERE flag",
    "SELECT count(*) FROM t WHERE upper(app) = 'A'",
    "SELECT count(*) FROM t WHERE n = 1 + 1",
    "SELECT count(*) FROM t WHERE app LIKE 'a$' ESCAPE '$'",
    "SELECT count(*) FROM t WHERE app SIMILAR TO '('",
    "SELECT count(*) FROM t WHERE regexp_matches(app, '(')",
    "SELECT count(*) FROM t WHERE CAST(app AS INTEGER) = 1",
    "SELECT count(*) FROM t WHERE TRY(n // 0) = 1",
    "SELECT count(*) FROM t WHERE n = INTERVAL 1 DAY",
    "SELECT count(*) FROM t WHERE ts > now()",
    "SELECT count(*) FROM t, t u",
    "SELECT count(*) FROM t JOIN t u USING (n)",
    "SELECT count(*) FROM (FROM t)",
    "SELECT count(*) FROM t e(a, b)",
    "SELECT count(*) FROM t AS app",
    "SELECT count(*) FROM t TABLESAMPLE reservoir(5 ROWS)",
    "SELECT count(*) FROM t USING SAMPLE 5",
    "SELECT count(*) FROM range(5)",
    "SELECT count(*)",
    "WITH c AS (FROM t) SELECT count(*) FROM t",
    "SELECT count(*) FROM t UNION ALL SELECT count(*) FROM t",
    "SELECT DISTINCT app FROM t GROUP BY app",
    "SELECT app FROM t GROUP BY ROLLUP (app)",
    "SELECT app FROM t GROUP BY CUBE (app, n)",
    "SELECT app FROM t GROUP BY GROUPING SETS ((app), ())",
    "SELECT count(*) AS c FROM t GROUP BY c",
    "SELECT n % 2 FROM t GROUP BY n % 2",
    "SELECT date_trunc('fortnight', ts) FROM t GROUP BY 1",
    "SELECT date_trunc(app, ts) FROM t GROUP BY 1",
    "SELECT time_bucket(INTERVAL 0 DAYS, ts) FROM t GROUP BY 1",
    "SELECT time_bucket(INTERVAL '1 day 2 hours', ts) FROM t GROUP BY 1",
    "SELECT time_bucket(INTERVAL (n) DAYS, ts) FROM t GROUP BY 1",
    "SELECT app FROM t GROUP BY app HAVING app = 'a'",
    "SELECT app FROM t GROUP BY app HAVING count(*) > ?",
    "SELECT app FROM t GROUP BY app HAVING count(*) > 'x'",
    "SELECT app FROM t GROUP BY app HAVING sum(n) > 1e300",
    "SELECT app FROM t GROUP BY app HAVING sum(n) > 0.0000000000000000000000000001",
    "SELECT app FROM t GROUP BY app HAVING max(n) > 1",
    "SELECT app FROM t GROUP BY app ORDER BY max(n)",
    "SELECT app FROM t GROUP BY app LIMIT 10%",
    "SELECT app FROM t GROUP BY app LIMIT (SELECT 1)",
    "SELECT app FROM t GROUP BY app QUALIFY row_number() OVER () = 1",
    "PIVOT t ON app IN ('a') USING sum(n)",
    "DESCRIBE t",
    "SUMMARIZE t",
    f"SELECT {PERSON} FROM t GROUP BY {PERSON}",
    f"SELECT count({PERSON}) FROM t",
    f"SELECT count(*) FROM t WHERE {PERSON} = 1",
    f"SELECT app AS {PERSON} FROM t GROUP BY app",
    f"SELECT count(*) FROM t {PERSON}",
    f"SELECT app FROM t GROUP BY app ORDER BY {PERSON}",
]


@pytest.mark.parametrize("sql", REFUSED)
def test_everything_else_is_refused(sql: str) -> None:
    """No single value, no computation that could raise, and no way to name the hidden column."""
    with pytest.raises(LakeError) as caught:
        restrict(sql)
    assert len(str(caught.value)) < 200


def test_of_an_explain_the_select_is_rewritten() -> None:
    """A plan is shown of what would run, and of nothing else."""
    assert restrict("EXPLAIN SELECT count(*) FROM t") == restrict("SELECT count(*) FROM t")
    with pytest.raises(QueryRefusedError):
        restrict("EXPLAIN SELECT * FROM t")


def test_the_hidden_column_is_nowhere_else_either() -> None:
    """The tree itself may not name it, even if the guard had been passed by."""
    statement = parse("SELECT app FROM t GROUP BY app")
    for name in (PERSON, PERSON.upper()):
        tree = {**statement.tree, "select_list": [{**statement.tree["select_list"][0], "column_names": [name]}]}
        with pytest.raises(QueryRefusedError):
            aggregates.restricted(Statement("", tree), "t", COLUMNS, 3, PERSON)
    with pytest.raises(ValueError, match="reserved"):
        aggregates.restrict(statement, "t", COLUMNS, 3, "person")


def test_text_that_does_not_say_what_the_tree_says_is_refused() -> None:
    """A constant that would become SQL of its own changes the tree, which is noticed."""
    statement = parse("SELECT count(*) FROM t WHERE n = 1")
    where = statement.tree["where_clause"]
    where["right"]["literal"]["text"] = "1) OR (1 = 1"
    with pytest.raises(QueryRefusedError):
        aggregates.restrict(statement, "t", COLUMNS, 3, PERSON)


EXTREMES: list[Row] = [
    dict(zip(SCHEMA.names, (app, n, x, True, ts, big, person), strict=True))
    for person, (app, n, x, ts, big) in enumerate(
        [
            ("", 2**31 - 1, float("inf"), 2**63 - 1, 2**63 - 1),
            ("99999999999999999999999999999999999999999", -(2**31), float("-inf"), -(2**63) + 1, -(2**63)),
            ("2026-13-45", 0, float("nan"), -9_223_372_022_400_000_000, 2**63 - 1),
            ("(", 7, 1.7e308, 2**63 - 2, -(2**63)),
            ("1e999", None, -1.7e308, None, None),
            ("\\%_\u00e9\U0001f600", 1, 5e-324, 0, 2**63 - 1),
        ]
        * 3
    )
]
CONSTANTS = ["5", "'x'", "1.5", "-1e300", "true", "NULL", "DATE '2026-01-01'", "TIMESTAMP 'nonsense'", "'2026-01-01'"]
CONSTANTS += ["99999999999999999999999999999999999999999", "0.00000000000000000000000000000000000001", "''"]
UNITS = sorted(aggregates._UNITS)


def totals() -> list[str]:
    """Every operator with every column and constant, every unit, every aggregate."""
    where = [f"{c} {op} {v}" for c in COLUMNS for op in ("=", "<", "IS DISTINCT FROM", "LIKE") for v in CONSTANTS]
    where += [f"{c} IN ({v}, 1)" for c in COLUMNS for v in CONSTANTS]
    where += [f"{c} BETWEEN {v} AND {v}" for c in COLUMNS for v in CONSTANTS]
    found = [f"SELECT count(*) FROM t WHERE {one}" for one in where]
    found += [f"SELECT {f}('{unit}', ts) FROM t GROUP BY 1" for f in ("date_trunc", "date_part") for unit in UNITS]
    found += [f"SELECT time_bucket(INTERVAL {w}, ts) FROM t GROUP BY 1" for w in ("9999 YEARS", "1 SECOND", "7 WEEKS")]
    figures = [f"{name}({c})" for name in sorted(aggregates._STATISTICS | {"median"}) for c in COLUMNS]
    figures += [f"approx_quantile({c}, 0.1)" for c in COLUMNS]
    for figure in figures:
        found += [f"SELECT {figure} FROM t", f"SELECT flag FROM t GROUP BY flag HAVING {figure} > 1.000001"]
    return found


def failures(queries: list[str], rows: list[Row]) -> list[str]:
    """Class and text of each query's error, or nothing."""
    connection = duckdb.connect(config={"threads": "1"})
    connection.register("t", pa.Table.from_pylist(rows, schema=SCHEMA))
    found = []
    for sql in queries:
        try:
            connection.sql(sql).to_arrow_table()
            found.append("")
        except duckdb.Error as error:
            found.append(repr(error))
    return found


def test_whether_a_query_fails_says_nothing_about_rows() -> None:
    """Over rows with the extremes of every type a query fails as it fails over no rows at all, or not at all."""
    queries = [restrict(sql, 1) for sql in totals()]
    without, with_rows = failures(queries, []), failures(queries, EXTREMES)
    assert [pair for pair in zip(queries, without, with_rows, strict=True) if pair[1] != pair[2]] == []
    assert 0 < sum(map(bool, without)) < len(queries) / 3
