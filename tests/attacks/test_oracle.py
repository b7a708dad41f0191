"""The gateway against an oracle: plain DuckDB over a plaintext copy that holds the permitted rows alone."""

# ruff: noqa: S608 - the SQL is made of the tests' own constants
from __future__ import annotations

import random

import duckdb
import pyarrow as pa
import pytest

from tests import world as w
from tests.attacks import queries
from tests.attacks.doors import WAYS
from tests.world import World, landed

FILTERS = (
    "n > 0",
    "app = 'Mail-QX' OR app IS NULL",
    "NOT (app = 'Vault-QX')",
    "app NOT IN ('Vault-QX', 'Mail-QX')",
    "app LIKE '%i_-Q%'",
    "n BETWEEN -5 AND 20 AND title IS NOT NULL",
    "title IS NULL OR NOT (n < 10 AND score > 3.5)",
    "ts >= TIMESTAMP '2026-08-01 00:00:00'",
)
MASKS = {
    "title: {truncate: 6}": ("title", "substr(title, 1, 6)"),
    "title: {constant: gone}": ("title", "CASE WHEN title IS NULL THEN NULL ELSE 'gone' END"),
    "title: 'null'": ("title", "NULL::VARCHAR"),
    "n: {round: 7}": ("n", "CAST(floor(n / 7.0) * 7 AS INTEGER)"),
    "score: {round: 3}": ("score", "floor(score / 3) * 3"),
    "ts: {truncate_time: hour}": ("ts", "date_trunc('hour', ts)"),
    "ts: {truncate_time: month}": ("ts", "date_trunc('month', ts)::TIMESTAMP"),
    "big: 'null'": ("big", "NULL::BIGINT"),
}
VISIBLE = ("sensitivity", "employee", "ts", "type", "app", "n", "big", "score", "title")


@pytest.mark.parametrize("grants", [8, pytest.param(60, marks=pytest.mark.soak)])
@pytest.mark.parametrize("way", ["embedded", "flight"])
def test_answers_are_those_over_the_permitted_rows(world: World, way: str, grants: int) -> None:
    """Random pairs, five queries of each random grant, give the oracle's columns and rows, through every door."""
    rng = random.Random(f"oracle {way}")
    plain = duckdb.connect()
    plain.execute("SET TimeZone = 'UTC'")
    position = w.SCHEMA.get_field_index("sensitivity")
    schema = w.SCHEMA.set(position, pa.field("sensitivity", pa.int8()))
    everything = pa.Table.from_pylist(landed(w.known_rows()), schema)
    plain.register("everything", everything)
    answers = rows = 0
    with WAYS[way](world) as door:
        for _ in range(grants):
            level, scope = rng.randint(2, 4), sorted(rng.sample(w.EMPLOYEES, rng.randint(1, 4)))
            row_filter = rng.choice(FILTERS)
            masks = dict({MASKS[text][0]: text for text in rng.sample(sorted(MASKS), 3)}.items())
            grant = (
                f"{{dataset: events, purposes: [study], sensitivity: {level}, employees: {{list: {scope}}}, "
                f'columns: [sensitivity, ts, type, app, n, big, score, title], row_filter: "{row_filter}", '
                f"employee_id: real, masks: {{{', '.join(masks.values())}}}}}"
            )
            with world.open() as lake:
                lake.apply_policy(w.POLICY.replace("quick:\n    grants: [", f"quick:\n    grants: [{grant}] #"))
            shown = ", ".join(f"{MASKS[masks[name]][1]} AS {name}" if name in masks else name for name in VISIBLE)
            named = ", ".join(f"'{name}'" for name in scope)
            plain.execute(
                f"CREATE OR REPLACE TEMP TABLE permitted AS SELECT * FROM everything "
                f"WHERE sensitivity <= {level} AND employee IN ({named}) AND ({row_filter})"
            )
            plain.execute(f"CREATE OR REPLACE TEMP TABLE events AS SELECT {shown} FROM permitted")
            for _ in range(5):
                sql = queries.quiet(rng)
                found, expected = door.ask("quin", "study", sql).table, plain.sql(sql).to_arrow_table()
                assert found is not None, sql
                assert found.schema.names == expected.schema.names, sql
                assert sorted(map(repr, found.to_pylist())) == sorted(map(repr, expected.to_pylist())), (sql, grant)
                answers += 1
                rows += found.num_rows
    plain.close()
    print(f"{way}: {answers} pairs of a policy and a query, {rows} rows, all as the oracle's")
    assert answers == 5 * grants
    assert rows > 30 * grants
