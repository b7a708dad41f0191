"""Non-interference: whatever a reader asks, the answer does not depend on rows and values that are hidden from them."""

# ruff: noqa: S608 - capture times are naive UTC; the SQL is made of constants
# ruff: noqa: DTZ001 - capture times are naive UTC
from __future__ import annotations

import random
from collections.abc import Sequence
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from tests import world as w
from tests.attacks import queries
from tests.attacks.doors import WAYS, Door, embedded

GRANTS = {
    "row filter": "sensitivity: 4, row_filter: \"app IS NULL OR app <> 'Vault-QX'\"",
    "sensitivity": "sensitivity: 2",
    "employees": f"sensitivity: 4, employees: {{list: [{w.ADA}, {w.CLEO}]}}, employee_id: real",
    "column": "sensitivity: 4, columns: [sensitivity, ts, type, app, n, big, score]",
    "mask": "sensitivity: 4, columns: [sensitivity, ts, type, app, n, big, score, title], masks: {title: 'null'}",
    "window": "sensitivity: 4, window: {from: 2026-07-10, to: 2026-08-05}",
}
"""What hides rows or values; ``title`` is among the hidden values of the last but one but its name is visible."""


def _hidden(kind: str, one: dict[str, Any]) -> bool:
    match kind:
        case "row filter":
            return bool(one["app"] == "Vault-QX")
        case "sensitivity":
            return w.level(one) > 2
        case "employees":
            return one["employee"] not in {w.ADA, w.CLEO}
        case "window":
            return not datetime(2026, 7, 10) <= one["ts"] < datetime(2026, 8, 6)
        case _:
            return False


def _other(kind: str, one: dict[str, Any], rng: random.Random) -> dict[str, Any]:
    """The same row in the other world: changed wherever it is hidden, in place and partition as before."""
    if kind in {"column", "mask"}:
        new = {name: None if one[name] is None else f"{rng.randint(0, 99)}" for name in ("title", "said", "note")}
        return one | new | {"flag": None if one["flag"] is None else not one["flag"]}
    if not _hidden(kind, one):
        return one
    changed = one | {"n": rng.randint(-500, 500), "big": rng.randint(-(2**62), 2**62)}
    for name in ("title", "said", "note"):
        changed[name] = None if one[name] is None else rng.choice(("7", "2026-01-01", "x" * 60, "("))
    if one["score"] is not None:
        changed["score"] = float(rng.randint(-900, 900))
    return changed


FIXED = (
    "SELECT count(*) AS n FROM events",
    "SELECT * FROM events",
    "SELECT min(n), max(n), sum(n), avg(n), min(big), max(big) FROM events",
    "SELECT approx_count_distinct(n), median(n), mode(app), stddev(score) FROM events",
    "SELECT DISTINCT stats(n) FROM events",
    "EXPLAIN SELECT * FROM events WHERE n > 400",
    "EXPLAIN ANALYZE SELECT * FROM events",
    "SELECT column_name, column_type, min, max, count, null_percentage FROM (SUMMARIZE events)",
    "DESCRIBE events",
    "SELECT count(*) FROM (SELECT * FROM events USING SAMPLE 5 ROWS)",
    "SELECT n, ts FROM events TABLESAMPLE bernoulli(30 PERCENT) REPEATABLE (42)",
    "SELECT * FROM events TABLESAMPLE 10%",
    "SELECT count(*) FROM events TABLESAMPLE bernoulli(100 PERCENT)",
    "SELECT rowid FROM events",
    "SELECT file_row_number FROM events",
    "SELECT filename FROM events",
    "SELECT count(*) FROM events WHERE error(app) IS NULL",
    "SELECT sleep_ms(1) FROM events",
    "SELECT * FROM query('FROM events')",
    "SELECT * FROM query_table('events')",
    "FROM duckdb_tables()",
    "SELECT table_name, estimated_size FROM duckdb_tables()",
    "SELECT current_setting('memory_limit')",
    "SELECT getvariable('x')",
    "SELECT count(*) FROM events WHERE CAST(n AS TINYINT) < 200",
    "SELECT count(*) FROM events WHERE 1 // (n - 7) IS NULL",
    "SELECT count(*) FROM events WHERE 5 % (n + 20) >= 0",
    "SELECT count(*) FROM events WHERE CAST(app AS INTEGER) > 0",
    "SELECT count(*) FROM events WHERE CAST(title AS INTEGER) > 0",
    "SELECT count(*) FROM events WHERE CAST(said AS INTEGER) > 0",
    "SELECT CAST(note AS DATE) FROM events",
    "SELECT count(*) FROM events WHERE CASE WHEN app = 'Vault-QX' THEN 1 // 0 > 0 ELSE true END",
    "SELECT count(*) FROM events WHERE n > 400",
    "SELECT count(*) FROM events WHERE n < -400",
    "SELECT count(*) FROM events WHERE big > 4000000000000000000",
    "SELECT sum(big * 2) FROM events",
    "SELECT sum(big) FROM events",
    "SELECT product(n) FROM events",
    "SELECT big + 4611686018427387904 FROM events",
    "SELECT big * 4 FROM events",
    "SELECT list(n ORDER BY n) FROM events",
    "SELECT string_agg(app, ',' ORDER BY ts) FROM events",
    "SELECT histogram(n) FROM events",
    "SELECT a.n FROM events a WHERE EXISTS (SELECT 1 FROM events b WHERE b.n = a.n + 1)",
    "SELECT a.n, (SELECT max(b.n) FROM events b WHERE b.ts < a.ts) AS m FROM events a",
    "SELECT a.n, b.n FROM events a ASOF JOIN events b ON a.ts > b.ts",
    "SELECT * FROM events a POSITIONAL JOIN events b",
    "SELECT n FROM events QUALIFY row_number() OVER (PARTITION BY app ORDER BY n) = 1",
    "SELECT lag(n) OVER (ORDER BY ts), lead(big) OVER (ORDER BY ts) FROM events",
    "SELECT app, count(*) FROM events GROUP BY ROLLUP (app, type)",
    "SELECT count(*) FILTER (WHERE CAST(app AS INTEGER) = 1) FROM events",
    "SELECT n FROM events UNION ALL SELECT CAST(app AS INTEGER) FROM events",
    "SELECT n FROM events EXCEPT SELECT n FROM events WHERE n > 5",
    "SELECT n FROM events ORDER BY CAST(app AS DATE) LIMIT 1",
    "SELECT * FROM events LIMIT 3 OFFSET 1000",
    "WITH RECURSIVE t(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM t WHERE i < (SELECT max(n) FROM events)) FROM t",
    "SELECT unnest(range(n)) FROM events WHERE n BETWEEN 0 AND 3",
    "SELECT chr(n) FROM events",
    "SELECT make_date(2026, n, 1) FROM events",
    "SELECT regexp_matches('x', CASE WHEN n = 20 THEN '(' ELSE 'x' END) FROM events",
    "SELECT repeat('x', n) FROM events WHERE n > 100",
    "SELECT * FROM events WHERE ts > '2026-08-01' AND sensitivity = 4",
    f"SELECT * FROM events WHERE employee = '{w.BEN}'",
    "SELECT hash(n), md5(app) FROM events",
    "SELECT * FROM moods",
    "SELECT * FROM nothing",
)


def outcome(door: Door, sql: str) -> tuple[Any, ...]:
    """All that a reader can observe of a query: schema, rows in any order, or class and words of the error."""
    answer = door.ask("quin", "study", sql)
    if answer.table is None:
        return answer.error, answer.words
    rows = sorted(repr(_rounded(one)) for one in answer.table.to_pylist())
    return answer.table.schema.to_string(), answer.table.num_rows, rows


def _rounded(row: dict[str, Any]) -> dict[str, Any]:
    """A row without the last digits of its floats: they depend on the order in which two threads add."""
    return {name: f"{value:.9g}" if isinstance(value, float) else value for name, value in row.items()}


@pytest.mark.parametrize("kind", GRANTS)
def test_hidden_rows_and_values_change_nothing(tmp_path: Path, kind: str) -> None:
    """Two lakes that differ only in what a grant hides answer queries alike, errors included.

    All that are written down are asked where a row filter hides rows; of every other grant a third,
    and everywhere some made up.
    """
    part = FIXED if kind == "row filter" else FIXED[sorted(GRANTS).index(kind) % 3 :: 3]
    compare(tmp_path, kind, "embedded", part, throwing=9, quiet=6)


def test_hidden_values_change_nothing_behind_a_gateway(tmp_path: Path) -> None:
    """A door adds a process and a protocol; what hides a row or a value is the same; see test_oracle.py too."""
    compare(tmp_path, "mask", "flight", FIXED[::3], throwing=9, quiet=6)


@pytest.mark.soak
@pytest.mark.parametrize("way", ["embedded", "flight"])
@pytest.mark.parametrize("kind", GRANTS)
def test_hidden_rows_and_values_change_nothing_at_length(tmp_path: Path, kind: str, way: str) -> None:
    """Every query of every grant through every door, and many made up."""
    compare(tmp_path, kind, way, FIXED, throwing=50, quiet=30)


def compare(tmp_path: Path, kind: str, way: str, fixed: Sequence[str], *, throwing: int, quiet: int) -> None:
    """Ask both worlds of one grant: queries that are written down, and some that throw and some that do not."""
    rng = random.Random(f"worlds {kind}")
    grant = f"{{dataset: events, purposes: [study], {GRANTS[kind]}}}"
    policy = w.POLICY.replace("quick:\n    grants: [", f"quick:\n    grants: [{grant}] #")
    rows = w.known_rows()[:72]
    others = [_other(kind, one, rng) for one in rows]
    assert rows != others
    assert [w.level(one) for one in rows] == [w.level(one) for one in others]
    worlds = [w.make(tmp_path / name, rows=sent, policy=policy) for name, sent in (("one", rows), ("two", others))]
    assert len(worlds[0].objects()) == len(worlds[1].objects())
    made_up = [*(queries.throwing(rng) for _ in range(throwing)), *(queries.quiet(rng) for _ in range(quiet))]
    attempts = [*fixed, *made_up]
    failed = told = 0
    with ExitStack() as stack:
        first, second = (stack.enter_context(WAYS[way](world)) for world in worlds)
        for sql in attempts:
            seen = outcome(first, sql)
            same = seen == outcome(second, sql)
            told += not same
            assert same, sql
            failed += len(seen) == 2
    print(
        f"{kind}, {way}: {len(attempts)} queries in two worlds, {failed} of them errors; {told} told the worlds apart"
    )
    assert len(attempts) / 6 < failed < len(attempts) * 5 / 6


def test_worlds_with_a_visible_difference_are_told_apart(tmp_path: Path) -> None:
    """The control: one visible value changed is seen by the very same queries."""
    rows = w.known_rows()[:72]
    others = [rows[0] | {"n": 33}, *rows[1:]]
    with ExitStack() as stack:
        first, second = (
            stack.enter_context(embedded(w.make(tmp_path / name, rows=sent)))
            for name, sent in (("one", rows), ("two", others))
        )
        seen = [[door.ask(w.VERA, "incident", sql) for sql in FIXED] for door in (first, second)]
        assert sum(one.rows() != two.rows() for one, two in zip(*seen, strict=True)) > 5
