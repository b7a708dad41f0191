"""Row filters as Arrow expressions: the rows kept are those for which SQL says true, nulls and patterns included."""

# ruff: noqa: DTZ001, S608 - capture times are naive UTC; the SQL is made of constants
from __future__ import annotations

from datetime import datetime

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lake.clear.reading.filter import FilterCompiler, columns_of
from lake.rules.contract import FieldType
from lake.rules.row_filter import parse_row_filter

SCHEMA = pa.schema([("s", pa.string()), ("n", pa.int64()), ("t", pa.timestamp("us"))])
TYPES = {"s": FieldType.STRING, "n": FieldType.INT64, "t": FieldType.TIMESTAMP}
NOW = datetime(2026, 9, 15, 12)
TEXTS = ("a", "ab", "a%b", "a_b", ".", "a.b", "A\nb", "ä", "(", "", None)
NUMBERS = (-2, 0, 1, 3, None)
TIMES = (datetime(2026, 9, 1), NOW, datetime(2026, 9, 15, 12, 0, 1), None)
ROWS = pa.Table.from_pylist([{"s": s, "n": n, "t": t} for s in TEXTS for n in NUMBERS for t in TIMES], SCHEMA)

LEAVES = st.sampled_from(
    [
        "s = 'a'", "s <> 'a'", "s < 'b'", "s IN ('a', '.')", "s NOT IN ('a', 'ä')", "s LIKE 'a%'", "s NOT LIKE '%b'",
        "s LIKE '_'", "s LIKE 'a.b'", "s LIKE ''", "s IS NULL", "n IS NOT NULL", "n > 0", "n <= -2",
        "n BETWEEN 0 AND 1", "n NOT BETWEEN 0 AND 1", "n IN (1, 3)", "n <> 1",
        "t >= TIMESTAMP '2026-09-15 12:00:00'", "t IS NULL",
    ]
)  # fmt: skip
CONDITIONS = st.recursive(
    LEAVES,
    lambda inner: (
        st.builds("({} AND {})".format, inner, inner)
        | st.builds("({} OR {})".format, inner, inner)
        | st.builds("(NOT {})".format, inner)
    ),
    max_leaves=6,
)

ENGINE = duckdb.connect()


def kept(text: str, attributes: dict[str, str] | None = None) -> list[str]:
    """Rows that a filter keeps."""
    compiler = FilterCompiler(SCHEMA, attributes or {}, NOW)
    expression = compiler.compile(parse_row_filter(text, TYPES))
    return sorted(map(repr, ds.dataset(ROWS).to_table(filter=expression).to_pylist()))


@settings(max_examples=150, deadline=None)
@given(text=CONDITIONS)
def test_a_filter_keeps_what_sql_keeps(text: str) -> None:
    """For any filter, the rows are those that DuckDB's WHERE gives."""
    with ENGINE.cursor() as connection:
        connection.register("rows_", ROWS)
        expected = connection.sql(f"SELECT * FROM rows_ WHERE {text}").to_arrow_table().to_pylist()
    assert kept(text) == sorted(map(repr, expected))


def test_attributes_of_the_principal_are_constants() -> None:
    """An attribute is compared as its value; one that the principal lacks is NULL and hides every row."""
    assert kept("s = principal.team", {"team": "ab"}) == kept("s = 'ab'") != []
    assert kept("s = principal.team") == []
    assert kept("NOT (s = principal.team)") == []
    assert kept("s <> principal.team") == []
    assert kept("s IN ('a', principal.team)") == kept("s = 'a'")
    assert kept("NOT (s IN ('a', principal.team))") == []
    assert kept("s = principal.team", {"team": "' OR 1=1"}) == []


@pytest.mark.parametrize("name", ["s", "n"])
def test_columns_of_an_expression_are_never_too_few(name: str) -> None:
    """Every column that an expression uses is among its columns."""
    expression = (pc.field(name) == pa.scalar(1)) | pc.field(name).is_null()
    assert name in columns_of(expression, SCHEMA.names)
