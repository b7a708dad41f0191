# ruff: noqa: S608 - the SQL of these tests is made of their own constants
from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lake.clear.sandbox.constraints import UNBOUNDED, TableConstraints, constraints
from lake.clear.sandbox.syntax import parse

COLUMNS = ["ts", "employee", "sensitivity", "n"]
TABLES = {"events": COLUMNS, "logins": COLUMNS, "teams": ["team", "employee"]}


def day(number: int, hour: int = 0, minute: int = 0, second: int = 0) -> dt.datetime:
    return dt.datetime(2026, 1, number, hour, minute, second)  # noqa: DTZ001


def of(sql: str, table: str = "events") -> TableConstraints:
    return constraints(parse(sql).tree, TABLES)[table]


def where(condition: str) -> TableConstraints:
    return of(f"SELECT * FROM events WHERE {condition}")


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ("ts >= '2026-01-02'", TableConstraints(time_from=day(2))),
        ("ts < TIMESTAMP '2026-01-02 10:00:00'", TableConstraints(time_to=day(2, 10))),
        ("'2026-01-02' <= ts", TableConstraints(time_from=day(2))),
        ("ts = DATE '2026-01-02'", TableConstraints(day(2), day(2))),
        ("events.ts > '2026-01-02'::TIMESTAMP", TableConstraints(time_from=day(2))),
        ("ts BETWEEN '2026-01-02' AND '2026-01-03T04:05:06'", TableConstraints(day(2), day(3, 4, 5, 6))),
        ("ts > '2026-01-02 00:00:00.5'", TableConstraints(time_from=day(2))),
        ("ts <= '2026-01-02 00:00:00.5'", TableConstraints(time_to=day(2, 0, 0, 1))),
        ("employee = 'a'", TableConstraints(employees=frozenset("a"))),
        ("employee IN ('a', 'b') AND employee <> 'b'", TableConstraints(employees=frozenset("ab"))),
        ("employee IN ('a', 'b') AND EMPLOYEE = 'b'", TableConstraints(employees=frozenset("b"))),
        ("employee = 'a' AND employee = 'b'", TableConstraints(employees=frozenset())),
        ("employee = 'a' OR employee = 'b'", TableConstraints(employees=frozenset("ab"))),
        ("employee = 'a' OR n = 1", UNBOUNDED),
        ("sensitivity <= 2", TableConstraints(sensitivities=frozenset({1, 2}))),
        ("2 < sensitivity", TableConstraints(sensitivities=frozenset({3, 4}))),
        ("sensitivity IN (1, 4, 9)", TableConstraints(sensitivities=frozenset({1, 4}))),
        ("sensitivity BETWEEN 2 AND 3", TableConstraints(sensitivities=frozenset({2, 3}))),
        ("(ts > '2026-01-02' AND employee = 'a') OR ts > '2026-01-03'", TableConstraints(time_from=day(2))),
    ],
)
def test_constant_conjuncts_become_bounds(condition: str, expected: TableConstraints) -> None:
    """Comparisons, BETWEEN, IN, AND and OR with constants give the bounds that they imply."""
    assert where(condition) == expected


@pytest.mark.parametrize(
    "condition",
    [
        "NOT (employee = 'a')",
        "employee NOT IN ('a')",
        "employee <> 'a'",
        "employee LIKE 'a'",
        "employee COLLATE NOCASE = 'A'",
        "employee = 'A' COLLATE NOCASE",
        "employee IN ('a', upper('b'))",
        "employee > 'a'",
        "lower(employee) = 'a'",
        "ts >= '2026-01-02 00:00:00+02'",
        "ts >= '2026-01-02Z'",
        "ts >= TIMESTAMPTZ '2026-01-02'",
        "ts >= '2026-1-2'",
        "ts >= '2026-02-30'",
        "ts >= CAST('2026-01-02' AS TIMESTAMP_S)",
        "ts >= now() - INTERVAL 7 DAYS",
        "ts >= ?",
        "ts > '0001-01-01'",
        "ts::DATE >= '2026-01-02'",
        "sensitivity = 2.5",
        "sensitivity = '2'",
        "sensitivity = 2::SMALLINT",
        "ts IS DISTINCT FROM '2026-01-02'",
        "CASE WHEN employee = 'a' THEN true ELSE true END",
        "(employee = 'a') IS NOT TRUE",
    ],
)
def test_what_is_not_understood_bounds_nothing(condition: str) -> None:
    """A condition outside the small grammar leaves the table unbounded."""
    assert where(condition) == UNBOUNDED


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM events TABLESAMPLE reservoir(5 ROWS) WHERE sensitivity = 1",
        "SELECT * FROM events WHERE sensitivity = 1 USING SAMPLE 5 ROWS",
        "SELECT * FROM events e JOIN teams TABLESAMPLE bernoulli(9%) USING (employee) WHERE e.sensitivity = 1",
        "SELECT * FROM (FROM events TABLESAMPLE reservoir(5 ROWS)) WHERE sensitivity = 1",
        "SELECT * FROM events e LEFT JOIN logins l ON true WHERE e.employee = 'a'",
        "SELECT * FROM events e ASOF JOIN logins l ON e.ts >= l.ts WHERE e.employee = 'a'",
        "SELECT * FROM events e POSITIONAL JOIN logins l WHERE e.employee = 'a'",
        "SELECT * FROM events e JOIN logins l ON true WHERE employee = 'a'",
        "SELECT * FROM events e JOIN logins l ON e.employee = 'a'",
        "SELECT * FROM events HAVING employee = 'a'",
        "SELECT * FROM events QUALIFY employee = 'a'",
        "SELECT count(*) FILTER (employee = 'a') FROM events",
        "SELECT * FROM events AS e(employee, ts) WHERE employee = 'a'",
        "SELECT * FROM (FROM events) e WHERE e.employee = 'a'",
        "WITH c AS (FROM events) FROM c WHERE employee = 'a'",
        "SELECT * FROM events e WHERE EXISTS (FROM logins WHERE e.employee = 'a')",
        "SELECT * FROM events e, LATERAL (SELECT 1 FROM teams t WHERE e.employee = 'a') s",
        "SELECT * FROM events WHERE employee = 'a' UNION ALL SELECT * FROM events",
        "SELECT * FROM events WHERE employee = 'a' AND n > (SELECT min(n) FROM events)",
        "SELECT * FROM events e, (SELECT 1 AS employee) e WHERE e.employee = 'a'",
    ],
)
def test_conditions_elsewhere_bound_nothing(sql: str) -> None:
    """Only the WHERE over plain and inner-joined tables counts, and one unbounded reference unbounds the table."""
    assert of(sql) == UNBOUNDED


def test_references_are_united_and_tables_kept_apart() -> None:
    """Several references widen each other; a join gives each table its own bounds."""
    sql = "SELECT 1 FROM events WHERE employee = 'a' UNION SELECT 2 FROM events WHERE employee = 'b'"
    assert of(sql).employees == {"a", "b"}
    sql = "SELECT 1 FROM events e JOIN logins l USING (n) WHERE e.employee = 'a' AND l.sensitivity = 1"
    assert of(sql) == TableConstraints(employees=frozenset("a"))
    assert of(sql, "logins") == TableConstraints(sensitivities=frozenset({1}))
    sql = "SELECT 1 FROM events a, events b WHERE a.employee = 'a' AND b.employee = 'b'"
    assert of(sql).employees == {"a", "b"}


def test_a_column_named_like_the_table_stops_qualified_names() -> None:
    """Where ``events.ts`` might be a field of a column called events, it bounds nothing."""
    tree = parse("SELECT * FROM events, logins WHERE events.employee = 'a'").tree
    tables = {"events": ["employee"], "logins": ["events"]}
    assert constraints(tree, tables)["events"] == UNBOUNDED


def test_a_hidden_column_bounds_nothing() -> None:
    """A name that is not a visible column of the table may be an alias or an outer column."""
    tree = parse("SELECT n AS employee FROM events WHERE employee = 'a'").tree
    assert constraints(tree, {"events": ["n"]})["events"] == UNBOUNDED


@dataclass(frozen=True)
class Row:
    ts: dt.datetime | None
    employee: str | None
    sensitivity: int
    n: int


_ts_texts = st.builds(
    lambda d, h, f: f"2026-01-0{d}" + (f" {h:02}:00:00{f}" if h else ""),
    st.integers(1, 4),
    st.sampled_from([0, 6, 12]),
    st.sampled_from(["", ".5", ".000001"]),
)
_rows = st.lists(
    st.builds(
        Row,
        st.none() | _ts_texts.map(dt.datetime.fromisoformat),
        st.sampled_from(["a", "b", "A", "", None]),
        st.integers(1, 4),
        st.integers(0, 3),
    ),
    max_size=6,
)
_operators = st.sampled_from(["=", "<", "<=", ">", ">=", "<>", "IS DISTINCT FROM"])
_employees = st.sampled_from(["'a'", "'b'", "'A'", "''", "NULL", "upper('a')", "'a' COLLATE NOCASE"])
_levels = st.sampled_from(["0", "1", "2", "3", "4", "-1", "2.5", "NULL", "'2'"])
_moments = st.builds(lambda shape, text: shape.format(text), st.sampled_from(["'{}'", "TIMESTAMP '{}'"]), _ts_texts)


def _atoms(prefix: str) -> st.SearchStrategy[str]:
    def test(column: str, values: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
        name = prefix + column
        return st.one_of(
            st.builds(lambda o, v: f"{name} {o} {v}", _operators, values),
            st.builds(lambda o, v: f"{v} {o} {name}", _operators, values),
            st.builds(lambda a, b: f"{name} BETWEEN {a} AND {b}", values, values),
            st.builds(lambda vs: f"{name} IN ({', '.join(vs)})", st.lists(values, min_size=1, max_size=3)),
        )

    return st.one_of(
        test("ts", _moments), test("employee", _employees), test("sensitivity", _levels), st.just(f"{prefix}n > 1")
    )


def _conditions(prefix: str) -> st.SearchStrategy[str]:
    return st.recursive(
        _atoms(prefix),
        lambda inner: st.one_of(
            st.builds(lambda a, b: f"({a} AND {b})", inner, inner),
            st.builds(lambda a, b: f"({a} OR {b})", inner, inner),
            st.builds(lambda a: f"(NOT {a})", inner),
        ),
        max_leaves=4,
    )


_queries = st.one_of(
    st.builds("SELECT * FROM events WHERE {}".format, _conditions("")),
    st.builds("SELECT count(*), max(n) FROM events e WHERE {} AND e.n < 3".format, _conditions("e.")),
    st.builds("SELECT 'b' AS employee, 9 AS sensitivity, n FROM events WHERE {}".format, _conditions("")),
    st.builds("SELECT sum(n) OVER (ORDER BY n), n FROM events WHERE {}".format, _conditions("events.")),
    st.builds("WITH c AS (FROM events WHERE {}) SELECT x.n, y.ts FROM c x, c y".format, _conditions("")),
    st.builds("FROM events WHERE {} UNION ALL FROM events WHERE {}".format, _conditions(""), _conditions("")),
    st.builds("FROM events a JOIN events b USING (n) WHERE {} AND {}".format, _conditions("a."), _conditions("b.")),
    st.builds("FROM events a LEFT JOIN events b USING (n) WHERE {}".format, _conditions("b.")),
    st.builds("FROM events a ASOF JOIN events b ON a.ts >= b.ts WHERE {}".format, _conditions("b.")),
    st.builds("FROM events a POSITIONAL JOIN events b WHERE {}".format, _conditions("a.")),
    st.builds(
        "FROM events a WHERE EXISTS (FROM events b WHERE {} AND {})".format, _conditions("a."), _conditions("b.")
    ),
    st.builds("FROM events WHERE n IN (SELECT n FROM events WHERE {}) AND {}".format, _conditions(""), _conditions("")),
    st.builds("SELECT (SELECT count(*) FROM events b WHERE {}), n FROM events a".format, _conditions("a.")),
)


def _keeps(bound: TableConstraints, row: Row) -> bool:
    if (bound.time_from or bound.time_to) and row.ts is None:
        return False
    return (
        (bound.time_from is None or (row.ts is not None and row.ts >= bound.time_from))
        and (bound.time_to is None or (row.ts is not None and row.ts <= bound.time_to))
        and (bound.employees is None or row.employee in bound.employees)
        and (bound.sensitivities is None or row.sensitivity in bound.sensitivities)
    )


_database = duckdb.connect()


def _answer(sql: str, rows: list[Row], type_name: str) -> list[str]:
    _database.execute(
        f"CREATE OR REPLACE TABLE events (ts {type_name}, employee VARCHAR, sensitivity INTEGER, n INTEGER)"
    )
    for row in rows:
        _database.execute("INSERT INTO events VALUES (?, ?, ?, ?)", [row.ts, row.employee, row.sensitivity, row.n])
    return sorted(map(repr, _database.execute(sql).fetchall()))


@settings(max_examples=150, deadline=None)
@given(
    sql=_queries, rows=_rows, type_name=st.sampled_from(["TIMESTAMP", "TIMESTAMP_S", "TIMESTAMP_MS", "TIMESTAMP_NS"])
)
def test_pruned_rows_change_no_answer(sql: str, rows: list[Row], type_name: str) -> None:
    """DuckDB gives the same answer over the rows within the bounds as over all rows."""
    bound = constraints(parse(sql).tree, {"events": COLUMNS})["events"]
    assert _answer(sql, [row for row in rows if _keeps(bound, row)], type_name) == _answer(sql, rows, type_name)
