"""Queries: a reader sees what the grant says and nothing else, in every result form, and every part is recorded."""

# ruff: noqa: DTZ001, S608 - capture times are naive UTC; the SQL is made of constants
from __future__ import annotations

import re
from collections.abc import Callable, Generator, Iterator
from datetime import datetime
from typing import Any

import duckdb
import pyarrow as pa
import pytest

from lake.api import Connection
from lake.errors import (
    DeniedError,
    LakeError,
    LimitExceededError,
    QueryFailedError,
    QueryRefusedError,
    UsageError,
)
from lake.sealed.audit import entries
from lake.settings import Settings
from tests import world as w
from tests.world import ADA, BEN, CLEO, COLUMNS, World, landed, same_rows

LANDED = landed(w.known_rows())
Asking = Callable[..., Connection]


@pytest.fixture
def ask(world: World) -> Iterator[Asking]:
    """Opens connections and closes them after the test."""
    opened: list[Connection] = []

    def connect(*who: Any, **options: Any) -> Connection:
        opened.append(world.connect(*who, **options))
        return opened[-1]

    yield connect
    for connection in opened:
        connection.close()


def answer(connection: Connection, sql: str, parameters: Any = ()) -> list[dict[str, Any]]:
    """Rows of a query."""
    return list(connection.sql(sql, parameters).arrow().to_pylist())


def recorded(world: World, intent: int) -> list[dict[str, Any]]:
    """The OUTCOME entries of a query."""
    return [entry for entry in world.entries("query.outcome") if entry["ref"] == intent]


def keys_of(world: World, intent: int) -> tuple[int, int]:
    """Files in a query's INTENT, and keys that the broker gave for it."""
    (entry,) = [entry for entry in world.entries("query.intent") if entry["index"] == intent]
    with world.open() as lake:
        _, released = lake.home.key_store.releases().get(intent, ("", {}))
        return entry["scope"]["files"], sum(released.values())


def student_rows() -> list[dict[str, Any]]:
    """What the role ``student`` may see, computed from the rows as sent; pseudonyms are left out."""
    return [
        one
        | {
            "ts": one["ts"].replace(hour=0, minute=0, second=0, microsecond=0),
            "n": one["n"] // 10 * 10,
            "title": None if one["title"] is None else one["title"][:4],
            "big": None,
        }
        for one in LANDED
        if one["sensitivity"] <= 2
        and one["n"] is not None
        and one["n"] >= -10
        and (one["app"] is None or not one["app"].startswith("Vault"))
    ]


def test_a_student_sees_the_granted_rows_columns_and_masks(ask: Asking) -> None:
    """Level, row filter, hidden columns, masks and pseudonyms together give what an independent calculation gives."""
    found = answer(ask("stu", "study"), "SELECT * FROM events")
    names = ("sensitivity", "ts", "type", "n", "big", "score", "at", "title")
    assert list(found[0]) == ["sensitivity", "employee", "ts", "type", "app", "n", "big", "score", "at", "title"]
    assert same_rows(found, student_rows(), *names)
    assert all(re.fullmatch(r"p_[a-z2-7]{16}", one["employee"]) for one in found)
    assert all(one["app"] is None or re.fullmatch(r"[0-9a-f]{20}", one["app"]) for one in found)
    by_score = {one["score"]: one for one in found}
    groups = {(by_score[one["score"]]["employee"], one["employee"]) for one in student_rows()}
    assert len(groups) == len({real for _, real in groups}) == len({shown for shown, _ in groups})
    apps = {(by_score[one["score"]]["app"], one["app"]) for one in student_rows()}
    assert len(apps) == len({real for _, real in apps})


@pytest.mark.parametrize(
    ("who", "visible"),
    [
        (("coco", "study"), lambda one: one["employee"] in {ADA, CLEO} and one["sensitivity"] <= 3),
        (("wim", "study"), lambda one: datetime(2026, 7, 10) <= one["ts"] < datetime(2026, 8, 6)),
        (("remy", "study"), lambda one: one["ts"] >= datetime(2026, 8, 26, 12)),
        (("olga", "own_data"), lambda one: one["employee"] == BEN),
        (("mina", "study"), lambda one: one["app"] == "Mail-QX"),
        (("milo", "study"), lambda _: False),
        ((w.VERA, "incident"), lambda _: True),
    ],
    ids=["cohort", "window", "last days", "self", "attribute", "no attribute", "all"],
)
def test_a_scope_is_exactly_its_rows(
    ask: Asking, who: tuple[str, str], visible: Callable[[dict[str, Any]], bool]
) -> None:
    """Cohorts, windows, own rows and attributes of the principal each open exactly the rows that they name."""
    expected = [one for one in LANDED if visible(one)]
    connection = ask(*who)
    assert answer(connection, "SELECT count(*) AS n FROM events") == [{"n": len(expected)}]
    found = answer(connection, "SELECT * FROM events")
    names = [name for name in ("ts", "type", "sensitivity", *COLUMNS) if not found or name in found[0]]
    assert same_rows(found, expected, *names)


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT flag FROM events",
        "SELECT said FROM events",
        "SELECT count(*) FROM events WHERE note IS NULL",
        "SELECT events.flag FROM events",
        "SELECT 1 FROM events ORDER BY flag",
        "SELECT * EXCLUDE (flag) FROM events",
        "SELECT e.* FROM events e JOIN events f ON e.flag = f.flag",
    ],
)
def test_a_hidden_column_does_not_exist(world: World, ask: Asking, sql: str) -> None:
    """A column that is not granted is refused like one that never was, and no key is asked for."""
    connection = ask("stu", "study")
    messages = []
    for name in ("flag", "said", "note"):
        with pytest.raises(QueryRefusedError) as caught:
            answer(connection, re.sub("flag|said|note", name, sql))
        with pytest.raises(QueryRefusedError) as other:
            answer(connection, re.sub("flag|said|note", "zzzz", sql))
        messages.append((str(caught.value).replace(name, "zzzz"), str(other.value)))
    assert all(first == second for first, second in messages)


def test_columns_that_are_not_granted_are_nowhere_listed(ask: Asking) -> None:
    """Catalog functions are refused; DESCRIBE, SUMMARIZE and the result's schema show granted columns only."""
    connection = ask("stu", "study")
    for sql in (
        "SELECT column_name FROM information_schema.columns",
        "SHOW TABLES",
        "SELECT * FROM duckdb_columns()",
        "PRAGMA table_info('events')",
    ):
        with pytest.raises((QueryRefusedError, DeniedError)):
            answer(connection, sql)
    granted = connection.sql("SELECT * FROM events LIMIT 0").schema.names
    assert not {"flag", "said", "note"} & set(granted)
    for sql in ("DESCRIBE events", "SUMMARIZE events"):
        assert [one["column_name"] for one in answer(connection, sql)] == granted
    assert answer(connection, "SELECT COLUMNS('fl.*|sai.*|big') FROM events LIMIT 1") == [{"big": None}]


def test_predicates_see_masked_values(ask: Asking) -> None:
    """Every clause works on what the reader sees: the stored value is found by no condition."""
    connection = ask("stu", "study")
    stored = [one for one in LANDED if one["title"] is not None and one["sensitivity"] <= 2]
    shown = answer(connection, "SELECT title FROM events WHERE title IS NOT NULL")
    assert {one["title"] for one in shown} == {"Ünte"}
    for sql in (
        "SELECT count(*) AS n FROM events WHERE title = ?",
        "SELECT count(*) AS n FROM events WHERE title LIKE ? || '%'",
        "SELECT count(*) AS n FROM events WHERE contains(title, ?)",
        "SELECT count(*) FILTER (WHERE title >= ?) AS n FROM events WHERE title > 'Ünte'",
    ):
        assert answer(connection, sql, [stored[0]["title"]]) == [{"n": 0}]
    assert answer(connection, "SELECT count(*) AS n FROM events WHERE app = 'Editor-QX'") == [{"n": 0}]
    assert answer(connection, "SELECT count(*) AS n FROM events WHERE n % 10 <> 0") == [{"n": 0}]
    assert answer(connection, "SELECT count(big) AS n FROM events") == [{"n": 0}]
    assert answer(connection, "SELECT count(*) AS n FROM events WHERE ts <> date_trunc('day', ts)") == [{"n": 0}]
    assert answer(connection, "SELECT max(length(title)) AS n FROM events") == [{"n": 4}]
    exact = LANDED[1]["ts"]
    assert answer(connection, "SELECT count(*) AS n FROM events WHERE ts = ?", [exact]) == [{"n": 0}]


def test_pseudonyms_differ_by_role_and_purpose_and_do_not_change(ask: Asking) -> None:
    """One employee has another pseudonym in each role and for each purpose, and the same one tomorrow."""
    sql = "SELECT DISTINCT employee FROM events"
    seen = [
        {one["employee"] for one in answer(ask(*who), sql)}
        for who in (("stu", "study"), ("stu", "incident"), ("coco", "study"))
    ]
    assert [len(names) for names in seen] == [4, 4, 2]
    assert len(set().union(*seen)) == 10
    apps = [
        {one["app"] for one in answer(ask(*who), "SELECT DISTINCT app FROM events WHERE app IS NOT NULL")}
        for who in (("stu", "study"), ("stu", "incident"))
    ]
    assert apps[0]
    assert not apps[0] & apps[1]
    assert {one["employee"] for one in answer(ask("stu", "study"), sql)} == seen[0]


def test_an_employee_cannot_be_found_by_name_behind_a_pseudonym(ask: Asking) -> None:
    """Neither a real id nor another role's pseudonym selects anything where a grant shows pseudonyms."""
    foreign = answer(ask("coco", "study"), "SELECT min(employee) AS e FROM events")[0]["e"]
    connection = ask("stu", "study")
    for name in (ADA, BEN, foreign):
        assert answer(connection, "SELECT count(*) AS n FROM events WHERE employee = ?", [name]) == [{"n": 0}]


def test_two_roles_need_a_choice(ask: Asking) -> None:
    """Where two roles grant a dataset, nothing is read until one of them is named; another's role does not help."""
    with pytest.raises(DeniedError, match="name one with role: student, cohort"):
        answer(ask("dual", "study"), "SELECT 1 FROM events")
    assert answer(ask("dual", "study", "cohort"), "SELECT count(*) AS n FROM events")[0]["n"] == 68
    assert answer(ask("dual", "study", "student"), "SELECT count(*) AS n FROM events")[0]["n"] == len(student_rows())
    with pytest.raises(DeniedError, match="access denied"):
        answer(ask("dual", "study", "all"), "SELECT 1 FROM events")


def test_every_denial_looks_the_same(world: World, ask: Asking) -> None:
    """Unknown users, purposes and roles, purposes not granted and users without roles get one and the same message."""
    messages = set()
    for who in (
        ("nobody", "study"),
        ("none", "study"),
        ("noemi", "own_data"),
        ("stu", "own_data"),
        ("stu", "unused"),
        ("stu", "no-such-purpose"),
        ("stu", "study", "all"),
        ("stu", "study", "no-such-role"),
    ):
        for sql in ("SELECT * FROM events", "SELECT * FROM no_such_table", "not even sql"):
            with pytest.raises(DeniedError) as caught:
                ask(*who).sql(sql)
            messages.add(str(caught.value))
    assert len(messages) == 1
    assert len(world.entries("query.deny")) == 24
    assert not world.entries("query.intent")


def test_a_table_that_is_not_granted_looks_like_one_that_does_not_exist(ask: Asking) -> None:
    """``moods`` exists and is not granted, ``nil`` does not exist: the answers differ in the name alone."""
    connection = ask("stu", "study")
    texts = []
    for name in ("moods", "nilxx"):
        with pytest.raises(DeniedError) as caught:
            connection.sql(f"SELECT * FROM {name}")
        texts.append(str(caught.value).replace(name, "NAME"))
    assert texts[0] == texts[1]


def test_without_a_policy_nobody_reads(tmp_path: Any) -> None:
    """A lake whose policy was never applied denies everyone."""
    world = World(tmp_path / "lake", tmp_path / "key")
    import lake

    lake.create(world.root, key_file=world.key)
    with world.connect() as connection, pytest.raises(DeniedError, match="access denied"):
        connection.sql("SELECT 1")


def test_parameters_are_bound_by_position_and_by_name(ask: Asking) -> None:
    """Values given apart from the SQL are compared as values."""
    connection = ask()
    wanted = sum(1 for one in LANDED if one["app"] == "Mail-QX" and one["n"] > 3)
    by_position = "SELECT count(*) AS n FROM events WHERE app = ? AND n > ?"
    by_name = "SELECT count(*) AS n FROM events WHERE app = $app AND n > $least"
    assert answer(connection, by_position, ["Mail-QX", 3]) == [{"n": wanted}]
    assert answer(connection, by_name, {"app": "Mail-QX", "least": 3}) == [{"n": wanted}]
    assert answer(connection, by_position, ["' OR 1=1 --", 3]) == [{"n": 0}]


def test_wrong_parameters_are_a_typed_error(ask: Asking) -> None:
    """Too few, too many or misnamed parameters fail without rows."""
    connection = ask()
    for parameters in ([], [1, 2], {"x": 1}):
        with pytest.raises(LakeError):
            answer(connection, "SELECT count(*) FROM events WHERE n = ?", parameters)


def test_tables_join_and_ctes_see_one_grant(world: World, ask: Asking) -> None:
    """Joins over datasets, CTEs and subqueries give what plain DuckDB gives over the same rows."""
    ts = w.NOW.replace(tzinfo=None)
    moods = pa.table({"employee": [ADA, BEN], "ts": [ts] * 2, "type": ["mood"] * 2, "mood": ["so", "la"]})
    with world.open() as lake:
        lake.ingest("moods", moods)
    plain = duckdb.connect()
    plain.register("events", pa.Table.from_pylist(LANDED))
    plain.register("moods", moods)
    for sql in (
        "SELECT m.mood, count(*) AS n FROM events e JOIN moods m USING (employee) GROUP BY ALL ORDER BY ALL",
        "WITH a AS (SELECT employee, max(n) AS t FROM events GROUP BY 1) SELECT t FROM a JOIN moods USING (employee)",
        "SELECT count(*) AS n FROM events WHERE employee IN (SELECT employee FROM moods)",
        "SELECT app, sum(n) OVER (PARTITION BY app ORDER BY ts) AS s FROM events ORDER BY ALL",
        "SELECT count(*) AS n FROM events e WHERE EXISTS (SELECT 1 FROM moods m WHERE m.employee = e.employee)",
    ):
        assert same(answer(ask(), sql), plain.sql(sql).to_arrow_table().to_pylist())
    plain.close()


def test_every_form_of_a_result_has_the_same_rows(ask: Asking) -> None:
    """Arrow, batches, reader, pandas, polars and DuckDB show the same rows; batches come once."""
    pytest.importorskip("pandas")
    pytest.importorskip("polars")
    connection = ask()
    sql = "SELECT n, app FROM events WHERE n IS NOT NULL ORDER BY ts"
    table = connection.sql(sql).arrow()
    assert table.num_rows == 144
    assert pa.Table.from_batches(connection.sql(sql).batches()) == table
    assert connection.sql(sql).reader().read_all() == table
    assert connection.sql(sql).pandas()["n"].tolist() == table["n"].to_pylist()
    assert connection.sql(sql).polars()["app"].to_list() == table["app"].to_pylist()
    assert connection.sql(sql).duckdb().fetchall() == [tuple(one.values()) for one in table.to_pylist()]
    result = connection.sql(sql)
    list(result.batches())
    with pytest.raises(UsageError):
        list(result.batches())


def test_a_large_result_leaves_in_recorded_parts(world: World, ask: Asking) -> None:
    """A result larger than a part has several OUTCOME entries, only the last final, whose rows add up."""
    connection = ask(settings=w.small_settings(release_bytes=1_000_000))
    result = connection.sql("SELECT a.n, b.ts FROM events a, events b, range(25)")
    delivered = sum(batch.num_rows for batch in result.batches())
    parts = recorded(world, result.receipt)
    assert delivered == 144 * 144 * 25 == sum(part["rows"] for part in parts)
    assert len(parts) > 2
    assert [part["part"] for part in parts] == list(range(len(parts)))
    assert [part["final"] for part in parts] == [False] * (len(parts) - 1) + [True]
    assert {part["out"] for part in parts} == {"allow"}


def test_an_abandoned_stream_is_recorded(world: World, ask: Asking) -> None:
    """A reader who stops half-way leaves an OUTCOME that says so, and the rows that left are on record."""
    connection = ask(settings=w.small_settings(release_bytes=1_000_000))
    result = connection.sql("SELECT a.n, b.ts FROM events a, events b, range(25)")
    stream = result.batches()
    assert isinstance(stream, Generator)
    taken = next(stream).num_rows
    stream.close()
    parts = recorded(world, result.receipt)
    assert parts[-1]["out"] == "abandoned"
    assert parts[-1]["final"]
    assert taken <= sum(part["rows"] for part in parts) < 144 * 144 * 25


@pytest.mark.parametrize(
    ("who", "sql", "name"),
    [("rolf", "SELECT n FROM events", "10 rows"), ("bill", "SELECT * FROM events", "2000 bytes")],
)
def test_a_limit_releases_nothing_beyond(world: World, ask: Asking, who: str, sql: str, name: str) -> None:
    """A result over the rows or bytes of the grant is refused whole, with no row on record as released."""
    connection = ask(who, "study")
    assert len(answer(connection, "SELECT n FROM events LIMIT 10")) == 10
    with pytest.raises(LimitExceededError, match=name):
        connection.sql(sql)
    last = world.entries("query.outcome")[-1]
    assert (last["out"], last["error"], last["rows"]) == ("error", "limit_exceeded", 0)


def test_a_limit_counts_over_the_parts_of_a_stream(world: World, ask: Asking) -> None:
    """A stream is cut off at the part that would go over the limit."""
    text = w.POLICY.replace("limits: {rows: 10}", "limits: {rows: 300000}")
    with world.open() as lake:
        lake.apply_policy(text)
    connection = ask("rolf", "study", settings=w.small_settings(release_bytes=1_000_000))
    result = connection.sql("SELECT a.n, b.ts FROM events a, events b, range(25)")
    taken: list[int] = []
    with pytest.raises(LimitExceededError):
        taken.extend(batch.num_rows for batch in result.batches())
    delivered = sum(taken)
    parts = recorded(world, result.receipt)
    assert 0 < delivered == sum(part["rows"] for part in parts) <= 300_000
    assert parts[-1]["out"] == "error"


def test_time_is_limited(world: World, ask: Asking) -> None:
    """A query that runs longer than its grant allows is interrupted and releases nothing."""
    connection = ask("quin", "study")
    with pytest.raises(LimitExceededError, match="longer than 1 s"):
        connection.sql("SELECT count(*) FROM events a, events b, events c, events d, events e WHERE a.n + b.n > c.n")
    assert world.entries("query.outcome")[-1]["error"] == "limit_exceeded"


THROWING = [
    "SELECT CAST(title AS INTEGER) FROM events",
    "SELECT sum(CAST(said AS DOUBLE)) FROM events",
    "SELECT CAST(note AS DATE) FROM events WHERE note IS NOT NULL",
    "SELECT strptime(title, '%Y') FROM events",
    "SELECT CAST(said AS INTEGER[]) FROM events",
    "SELECT CAST(said AS STRUCT(a INTEGER)) FROM events",
    "SELECT CAST(title AS BOOLEAN) FROM events WHERE n > ?",
    "SELECT CAST(title AS UUID) FROM events",
    "SELECT regexp_matches('x', said || '(') FROM events",
    "SELECT CAST(big AS TINYINT) FROM events",
    "SELECT count(*) FROM events WHERE CAST(title AS INTEGER) > 3",
    "SELECT big * 9223372036854775807 FROM events",
]


@pytest.mark.parametrize("sql", THROWING)
def test_errors_of_the_engine_carry_no_values(world: World, ask: Asking, sql: str) -> None:
    """A conversion that fails says its class alone; the OUTCOME says error, and whose rows were read."""
    connection = ask()
    with pytest.raises(LakeError) as caught:
        answer(connection, sql, [3] if "?" in sql else ())
    assert isinstance(caught.value, QueryFailedError | QueryRefusedError)
    text = f"{caught.value} {caught.value!r} {caught.value.details} {caught.value.__cause__}"
    for value in ("Canaryfolio", "Ünterlage", "saidcanary", "notecanary", "000000"):
        assert value not in text
    if isinstance(caught.value, QueryFailedError):
        assert caught.value.__suppress_context__
        last = world.entries("query.outcome")[-1]
        assert (last["out"], last["rows"], last["final"]) == ("error", 0, True)
        assert last["touched"]["events"], "the rows that the engine read are on record"


def test_running_out_of_memory_is_a_clean_error(world: World, ask: Asking) -> None:
    """An engine without memory fails the query with a class, writes no file, and the next query works."""
    connection = ask(settings=w.small_settings(engine_memory=16 << 20))
    with pytest.raises(QueryFailedError, match="out of memory"):
        answer(connection, "SELECT list(a.title || b.said || c.n) FROM events a, events b, events c")
    assert answer(connection, "SELECT count(*) AS n FROM events") == [{"n": 144}]
    assert not [path for path in world.root.rglob("*") if "tmp" in path.name]


PRUNING = [
    ("SELECT * FROM events", lambda one: True),
    (f"SELECT * FROM events WHERE employee = '{ADA}'", lambda one: one["employee"] == ADA),
    (f"SELECT * FROM events WHERE employee IN ('{ADA}', '{BEN}')", lambda one: one["employee"] in {ADA, BEN}),
    ("SELECT * FROM events WHERE employee = 'nobody'", lambda one: False),
    ("SELECT * FROM events WHERE sensitivity = 4", lambda one: one["sensitivity"] == 4),
    ("SELECT * FROM events WHERE sensitivity < 2", lambda one: one["sensitivity"] < 2),
    ("SELECT * FROM events WHERE ts >= '2026-09-01'", lambda one: one["ts"] >= datetime(2026, 9, 1)),
    ("SELECT * FROM events WHERE ts < TIMESTAMP '2026-07-03'", lambda one: one["ts"] < datetime(2026, 7, 3)),
    (
        f"SELECT * FROM events WHERE ts > '2026-08-01' AND sensitivity = 3 AND employee = '{CLEO}'",
        lambda one: one["ts"] > datetime(2026, 8, 1) and one["sensitivity"] == 3 and one["employee"] == CLEO,
    ),
    (
        f"SELECT * FROM events WHERE employee = '{ADA}' OR sensitivity = 4",
        lambda one: one["employee"] == ADA or one["sensitivity"] == 4,
    ),
]


@pytest.mark.parametrize(("sql", "wanted"), PRUNING, ids=[case[0][27:60] or "all" for case in PRUNING])
def test_keys_are_asked_for_the_files_that_can_matter(
    world: World, ask: Asking, sql: str, wanted: Callable[[dict[str, Any]], bool]
) -> None:
    """Employee, time and level in the WHERE leave files out, and never a file with a row of the answer."""
    result = ask().sql(sql)
    expected = [one for one in LANDED if wanted(one)]
    assert same_rows(result.arrow().to_pylist(), expected)
    files, keys = keys_of(world, result.receipt)
    assert files == keys
    needed = {(one["employee"], one["sensitivity"], one["ts"].month) for one in expected}
    everything = len({(one["employee"], one["sensitivity"], one["ts"].month) for one in LANDED})
    assert everything == 32
    assert files == (everything if " OR " in sql else len(needed))


def test_a_window_prunes_and_a_masked_time_does_not(world: World, ask: Asking) -> None:
    """The grant's own window leaves files out; a condition on a masked time must not, as it compares otherwise."""
    narrow = ask("remy", "study").sql("SELECT count(*) AS n FROM events")
    files, keys = keys_of(world, narrow.receipt)
    assert 0 < files == keys < 32
    everything = ask("stu", "study").sql("SELECT count(*) AS n FROM events")
    # Rows of 3 July are shown as its midnight: this condition holds for them although each lies after it.
    masked = ask("stu", "study").sql("SELECT count(*) AS n FROM events WHERE ts <= '2026-07-07 00:00:00'")
    expected = sum(1 for one in student_rows() if one["ts"] <= datetime(2026, 7, 7))
    assert masked.arrow().to_pylist() == [{"n": expected}]
    assert keys_of(world, masked.receipt) == keys_of(world, everything.receipt)
    assert any(one["ts"] == datetime(2026, 7, 7) for one in student_rows())


def test_a_query_over_no_table_asks_for_no_key(world: World, ask: Asking) -> None:
    """Constants alone are answered without a key, and recorded all the same."""
    result = ask().sql("SELECT 1 AS a")
    assert result.arrow().to_pylist() == [{"a": 1}]
    assert keys_of(world, result.receipt) == (0, 0)
    assert recorded(world, result.receipt)[-1]["out"] == "allow"


def test_the_record_names_exactly_whose_rows_were_read(world: World, ask: Asking) -> None:
    """The OUTCOME's employees and rows by level are those of the rows that left the slice.

    What a comparison leaves out stays in it, unless the engine reads row groups whole; then the entry says so.
    """
    exact = ask("coco", "study", settings=Settings(image_bytes=0)).sql("SELECT n FROM events WHERE n > 10")
    exact.arrow()
    whole = ask("coco", "study").sql("SELECT n FROM events WHERE n > 10")
    whole.arrow()
    permitted = [one for one in LANDED if one["employee"] in {ADA, CLEO} and one["sensitivity"] <= 3]
    _check_touched(world, exact.receipt, [one for one in permitted if (one["n"] or 0) > 10], None)
    _check_touched(world, whole.receipt, permitted, ["events"])


def _check_touched(world: World, receipt: int, expected: list[dict[str, Any]], whole: list[str] | None) -> None:
    (part,) = recorded(world, receipt)
    assert part.get("whole") == whole
    with world.open() as lake:
        numbers = {number: name for name, number in _numbers(lake).items()}
    for level, touched in part["touched"]["events"].items():
        at_level = [one for one in expected if one["sensitivity"] == int(level)]
        assert {numbers[number] for number in entries.members(touched["emp"])} == {one["employee"] for one in at_level}
        assert touched["rows"] == len(at_level)
    assert set(part["touched"]["events"]) == {str(one["sensitivity"]) for one in expected}


def same(found: list[dict[str, Any]], expected: list[dict[str, Any]]) -> bool:
    """Whether two answers have the same rows."""
    return sorted(map(repr, found)) == sorted(map(repr, expected))


def _numbers(lake: Any) -> dict[str, int]:
    return {name: subject.number for name, subject in lake.home.directory.find(w.EMPLOYEES).items()}


def test_a_revoked_grant_counts_from_the_next_query(world: World, ask: Asking) -> None:
    """An open connection is judged by the policy in force at each query."""
    connection = ask("stu", "study")
    assert answer(connection, "SELECT count(*) AS n FROM events")[0]["n"] > 0
    with world.open() as lake:
        lake.apply_policy(w.POLICY.replace("stu: {roles: [student]}", "stu: {roles: []}"))
    with pytest.raises(DeniedError, match="access denied"):
        connection.sql("SELECT count(*) AS n FROM events")


def test_the_sql_is_sealed_in_the_log(world: World, ask: Asking) -> None:
    """Neither the text of a query nor its constants stand in the log; who may open details finds them."""
    ask().sql("SELECT count(*) FROM events WHERE app = 'literal-canary-5'", ()).arrow()
    (entry,) = world.entries("query.intent")
    assert "literal-canary" not in str(entry)
    assert "SELECT" not in str(entry)
    with world.open() as lake:
        detail = lake.home.recorder.open_detail(entry)
    assert detail is not None
    assert "literal-canary-5" in detail["sql"]
