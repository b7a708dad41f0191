"""Plain projections behind a gateway: without an engine, and under every rule that holds with one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pyarrow as pa
import pytest

from keys.errors import KeysError
from lake.clear.reading.slice import Slice
from lake.clear.serving import exports
from lake.errors import DeniedError, LimitExceededError, QueryCancelledError
from lake.gateway.keykeeping import KeyKeeping
from lake.gateway.keyplans import KeyScope
from lake.gateway.recorder import parse_entry
from lake.gateway.service import GatewayService
from lake.settings import Settings
from tests import world as w
from tests.gateway.served import Watch, caller, rows, serving

ALL = "SELECT * FROM events"
BATCH = 10
WHO = [(w.VERA, "incident"), ("stu", "study"), ("wim", "study"), ("milo", "study")]
QUERIES = [
    ALL,
    "SELECT ts AS moment, e.n, app FROM events e WHERE n > 3",
    "SELECT title, sensitivity FROM events WHERE app IN ('Mail-QX', 'Editor-QX') OR title IS NULL",
    "SELECT \"at\", big, score FROM events WHERE ts BETWEEN '2026-07-05' AND TIMESTAMP '2026-08-20 10:00:00'",
]


@pytest.fixture(autouse=True)
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a small lake has many."""
    monkeypatch.setattr(exports, "BATCH_ROWS", BATCH)


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Of each query that may be an export, whether it was."""
    seen: list[bool] = []
    start: Callable[..., Any] = exports.started

    def watched(*given: Any, **more: Any) -> Any:
        found = start(*given, **more)
        seen.append(found is not None)
        return found

    monkeypatch.setattr(exports, "started", watched)
    return seen


@pytest.fixture
def parts(world: w.World) -> Iterator[GatewayService]:
    """A service of which each batch is a part of its own, with an entry of its own."""
    with serving(world, release_bytes=1) as opened:
        yield opened


def whole(service: GatewayService, who: tuple[str, str], sql: str) -> pa.Table:
    stream = service.run(caller(*who), sql)
    try:
        return pa.Table.from_batches(stream, stream.schema)
    finally:
        stream.close()


def last_touched(service: GatewayService) -> Any:
    entries = [parse_entry(content) for _, content in service.home.log.entries()]
    return [entry for entry in entries if entry["type"] == "query.outcome"][-1]["touched"]


def test_rows_and_records_are_those_of_the_engine(world: w.World, taken: list[bool]) -> None:
    """Under every kind of grant: masks, filters, windows, pseudonyms, nobody's rows; decoded, kept, and embedded."""
    exported = 0
    with serving(world, slice_cache=64 << 20) as service:
        for who in WHO:
            with world.connect(*who, settings=Settings(image_bytes=0)) as embedded:
                for sql in QUERIES if who[0] == "stu" else QUERIES[:1]:
                    engine = sql + (" AND true" if "WHERE" in sql else " WHERE true")
                    expected = whole(service, who, engine)
                    touched = last_touched(service)
                    del taken[:]
                    for found in (embedded.sql(sql).arrow(), whole(service, who, sql), whole(service, who, sql)):
                        exported += taken.pop()
                        assert found.schema == expected.schema
                        assert sorted(map(repr, found.to_pylist())) == sorted(map(repr, expected.to_pylist()))
                    assert last_touched(service) == touched
    assert exported == 3 * (len(WHO) - 1 + len(QUERIES))


def test_rows_that_are_asked_for_again_are_kept(
    world: w.World, taken: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Embedded, the engine reads them the first time; then they are decoded, and after that not even read."""
    decoded: list[int] = []
    tagged: Callable[..., Any] = Slice.tagged

    def watched(*given: Any, **more: Any) -> Any:
        decoded.append(1)
        return tagged(*given, **more)

    monkeypatch.setattr(Slice, "tagged", watched)
    seen = []
    with world.connect(settings=Settings(image_rows=0)) as connection:
        for _ in range(4):
            seen.append((connection.sql(ALL).arrow().num_rows, len(taken), len(decoded)))
            entry = world.entries("query.outcome")[-1]
            assert sum(level["rows"] for levels in entry["touched"].values() for level in levels.values()) == 144
        assert seen == [(144, 0, 0), (144, 1, 1), (144, 2, 1), (144, 3, 1)]
        with world.open() as lake:
            lake.apply_policy(w.POLICY.replace("Incidents", "Incidents of all kinds"))
        connection.sql(ALL).arrow()
        assert (len(taken), len(decoded)) == (3, 1)  # of another era, and not asked in it before
    with world.connect(settings=Settings(image_rows=0, slice_cache=8192)) as connection:
        for _ in range(3):
            assert connection.sql(ALL).arrow().num_rows == 144
    assert (len(taken), len(decoded)) == (3, 1)  # more than there is room for


def test_each_part_is_recorded_before_it_leaves(world: w.World, taken: list[bool], parts: GatewayService) -> None:
    """Whenever a batch is there, an entry covers it; its employees are those of the rows so far."""
    stream = parts.run(caller(), ALL)
    left = 0
    for batch in stream:
        left += batch.num_rows
        assert sum(entry["rows"] for entry in world.entries("query.outcome")) >= left
    entries = world.entries("query.outcome")
    assert left == sum(entry["rows"] for entry in entries) == 144
    assert [entry["final"] for entry in entries] == [False] * (len(entries) - 1) + [True]
    assert taken == [True]


def test_limits_of_rows_and_bytes_are_exact(world: w.World, taken: list[bool], parts: GatewayService) -> None:
    """So many leave, and one more does not."""
    ten = "SELECT n FROM events WHERE ts < '2026-07-06'"
    assert len(rows(parts, caller("rolf", "study"), ten)) == 10
    with pytest.raises(LimitExceededError, match="more than 10 rows"):
        rows(parts, caller("rolf", "study"), "SELECT n FROM events WHERE ts < '2026-07-06 12:00:00'")
    assert len(rows(parts, caller("bill", "study"), "SELECT big FROM events WHERE ts < '2026-08-01'")) == 62
    with pytest.raises(LimitExceededError, match="more than 2000 bytes"):
        rows(parts, caller("bill", "study"), ALL)
    assert taken == [True] * 4


def test_what_ends_a_stream_ends_an_export(world: w.World, taken: list[bool]) -> None:
    """At the next batch: the policy, the credential, and at the next part a key."""

    def policy() -> None:
        with world.open() as lake:
            lake.apply_policy(w.POLICY.replace(f"{w.VERA}: {{roles: [all]}}", f"{w.VERA}: {{roles: []}}"))

    def freeze() -> None:
        with world.open() as lake:
            scope = KeyScope(employees=frozenset({w.ADA}))
            KeyKeeping(lake.home, lake.actor).change_state(scope, disabled=True, whole_level=False)

    def expire() -> None:
        watch.now = w.NOW + timedelta(minutes=6)

    watch = Watch()
    with serving(world, clock=watch, release_bytes=1) as service:
        for change, error in ((expire, DeniedError), (freeze, KeysError)):
            watch.now = w.NOW
            stream = service.run(replace(caller(), expires=w.NOW + timedelta(minutes=5)), ALL)
            batches = iter(stream)
            next(batches)
            change()
            with pytest.raises(error):
                next(batches)
            stream.close()
        with world.open() as lake:
            scope = KeyScope(employees=frozenset({w.ADA}))
            KeyKeeping(lake.home, lake.actor).change_state(scope, disabled=False, whole_level=False)
        watch.now = w.NOW
        stream = service.run(caller(), ALL)
        batches = iter(stream)
        next(batches)
        policy()
        with pytest.raises(DeniedError, match="the policy has changed"):
            next(batches)
        stream.close()
        assert service.pool.used == 0
    assert taken == [True] * 3


def test_an_export_is_cancelled_or_left(world: w.World, taken: list[bool], parts: GatewayService) -> None:
    """Whoever takes is told, the log has an end for it, and its sandbox is given back."""
    stream = parts.run(caller(), ALL)
    batches = iter(stream)
    next(batches)
    stream.cancel()
    with pytest.raises(QueryCancelledError):
        list(batches)
    stream.close()
    assert world.entries("query.outcome")[-1]["error"] == "cancelled"
    stream = parts.run(caller(), ALL)
    next(iter(stream))
    stream.close()
    assert world.entries("query.outcome")[-1]["out"] == "abandoned"
    assert parts.pool.used == 0
    assert taken == [True, True]


def test_parts_of_files_are_exported_apart(world: w.World, taken: list[bool], parts: GatewayService) -> None:
    """Together they are the whole."""
    shares = parts.split(caller(), ALL, (), 4)
    found = [one for share in shares for one in rows(parts, caller(), ALL, files=share)]
    assert len(shares) == 4
    assert sorted(map(repr, found)) == sorted(map(repr, rows(parts, caller(), ALL)))
    assert taken == [True] * 5
