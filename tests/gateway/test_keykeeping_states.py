"""Disabled keys: whoever needs one fails and gets no row, everybody else goes on, and enabling brings it all back."""

# ruff: noqa: S608, DTZ001 - the statements are the tests' own; capture times are naive UTC
from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from keys.errors import KeyOperationError, KeyStateError
from lake.api import Connection
from lake.gateway.keyplans import KeyScope
from tests import world as w
from tests.gateway.keylakes import Answers, answers, keeping, later, operations, sound
from tests.world import ADA, BEN, World, landed, row, same_rows

EXPECTED = landed(w.known_rows())
Row = dict[str, Any]

SUSPENSIONS: dict[str, tuple[KeyScope, bool, Callable[[Row], bool]]] = {
    "employee": (KeyScope(frozenset({ADA})), False, lambda one: one["employee"] == ADA),
    "level": (KeyScope(sensitivities=frozenset({3})), True, lambda one: one["sensitivity"] == 3),
    "scope": (
        KeyScope(frozenset({BEN}), frozenset({4}), frozenset({"2026-08"})),
        False,
        lambda one: (one["employee"], one["sensitivity"], one["ts"].month) == (BEN, 4, 8),
    ),
    "month": (KeyScope(months=frozenset({"2026-07"})), False, lambda one: one["ts"].month == 7),
}


def narrow(one: Row) -> str:
    """A query that needs this row's partition and no other."""
    first = one["ts"].replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    last = first.replace(month=first.month + 1)
    return (
        f"SELECT * FROM events WHERE employee = '{one['employee']}' AND sensitivity = {one['sensitivity']}"
        f" AND ts >= TIMESTAMP '{first}' AND ts < TIMESTAMP '{last}'"
    )


def check_narrow(reader: Connection, meant: Callable[[Row], bool], every: int = 1) -> None:
    """Partitions by themselves, of either kind ``every``-th: refused where a row is meant, whole where none is."""
    partitions = {(one["employee"], one["sensitivity"], one["ts"].month): one for one in EXPECTED}
    refused = [one for one in partitions.values() if meant(one)]
    for one in refused[::every]:
        with pytest.raises(KeyStateError):
            reader.sql(narrow(one))
    others = {name: one for name, one in partitions.items() if not meant(one)}
    for name, one in list(others.items())[::every]:
        found = reader.sql(narrow(one)).arrow().to_pylist()
        own = [each for each in EXPECTED if (each["employee"], each["sensitivity"], each["ts"].month) == name]
        assert same_rows(found, own)


@pytest.mark.parametrize("kind", SUSPENSIONS)
def test_who_needs_a_disabled_key_fails_and_others_go_on(world: World, answered: Answers, kind: str) -> None:
    """At the next query, though the broker has the keys at hand: never fewer rows, and nothing but a typed error."""
    scope, whole_level, meant = SUSPENSIONS[kind]
    with world.connect() as reader, world.open() as lake:
        keys = keeping(lake)
        assert same_rows(reader.sql("SELECT * FROM events").arrow().to_pylist(), EXPECTED)
        assert sum(keys.change_state(scope, disabled=True, whole_level=whole_level).values()) > 0
        for sql in ("SELECT * FROM events", "SELECT count(*) FROM events", "SELECT max(ts) FROM events"):
            with pytest.raises(KeyStateError) as failed:
                reader.sql(sql)
            assert failed.value.code == "key_state"
        check_narrow(reader, meant, every=1 if kind == "scope" else 3)
        assert sum(keys.change_state(scope, disabled=True, whole_level=whole_level).values()) == 0  # it is already
        assert sum(keys.change_state(scope, disabled=False, whole_level=whole_level).values()) > 0
        assert same_rows(reader.sql("SELECT * FROM events").arrow().to_pylist(), EXPECTED)
    assert answers(world) == answered
    assert sound(world)


@pytest.mark.parametrize("kind", SUSPENSIONS)
def test_a_batch_that_needs_a_disabled_key_is_refused_whole(world: World, kind: str) -> None:
    """Nothing of it lands, the other partitions' rows land in batches of their own, and enabled it lands once."""
    scope, whole_level, meant = SUSPENSIONS[kind]
    times = (datetime(2026, 7, 20), datetime(2026, 8, 20))
    rows = [row(who, ts, "judge", note="late", n=1) for who in (ADA, BEN) for ts in times]
    rows += [row(who, ts, "say", said="late", n=1) for who in (ADA, BEN) for ts in times]
    wanting = [one for one in rows if meant(*landed([one]))]
    others = [one for one in rows if one not in wanting]
    objects = world.objects()
    with world.open() as lake:
        keys = keeping(lake)
        keys.change_state(scope, disabled=True, whole_level=whole_level)
        with pytest.raises(KeyStateError):
            lake.ingest("events", w.table(rows), batch_id="late")
        assert world.objects() == objects
        assert lake.ingest("events", w.table(others), batch_id="others").rows == len(others) > 0
        keys.change_state(scope, disabled=False, whole_level=whole_level)
        assert lake.ingest("events", w.table(wanting), batch_id="late").rows == len(wanting) > 0
    assert [entry["reason"] for entry in world.entries("ingest.refused")] == ["key_state"]
    assert same_rows(world.rows(), [*EXPECTED, *landed(rows)])


def test_it_is_recorded_with_numbers_of_employees_only(world: World) -> None:
    """Before and after, disabling and enabling; the id of the employee is in neither."""
    with world.open() as lake:
        for disabled in (True, False):
            keeping(lake).change_state(KeyScope(frozenset({ADA})), disabled=disabled, whole_level=False)
    entries = operations(world)
    assert [(entry["verb"], entry["step"]) for entry in entries] == [
        (verb, step) for verb in ("disable", "enable") for step in ("begin", "done")
    ]
    assert [entry["result"] for entry in entries if entry["step"] == "done"] == [{"employees": 1}] * 2
    assert "emp" in entries[0]
    assert ADA not in repr(entries)


@pytest.mark.parametrize("verb", ["root", "bucket", "kek", "shred"])
def test_a_disabled_level_stops_an_operation_before_it_begins(world: World, tmp_path: Path, verb: str) -> None:
    """Nothing is begun, so that other operations go on; enabled again, it does its work."""
    level = KeyScope(sensitivities=frozenset({4}))
    with world.open(clock=later) as lake:
        keys = keeping(lake)
        verbs: dict[str, Callable[[], object]] = {
            "root": lambda: keys.rotate_roots(["root-control", "root-dss4"]),
            "bucket": lambda: keys.rotate_buckets(keys.places(level)),
            "kek": lambda: keys.rotate_keks(KeyScope(frozenset({ADA}))),
            "shred": lambda: keys.shred([ADA], tmp_path / "backups"),
        }
        keys.change_state(level, disabled=True, whole_level=True)
        with pytest.raises(KeyStateError):
            verbs[verb]()
        assert keys.status()["unfinished"] == []
        assert keys.status()["employees"]["erased"] == 0
        keys.rotate_roots(["root-dss1"])
        keys.change_state(level, disabled=False, whole_level=True)
        assert same_rows(world.rows(), EXPECTED)
        verbs[verb]()
    assert sound(world)


def test_an_unfinished_operation_does_not_keep_keys_from_being_disabled(world: World) -> None:
    """What stops access at once waits for nothing; the operation is finished afterwards."""
    source = """
from tests.gateway.keylakes import keeping, later
from lake.gateway.keyplans import KeyScope
with world.open(clock=later) as lake:
    sys.addaudithook(hook)
    keeping(lake).rotate_keks(KeyScope())
"""
    assert w.finished(w.child(world, source, "keys.deks-swapped"))[0] < 0
    scope = KeyScope(frozenset({ADA}))
    with world.open(clock=later) as lake:
        keys = keeping(lake)
        with pytest.raises(KeyOperationError, match="not finished"):
            keys.rotate_roots(["root-dss1"])
        keys.change_state(scope, disabled=True, whole_level=False)
        with pytest.raises(KeyStateError):
            world.rows()
        assert keys.resume() is not None
        keys.change_state(scope, disabled=False, whole_level=False)
    assert same_rows(world.rows(), EXPECTED)


@pytest.mark.parametrize("step", ["keys.keks-made", "keys.deks-swapped"])
def test_no_former_version_opens_what_is_disabled(world: World, step: str) -> None:
    """After a rotation that was cut off, some files are still under former KEKs: these are not forgotten."""
    source = """
from lake.gateway import kek_rotation
from tests.gateway.keylakes import keeping, later
from lake.gateway.keyplans import KeyScope
kek_rotation.DEK_PAGE = 5
with world.open(clock=later) as lake:
    sys.addaudithook(hook)
    keeping(lake).rotate_keks(KeyScope())
"""
    assert w.finished(w.child(world, source, step))[0] < 0
    scope, _, meant = SUSPENSIONS["month"]
    with world.open(clock=later) as lake, world.connect() as reader:
        keys = keeping(lake)
        with pytest.raises(KeyOperationError, match="not finished"):
            keys.change_state(scope, disabled=True, whole_level=False)
        assert same_rows(world.rows(), EXPECTED)
        assert keys.resume() is not None
        keys.change_state(scope, disabled=True, whole_level=False)
        check_narrow(reader, meant, every=3)
        keys.change_state(scope, disabled=False, whole_level=False)
    assert same_rows(world.rows(), EXPECTED)


@pytest.mark.parametrize("step", ["keys.root-announced", "keys.root-made"])
def test_a_rotation_that_is_resumed_enables_nothing(world: World, step: str) -> None:
    """A level that was disabled after the kill stays disabled; enabled again, the rotation is finished."""
    source = """
from tests.gateway.keylakes import keeping
with world.open() as lake:
    sys.addaudithook(hook)
    keeping(lake).rotate_roots(["root-dss4"])
"""
    assert w.finished(w.child(world, source, step))[0] < 0
    level = KeyScope(sensitivities=frozenset({4}))
    with world.open() as lake:
        keys = keeping(lake)
        keys.change_state(level, disabled=True, whole_level=True)
        with pytest.raises(KeyStateError):
            keys.resume()
        with pytest.raises(KeyStateError):
            world.rows()
        keys.change_state(level, disabled=False, whole_level=True)
        assert keys.resume() is not None
    assert same_rows(world.rows(), EXPECTED)
    assert sound(world)
