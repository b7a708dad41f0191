"""Behind all fences the engine still is the engine: what a query gives in a sandbox is what it gives in this process."""

# ruff: noqa: E501, S608 - one query a line; the SQL of these tests is made of their own constants
from __future__ import annotations

import datetime as dt
import math
import uuid
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pyarrow as pa
import pytest

from lake.clear.sandbox import execute
from lake.clear.serving.pool import Pool
from lake.errors import LakeError, LimitExceededError, QueryFailedError, QueryRefusedError, UsageError
from tests.clear.sandbox.corpus import HONEST, tables
from tests.clear.serving.sandboxes import LIMITS, Held, answer, numbers, session_of


def in_process(sql: str, sources: dict[str, Held], parameters: Any = ()) -> pa.Table:
    running = execute.run(sql, sources, parameters, LIMITS)
    return pa.Table.from_batches(running.batches, running.schema)


def rows(table: pa.Table) -> list[str]:
    return sorted(map(repr, table.to_pylist()))


def same(pool: Pool, sql: str, sources: dict[str, Held], parameters: Any = ()) -> pa.Table:
    """The result, which is the same in both."""
    expected = in_process(sql, sources, parameters)
    found = answer(pool, sql, sources, parameters)
    assert found.schema.equals(expected.schema, check_metadata=True)
    assert rows(found) == rows(expected)
    return found


@pytest.fixture(scope="module")
def sources() -> dict[str, Held]:
    return {name: Held(table) for name, table in tables().items()}


@pytest.mark.parametrize("sql", [sql for sql in HONEST if "DESCRIBE" not in sql])
def test_what_analysts_write(pool: Pool, sources: dict[str, Held], sql: str) -> None:
    """The corpus of the dialect."""
    same(pool, sql, sources)


HEAVY = [
    "SELECT b, count(*) AS c FROM t GROUP BY b ORDER BY b LIMIT 5",
    "SELECT a FROM t ORDER BY hash(a), a LIMIT 20",
    "SELECT sum(x.a) AS s, count(*) AS c FROM t x JOIN t y ON x.a = y.a JOIN t z ON z.b = y.b",
    "SELECT count(*) AS c FROM t WHERE regexp_matches(b, 'canary (1|2)[0-9]+7$')",
    "SELECT a, sum(a) OVER (ORDER BY a ROWS BETWEEN 100 PRECEDING AND CURRENT ROW) AS s FROM t ORDER BY a DESC LIMIT 9",
    "SELECT quantile_cont(a, [0.1, 0.5, 0.9]) AS q, approx_count_distinct(b) AS d FROM t",
    "SELECT list_sum(list_filter(list(a), lambda v: v % 2 = 0)) AS s FROM t",
    "SELECT json_extract(json_object('k', a, 'l', [a, a + 1]), '$.l[1]') AS j FROM t ORDER BY a LIMIT 3",
    "SELECT TIMESTAMPTZ '2026-03-29 00:30:00+00' AT TIME ZONE 'Europe/Berlin' AS w, timezone('Asia/Tokyo', TIMESTAMP '2026-01-01') AS t",
    "SELECT strftime(TIMESTAMPTZ '2026-06-01 12:00:00+00', '%x %X %Z') AS s, date_trunc('hour', TIMESTAMPTZ '2026-01-01 00:59:00+00') AS h",
    "SELECT b COLLATE de AS b FROM t ORDER BY b COLLATE de LIMIT 3",
    "SELECT * FROM t EXCEPT SELECT * FROM t WHERE a > 10",
    "SELECT count(*) AS c FROM (FROM t WHERE a < 500) x ASOF JOIN (FROM t WHERE a < 400) y ON x.a >= y.a",
    "SELECT md5_number(b) AS m, sum(a::HUGEINT) OVER (PARTITION BY a % 3) AS s FROM t WHERE a < 99",
    "SELECT string_agg(b, ',' ORDER BY a) AS s FROM t WHERE a < 50",
    "SELECT a FROM t UNION ALL SELECT a + 1 FROM t UNION ALL SELECT count(*) FROM t",
]


@pytest.mark.parametrize("sql", HEAVY)
def test_what_takes_threads_and_memory(pool: Pool, sql: str) -> None:
    """Sorts, joins, windows, regular expressions, time zones and collations with several threads."""
    same(pool, sql, {"t": Held(numbers(60_000))})


KINDS = [
    "1::TINYINT", "1::UBIGINT", "[(1::HUGEINT << 126)]", "{'a': -170141183460469231731687303715884105727::HUGEINT}", "MAP {'a': (1::HUGEINT << 126)}", "[(1::HUGEINT << 126)]::HUGEINT[1]", "union_value(k := 1::HUGEINT << 126)",  "170141183460469231731687303715884105727::HUGEINT", "1.25::DECIMAL(9, 3)", "1::DECIMAL(38, 5)", "1.5::FLOAT",
    "'nan'::DOUBLE", "uuid_value", "'101'::BIT", "'{\"a\": 1}'::JSON", "TIME '01:02:03.5'", "TIMETZ '01:02:03+02'",
    "TIMESTAMPTZ '2026-01-01 00:00:00+00'", "TIMESTAMP_S '2026-01-01'", "TIMESTAMP_MS '2026-01-01'", "TIMESTAMP_NS '2026-01-01'",
    "INTERVAL '1 month 2 days 3 seconds'", "'b'::ENUM('a', 'b')", "['a'::ENUM('a', 'b'), NULL]", "union_value(k := 'x')", "MAP {'a': [1, NULL]}",
    "[1, 2, 3]::INTEGER[3]", "{'a': {'b': [NULL, 'x']}, 'c': NULL}", "'\\x00\\xff'::BLOB", "DATE '0044-03-15'", "NULL", "[]", "[NULL, NULL, NULL]", "[[], NULL, [NULL]]",
    "1::BIGNUM", "1::VARIANT", "'ü€😀'", "''",
]  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_results_of_every_type(pool: Pool, kind: str) -> None:
    """Types and values, also among NULLs, and in a result without rows."""
    value = kind.replace("uuid_value", "'00000000-0000-0000-0000-00000000002a'::UUID")
    source = {"t": Held(numbers(5))}
    same(pool, f"SELECT {value} AS v", source)
    assert same(pool, f"SELECT CASE WHEN a = 2 THEN {value} END AS v FROM t", source).num_rows == 5
    assert same(pool, f"SELECT {value} AS v FROM t WHERE a > 99", source).num_rows == 0


VALUES = [
    None, True, False, 0, -(1 << 63), (1 << 63) - 1, 1 << 63, -(1 << 100), 1.5, -0.0, math.inf, -math.inf, math.nan, Decimal("-1.500"), Decimal(1 << 80),
    dt.date(1, 1, 1), dt.date(9999, 12, 31), dt.time(23, 59, 59, 999_999), dt.datetime.fromisoformat("2026-03-29T02:30"),dt.datetime.fromisoformat("0001-01-01"),
    dt.datetime(2026, 1, 1, tzinfo=dt.UTC), dt.datetime(2026, 7, 1, tzinfo=ZoneInfo("Europe/Berlin")),
    dt.datetime(2026, 7, 1, tzinfo=dt.timezone(dt.timedelta(hours=-9.5))), dt.timedelta(days=-3, microseconds=1), b"", b"\x00\xff", "", "Ünïcode 😀 \x01",
    [1, None, 3], [], [[1], []], ["a", "b"], {"k": 1, "l": [True]}, {"k": {"m": None}}, [{"k": 1}], uuid.UUID(int=42),
]  # fmt: skip


@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_parameters_of_every_type(pool: Pool, value: Any) -> None:
    """By position and by name, twice in a query, with the type that DuckDB gives them."""
    same(pool, "SELECT ? AS v, typeof(?) AS t", {}, [value, value])
    same(pool, "SELECT $v AS v, typeof($v) AS t, $w AS w", {}, {"v": value, "w": 1})


def test_parameters_meet_columns(pool: Pool) -> None:
    """In conditions they go down to the slice like constants."""
    source = Held(numbers(100))
    found = answer(pool, "SELECT a FROM t WHERE a > ? AND b = ?", {"t": source}, [50, "value-canary 77"])
    assert found.to_pylist() == [{"a": 77}]
    assert source.asked[0][1] is not None


@pytest.mark.parametrize(
    "value",
    [object(), 1 << 128, {1: 2}, "\ud800", 1j, lambda: 1, [object()], Decimal(1 << 300)],
    ids=[
        "object",
        "129 bits",
        "keys of numbers",
        "half a character",
        "complex",
        "function",
        "list of objects",
        "300 bits",
    ],
)
def test_parameters_that_sql_does_not_know(pool: Pool, value: Any) -> None:
    """Refused or failed in the lake's words, without the value."""
    with pytest.raises(LakeError) as caught:
        answer(pool, "SELECT ? AS v", {}, [value])
    assert isinstance(caught.value, UsageError | QueryFailedError)
    assert repr(value) not in str(caught.value)


def test_conditions_however_many(pool: Pool) -> None:
    """Thousands of comparisons, long lists and long texts give what they give in this process."""
    for condition in (
        " AND ".join(f"a <> {n}" for n in range(600)),
        " OR ".join(f"(a = {n} AND b <> 'x{n}')" for n in range(200)),
        " OR ".join(f"a = {n * 7} OR a < {-n}" for n in range(2000)),
        f"a IN ({', '.join(str(n * 3) for n in range(1000))})",
        f"a IN ({', '.join(str(n * 3) for n in range(1001))})",
        f"b <> '{'x' * 60_000}' AND a < 5",
        "NOT (" * 50 + "a = 3" + ")" * 50,
    ):
        same(pool, f"SELECT count(*) AS c, min(a) AS m FROM t WHERE {condition}", {"t": Held(numbers(3000))})


def test_conditions_beyond_what_can_be_handed_over_are_refused(pool: Pool) -> None:
    """Arrow's stack would end, and with it the gateway."""
    condition = " AND ".join(f"a <> {n}" for n in range(2500))
    with pytest.raises(QueryRefusedError, match="too many conditions"):
        answer(pool, f"SELECT count(*) AS c FROM t WHERE {condition}", {"t": Held(numbers(10))})


def test_scans_however_many(pool: Pool) -> None:
    """A plan with hundreds of scans, which are all opened at once."""
    source = Held(numbers(10))
    query = "SELECT count(*) AS c FROM (" + " UNION ALL ".join(["SELECT a FROM t"] * 400) + ")"
    assert answer(pool, query, {"t": source}).to_pylist() == [{"c": 4000}]
    assert len(source.asked) == source.closed == 400


def test_describing_opens_no_scan(pool: Pool) -> None:
    """Columns of a result, with parameters; then the same session still runs a query."""
    source = Held(numbers(10))
    with session_of(pool) as session:
        for _ in range(2):
            schema = session.describe("SELECT a + ? AS s, b FROM t -- x", {"t": source.schema}, [1])
            assert schema == pa.schema([("s", pa.int64()), ("b", pa.string())])
        with pytest.raises(QueryRefusedError, match="zz"):
            session.describe("SELECT zz FROM t", {"t": source.schema}, ())
    assert source.asked == []


def test_one_session_parses_describes_and_runs(pool: Pool) -> None:
    """In this order, more than once; running ends it."""
    source = Held(numbers(10))
    with session_of(pool) as session:
        for _ in range(2):
            statement = session.parse("EXPLAIN SELECT a FROM t")
            assert statement.explain
        assert session.describe(statement.sql, {"t": source.schema}, ()).names == ["a"]
        running = session.run("EXPLAIN " + statement.sql, {"t": source}, (), LIMITS)
        (plan,) = [row for batch in running.batches for row in batch.to_pylist()]
        assert plan["explain_key"] == "physical_plan"
        assert source.asked == []
        with pytest.raises(LakeError):
            session.parse("SELECT 1")


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT",
        "SELECT 1 FRM x y",
        "",
        "SELECT 1; SELECT 2",
        "DROP TABLE t",
        "(" * 200,
        "SELECT '\0'",
        "SELECT 'x" + "y" * 100_001,
        "\ud800",
    ],
)
def test_refusals_are_those_of_this_process(pool: Pool, sql: str) -> None:
    """The same class, words, hint and place."""
    from lake.clear.sandbox import syntax

    with pytest.raises(QueryRefusedError) as expected:
        syntax.parse(sql)
    with session_of(pool) as session, pytest.raises(QueryRefusedError) as caught:
        session.parse(sql)
    assert (caught.value.message, caught.value.hint) == (expected.value.message, expected.value.hint)
    assert caught.value.details == expected.value.details


def test_errors_before_and_after_rows(pool: Pool) -> None:
    """What names do not fit is told; what a value did is a class, and no value."""
    source = {"t": Held(numbers(100_000))}
    with pytest.raises(QueryRefusedError, match="zz"):
        answer(pool, "SELECT zz FROM t", source)
    with pytest.raises(QueryFailedError) as caught:
        answer(pool, "SELECT CAST(b AS INTEGER) AS v FROM t", source)
    assert caught.value.details == {"engine": "ConversionException"}
    assert "canary" not in repr(caught.value)
    with session_of(pool) as session:
        running = session.run(
            "SELECT CAST(CASE WHEN a > 90000 THEN b ELSE '1' END AS INT) AS v FROM t", source, (), LIMITS
        )
        with pytest.raises(QueryFailedError) as caught:
            list(running.batches)
    assert "canary" not in repr(caught.value)


def test_a_slice_that_cannot_be_read_fails_its_query(pool: Pool) -> None:
    """With its own error if it is the lake's, without any text if it is not."""

    class Damaged(Held):
        def __init__(self, error: Exception) -> None:
            super().__init__(numbers(10))
            self.error = error

        def tagged(self, columns: Any, condition: Any, **_: Any) -> Any:
            yield from super().tagged(columns, condition)
            raise self.error

    known = LimitExceededError("known")
    with pytest.raises(LimitExceededError) as caught:
        answer(pool, "SELECT sum(a) AS s FROM t", {"t": Damaged(known)})
    assert caught.value is known
    with pytest.raises(LakeError) as unknown:
        answer(pool, "SELECT sum(a) AS s FROM t", {"t": Damaged(ValueError("value-canary"))})
    assert str(unknown.value) == "the slice could not be handed over"


def test_rows_that_left_are_counted_as_they_leave(pool: Pool) -> None:
    """Of each scan, and only what went over."""
    source = Held(numbers(1000))
    answer(pool, "SELECT count(*) AS c FROM t x, (SELECT max(a) AS m FROM t WHERE a < 10) y", {"t": source})
    assert sum(source.touched.values()) == 1010
