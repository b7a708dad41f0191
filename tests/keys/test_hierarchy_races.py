"""Writers and readers of keys while keys change under them, and when the key service does not answer."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest
import sqlalchemy as sa

from keys import tables
from keys.errors import KeyStateError, ProviderUnavailableError, StaleKeyError
from keys.refs import KeyState
from keys.rows import values_of
from tests.keys.operations.watched import Watched


@pytest.fixture(name="kind", params=["sqlite", "postgresql"])
def _kind(request):
    """On each database in turn."""
    return request.param


@pytest.fixture
def people(world):
    """Two employees of one bucket, who have bucket keys and one KEK for each level."""
    refs = world.store.add_subjects([("a" * 26, 7), ("b" * 26, 7)])
    world.hierarchy.landing_view([(refs[0].subject, level, "2026-03") for level in (1, 2, 3, 4)])
    world.hierarchy.take_events()
    return [ref.subject for ref in refs]


def once(inner, call, action):
    """A provider that lets something happen just before its first ``call``."""

    def before(name):
        if name == call:
            watched.before = lambda _: None
            action()

    watched = Watched(inner, before)
    return watched


@pytest.mark.parametrize("how", ["tombstone", "disable"])
def test_an_employee_erased_while_a_batch_lands_gets_no_key(world, people, how):
    """A tombstone or a suspension that comes after the writer has looked still stops the whole batch's keys."""

    def meanwhile():
        if how == "tombstone":
            world.changes.tombstone(people[:1])
        else:
            world.changes.suspend_subjects(people[:1], disabled=True)

    late = world.fresh_hierarchy(once(world.provider, "unwrap", meanwhile))
    with pytest.raises(KeyStateError) as caught:
        late.landing_view([(subject, 3, "2026-04") for subject in people])
    assert not isinstance(caught.value, StaleKeyError)
    assert (world.store.counts()["keks"], late.take_events()) == (4, [])


def unguarded(world, new):
    """Storing KEKs as a writer without the guard would."""
    with world.database.writing() as connection:
        connection.execute(tables.keks.insert(), [values_of(row) for row in new])


@pytest.mark.parametrize("guarded", [True, False])
def test_a_writer_with_a_stale_bucket_key_reads_again(world, people, monkeypatch, guarded):
    """A bucket key that is replaced while a batch lands wraps none of its KEKs; without the guard it would."""
    name = (people[1], 3, "2026-04")
    late = world.fresh_hierarchy(once(world.provider, "unwrap", lambda: world.next_bucket((3, 7))))
    if not guarded:
        monkeypatch.setattr(late.store, "add_keks", lambda new: unguarded(world, new))
    row = late.landing_view([name]).wrapping_kek(name)
    if guarded:
        assert row.bucket_version == 2
        assert len(world.open_kek(row, world.fresh_hierarchy())) == 32
        assert world.verify()["keks"] == 5
        assert [event.key_id for event in late.take_events()] == [row.kek_id]
    else:
        assert row.bucket_version == 1
        with pytest.raises(KeyStateError):
            world.open_kek(row, world.fresh_hierarchy())


def test_a_writer_with_a_stale_root_reads_again(world, people):
    """A root that is replaced while a bucket key is made wraps no bucket key that is stored."""
    (third,) = world.store.add_subjects([("c" * 26, 9)])
    late = world.fresh_hierarchy(once(world.provider, "unwrap", lambda: world.next_root(3)))
    name = (third.subject, 3, "2026-03")
    # The version that wrapped the first attempt is destroyed by the time that the provider is to prove it.
    with suppress(KeyStateError):
        late.landing_view([name])
    row = late.landing_view([name]).wrapping_kek(name)
    assert {row.place: row.root_version for row in world.changes.buckets(3)} == {(3, 7): 2, (3, 9): 2}
    assert len(world.open_kek(row, world.fresh_hierarchy())) == 32


def test_keys_that_change_all_the_time_end_in_an_error(world, people):
    """A writer does not go on for ever: it gives up with an error that says so, and has stored nothing."""
    late = world.fresh_hierarchy(Watched(world.provider, lambda _: None))
    late.provider.before = lambda call: world.next_bucket((3, 7)) if call == "unwrap" else None
    with pytest.raises(StaleKeyError):
        late.landing_view([(people[1], 3, "2026-04")])
    assert world.store.counts()["keks"] == 4


def test_landing_while_bucket_keys_rotate(world, people):
    """Writers and rotations at once: every KEK that landed opens, and none is left under a retired version."""
    names = [(subject, 3, f"20{year}-01") for subject in people for year in range(27, 57)]

    def land(name):
        for _ in range(20):
            try:
                return world.fresh_hierarchy().landing_view([name]).wrapping_kek(name).kek_id
            except StaleKeyError:
                continue
        raise AssertionError(f"{name} never landed")

    with ThreadPoolExecutor(4) as threads:
        landing = [threads.submit(land, name) for name in names]
        for _ in range(10):
            world.next_bucket((3, 7))
        landed = {each.result() for each in landing}
    rows = {row.kek_id: row for row in world.keks()}
    assert len(landed) == len(names)
    assert landed <= set(rows)
    assert world.verify()["keks"] == len(names) + 4
    (current,) = [row.version for row in world.changes.buckets(3) if row.state.wraps]
    assert current == 11
    assert {row.bucket_version for row in rows.values() if row.sensitivity == 3} == {current}


def test_a_disabled_employee_gets_keys_again_when_enabled(world, people):
    """Suspension stops old and new partitions of one employee, and nobody else's, until it is lifted."""
    mine, theirs = (people[0], 3, "2026-03"), (people[1], 3, "2026-03")
    before = world.landed_kek(mine)
    assert world.changes.suspend_subjects([people[0]], disabled=True) == 1
    for name in (mine, (people[0], 3, "2026-04")):
        for hierarchy in (world.hierarchy, world.fresh_hierarchy()):
            with pytest.raises(KeyStateError):
                hierarchy.landing_view([name, theirs])
    assert world.store.counts()["keks"] == 4
    world.landed_kek(theirs)
    assert world.changes.suspend_subjects([people[0]], disabled=False) == 1
    assert world.landed_kek(mine) == before


@pytest.mark.parametrize("call", ["wrap", "unwrap"])
def test_a_key_service_that_is_down_stops_landing_cleanly(world, people, call):
    """The provider's own error comes out, nothing is stored or reported, and the next call works."""
    (third,) = world.store.add_subjects([("c" * 26, 9)])
    name = (third.subject, 4, "2026-03")

    def down(seen):
        if seen == call:
            raise ProviderUnavailableError("the key service cannot be reached")

    watched = Watched(world.provider, down)
    hierarchy = world.fresh_hierarchy(watched)
    for _ in range(2):
        with pytest.raises(ProviderUnavailableError):
            hierarchy.landing_view([name])
    assert world.store.counts()["keks"] == 4
    assert {row.bucket for row in world.changes.buckets()} == {7}
    assert hierarchy.take_events() == []
    watched.before = lambda _: None
    row = hierarchy.landing_view([name]).wrapping_kek(name)
    assert len(world.open_kek(row)) == 32
    assert [event.kind for event in hierarchy.take_events()] == ["bucket", "kek"]


def test_a_key_service_that_is_down_stops_nobody_who_is_warm(world, people):
    """Bucket keys that are held serve old and new KEKs without the provider, and nothing else does."""
    rows = world.keks()
    view = world.store.view_of_keks(people, [(row.kek_id, 1) for row in rows])
    hierarchy = world.fresh_hierarchy(Watched(world.provider))
    opened = hierarchy.open_keks(view, rows)

    def down(_):
        raise ProviderUnavailableError("the key service cannot be reached")

    hierarchy.provider.before = down
    assert hierarchy.open_keks(view, rows) == opened
    hierarchy.landing_view([(people[1], level, "2026-04") for level in (1, 2, 3, 4)])
    assert world.store.counts()["keks"] == 8
    hierarchy.forget()
    with pytest.raises(ProviderUnavailableError):
        hierarchy.open_keks(view, rows)
    hierarchy.provider.before = lambda _: None
    assert hierarchy.open_keks(view, rows) == opened


def test_calls_to_the_provider_grow_with_levels_only(world, people):
    """Cold, one batch opens all bucket keys of a level, however many employees; warm, nothing is asked."""
    refs = world.store.add_subjects([(f"s{number:025d}", number) for number in range(40)])
    names = [(ref.subject, level, month) for ref in refs for level in (2, 3) for month in ("2026-03", "2026-04")]
    calls = Counter()
    counted = Watched(world.provider, lambda call: calls.update([call]))
    making = world.fresh_hierarchy(counted)
    view = making.landing_view(names)
    # For each level: one batch wrapped, one opened as proof, one opened as it was stored.
    assert calls == {"wrap": 2, "unwrap": 4}
    assert len(view.keks) == 160
    calls.clear()
    making.open_keks(view, list(view.keks.values()))
    making.landing_view([(ref.subject, 2, "2026-05") for ref in refs])
    assert calls == {}
    cold = world.fresh_hierarchy(counted)
    cold.open_keks(view, list(view.keks.values()))
    assert calls == {"unwrap": 2}
    cold.open_keks(view, list(view.keks.values()))
    assert calls == {"unwrap": 2}
    world.changes.suspend_subjects(people, disabled=True)  # moves the epoch
    view = world.store.view_of_partitions(names)
    cold.open_keks(view, list(view.keks.values()))
    assert calls == {"unwrap": 4}


def test_a_state_counts_whatever_is_held(world, people):
    """A hierarchy that holds a bucket key open refuses it as soon as the key store says so."""
    (row,) = [row for row in world.keks() if row.sensitivity == 3]
    world.open_kek(row)
    assert world.changes.suspend_root("root-dss3", disabled=True) == 1
    with pytest.raises(KeyStateError):
        world.open_kek(row)
    assert world.changes.suspend_root("root-dss3", disabled=False) == 1
    world.open_kek(row)
    with world.database.writing() as connection:
        connection.execute(sa.update(tables.bucket_keys).values(state=KeyState.DISABLED.value))
    with pytest.raises(KeyStateError):
        world.open_kek(row)


def test_a_root_version_that_nobody_has_told_of_is_taken_up(world, people):
    """Between the provider's new version and the key store's word of it, or after a crash there, landing goes on."""
    (ref,) = world.store.add_subjects([("c" * 26, 9)])
    assert world.provider.new_version("root-dss3", 1) == 2
    view = world.hierarchy.landing_view([(ref.subject, 3, "2026-03")])
    assert view.roots["root-dss3", 1] is KeyState.DECRYPT_ONLY
    assert view.roots["root-dss3", 2] is KeyState.ENABLED
    assert [row.root_version for row in view.buckets.values()] == [2]
    assert world.hierarchy.open_keks(view, view.keks.values())


def test_a_root_that_is_disabled_is_not_taken_up(world, people):
    """An operator's suspension holds although the provider has a newer version."""
    (ref,) = world.store.add_subjects([("c" * 26, 9)])
    world.changes.suspend_root("root-dss3", disabled=True)
    world.provider.new_version("root-dss3", 1)
    with pytest.raises(KeyStateError):
        world.hierarchy.landing_view([(ref.subject, 3, "2026-03")])
    assert [row.state for row in world.changes.roots() if row.name == "root-dss3"] == [KeyState.DISABLED]
