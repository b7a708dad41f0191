"""Plain projections: the rows of a slice itself, which must be the engine's answer in every column, type and row."""

# ruff: noqa: DTZ001, S608 - capture times are naive UTC; the SQL is made of constants
from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.dataset as ds
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lake.clear.reading.plan import SliceKey, Source
from lake.clear.sandbox import execute
from lake.clear.sandbox.guard import admit
from lake.clear.sandbox.projection import Projection
from lake.clear.sandbox.syntax import parse
from lake.clear.serving.cache import SliceCache
from lake.clear.serving.chunks import cut
from lake.clear.serving.exports import BATCH_ROWS, Export, started
from lake.clear.serving.pool import Pool
from lake.errors import LimitExceededError, QueryCancelledError, QueryFailedError
from tests.clear.sandbox.corpus import HONEST, tables
from tests.clear.serving.sandboxes import (
    LIMITS,
    NOTHING_KEPT,
    SOURCE,
    Held,
    session_of,
    stranger_session,
)

START = datetime(2026, 7, 1)
ROWS = pa.table(
    {
        "sensitivity": pa.array([1, 2, 3, 4, 1, 2, 3, 4], pa.int8()),
        "Employee": pa.array(["e1", "e2", "E1", "", None, "é'\"", "e1", "%"]),
        "ts": pa.array([START + timedelta(hours=n, microseconds=n) for n in range(7)] + [None], pa.timestamp("us")),
        "n": pa.array([-5, 0, 5, None, 2**31 - 1, -(2**31), 1, 1], pa.int32()),
        "big": pa.array([-(2**63), 2**63 - 1, None, 0, 1, 2, 3, 4], pa.int64()),
        "x": pa.array([0.0, -0.0, float("nan"), None, float("inf"), -1.5, 1e300, 2.5]),
        "flag": pa.array([True, False, None, True, False, None, True, True]),
        "title": pa.array(["a", "b", None, "", "a", "ß", "\t", "7"]),
    }
)


def plain(sql: str, rows: Mapping[str, pa.Table] | None = None) -> Projection | None:
    known = {"events": ROWS} if rows is None else rows
    return admit(parse(sql), {name: table.schema.names for name, table in known.items()}).projection


def engine(table: pa.Table) -> duckdb.DuckDBPyConnection:
    """A database with these rows; each test has several, and making one takes long."""
    if id(table) not in _ENGINES:
        connection = duckdb.connect(config={"threads": "1"})
        connection.register("events", ds.InMemoryDataset(table))
        _ENGINES[id(table)] = connection, table
    return _ENGINES[id(table)][0]


_ENGINES: dict[int, tuple[duckdb.DuckDBPyConnection, pa.Table]] = {}


def exported(sql: str, table: pa.Table = ROWS, cache: SliceCache = NOTHING_KEPT, **more: Any) -> pa.Table | None:
    """The answer without an engine, None if one is needed."""
    found = plain(sql, {"events": table})
    if found is None:
        return None
    shape = execute.shape(engine(table), sql, ())
    export = started(found, {"events": Held(table, **more)}, shape, cache, 20)
    return None if export is None else pa.Table.from_batches(export.batches(), shape)


def by_engine(sql: str, table: pa.Table = ROWS) -> pa.Table:
    return engine(table).sql(sql).to_arrow_table()


def same(left: pa.Table, right: pa.Table) -> bool:
    """Whether names, types and rows are the same, the rows in any order."""
    rows = [sorted(repr(row) for row in zip(*side.to_pydict().values(), strict=True)) for side in (left, right)]
    return bool(left.schema.equals(right.schema)) and rows[0] == rows[1]


COLUMNS = st.sampled_from([*ROWS.schema.names, "EMPLOYEE", '"title"', "events.n", "TS"])
ITEMS = st.lists(COLUMNS, min_size=1, max_size=5, unique_by=lambda name: name.strip('"').lower().split(".")[-1])
CONSTANTS = {
    "sensitivity": ["1", "3", "-128"],
    "employee": ["'e1'", "''", "'é''\"'", "'%'"],
    "ts": ["'2026-07-01 01:00:00.000001'", "TIMESTAMP '2026-07-01T03:00:00'", "DATE '2026-07-02'", "'2026-07-01'"],
    "n": ["0", "-5", "2147483647"],
    "big": ["0", "-3", "100000000000"],
    "flag": ["true", "FALSE"],
    "title": ["'a'", "'ß'", "'7'"],
}


@st.composite
def leaves(draw: st.DrawFn) -> str:
    column = draw(st.sampled_from(sorted(CONSTANTS)))
    one, other = (draw(st.sampled_from(CONSTANTS[column])) for _ in range(2))
    comparison = draw(st.sampled_from(["=", "<>", "<", "<=", ">", ">="]))
    negated = draw(st.sampled_from(["", "NOT "]))
    forms = [
        f"{column} {comparison} {one}",
        f"{one} {comparison} {column}",
        f"{column} {negated}IN ({one}, {other})",
        f"{column} {negated}BETWEEN {one} AND {other}",
        f"{column} IS {negated}NULL",
    ]
    return draw(st.sampled_from(forms))


WHERES = st.recursive(
    leaves(),
    lambda inner: st.one_of(
        st.builds("({} AND {})".format, inner, inner),
        st.builds("({} OR {} OR {})".format, inner, inner, inner),
        st.builds("NOT ({})".format, inner),
    ),
    max_leaves=6,
)


@settings(max_examples=100, deadline=None)
@given(items=st.one_of(st.just(["*"]), ITEMS), where=st.one_of(st.just(""), WHERES.map(" WHERE {}".format)))
def test_the_rows_of_the_slice_are_the_answer_of_the_engine(items: list[str], where: str) -> None:
    """Any columns in any order and any case, under comparisons of any depth, over nulls and edges of every type."""
    sql = f"SELECT {', '.join(items)} FROM events{where}"
    found = exported(sql, batch_rows=3)
    assert found is not None
    assert same(found, by_engine(sql))


@pytest.mark.parametrize(
    "sql",
    [
        "FROM events",
        "SELECT e.* FROM events e",
        "SELECT e.n AS one, title AS two, n AS three FROM EVENTS AS e WHERE e.title = 'a'",
        'SELECT "Employee" AS "x y", ts "T" FROM events -- WHERE',
        "SELECT n AS n FROM events WHERE events.flag = true",
        "SELECT title FROM events WHERE title = 'nobody'",
        "SELECT x FROM events WHERE n IS NULL",
    ],
)
def test_what_is_plain_however_it_is_written(sql: str) -> None:
    """Aliases of the table and of columns, stars, quotes, comments, and results without a row."""
    found = exported(sql)
    assert found is not None
    assert same(found, by_engine(sql))


def test_honest_queries_that_are_plain_are_answered_alike() -> None:
    """Of the corpus of what analysts write; some have conditions that are for the engine."""
    events = tables()["events"].drop_columns(["tags", "meta"])  # no slice has such types
    answers = {sql: exported(sql, events) for sql in HONEST if "people" not in sql.lower()}
    found = {sql: answer for sql, answer in answers.items() if answer is not None}
    assert len(found) >= 3
    for sql, answer in found.items():
        assert same(answer, by_engine(sql, events)), sql


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT DISTINCT n FROM events",
        "SELECT n FROM events ORDER BY n",
        "SELECT n FROM events LIMIT 3",
        "SELECT n FROM events OFFSET 3",
        "SELECT n FROM events GROUP BY n",
        "SELECT n FROM events GROUP BY ALL",
        "SELECT count(*) FROM events",
        "SELECT n FROM events HAVING true",
        "SELECT n FROM events QUALIFY true",
        "SELECT n FROM events USING SAMPLE 3",
        "SELECT n FROM events TABLESAMPLE 50% (bernoulli)",
        "SELECT n + 1 FROM events",
        "SELECT n::BIGINT FROM events",
        "SELECT TRY_CAST(title AS INTEGER) FROM events",
        "SELECT upper(title) FROM events",
        "SELECT title.upper() FROM events",
        "SELECT title COLLATE nocase FROM events",
        "SELECT title[1] FROM events",
        "SELECT 1 FROM events",
        "SELECT NULL FROM events",
        "SELECT n, n FROM events",
        "SELECT n, N FROM events",
        "SELECT *, n FROM events",
        "SELECT *, * FROM events",
        "SELECT n AS a, big AS A FROM events",
        "SELECT n AS title FROM events",
        "SELECT n AS title FROM events WHERE title = 'a'",
        "SELECT n AS m, m AS o FROM events",
        "SELECT * EXCLUDE (n) FROM events",
        "SELECT * REPLACE (n + 1 AS n) FROM events",
        "SELECT * RENAME (n AS m) FROM events",
        "SELECT events.* EXCLUDE (n) FROM events",
        "SELECT COLUMNS('n') FROM events",
        "SELECT COLUMNS(*) FROM events",
        "SELECT * LIKE 't%' FROM events",
        "SELECT #1 FROM events",
        "SELECT events FROM events",
        "SELECT n FROM events e(sensitivity, n)",
        "SELECT e.n FROM events e, events f",
        "SELECT n FROM events POSITIONAL JOIN (SELECT 1)",
        "SELECT n FROM (SELECT n FROM events)",
        "SELECT n FROM events UNION ALL SELECT n FROM events",
        "WITH c AS (SELECT 1) SELECT n FROM events",
        "WITH c AS (FROM events) SELECT n FROM c",
        "SELECT (SELECT max(n) FROM events) FROM events",
        "DESCRIBE events",
        "EXPLAIN SELECT n FROM events",
        "VALUES (1)",
    ],
)
def test_what_only_looks_plain_is_for_the_engine(sql: str) -> None:
    """Whatever makes, merges, orders, counts, renames or converts rows."""
    assert plain(sql) is None


@pytest.mark.parametrize(
    "where",
    [
        "m = 'a'",
        "n = ?",
        "n = $a",
        "n = NULL",
        "n = 1.0",
        "n = '1'",
        "n = 3000000000",
        "sensitivity = 300",
        "big = 99999999999999999999",
        "big > 1_000",
        "x > 1",
        "x = 1.5",
        "flag",
        "NOT flag",
        "flag = 1",
        "flag = 'true'",
        "title = 7",
        "title > n",
        "n = big",
        "title LIKE 'a%'",
        "title ILIKE 'A'",
        "title = 'a' COLLATE nocase",
        "n IS DISTINCT FROM 1",
        "n IN (1, NULL)",
        "n IN (1, 2.5)",
        "n IN (SELECT 1)",
        "title IN (title, 'a')",
        "ts > '2026-07-01 25:00:00'",
        "ts > '2026-07-01 00:00:00+02'",
        "ts > 'infinity'",
        "ts > '2026-07'",
        "ts > TIMESTAMPTZ '2026-07-01 00:00:00+02'",
        "ts > now()",
        "n + 1 = 2",
        "abs(n) = 1",
        "(n, big) = (1, 1)",
        "n BETWEEN 0 AND big",
        "n BETWEEN 0 AND 2.5",
        "CASE WHEN n = 1 THEN true END",
        "true",
        "1 = 1",
        f"title = '{'x' * 1001}'",
        f"n IN ({', '.join(map(str, range(1001)))})",
        " OR ".join(f"n = {n} AND big = {n}" for n in range(800)),
    ],
)
def test_conditions_that_are_not_surely_plain_are_for_the_engine(where: str) -> None:
    """Whatever converts, computes, matches or compares columns; what a slice could not be asked; parameters."""
    found = plain(f"SELECT title AS m FROM events WHERE {where}")
    assert found is None or exported_shape(found) is None


def exported_shape(found: Projection) -> Export | None:
    shape = pa.schema([("m", pa.string())])
    return started(found, {"events": Held(ROWS)}, shape, NOTHING_KEPT, 20)


@pytest.mark.parametrize(
    "shape",
    [
        pa.schema([("n", pa.int64())]),
        pa.schema([pa.field("n", pa.int32(), nullable=False)]),
        pa.schema([("n", pa.int32()), ("m", pa.int32())]),
        pa.schema([("n", pa.int32())], metadata={"a": "b"}),
        pa.schema([]),
    ],
)
def test_columns_of_another_type_than_the_slice_has_are_for_the_engine(shape: pa.Schema) -> None:
    """Whatever a sandbox says that they are."""
    found = plain("SELECT n FROM events")
    assert found is not None
    assert started(found, {"events": Held(ROWS)}, shape, NOTHING_KEPT, 20) is None


@settings(max_examples=100, deadline=None)
@given(sizes=st.lists(st.tuples(st.integers(0, 3), st.integers(0, 9)), max_size=12), rows=st.integers(1, 7))
def test_batches_are_cut_by_rows_alone(sizes: list[tuple[int, int]], rows: int) -> None:
    """However the rows come, they go in batches of one size; whose they are is counted for each."""
    batches, numbers = [], iter(range(1000))
    for tag, size in sizes:
        batches.append((tag, pa.record_batch({"n": [next(numbers) for _ in range(size)], "t": [tag] * size})))
    found = list(cut(batches, rows))
    total = sum(size for _, size in sizes)
    assert [batch.num_rows for _, batch in found] == [rows] * (total // rows) + [total % rows] * (total % rows > 0)
    assert [n for _, batch in found for n in batch["n"].to_pylist()] == list(range(total))
    for whose, batch in found:
        tags = batch["t"].to_pylist()
        assert whose == {tag: tags.count(tag) for tag in tags}


def large(rows: int) -> pa.Table:
    return pa.table({"n": pa.array(range(rows), pa.int64()), "t": [f"{n}" for n in range(rows)]})


def test_sizes_of_batches_do_not_show_how_the_files_were_read() -> None:
    """Two slices of the same rows, of which more were hidden in one: the same batches, however they are read."""
    rows = large(3 * BATCH_ROWS // 2)
    seen = []
    for batch_rows in (1000, 70_001):
        for cache in (NOTHING_KEPT, SliceCache(1 << 30, 60)):
            key = SliceKey(("policy", 1), b"slice")
            cache.keep_only(key.era)
            for _ in range(2):
                found = exported("SELECT t, n FROM events", rows, cache, key=key, batch_rows=batch_rows)
                assert found is not None
                seen.append([len(chunk) for chunk in found["n"].chunks])
                assert found.equals(rows.select(["t", "n"]))
    assert all(one == [BATCH_ROWS, BATCH_ROWS // 2] for one in seen)


def test_an_export_and_the_engine_share_what_is_kept(pool: Pool) -> None:
    """Decoded once, whoever comes first; the rows that leave count each time."""
    rows = large(200_000)
    for order in ((True, False), (False, True)):
        cache = SliceCache(1 << 30, 60)
        key = SliceKey(("policy", 1), b"slice")
        cache.keep_only(key.era)
        held = Held(rows, key, batch_rows=1000)
        for direct in (*order, *order):
            sql = "SELECT n, t FROM events WHERE n >= 100000" + ("" if direct else " AND true")
            with session_of(pool, cache) as session:
                running = session.run(sql, {"events": held}, (), LIMITS, plain(sql, {"events": rows}))
                found = pa.Table.from_batches(running.batches, running.schema)
            assert found.sort_by("n").equals(rows.slice(100_000).select(["n", "t"]))
        assert len(held.asked) == 1
        assert held.touched == {SOURCE: 400_000}


class Slow(Held):
    """Rows that come one batch at a time, when they are let."""

    def __init__(self, rows: pa.Table) -> None:
        super().__init__(rows)
        self.let = threading.Semaphore(0)

    def tagged(self, columns: Any, condition: Any, **_: Any) -> Iterator[tuple[Source, pa.RecordBatch]]:
        """A scan."""
        for _, batch in super().tagged(columns, condition):
            self.let.acquire(timeout=30)
            yield SOURCE, batch


def slow(rows: int = 8 * BATCH_ROWS, seconds: float | None = 20) -> tuple[Slow, Export]:
    held = Slow(large(rows))
    found = plain("SELECT * FROM events", {"events": large(1)})
    assert found is not None
    export = started(found, {"events": held}, held.schema, NOTHING_KEPT, seconds)
    assert export is not None
    return held, export


def test_time_that_is_up_ends_an_export_that_waits_for_rows() -> None:
    """No row comes: the wait is broken off."""
    _, export = slow(seconds=0.2)
    with pytest.raises(LimitExceededError, match=r"longer than 0\.2 s"):
        next(export.batches())


def test_time_that_is_up_ends_an_export_whose_rows_nobody_takes() -> None:
    """Rows are there, and are not taken in time: they are not given any more."""
    held, export = slow(seconds=0.3)
    held.let.release(100)
    batches = export.batches()
    next(batches)
    time.sleep(0.4)
    with pytest.raises(LimitExceededError):
        next(batches)


def test_an_export_that_is_closed_elsewhere_never_looks_complete() -> None:
    """While it waits, and while rows are ready: whoever takes is told, and decoding ends."""
    held, export = slow()
    held.let.release(4)
    batches = export.batches()
    next(batches)
    timer = threading.Timer(0.2, export.close)
    timer.start()
    with pytest.raises(QueryCancelledError):
        list(batches)
    timer.join()
    held.let.release(100)
    end = time.monotonic() + 10
    while not held.closed and time.monotonic() < end:
        time.sleep(0.01)
    assert held.closed == 1


def test_an_export_that_was_cancelled_before_gives_nothing(pool: Pool) -> None:
    """Whenever the wish came."""
    with session_of(pool) as session:
        running = session.run("FROM events", {"events": Held(ROWS)}, (), LIMITS, plain("FROM events"))
        running.cancel()
        with pytest.raises(QueryCancelledError):
            next(running.batches)


def test_an_export_asks_its_sandbox_for_nothing_but_names(pool: Pool) -> None:
    """The sandbox is gone, and the rows still come; with it no row went there."""
    with session_of(pool) as session:
        running = session.run("SELECT n FROM events", {"events": Held(ROWS)}, (), LIMITS, plain("SELECT n FROM events"))
        session._sandbox.kill()
        assert sum(batch.num_rows for batch in running.batches) == ROWS.num_rows


@pytest.mark.parametrize("kind", ["schema", "batch", "scan"])
def test_a_stranger_in_place_of_the_sandbox_gets_no_row(kind: str) -> None:
    """Whatever it says instead of columns ends the query, before anything is read."""
    held = Held(ROWS)
    talk = {"is": kind, "table": "events"}
    with (
        stranger_session(lambda stranger: stranger.says(talk, b"nonsense")) as (session, _),
        pytest.raises(QueryFailedError),
    ):
        session.run("FROM events", {"events": held}, (), LIMITS, plain("FROM events"))
    assert not held.asked
