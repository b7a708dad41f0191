# ruff: noqa: S608 - the SQL of these tests is made of their own constants
from __future__ import annotations

import itertools
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.dataset as ds
import pytest

from lake.clear.sandbox.guard import admit
from lake.clear.sandbox.syntax import parse
from lake.errors import QueryRefusedError
from tests.clear.sandbox.corpus import HONEST, VOLATILE, tables

COLUMNS = {name: table.schema.names for name, table in tables().items()}
LOCKED: dict[str, str | bool | int | float | list[str]] = {
    "threads": "1",
    "enable_external_access": "false",
    "python_enable_replacements": "false",
}


def over_datasets(sources: dict[str, pa.Table]) -> duckdb.DuckDBPyConnection:
    """As the sandbox has its slices: a locked DuckDB over datasets of Arrow."""
    connection = duckdb.connect(":memory:", config=LOCKED)
    for name, table in sources.items():
        connection.register(name, ds.InMemoryDataset(table))
    connection.execute("SET TimeZone = 'UTC'")
    connection.execute("SET lock_configuration = true")
    return connection


@pytest.fixture(scope="module")
def sliced() -> duckdb.DuckDBPyConnection:
    return over_datasets(tables())


@pytest.fixture(scope="module")
def plain() -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect(":memory:", config={"threads": "1"})
    for name, table in tables().items():
        connection.register("arrow", table)
        connection.execute(f"CREATE TABLE {name} AS FROM arrow")
        connection.unregister("arrow")
    connection.execute("SET TimeZone = 'UTC'")
    return connection


def outcome(connection: duckdb.DuckDBPyConnection, sql: str) -> tuple[list[Any], list[str]]:
    """Names and types of the columns, and the rows as texts, sorted: without ORDER BY any order is right."""
    relation = connection.sql(sql)
    described = [*relation.columns, *map(str, relation.types)]
    return described, sorted(map(repr, relation.to_arrow_table().to_pylist()))


@pytest.mark.parametrize("sql", HONEST)
def test_honest_queries_give_what_duckdb_gives(
    sql: str, sliced: duckdb.DuckDBPyConnection, plain: duckdb.DuckDBPyConnection
) -> None:
    """What analysts write is admitted, and its result over a slice is that of DuckDB over a table."""
    query = admit(parse(sql), COLUMNS)
    assert outcome(sliced, query.sql) == outcome(plain, sql)
    assert query.tables == {name for name in COLUMNS if name in sql.lower()}
    assert not query.explain


def test_the_table_of_honest_queries_is_long() -> None:
    """At least 200 different queries."""
    assert len(set(HONEST)) == len(HONEST) >= 200


@pytest.mark.parametrize("sql", VOLATILE)
def test_volatile_queries_are_admitted_and_run(sql: str, sliced: duckdb.DuckDBPyConnection) -> None:
    """The clock and chance are allowed; a query that uses them is never divisible."""
    query = admit(parse(sql), COLUMNS)
    assert sliced.sql(query.sql).to_arrow_table().num_columns > 0
    assert not query.divisible


PLANNED = [sql for sql in HONEST if "SUMMARIZE" not in sql and "DESCRIBE" not in sql]


@pytest.fixture(scope="module")
def empty() -> duckdb.DuckDBPyConnection:
    return over_datasets({name: table.slice(0, 0) for name, table in tables().items()})


@pytest.fixture(scope="module")
def multiplied() -> duckdb.DuckDBPyConnection:
    return over_datasets({name: pa.concat_tables([table] * 50) for name, table in tables().items()})


@pytest.mark.parametrize("sql", PLANNED)
def test_plans_hold_nothing_of_the_data(
    sql: str,
    sliced: duckdb.DuckDBPyConnection,
    empty: duckdb.DuckDBPyConnection,
    multiplied: duckdb.DuckDBPyConnection,
) -> None:
    """EXPLAIN of an admitted query gives one plan whatever rows the slices hold, also none."""
    query = admit(parse(f"explain {sql}"), COLUMNS)
    assert query.explain
    plans = [one.sql("EXPLAIN " + query.sql).fetchall() for one in (sliced, empty, multiplied)]
    assert plans[0] == plans[1] == plans[2]


@pytest.mark.parametrize("before", ["EXPLAIN ", "explain\n", " -- x\n /* y */ Explain/* z */", "\tEXPLAIN\t"])
def test_explain_is_recognised(before: str) -> None:
    """EXPLAIN is told from its SELECT, whatever blanks and comments are around it."""
    query = admit(parse(before + "SELECT n FROM events"), COLUMNS)
    assert query.explain
    assert query.tables == {"events"}
    assert not query.divisible
    assert "explain" not in query.sql.lower()
    assert query.fingerprint == admit(parse("SELECT n FROM events"), COLUMNS).fingerprint


def test_errors_after_explain_say_where_they_are() -> None:
    """Positions count from the beginning of the text as typed."""
    with pytest.raises(QueryRefusedError) as caught:
        parse("EXPLAIN\nSELECT n frm x y")
    assert caught.value.details == {"line": 2, "column": 14}


def test_a_function_of_a_column_is_the_function() -> None:
    """``column.f()`` reports the function, and a name of DuckDB's own schemas is never taken for a column."""
    assert admit(parse("SELECT app.lower() FROM events"), COLUMNS).functions == {"lower"}
    for name in ("main", "MAIN", "temp", "system", "pg_catalog"):
        with pytest.raises(QueryRefusedError):
            admit(parse(f"SELECT {name}.lower() FROM t"), {"t": [name]})
    assert admit(parse("SELECT lower(main), t.main FROM t"), {"t": ["main"]}).functions == {"lower"}


def test_a_repeatable_sample_does_not_depend_on_batches() -> None:
    """The same rows in other batches give the same sample, so that no batch shows that rows were taken out of it."""
    whole = pa.table({"i": list(range(5_000))})
    cuts = [0, 7, 2_050, 2_051, 5_000]
    cut = pa.concat_tables([whole.slice(a, b - a) for a, b in itertools.pairwise(cuts)])
    sql = admit(parse("SELECT i FROM t TABLESAMPLE bernoulli(10%) REPEATABLE (42)"), {"t": ["i"]}).sql
    samples = [over_datasets({"t": one}).sql(sql).fetchall() for one in (whole, cut)]
    assert samples[0] == samples[1]
    assert 400 < len(samples[0]) < 600
