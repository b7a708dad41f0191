"""The gateway as doors call it: the same answers as embedded, and what holds across queries and while they run."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta

import pyarrow as pa
import pytest

from keys.errors import KeysError
from lake.errors import (
    DeniedError,
    LakeError,
    LimitExceededError,
    QueryCancelledError,
    QueryRefusedError,
    UnavailableError,
)
from lake.gateway.elevations import Elevations
from lake.gateway.keykeeping import KeyKeeping
from lake.gateway.keyplans import KeyScope
from lake.gateway.service import GatewayService
from lake.rules.elevation import Wish
from tests import world as w
from tests.gateway.served import Watch, caller, rows, serving

WIDE = "SELECT a.n, b.ts FROM events a, events b, range(25)"
QUERIES = (
    "SELECT * FROM events ORDER BY ts",
    "SELECT app, count(*) AS n, sum(n) AS s, max(at) AS m FROM events GROUP BY app ORDER BY app",
    "SELECT employee, n, lag(n) OVER (PARTITION BY employee ORDER BY ts) AS l FROM events ORDER BY employee, ts",
    "SELECT count(*) AS n FROM events WHERE n > 3 AND app IN ('Mail-QX', 'Editor-QX') AND NOT flag",
    "WITH c AS (SELECT * FROM events WHERE title IS NOT NULL) SELECT list(n ORDER BY ts) AS l FROM c",
)


@pytest.fixture
def service(world: w.World) -> Iterator[GatewayService]:
    """A service on a lake of the test's own."""
    with serving(world) as opened:
        yield opened


@pytest.fixture
def kept(world: w.World) -> Iterator[GatewayService]:
    """A service that keeps slices."""
    with serving(world, slice_cache=64 << 20) as opened:
        yield opened


@pytest.mark.parametrize("who", [(w.VERA, "incident"), ("stu", "study"), ("coco", "study"), ("olga", "own_data")])
def test_the_answers_are_those_of_the_embedded_lake(world: w.World, kept: GatewayService, who: tuple[str, str]) -> None:
    """Rows and columns are equal, asked twice, so that the second may come from what was kept."""
    with world.connect(*who) as connection:
        for sql in QUERIES:
            try:
                expected = connection.sql(sql).arrow()
            except QueryRefusedError:
                with pytest.raises(QueryRefusedError):
                    kept.run(caller(*who), sql)
                continue
            for _ in range(2):
                stream = kept.run(caller(*who), sql)
                found = pa.Table.from_batches(stream, stream.schema)
                assert found.schema == expected.schema
                assert sorted(map(repr, found.to_pylist())) == sorted(map(repr, expected.to_pylist()))
    assert kept.cache.hits


def test_what_is_kept_is_recorded_like_what_is_read(world: w.World, kept: GatewayService) -> None:
    """A query that is answered from kept slices touches the same employees, and its keys are asked for all the same."""
    for _ in range(2):
        rows(kept, caller(), "SELECT n FROM events WHERE sensitivity <= 2")
    assert kept.cache.hits == 1
    first, second = world.entries("query.outcome")
    assert first["touched"] == second["touched"]
    with world.open() as opened:
        (one, two) = opened.home.key_store.releases().values()
    assert one == two


def test_what_is_kept_belongs_to_one_principal_and_purpose(world: w.World, kept: GatewayService) -> None:
    """Two roles and two purposes share nothing."""
    sql = "SELECT count(*) AS n FROM events"
    counts = [rows(kept, caller(*who), sql) for who in ((w.VERA, "incident"), ("stu", "study"), ("stu", "incident"))]
    assert kept.cache.hits == 0
    assert counts[0] != counts[1]


def test_what_is_kept_goes_with_the_policy(world: w.World, kept: GatewayService) -> None:
    """Another policy: the old slices are dropped at the next query, and the new grant is what counts."""
    sql = "SELECT max(sensitivity) AS s FROM events"
    assert rows(kept, caller("coco", "study"), sql) == [{"s": 3}]
    assert kept.cache.size
    with world.open() as lake:
        lake.apply_policy(w.POLICY.replace("purposes: [study], sensitivity: 3", "purposes: [study], sensitivity: 1"))
    assert rows(kept, caller("coco", "study"), sql) == [{"s": 1}]
    assert kept.cache.hits == 0


def test_new_rows_are_seen_at_once(world: w.World, kept: GatewayService) -> None:
    """A batch that lands between two queries is in the second."""
    sql = "SELECT count(*) AS n FROM events"
    assert rows(kept, caller(), sql) == [{"n": 144}]
    with world.open() as lake:
        lake.ingest("events", w.table(w.known_rows()[:10]), batch_id="second")
    assert rows(kept, caller(), sql) == [{"n": 154}]


def test_a_shredded_employee_is_gone_from_what_is_kept(world: w.World, kept: GatewayService) -> None:
    """The key epoch moves, so nothing that was kept is used again."""
    sql = "SELECT count(*) AS n FROM events WHERE employee = ?"
    assert rows(kept, caller(), sql, [w.BEN]) == [{"n": 36}]
    shred(world, w.BEN)
    assert rows(kept, caller(), sql, [w.BEN]) == [{"n": 0}]


def shred(world: w.World, employee: str) -> None:
    """Erase an employee's keys, as an operator does."""
    with world.open() as lake:
        KeyKeeping(lake.home, lake.actor).shred([employee], world.root.parent / "backups")


def test_a_policy_that_changes_stops_a_stream_at_the_next_batch(world: w.World) -> None:
    """What was not taken is not given, and the log says that it was not."""
    with serving(world, release_bytes=200_000) as service:
        stream = service.run(caller(), WIDE)
        batches = iter(stream)
        next(batches)
        with world.open() as lake:
            lake.apply_policy(w.POLICY.replace(f"{w.VERA}: {{roles: [all]}}", f"{w.VERA}: {{roles: []}}"))
        with pytest.raises(DeniedError, match="the policy has changed"):
            list(batches)
        stream.close()
    last = world.entries("query.outcome")[-1]
    assert (last["final"], last["out"]) in {(True, "error"), (True, "abandoned")}


def test_a_policy_that_changes_nothing_for_a_stream_lets_it_go_on(world: w.World) -> None:
    """Another user's grant, another line: the stream ends whole."""
    with serving(world, release_bytes=200_000) as service:
        stream = service.run(caller(), WIDE)
        batches = iter(stream)
        taken = next(batches).num_rows
        with world.open() as lake:
            lake.apply_policy("# moved\n" + w.POLICY.replace("none: {roles: []}", "none: {roles: [own]}"))
        assert taken + sum(batch.num_rows for batch in batches) == 144 * 144 * 25


def test_keys_that_are_frozen_stop_a_stream_at_the_next_part(world: w.World) -> None:
    """Suspending an employee whose rows the query may show ends it."""
    with serving(world, release_bytes=200_000) as service:
        stream = service.run(caller(), WIDE)
        batches = iter(stream)
        next(batches)
        suspend(world, w.ADA)
        with pytest.raises(KeysError):
            list(batches)
        stream.close()


def suspend(world: w.World, employee: str) -> None:
    """Freeze an employee's keys, as an operator does."""
    with world.open() as lake:
        KeyKeeping(lake.home, lake.actor).change_state(
            KeyScope(employees=frozenset({employee})), disabled=True, whole_level=False
        )


def test_a_credential_that_expires_stops_a_stream(world: w.World) -> None:
    """At the next batch after its end."""
    watch = Watch()
    with serving(world, clock=watch, release_bytes=200_000) as service:
        stream = service.run(replace(caller(), expires=w.NOW + timedelta(minutes=5)), WIDE)
        batches = iter(stream)
        next(batches)
        watch.now = w.NOW + timedelta(minutes=6)
        with pytest.raises(DeniedError, match="credential has expired"):
            list(batches)
        stream.close()


def test_a_query_is_cancelled_from_another_thread(world: w.World, service: GatewayService) -> None:
    """Whoever waits for it is told so, and the log has an end for it."""
    stream = service.run(caller(), f"{WIDE}, range(400)")
    threading.Timer(0, stream.cancel).start()
    with pytest.raises(QueryCancelledError):
        list(stream)
    stream.close()
    assert world.entries("query.outcome")[-1]["error"] == "cancelled"
    assert service.pool.used == 0


def test_time_is_up_however_busy_the_engine_is(world: w.World, service: GatewayService) -> None:
    """A function that listens to no interrupt is killed with its process."""
    busy = "SELECT levenshtein(repeat('a', 200000), repeat(app, 20000)) FROM events"
    with pytest.raises(LimitExceededError, match="longer than 1 s"):
        service.run(caller("quin", "study"), busy)
    assert rows(service, caller(), "SELECT count(*) AS n FROM events") == [{"n": 144}]


def test_a_query_is_divided_into_parts_that_make_it_whole(world: w.World, service: GatewayService) -> None:
    """Every row is in exactly one part, and each part is recorded with its own scope."""
    sql = "SELECT employee, ts, n + 1 AS m FROM events WHERE n > -5"
    whole = rows(service, caller(), sql)
    parts = service.split(caller(), sql, (), 4)
    assert len(parts) == 4
    found = [one for part in parts for one in rows(service, caller(), sql, files=part)]
    assert sorted(map(repr, found)) == sorted(map(repr, whole))
    assert [entry["scope"]["files"] for entry in world.entries("query.intent")[-4:]] == [len(part) for part in parts]


@pytest.mark.parametrize("sql", ["SELECT count(*) FROM events", "SELECT n FROM events LIMIT 3", "SELECT 1"])
def test_what_cannot_be_divided_is_one_part(service: GatewayService, sql: str) -> None:
    """And cannot be asked for over some of the files."""
    assert service.split(caller(), sql, (), 4) == [None]
    with pytest.raises(QueryRefusedError, match="in parts"):
        service.run(caller(), sql, files=frozenset({"x"}))


def test_a_part_whose_files_are_gone_is_not_answered_in_part(service: GatewayService) -> None:
    """Rows are not left out silently."""
    with pytest.raises(UnavailableError, match="rewritten"):
        service.run(caller(), "SELECT n FROM events", files=frozenset({"f" * 32}))


def test_tables_are_those_of_the_grant(service: GatewayService) -> None:
    """Names and columns as this caller may use them, and nothing else."""
    assert [table.name for table in service.tables(caller())] == ["events", "moods"]
    (events,) = service.tables(caller("stu", "study"))
    assert events.name == "events"
    assert "flag" not in events.schema.names
    with pytest.raises(DeniedError):
        service.tables(caller("stu", "own_data"))


def test_describing_reads_nothing(world: w.World, service: GatewayService) -> None:
    """Columns and parameters are known before a key is asked for, and a refusal is on record."""
    described = service.describe(caller(), "SELECT n + 1 AS m, app FROM events WHERE n > $least")
    assert described.schema.names == ["m", "app"]
    assert described.parameters == ("least",)
    assert described.divisible
    assert not world.entries("query.intent")
    with pytest.raises(DeniedError):
        service.describe(caller(), "SELECT * FROM nothing_here")
    with pytest.raises(QueryRefusedError):
        service.describe(caller(), "SELECT nothing FROM events")
    assert world.entries("query.deny")


def test_explaining_opens_no_file(world: w.World, service: GatewayService) -> None:
    """The plan of a query comes without a key, and shows no number of rows."""
    (plan,) = rows(service, caller(), "EXPLAIN SELECT app, count(*) FROM events WHERE n > 3 GROUP BY app")
    assert "n" in plan["explain_value"]
    assert world.entries("query.intent")[-1]["scope"]["files"] == 0
    assert "144" not in plan["explain_value"]


def test_many_callers_at_once(world: w.World) -> None:
    """Twelve threads over four sandboxes: everybody gets their own answer."""
    who = [(w.VERA, "incident"), ("stu", "study"), ("coco", "study")]
    with serving(world, slice_cache=64 << 20, sandbox_patience=60.0) as service:
        sql = "SELECT count(*) AS n, max(sensitivity) AS s FROM events"
        expected = {one: rows(service, caller(*one), sql) for one in who}
        wrong: list[object] = []

        def ask(one: tuple[str, str]) -> None:
            for _ in range(4):
                try:
                    found = rows(service, caller(*one), sql)
                except LakeError as error:
                    wrong.append(error)
                    return
                if found != expected[one]:
                    wrong.append(found)

        threads = [threading.Thread(target=ask, args=(who[number % 3],)) for number in range(12)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not wrong
        assert service.pool.used == 0


GROUPS = w.POLICY.replace(
    "quick:\n    grants: [",
    "quick:\n    grants: [{dataset: events, purposes: [study], sensitivity: 4, smallest_group: 3}] #",
)


def test_a_grant_of_groups_shows_no_single_person(world: w.World, service: GatewayService) -> None:
    """Groups of three and more are shown with their figures; smaller ones and rows are not, and neither is who."""
    with world.open() as lake:
        lake.apply_policy(GROUPS)
    who = caller("quin", "study")
    apps = rows(service, who, "SELECT app, count(*) AS n, avg(n) AS a FROM events GROUP BY app")
    people: dict[object, set[str]] = {}
    for one in w.known_rows():
        people.setdefault(one["app"], set()).add(one["employee"])
    assert {one["app"] for one in apps} == {app for app, who_has in people.items() if len(who_has) >= 3}
    assert rows(service, who, "SELECT count(*) AS n FROM events") == [{"n": 144}]
    assert rows(service, who, "SELECT ts, count(*) AS n FROM events GROUP BY ts") == []
    for sql in ("SELECT * FROM events", "SELECT max(n) FROM events", "SELECT __lake_subject FROM events"):
        with pytest.raises(QueryRefusedError):
            service.run(who, sql)
    assert service.split(who, "SELECT count(*) FROM events", (), 4) == [None]
    assert service.describe(who, "SELECT app, count(*) AS n FROM events GROUP BY app").schema.names == ["app", "n"]
    assert "__lake_subject" not in service.tables(who)[0].schema.names


def test_queries_at_once_are_limited(world: w.World, service: GatewayService) -> None:
    """The third waits for none: it is refused and recorded, and runs when one of the others has ended."""
    text = w.POLICY.replace("limits: {rows: 10}", "limits: {concurrent: 2}")
    with world.open() as lake:
        lake.apply_policy(text)
    who = caller("rolf", "study")
    wide = f"{WIDE}, range(40)"
    streams = [service.run(who, wide), service.run(who, wide)]
    with pytest.raises(LimitExceededError, match="2 queries under way"):
        service.run(who, wide)
    assert world.entries("query.deny")[-1]["reason"] == "limit_exceeded"
    assert rows(service, caller(), "SELECT count(*) AS n FROM events") == [{"n": 144}]
    streams.pop().close()
    streams.append(service.run(who, wide))
    for stream in streams:
        stream.close()
        stream.close()
    assert rows(service, who, "SELECT count(*) AS n FROM events") == [{"n": 144}]
    assert not service._gateway._slots._taken


DOORS = (
    "break_glass: {open_all: {role: all, purposes: [incident], request: [stu], approve: [olga, remy], at_most: 1h}}\n"
)


def test_a_lent_role_is_recorded_and_ends(world: w.World) -> None:
    """Before: denied. While it is in force: read, with its id in the log. After: denied, and a stream stops."""
    watch = Watch()
    text = DOORS + w.POLICY.replace("[study, incident]\n        sensitivity: 2", "[study]\n        sensitivity: 2")
    with serving(world, clock=watch, release_bytes=200_000) as service:
        with world.open(clock=watch) as lake:
            lake.apply_policy(text)
        who, sql = caller("stu", "incident"), "SELECT max(sensitivity) AS s FROM events"
        with pytest.raises(DeniedError):
            service.run(who, sql)
        elevations, policy = Elevations(service.home), service.policies.current()
        wish = Wish("open_all", "incident", "an incident of some kind", timedelta(minutes=30))
        asked = elevations.request(policy, "stu", wish)
        with pytest.raises(DeniedError):
            service.run(who, sql)
        elevations.approve(policy, "olga", asked.id)
        assert rows(service, who, sql) == [{"s": 4}]
        assert world.entries("query.intent")[-1]["break_glass"] == [asked.id]
        stream = service.run(who, WIDE)
        batches = iter(stream)
        next(batches)
        watch.now += timedelta(minutes=31)
        with pytest.raises(DeniedError, match="the policy has changed"):
            list(batches)
        stream.close()
        with pytest.raises(DeniedError):
            service.run(who, sql)
        assert rows(service, caller(), "SELECT count(*) AS n FROM events") == [{"n": 144}]
        assert "break_glass" not in world.entries("query.intent")[-1]
