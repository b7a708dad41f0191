"""Rotating keys of a whole lake: every query answers as before, few provider calls, and all of it is on record."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from keys.errors import CompromisedKeyError, OutdatedPlanError
from keys.names import ROOT_NAMES
from lake.gateway.kek_rotation import dek_request
from lake.gateway.keykeeping import KeyKeeping
from lake.gateway.keyplans import KeyScope
from lake.sealed.catalog.upkeep import FileScope
from tests import world as w
from tests.gateway.keylakes import Answers, answers, counted, keeping, later, operations, sound
from tests.world import ADA, EMPLOYEES, World, child, finished, landed, row, same_rows

Verb = Callable[[KeyKeeping, Path], object]
VERBS: dict[str, tuple[str, Verb]] = {
    "root": ("rotate root", lambda keys, _: keys.rotate_roots(ROOT_NAMES)),
    "root-trimmed": ("rotate root", lambda keys, place: keys.rotate_roots(ROOT_NAMES, place)),
    "bucket": ("rotate bucket", lambda keys, _: keys.rotate_buckets(keys.places(KeyScope()))),
    "kek": ("rotate kek", lambda keys, _: keys.rotate_keks(KeyScope())),
    "kek-compromised": ("rotate kek", lambda keys, _: keys.rotate_keks(KeyScope(), compromised=True)),
}


@pytest.mark.parametrize("verb", VERBS)
def test_every_query_answers_as_before(world: World, answered: Answers, tmp_path: Path, verb: str) -> None:
    """For everybody, in processes that start anew and in one that has keys at hand; twice, as versions go on."""
    sql = "SELECT * FROM events"
    with world.connect() as reader:
        warm = reader.sql(sql).arrow().to_pylist()
        for _ in range(2):
            with world.open(clock=later) as lake:
                VERBS[verb][1](keeping(lake), tmp_path / "backups")
            assert same_rows(reader.sql(sql).arrow().to_pylist(), warm)
            assert same_rows(world.rows(sql), warm)
    assert answers(world) == answered
    assert same_rows(warm, landed(w.known_rows()))
    assert sound(world)


@pytest.mark.parametrize("verb", VERBS)
def test_each_is_recorded_before_and_after(world: World, tmp_path: Path, verb: str) -> None:
    """An entry that it begins, and one that refers to it and says what came of it; no id of an employee in either."""
    with world.open(clock=later) as lake:
        VERBS[verb][1](keeping(lake), tmp_path / "backups")
    begun, done = operations(world)
    assert [begun["verb"], done["verb"]] == [VERBS[verb][0]] * 2
    assert (begun["step"], done["step"]) == ("begin", "done")
    assert "result" not in begun
    assert len(done["result"]["operation"]) == 32
    assert world.entries("key.operation")[0]["index"] == done["ref"]
    assert not any(name in repr((begun, done)) for name in EMPLOYEES)


def test_one_that_fails_is_recorded_too(world: World) -> None:
    """The kind of the error, and nothing of what was asked."""
    with world.open() as lake:
        keys = keeping(lake)
        keys.change_state(KeyScope(sensitivities=frozenset({4})), disabled=True, whole_level=True)
        with pytest.raises(Exception, match="does not wrap"):
            keys.rotate_roots(["root-dss4"])
    entry = operations(world)[-1]
    assert (entry["verb"], entry["step"], entry["error"]) == ("rotate root", "failed", "key_state")


@pytest.mark.parametrize("people", [0, 40])
def test_provider_calls_do_not_grow_with_people(world: World, people: int) -> None:
    """Roots: six calls for each. Buckets and KEKs: a few for each level, however many KEKs there are."""
    levels = 4
    with world.open() as lake:
        if people:
            rows = [row(f"EMP-{n}", w.NOW.replace(tzinfo=None), "focus", app="New-QX", n=1) for n in range(people)]
            lake.ingest("events", w.table(rows))
    with world.open(clock=later) as lake:
        keys, calls = keeping(lake), counted(lake)
        keys.rotate_roots(ROOT_NAMES)
        assert sum(calls.values()) == 6 * len(ROOT_NAMES), calls
        calls.clear()
        keys.rotate_buckets(keys.places(KeyScope()))
        assert calls["wrap"] == levels
        assert calls["unwrap"] <= 3 * levels
        assert set(calls) == {"wrap", "unwrap"}
    with world.open(clock=later) as lake:
        keys, calls = keeping(lake), counted(lake)
        operation = keys.rotate_keks(KeyScope())
        assert operation.detail["keks"] == 32 + people
        # Twice for each page of 1,000 KEKs: what is at hand is dropped when new versions come and when old ones go.
        assert dict(calls) == {"unwrap": 2 * levels}


def test_a_scope_is_rotated_and_nothing_else(world: World) -> None:
    """By employee, level and month: the catalog names new versions there and the former ones elsewhere."""
    scope = KeyScope(frozenset({ADA}), frozenset({1, 3}), frozenset({"2026-07", "2026-08"}))
    with world.open(clock=later) as lake:
        before = {file.file_id: file for file, _ in lake.home.upkeep.page(FileScope(), "", 100)}
        number = lake.home.directory.find([ADA])[ADA].number
        operation = keeping(lake).rotate_keks(scope)
        after = lake.home.upkeep.page(FileScope(), "", 100)
    meant = [
        file.file_id
        for file, owner in after
        if owner == number and file.partition.sensitivity in {1, 3} and file.partition.month in {"2026-07", "2026-08"}
    ]
    assert operation.detail["deks"] == len(meant) > 0
    for file, _ in after:
        was = before[file.file_id]
        assert file.kek_id == was.kek_id
        assert file.kek_version - was.kek_version == (file.file_id in meant)
        assert (file.wrapped_dek != was.wrapped_dek) == (file.file_id in meant)


@pytest.mark.parametrize("days", [-31, 31])
def test_a_clock_that_was_set_wrong_leaves_no_key_out(world: World, days: int) -> None:
    """A month back or on, twice: every KEK is rotated each time, none of them twice."""
    for version in (2, 3):
        with world.open(clock=lambda: w.NOW + timedelta(days=days)) as lake:
            assert keeping(lake).rotate_keks(KeyScope()).detail["keks"] == 32
            assert {file.kek_version for file, _ in lake.home.upkeep.page(FileScope(), "", 100)} == {version}
    assert same_rows(world.rows(), landed(w.known_rows()))


def test_compromised_keys_open_nothing_any_more(world: World) -> None:
    """The catalog names new versions only, and the rows that named the former ones before open no more."""
    with world.open(clock=later) as lake:
        before = [file for file, _ in lake.home.upkeep.page(FileScope(), "", 100)]
        keeping(lake).rotate_keks(KeyScope(), compromised=True)
        now = [file for file, _ in lake.home.upkeep.page(FileScope(), "", 100)]
        assert {file.kek_version for file in before} == {1}
        assert {file.kek_version for file in now} == {2}
        for file in before:
            with pytest.raises(OutdatedPlanError):
                lake.home.broker.check_wrap(dek_request(file))
        lake.home.broker.check_wraps([dek_request(file) for file in now])


COMPROMISED = """
from tests.gateway.keylakes import keeping, later
from lake.gateway.keyplans import KeyScope
with world.open(clock=later) as lake:
    sys.addaudithook(hook)
    keeping(lake).rotate_keks(KeyScope(), compromised=True)
"""


def test_between_the_mark_and_the_sweep_no_query_uses_a_compromised_key(world: World) -> None:
    """Cut off in between, queries ask to be sent again, with no row; after ``resume`` they answer."""
    assert finished(child(world, COMPROMISED, "keys.keks-fenced"))[0] < 0
    with pytest.raises(CompromisedKeyError) as failed:
        world.rows()
    assert failed.value.exit_code == 5
    assert [entry["rows"] for entry in world.entries("query.outcome")] == [0] * 8
    with world.open(clock=later) as lake:
        assert keeping(lake).resume() is not None
    assert same_rows(world.rows(), landed(w.known_rows()))


MEANWHILE = """
from tests.gateway.keylakes import keeping, later
from lake.gateway.keyplans import KeyScope
from datetime import datetime
stale = []

def act():
    with world.open(clock=later) as other:
        operation = keeping(other).rotate_keks(KeyScope())
        print(operation.detail["keks"], operation.detail["deks"])

sys.addaudithook(hook)
sys.addaudithook(lambda event, given: stale.append(1) if given == ("ingest.keys-stale",) else None)
"""
ASKING = """
with world.connect() as connection:
    print(connection.sql("SELECT * FROM events").arrow().num_rows)
"""
LANDING = """
with world.open() as lake:
    rows = [w.row(name, datetime(2026, 9, 2), "focus", app="New-QX", n=7) for name in ("EMP-NEW-1", w.ADA)]
    print(lake.ingest("events", w.table(rows), batch_id="meanwhile").status, len(stale))
"""


def test_a_plan_made_before_a_rotation_is_made_again(world: World) -> None:
    """Keys are replaced between INTENT and release: the query answers, and the log shows the plan that was in vain."""
    status, out, err = finished(child(world, MEANWHILE + ASKING, "query.intended"))
    assert (status, out) == (0, "32 32\n144\n"), err
    first, second = world.entries("query.outcome")
    assert (first["error"], first["rows"], second["rows"]) == ("key_gone", 0, 144)
    assert len(world.entries("query.intent")) == 2


@pytest.mark.parametrize("step", ["ingest.object-written", "ingest.announced"])
def test_a_batch_wrapped_before_a_rotation_lands_once(world: World, step: str) -> None:
    """The catalog refuses the former keys; the DEKs are wrapped anew and every row is there, once."""
    status, out, err = finished(child(world, MEANWHILE + LANDING, step))
    # With the keys of the batch, which were made before: one of them for a partition that was there.
    rotated, ending = out.split("\n", 1)
    assert (status, ending) == (0, "landed 1\n"), err
    assert rotated.split()[1] == "32"
    with world.open() as lake:
        files = lake.home.upkeep.page(FileScope(), "", 100)
        assert len(files) == 34
        lake.home.broker.check_wraps([dek_request(file) for file, _ in files])
    rows = [one for one in world.rows() if one["app"] == "New-QX"]
    assert sorted(one["employee"] for one in rows) == [ADA, "EMP-NEW-1"]
    assert len(world.rows()) == 146
    assert sound(world)
