# ruff: noqa: S608 - the SQL of these tests is made of their own constants
from __future__ import annotations

import random
from typing import Any

import pyarrow as pa
import pyarrow.dataset as ds
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lake.clear.sandbox.guard import admit
from lake.clear.sandbox.syntax import parse
from tests.clear.sandbox.corpus import HONEST, tables
from tests.clear.sandbox.smallest import engine

COLUMNS = {name: table.schema.names for name, table in tables().items()}
BASE = pa.concat_tables([tables()["events"]] * 6).combine_chunks()


def is_divisible(sql: str) -> bool:
    return admit(parse(sql), COLUMNS).divisible


DIVISIBLE = [sql for sql in HONEST if is_divisible(sql) and "people" not in sql.lower()]


def rows(sql: str, part: pa.Table) -> list[str]:
    with engine().cursor() as connection:
        connection.register("events", ds.InMemoryDataset(part))
        return [repr(row) for row in connection.sql(sql).to_arrow_table().to_pylist()]


def test_many_honest_queries_are_divisible() -> None:
    """The property below is about something."""
    assert len(DIVISIBLE) >= 60


@settings(max_examples=150, deadline=None)
@given(sql=st.sampled_from(DIVISIBLE), seed=st.integers(0, 2**32), parts=st.integers(1, 5))
def test_a_divisible_query_over_parts_gives_the_same_rows(sql: str, seed: int, parts: int) -> None:
    """Over any partition of the rows, empty parts too, the results together are the result over the whole."""
    rng = random.Random(seed)
    owners = [rng.randrange(parts) for _ in range(BASE.num_rows)]
    pieces = [BASE.filter(pa.array([owner == part for owner in owners], pa.bool_())) for part in range(parts)]
    together = [row for piece in pieces for row in rows(sql, piece)]
    assert sorted(together) == sorted(rows(sql, BASE))


WHERES = [
    "",
    " WHERE n > 1",
    " WHERE app = 'a' AND x < 2",
    " WHERE n BETWEEN $a AND $b OR title LIKE 'x%'",
    " WHERE list_contains(tags, 'c') OR meta IS NULL",
    " WHERE TRY(1 // (n - 1)) IS NULL",
]
ITEMS = ["*", "n + 1 AS m", "upper(app)", "tags[1]", "CASE WHEN n > 1 THEN title END", "{'a': n}", "x::DECIMAL(9, 2)"]


@settings(max_examples=100, deadline=None)
@given(where=st.sampled_from(WHERES), items=st.lists(st.sampled_from(ITEMS), min_size=1, max_size=4))
def test_plain_filters_and_projections_are_divisible(where: str, items: list[str]) -> None:
    """One SELECT with expressions over columns, parameters and constants is divisible."""
    assert is_divisible(f"SELECT {', '.join(items)} FROM events{where}")


def _not_divisible() -> list[Any]:
    return [
        "SELECT count(*) FROM events",
        "SELECT n.sum() FROM events",
        "SELECT DISTINCT app FROM events",
        "SELECT n FROM events ORDER BY n",
        "SELECT n FROM events LIMIT 5",
        "SELECT n FROM events OFFSET 1",
        "SELECT app FROM events GROUP BY app",
        "SELECT app FROM events GROUP BY ALL",
        "SELECT app FROM events GROUP BY ()",
        "SELECT 1 FROM events HAVING true",
        "SELECT n FROM events QUALIFY row_number() OVER () = 1",
        "SELECT row_number() OVER () FROM events",
        "SELECT n FROM events USING SAMPLE 3",
        "SELECT n FROM events TABLESAMPLE bernoulli(50%) REPEATABLE (1)",
        "SELECT unnest(tags) FROM events",
        "SELECT regexp_split_to_table(app, '') FROM events",
        "SELECT app.regexp_split_to_table('') FROM events",
        "SELECT generate_subscripts(tags, 1) FROM events",
        "SELECT [unnest(tags)] FROM events",
        "SELECT n FROM events UNION ALL SELECT n FROM events",
        "WITH c AS (SELECT 1) SELECT n FROM events",
        "SELECT n FROM events WHERE n > (SELECT avg(n) FROM events)",
        "SELECT n FROM events WHERE n IN (SELECT 1)",
        "SELECT e.n FROM events e, people p",
        "SELECT n FROM (SELECT n FROM events)",
        "SELECT * FROM events, unnest(tags)",
        "SELECT n FROM events WHERE ts > now()",
        "SELECT n FROM events WHERE ts > current_date",
        "SELECT n, current_timestamp FROM events",
        "SELECT n FROM events WHERE random() < 0.5",
        "SELECT uuid() FROM events",
        "SELECT list_aggregate([n], 'reservoir_quantile', 0.5) FROM events",
        "PIVOT events ON app IN ('a') USING sum(n)",
        "UNPIVOT (SELECT n, x FROM events) ON n, x",
        "DESCRIBE events",
        "SUMMARIZE events",
        "EXPLAIN SELECT n FROM events",
        "SELECT 1",
        "VALUES (1)",
    ]


@pytest.mark.parametrize("sql", _not_divisible())
def test_everything_else_is_not_divisible(sql: str) -> None:
    """What looks at several rows, makes several of one, or differs from one moment to the next."""
    assert not is_divisible(sql)
