"""Aggregate-only queries: what the grammar lets in, and what not."""

# ruff: noqa: S608 - the SQL of these tests is made of their own constants
from __future__ import annotations

import random

import pytest

from lake.clear.sandbox import aggregates
from lake.clear.sandbox.syntax import Statement, parse
from lake.errors import LakeError, QueryRefusedError
from tests.clear.sandbox.smallest import COLUMNS, PERSON, comparable, people, restrict, run


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
