"""Bucket keys and KEKs: made once, bound to their rows, and refused when a state forbids them."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
import sqlalchemy as sa

from keys import tables
from keys.errors import EmployeeErasedError, KeyIntegrityError, KeyStateError, StaleKeyError
from keys.refs import TRANSITIONS, KeyState

CREATING = """
import sys
from datetime import UTC, datetime
from pathlib import Path
from keys.hierarchy import Hierarchy
from keys.keystore import KeyStore
from keys.providers.local import LocalProvider
from keys.unlock import KEY_FILE, UnlockSecret
from lake.sealed.catalog.database import Database

provider = LocalProvider(Path(sys.argv[1]), UnlockSecret(KEY_FILE, sys.argv[2].encode()))
store = KeyStore(Database.sqlite(Path(sys.argv[3]), "key store"))
hierarchy = Hierarchy("lake-one", store, provider, clock=lambda: datetime.now(UTC))
view = hierarchy.landing_view({(name, level, "2026-03") for name in sys.argv[4:] for level in (1, 2, 3, 4)})
for (kek_id, _), key in hierarchy.open_keks(view, list(view.keks.values())).items():
    print(kek_id, key.hex())
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
    return world.landed_kek((min(people), level, "2026-03"))


def test_keks_are_made_once(world, people):
    """Asking again gives the same rows, which open to the same keys, and reports nothing new."""
    names = [(subject, level, "2026-03") for subject in people for level in (1, 2, 3, 4)]
    first = world.hierarchy.landing_view(names)
    assert {row.name for row in first.keks.values()} == set(names)
    events = world.hierarchy.take_events()
    assert {event.key_id for event in events if event.kind == "kek"} == {row.kek_id for row in first.keks.values()}
    assert len([event for event in events if event.kind == "kek"]) == len(names)
    assert len({event.key_id for event in events}) == len(events)
    again = world.fresh_hierarchy()
    second = again.landing_view(names)
    assert second.keks == first.keks
    assert again.take_events() == world.hierarchy.take_events() == []
    opened = world.hierarchy.open_keks(first, list(first.keks.values()))
    assert again.open_keks(second, list(second.keks.values())) == opened
    assert len(set(opened.values())) == len(names)
    assert world.verify()["keks"] == len(names)


def test_threads_make_one_kek(world, people):
    """Threads that ask for the same partitions at once all get the one row that is stored."""
    names = [(subject, 3, f"2026-{month:02d}") for subject in people for month in range(1, 5)]
    hierarchies = [world.fresh_hierarchy() for _ in range(4)]
    with ThreadPoolExecutor(4) as threads:
        results = [view.keks for view in threads.map(lambda each: each.landing_view(names), hierarchies)]
    assert all(result == results[0] for result in results)
    events = [event for each in hierarchies for event in each.take_events()]
    assert sorted(event.key_id for event in events if event.kind == "kek") == sorted(
        row.kek_id for row in results[0].values()
    )
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
    """A tombstone stops new keys for the whole batch, and nobody knows an employee who was never entered."""
    erased = min(people)
    world.changes.tombstone([erased])
    assert set(world.store.subjects(people)) == set(people) - {erased}
    for names in ([(erased, 3, "2026-03"), (max(people), 3, "2026-03")], [("z" * 26, 3, "2026-03")]):
        with pytest.raises(EmployeeErasedError):
            world.hierarchy.landing_view(names)
    assert world.store.counts()["keks"] == 0


@pytest.mark.parametrize("state", [state for state in KeyState if not state.wraps])
def test_a_retired_bucket_key_wraps_no_new_keks(world, people, state):
    """A bucket key that may not wrap makes no KEK: neither for who knows it nor for who looks it up."""
    row = one_kek(world, people)
    new = replace(row, kek_id="f" * 32, month="2026-04")
    edit(world, tables.bucket_keys.update().values(state=state.value))
    for hierarchy in (world.hierarchy, world.fresh_hierarchy()):
        with pytest.raises(KeyStateError):
            hierarchy.landing_view([(row.subject, 3, "2026-04")])
    with pytest.raises(StaleKeyError):
        world.store.add_keks([new])
    assert world.store.counts()["keks"] == 1


@pytest.mark.parametrize("state", [state for state in KeyState if not state.wraps])
def test_a_retired_root_wraps_no_new_bucket_keys(world, people, state):
    """A root that may not wrap makes no bucket key, not even when it is retired after the writer has looked."""
    made = world.hierarchy.new_bucket_keys("root-dss3", 1, [(3, 7, 1)])
    edit(world, tables.roots.update().where(tables.roots.c.name == "root-dss3").values(state=state.value))
    with pytest.raises(KeyStateError):
        one_kek(world, people)
    with pytest.raises(StaleKeyError):
        world.store.add_bucket_keys(made, "root-dss3")
    assert world.changes.buckets() == []
    assert one_kek(world, people, level=4).sensitivity == 4


@pytest.mark.parametrize("state", list(KeyState))
@pytest.mark.parametrize("table", [tables.keks, tables.bucket_keys, tables.roots])
def test_states_decide_whether_a_kek_opens(world, people, table, state):
    """A KEK opens only while it, its bucket key and its root are enabled or for decryption."""
    row = one_kek(world, people)
    key = world.open_kek(row)
    edit(world, table.update().values(state=state.value))
    (stored,) = world.keks()
    for hierarchy in (world.hierarchy, world.fresh_hierarchy()):
        if state.unwraps:
            assert world.open_kek(stored, hierarchy) == key
        else:
            with pytest.raises(KeyStateError):
                world.open_kek(stored, hierarchy)


@pytest.mark.parametrize("state", [state for state in KeyState if not state.unwraps])
def test_only_a_compromised_kek_opens_for_re_encryption(world, people, state):
    """Who re-encrypts may open a compromised KEK, under bucket keys and roots that are sound, and no other state."""
    row = one_kek(world, people)
    key = world.open_kek(row)
    closed = replace(row, state=state)
    if state is KeyState.COMPROMISED:
        assert world.open_kek(closed, compromised=True) == key
    else:
        with pytest.raises(KeyStateError):
            world.open_kek(closed, compromised=True)
    edit(world, tables.bucket_keys.update().values(state=state.value))
    with pytest.raises(KeyStateError):
        world.open_kek(row, compromised=True)


@pytest.mark.parametrize("state", [state for state in KeyState if not state.wraps])
def test_a_retired_kek_is_not_replaced_silently(world, people, state):
    """A partition whose KEK may not wrap gets no other one: a month that was destroyed stays so."""
    row = one_kek(world, people)
    edit(world, tables.keks.update().values(state=state.value))
    for hierarchy in (world.hierarchy, world.fresh_hierarchy()):
        with pytest.raises(KeyStateError):
            hierarchy.landing_view([row.name, (max(people), 3, "2026-03")])
    # Not even from a writer that has looked before.
    world.store.add_keks([replace(row, kek_id="f" * 32)])
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
        {"bucket_version": 2},
        {"bucket": 8},
    ],
)
def test_a_kek_row_belongs_to_its_place(world, people, changes):
    """A KEK row with any field changed does not open, and verification finds it."""
    edit(world, tables.subjects.update().values(bucket=7))
    level_one, row = one_kek(world, people, level=1), one_kek(world, people, level=3)
    assert level_one.bucket == row.bucket == 7
    edit(world, tables.keks.delete().where(tables.keks.c.kek_id == level_one.kek_id))
    assert world.verify()["keks"] == 1
    with pytest.raises(KeyIntegrityError):
        world.open_kek(replace(row, **changes))
    edit(world, tables.keks.update().where(tables.keks.c.kek_id == row.kek_id).values(**changes))
    with pytest.raises(KeyIntegrityError):
        world.verify()


def test_a_kek_copied_to_another_employee_does_not_open(world, people):
    """The wrap of A's KEK in B's row is refused, also when both share a bucket."""
    edit(world, tables.subjects.update().values(bucket=7))
    first, second, _ = sorted(people)
    view = world.hierarchy.landing_view([(first, 4, "2026-03"), (second, 4, "2026-03")])
    mine, theirs = view.wrapping_kek((first, 4, "2026-03")), view.wrapping_kek((second, 4, "2026-03"))
    assert mine.bucket == theirs.bucket == 7
    for copied in (replace(theirs, wrapped=mine.wrapped), replace(theirs, wrapped=mine.wrapped, kek_id=mine.kek_id)):
        with pytest.raises(KeyIntegrityError):
            world.hierarchy.open_keks(view, [copied])


@pytest.mark.parametrize(
    "changes", [{"bucket": 300}, {"version": 9}, {"root_version": 2}, {"sensitivity": 1}, {"wrapped": bytes(110)}]
)
def test_a_bucket_key_row_belongs_to_its_place(world, people, changes):
    """A bucket key's row with any field changed does not open."""
    one_kek(world, people, level=4)
    world.provider.new_version("root-dss4", 1)
    edit(world, tables.bucket_keys.update().values(**changes))
    with pytest.raises((KeyIntegrityError, KeyStateError)):
        world.verify()


def test_a_missing_bucket_key_is_an_integrity_error(world, people):
    """A KEK whose bucket key is gone does not open."""
    row = one_kek(world, people)
    edit(world, sa.delete(tables.bucket_keys))
    with pytest.raises(KeyIntegrityError):
        world.open_kek(row)
    with pytest.raises(KeyIntegrityError):
        world.verify()


def test_keys_of_another_lake_do_not_open(world, people):
    """The lake's id is part of every context."""
    row = one_kek(world, people)
    for hierarchy in (world.hierarchy, world.fresh_hierarchy()):
        hierarchy.lake = "lake-two"
        with pytest.raises(KeyIntegrityError):
            world.open_kek(row, hierarchy)


def test_a_deleted_kek_is_gone_at_once(world, people):
    """KEKs are not cached: what is deleted is not found by the next look."""
    row = one_kek(world, people)
    assert world.store.view_of_keks([row.subject], [(row.kek_id, 1)]).keks
    edit(world, sa.delete(tables.keks))
    assert world.store.view_of_keks([row.subject], [(row.kek_id, 1)]).keks == {}
    assert world.store.view_of_partitions([row.name]).keks == {}


def test_nothing_comes_back_from_destroyed():
    """Destroyed is final, and no key that wraps or is suspended gets there in one step."""
    assert TRANSITIONS[KeyState.DESTROYED] == frozenset()
    assert {state for state, after in TRANSITIONS.items() if KeyState.DESTROYED in after} == {
        KeyState.PENDING_DESTRUCTION,
        KeyState.DECRYPT_ONLY,
        KeyState.COMPROMISED,
    }
    assert set(TRANSITIONS) == set(KeyState)
    assert not any(state in after for state, after in TRANSITIONS.items())
    # What was compromised or doomed never wraps again.
    assert KeyState.ENABLED not in TRANSITIONS[KeyState.COMPROMISED] | TRANSITIONS[KeyState.PENDING_DESTRUCTION]


def test_a_hierarchy_shows_no_key(world, people, leaks):
    """The representation has neither bucket keys nor KEKs, and the store file has them sealed only."""
    row = one_kek(world, people)
    view = world.store.view_of_keks([row.subject], [(row.kek_id, 1)])
    known = [world.open_kek(row), *world.hierarchy.open_buckets(view, view.buckets.values()).values()]
    assert len(known) == 2
    shown = repr(world.keks()) + repr(world.changes.buckets()) + repr(view) + repr(world.hierarchy._cache)
    assert not leaks(repr(world.hierarchy) + repr(world.hierarchy.take_events()) + shown, *known)
