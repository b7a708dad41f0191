"""Columns that a query can need: with these alone, every query gives what it gives with all."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest

from lake.clear.sandbox.guard import AdmittedQuery, admit
from lake.clear.sandbox.syntax import parse
from tests.clear.sandbox.corpus import HONEST, tables
from tests.clear.sandbox.smallest import engine

TABLES = tables()
COLUMNS = {name: table.schema.names for name, table in TABLES.items()}


def admitted(sql: str) -> AdmittedQuery:
    return admit(parse(sql), COLUMNS)


def answer(sql: str, sources: dict[str, pa.Table]) -> tuple[list[str], list[str]]:
    with engine().cursor() as connection:
        for name, table in sources.items():
            connection.register(name, table)
        connection.execute("SET TimeZone = 'UTC'")
        relation = connection.sql(sql)
        described = [*relation.columns, *map(str, relation.types)]
        return described, sorted(map(repr, relation.to_arrow_table().to_pylist()))


@pytest.mark.parametrize("sql", HONEST)
def test_no_query_needs_more(sql: str) -> None:
    """Over tables that have only the needed columns, the result is the same."""
    needed = admitted(sql).needed
    if needed is None:
        assert "SAMPLE" in sql.upper()
        return
    fewer: dict[str, Any] = {}
    for name, columns in needed.items():
        chosen = [column for column in COLUMNS[name] if column in columns] or COLUMNS[name][:1]
        fewer[name] = TABLES[name].select(chosen)
    assert answer(sql, {**TABLES, **fewer}) == answer(sql, TABLES)


@pytest.mark.parametrize(
    ("sql", "needed"),
    [
        ("SELECT count(*) FROM events", set()),
        ("SELECT APP FROM events WHERE e.n > 1", {"app", "n"}),
        ("SELECT max(n) FROM events e WHERE e.app = 'mail'", {"app", "n"}),
        ("SELECT app.lower() FROM events", {"app"}),
        ("SELECT 'app' FROM events", {"app"}),
        ("SELECT n FROM events JOIN people USING (employee)", {"n", "employee"}),
    ],
)
def test_what_is_named_is_needed(sql: str, needed: set[str]) -> None:
    """And nothing else is."""
    assert (admitted(sql).needed or {})["events"] == needed


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM events",
        "FROM events",
        "SELECT e FROM events e",
        "SELECT events FROM events",
        "SELECT count(e) FROM events e",
        "SELECT e.lower() FROM events e",
        "SELECT struct_extract(e, 'n') FROM events e",
        "SELECT columns('n') FROM events",
        "SELECT #1 FROM events",
        "SELECT a.n FROM events a NATURAL JOIN events b",
        "SELECT b FROM events AS e(a, b)",
        "SELECT unnest(q) FROM (SELECT n FROM events) q",
        "SELECT n FROM (SELECT * FROM events)",
        "SUMMARIZE SELECT n FROM events",
        "PIVOT (SELECT app, n FROM events) ON app IN ('x') USING sum(n)",
    ],
)
def test_whatever_stands_for_all_needs_all(sql: str) -> None:
    """Stars, positions, rows as wholes."""
    assert (admitted(sql).needed or {})["events"] == set(COLUMNS["events"])
