"""What the tests of aggregate-only queries share: a table, its rows, and a query as it is written anew."""

# ruff: noqa: DTZ001 - times are naive UTC
from __future__ import annotations

import functools
import random
from datetime import datetime
from typing import Any

import duckdb
import pyarrow as pa

from lake.clear.sandbox import aggregates
from lake.clear.sandbox.guard import admit
from lake.clear.sandbox.syntax import parse

PERSON = "__lake_person"
COLUMNS = ["app", "n", "x", "flag", "ts", "big"]
TYPES = [pa.string(), pa.int32(), pa.float64(), pa.bool_(), pa.timestamp("us"), pa.int64(), pa.int32()]
SCHEMA = pa.schema(list(zip([*COLUMNS, PERSON], TYPES, strict=True)))
Row = dict[str, Any]


def restrict(sql: str, smallest: int = 3) -> str:
    """The SQL that runs in the place of this one."""
    statement = parse(sql)
    admit(statement, {"t": COLUMNS})
    return aggregates.restrict(statement, "t", COLUMNS, smallest, PERSON)


@functools.cache
def engine() -> duckdb.DuckDBPyConnection:
    """One engine with one thread: what a cursor of it registers and sets is that cursor's own."""
    return duckdb.connect(config={"threads": "1"})


def run(sql: str, rows: list[Row], *parameters: Any) -> list[tuple[Any, ...]]:
    """Its result over these rows."""
    with engine().cursor() as connection:
        connection.register("t", pa.Table.from_pylist(rows, schema=SCHEMA))
        return connection.execute(sql, list(parameters)).fetchall()


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


def comparable(rows: list[tuple[Any, ...]]) -> list[str]:
    """Rows that sort and compare, without the last digits of floats."""
    return sorted(repr([round(v, 9) if isinstance(v, float) else v for v in row]) for row in rows)
