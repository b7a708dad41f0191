"""Bucket keys and KEKs: made once, bound to their rows, and refused when a state forbids them."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
import sqlalchemy as sa

from keys import keystore
from keys.errors import KeyIntegrityError, KeyStateError
from keys.refs import TRANSITIONS, KeyState

CREATING = """
import sys
from pathlib import Path
from keys.hierarchy import Hierarchy
from keys.keystore import KeyStore
from keys.providers.local import LocalProvider
from keys.unlock import KEY_FILE, UnlockSecret
from lake.sealed.catalog.database import Database

provider = LocalProvider(Path(sys.argv[1]), UnlockSecret(KEY_FILE, sys.argv[2].encode()))
store = KeyStore(Database.sqlite(Path(sys.argv[3]), "key store"))
hierarchy = Hierarchy("lake-one", store, provider)
subjects = store.subjects(sys.argv[4:])
names = {(name, level, "2026-03") for name in subjects for level in (1, 2, 3, 4)}
for row in hierarchy.ensure_keks(names, subjects).values():
    print(row.kek_id, hierarchy.open_kek(row, hierarchy.bucket_rows()).hex())
print("events", len([event for event in hierarchy.take_events() if event.kind == "kek"]))
"""


@pytest.fixture
def people(world):
    """Three employees by pseudonym."""
    return {ref.subject: ref for ref in world.broker.new_subjects(3)}


def edit(world, statement):
    """Change the key store behind the lake's back."""
    with world.database.writing() as connection:
        connection.execute(statement)


def one_kek(world, people, level=3):
    """A KEK of the first employee."""
    name = (min(people), level, "2026-03")
    return world.hierarchy.ensure_keks([name], people)[name]


def test_keks_are_made_once(world, people):
    """Asking again gives the same rows, which open to the same keys, and reports nothing new."""
    names = [(subject, level, "2026-03") for subject in people for level in (1, 2, 3, 4)]
    first = world.hierarchy.ensure_keks(names, people)
    events = world.hierarchy.take_events()
    assert {event.key_id for event in events if event.kind == "kek"} == {row.kek_id for row in first.values()}
    assert len([event for event in events if event.kind == "kek"]) == len(names)
    assert len({event.key_id for event in events}) == len(events)
    again = world.fresh_hierarchy()
    assert again.ensure_keks(names, people) == first
    assert again.take_events() == world.hierarchy.take_events() == []
    opened = [world.hierarchy.open_kek(row, world.hierarchy.bucket_rows()) for row in first.values()]
    assert [again.open_kek(row, again.bucket_rows()) for row in first.values()] == opened
    assert len(set(opened)) == len(names)
    assert again.verify()["keks"] == len(names)


def test_threads_make_one_kek(world, people):
    """Threads that ask for the same partitions at once all get the one row that is stored."""
    names = [(subject, 3, f"2026-{month:02d}") for subject in people for month in range(1, 5)]
    hierarchies = [world.fresh_hierarchy() for _ in range(4)]
    with ThreadPoolExecutor(4) as threads:
        results = list(threads.map(lambda each: each.ensure_keks(names, people), hierarchies))
    assert all(result == results[0] for result in results)
    events = [event for each in hierarchies for event in each.take_events()]
    assert sorted(event.key_id for event in events if event.kind == "kek") == sorted(
        row.kek_id for row in results[0].values()
    )
    assert len({(event.kind, event.key_id) for event in events}) == len(events)
    assert world.store.counts()["keks"] == len(names)


def test_processes_make_one_kek(world, people, child, tmp_path):
    """Two processes end with the same keys, each made and reported once."""
    arguments = (world.folder, world.secret.secret.decode(), tmp_path / "keystore.db", *people)
    processes = [child(CREATING, *arguments) for _ in range(2)]
    results, events = [], 0
    for process in processes:
        output, errors = process.communicate(timeout=60)
        assert process.returncode == 0, errors
        *rows, last = output.splitlines()
        results.append(sorted(rows))
        events += int(last.split()[1])
    assert results[0] == results[1]
    assert events == len(results[0]) == world.store.counts()["keks"] == 12


def test_an_unknown_or_erased_employee_gets_no_key(world, people):
    """A tombstone stops new keys, also when it comes after the caller has looked."""
    erased = min(people)
    edit(world, keystore.subjects.update().where(keystore.subjects.c.subject == erased).values(tombstoned=True))
    assert erased not in world.store.subjects(people)
    for subjects in (world.store.subjects(people), people):
        with pytest.raises(KeyStateError):
            world.hierarchy.ensure_keks([(erased, 3, "2026-03"), (max(people), 3, "2026-03")], subjects)
    with pytest.raises(KeyStateError):
        world.hierarchy.ensure_keks([("z" * 26, 3, "2026-03")], people)
    assert world.store.counts()["keks"] == 0


@pytest.mark.parametrize("state", [state for state in KeyState if not state.wraps])
def test_a_retired_bucket_key_wraps_no_new_keks(world, people, state):
    """A bucket key that may not wrap makes no KEK: neither for who knows it nor for who looks it up."""
    row = one_kek(world, people)
    new = replace(row, kek_id="f" * 32, month="2026-04")
    edit(world, keystore.bucket_keys.update().values(state=state.value))
    for hierarchy in (world.hierarchy, world.fresh_hierarchy()):
        with pytest.raises(KeyStateError):
            hierarchy.ensure_keks([(row.subject, 3, "2026-04")], people)
    with pytest.raises(KeyStateError):
        world.store.add_keks([new])
    assert world.store.counts()["keks"] == 1


@pytest.mark.parametrize("state", list(KeyState))
@pytest.mark.parametrize("table", [keystore.keks, keystore.bucket_keys])
def test_states_decide_whether_a_kek_opens(world, people, table, state):
    """A KEK opens only while it and its bucket key are enabled or for decryption."""
    row = one_kek(world, people)
    edit(world, table.update().values(state=state.value))
    hierarchy = world.fresh_hierarchy()
    (stored,) = world.store.every_kek()
    if state.unwraps:
        assert hierarchy.open_kek(stored, hierarchy.bucket_rows()) == world.hierarchy.open_kek(
            row, world.hierarchy.bucket_rows()
        )
    else:
        with pytest.raises(KeyStateError):
            hierarchy.open_kek(stored, hierarchy.bucket_rows())


@pytest.mark.parametrize("state", [state for state in KeyState if not state.wraps])
def test_a_retired_kek_is_not_replaced_silently(world, people, state):
    """A partition whose KEK may not wrap gets no second first version."""
    row = one_kek(world, people)
    edit(world, keystore.keks.update().values(state=state.value))
    with pytest.raises(KeyStateError):
        world.hierarchy.ensure_keks([(row.subject, 3, "2026-03")], people)
    assert world.store.counts()["keks"] == 1


@pytest.mark.parametrize(
    "changes",
    [
        {"month": "2026-04"},
        {"sensitivity": 1},
        {"subject": "a" * 26},
        {"kek_id": "f" * 32},
        {"version": 2},
        {"wrapped": b""},
        {"wrapped": bytes(110)},
    ],
)
def test_a_kek_row_belongs_to_its_place(world, people, changes):
    """A KEK row with any field changed does not open, and verification finds it."""
    level_one, row = one_kek(world, people, level=1), one_kek(world, people, level=3)
    assert level_one.bucket == row.bucket
    edit(world, keystore.keks.delete().where(keystore.keks.c.kek_id == level_one.kek_id))
    with pytest.raises(KeyIntegrityError):
        world.hierarchy.open_kek(replace(row, **changes), world.hierarchy.bucket_rows())
    edit(world, keystore.keks.update().where(keystore.keks.c.kek_id == row.kek_id).values(**changes))
    with pytest.raises(KeyIntegrityError):
        world.fresh_hierarchy().verify()


def test_a_kek_copied_to_another_employee_does_not_open(world, people):
    """The wrap of A's KEK in B's row is refused, also when both share a bucket."""
    edit(world, keystore.subjects.update().values(bucket=7))
    shared = world.store.subjects(people)
    first, second, _ = sorted(shared)
    rows = world.hierarchy.ensure_keks([(first, 4, "2026-03"), (second, 4, "2026-03")], shared)
    mine, theirs = rows[first, 4, "2026-03"], rows[second, 4, "2026-03"]
    assert mine.bucket == theirs.bucket == 7
    for copied in (replace(theirs, wrapped=mine.wrapped), replace(theirs, wrapped=mine.wrapped, kek_id=mine.kek_id)):
        with pytest.raises(KeyIntegrityError):
            world.hierarchy.open_kek(copied, world.hierarchy.bucket_rows())


@pytest.mark.parametrize(
    "changes", [{"bucket": 300}, {"version": 9}, {"root_version": 2}, {"sensitivity": 1}, {"wrapped": bytes(110)}]
)
def test_a_bucket_key_row_belongs_to_its_place(world, people, changes):
    """A bucket key's row with any field changed does not open."""
    one_kek(world, people, level=4)
    world.provider.new_version("root-dss4")
    edit(world, keystore.bucket_keys.update().values(**changes))
    with pytest.raises((KeyIntegrityError, KeyStateError)):
        world.fresh_hierarchy().verify()


def test_a_missing_bucket_key_is_an_integrity_error(world, people):
    """A KEK whose bucket key is gone does not open."""
    row = one_kek(world, people)
    edit(world, sa.delete(keystore.bucket_keys))
    with pytest.raises(KeyIntegrityError):
        world.fresh_hierarchy().open_kek(row, world.fresh_hierarchy().bucket_rows())


def test_keys_of_another_lake_do_not_open(world, people):
    """The lake's id is part of every context."""
    row = one_kek(world, people)
    other = world.fresh_hierarchy()
    other.lake = "lake-two"
    with pytest.raises(KeyIntegrityError):
        other.open_kek(row, other.bucket_rows())


def test_a_deleted_kek_is_gone_at_once(world, people):
    """KEKs are not cached: what is deleted is not found by the next look."""
    row = one_kek(world, people)
    assert world.store.keks([(row.kek_id, 1)])
    edit(world, sa.delete(keystore.keks))
    assert world.store.keks([(row.kek_id, 1)]) == {}
    assert world.store.newest_keks([(row.subject, 3, "2026-03")]) == {}


def test_nothing_comes_back_from_destroyed():
    """Destroyed is final, and no state but pending destruction leads there."""
    assert TRANSITIONS[KeyState.DESTROYED] == frozenset()
    assert {state for state, after in TRANSITIONS.items() if KeyState.DESTROYED in after} == {
        KeyState.PENDING_DESTRUCTION
    }
    assert set(TRANSITIONS) == set(KeyState)


def test_a_hierarchy_shows_no_key(world, people, leaks):
    """The representation has neither bucket keys nor KEKs, and the store file has them sealed only."""
    row = one_kek(world, people)
    known = [world.hierarchy.open_kek(row, world.hierarchy.bucket_rows()), *world.hierarchy._buckets.values()]
    stored = repr(world.store.every_kek()) + repr(world.store.every_bucket_key())
    assert not leaks(repr(world.hierarchy) + repr(world.hierarchy.take_events()) + stored, *known)
