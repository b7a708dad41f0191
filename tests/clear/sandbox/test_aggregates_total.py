"""Aggregate-only queries: whether one fails says nothing about any row."""

# ruff: noqa: S608, DTZ001 - the SQL of these tests is made of their own constants; times are naive UTC
from __future__ import annotations

from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import duckdb
import pyarrow as pa
import pytest

from lake.clear.sandbox import aggregates
from tests.clear.sandbox.smallest import COLUMNS, SCHEMA, Row, engine, restrict

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


def over(rows: list[Row]) -> duckdb.DuckDBPyConnection:
    connection = engine().cursor()
    connection.register("t", pa.Table.from_pylist(rows, schema=SCHEMA))
    return connection


def failure(connection: duckdb.DuckDBPyConnection, sql: str, *parameters: Any) -> str:
    """Class and text of a query's error, or nothing."""
    try:
        connection.sql(sql, params=list(parameters) or None).to_arrow_table()
    except (duckdb.Error, RuntimeError) as error:
        return repr(error)
    return ""


@pytest.mark.parametrize("every", [5, pytest.param(1, marks=pytest.mark.soak)])
def test_whether_a_query_fails_says_nothing_about_rows(every: int) -> None:
    """Over rows with the extremes of every type a query fails as it fails over no rows at all, or not at all."""
    # Five has no divisor in common with the numbers of operators, constants and columns: each of them is tried.
    queries = [restrict(sql, 1) for sql in totals()[::every]]
    without, with_rows = ([failure(rows, sql) for sql in queries] for rows in (over([]), over(EXTREMES)))
    assert [pair for pair in zip(queries, without, with_rows, strict=True) if pair[1] != pair[2]] == []
    assert 0 < sum(map(bool, without)) < len(queries) / 3


PARAMETERS: list[Any] = [
    5,
    "x",
    "",
    1.5,
    float("nan"),
    float("inf"),
    None,
    True,
    datetime(2026, 1, 1),
    date(2026, 1, 1),
]
PARAMETERS += [timedelta(days=1), [1], ["a"], {"a": 1}, b"x\xff", 10**30, 1 - 10**38, UUID(int=7), Decimal("1E-35")]


@pytest.mark.parametrize("condition", ["= ?", "< ?", "IN (1, ?)", "BETWEEN ? AND 5", "LIKE ?", "IS DISTINCT FROM ?"])
def test_whether_a_parameter_fails_says_nothing_about_rows(condition: str) -> None:
    """The same for parameters, whatever their type."""
    without, with_rows = over([]), over(EXTREMES)
    for column in COLUMNS:
        sql = restrict(f"SELECT count(*) FROM t WHERE {column} {condition}", 1)
        for value in PARAMETERS:
            assert failure(without, sql, value) == failure(with_rows, sql, value), (column, value)
