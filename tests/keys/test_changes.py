"""Changes of many keys: by compare-and-swap, wholly or not at all, and never past what is still needed."""

from __future__ import annotations

from dataclasses import replace

import pytest
import sqlalchemy as sa

from keys import envelope, tables
from keys.errors import EmployeeErasedError, KeyIntegrityError, KeyOperationError, KeyStateError
from keys.names import kek_context
from keys.refs import TRANSITIONS, KeyState
from keys.rows import KekScope, RootRow

PLACE = (3, 7)


@pytest.fixture(name="kind", params=["sqlite", "postgresql"])
def _kind(request):
    """On each database in turn."""
    return request.param


@pytest.fixture
def people(world):
    """Two employees of one bucket with a KEK each of levels 3 and 4."""
    refs = world.store.add_subjects([("a" * 26, 7), ("b" * 26, 7)])
    world.hierarchy.landing_view([(ref.subject, level, "2026-03") for ref in refs for level in (3, 4)])
    return [ref.subject for ref in refs]


def contents(world):
    """Every row of every table, counters apart: they may move although nothing else does."""
    kept = [table for table in tables.metadata.sorted_tables if table is not tables.counters]
    with world.database.reading() as connection:
        return {table.name: sorted(map(repr, connection.execute(sa.select(table)))) for table in kept}


def edit(world, statement):
    """Change the key store behind the lake's back."""
    with world.database.writing() as connection:
        connection.execute(statement)


def keks_of_level(world, level=3):
    """The KEKs of a level in order of employee."""
    return sorted((row for row in world.keks() if row.sensitivity == level), key=lambda row: row.subject)


def next_version(world, place=PLACE, version=2):
    """The next version of a bucket key, not yet stored."""
    return world.hierarchy.new_bucket_keys(f"root-dss{place[0]}", 1, [(*place, version)])[0]


def next_kek(world, row):
    """The next version of a KEK, not yet stored."""
    view = world.store.view_of_keks([row.subject], [(row.kek_id, row.version)])
    fresh = replace(row, version=row.version + 1)
    parent = world.hierarchy.open_buckets(view, view.buckets.values())[row.sensitivity, row.bucket, row.bucket_version]
    return replace(fresh, wrapped=envelope.seal(parent, envelope.new_key(), kek_context(world.hierarchy.lake, fresh)))


def test_a_kek_is_swapped_only_if_it_is_as_it_was_read(world, people):
    """A row with another wrap, parent, version or id than the one that was read changes nothing."""
    first, second = keks_of_level(world)
    before = contents(world)
    stale = [
        replace(first, wrapped=second.wrapped),
        replace(first, bucket_version=2),
        replace(first, version=2),
        replace(first, kek_id="f" * 32),
    ]
    assert world.changes.rewrap_keks([(row, 2, b"new") for row in stale]) == 0
    assert contents(world) == before
    assert world.changes.rewrap_keks([(stale[0], 2, b"lost"), (second, 2, b"new")]) == 1
    assert keks_of_level(world) == [first, replace(second, bucket_version=2, wrapped=b"new")]
    assert world.changes.rewrap_keks([(second, 2, b"again")]) == 0
    assert world.changes.rewrap_keks([]) == 0


def test_a_bucket_key_is_swapped_only_if_it_is_as_it_was_read(world, people):
    """A bucket key with another wrap than the one that was read stays."""
    third, fourth = world.changes.buckets()
    before = contents(world)
    stale = [replace(third, wrapped=fourth.wrapped), replace(third, version=2), replace(third, bucket=8)]
    assert world.changes.rewrap_buckets([(row, 2, b"new") for row in stale]) == 0
    assert contents(world) == before
    assert world.changes.rewrap_buckets([(third, 2, b"new"), (stale[0], 2, b"lost")]) == 1
    assert world.changes.buckets() == [replace(third, root_version=2, wrapped=b"new"), fourth]
    assert world.changes.buckets(4) == [fourth]


def test_a_control_secret_is_swapped_only_if_it_is_as_it_was_read(world):
    """A secret with another wrap than the one that was read stays."""
    before = world.store.control_secrets()
    blob = before["catalog"][1]
    assert world.changes.rewrap_secrets([("catalog", b"other", 2, b"new"), ("policy", blob, 2, b"new")]) == 0
    assert world.store.control_secrets() == before
    assert world.changes.rewrap_secrets([("catalog", blob, 2, b"new")]) == 1
    assert world.store.control_secrets() == before | {"catalog": (2, b"new")}


def test_a_root_is_adopted_once(world):
    """The new version wraps and the former one unwraps; the same again changes nothing, not even the epoch."""
    others = [row for row in world.changes.roots() if row.name != "root-dss3"]
    epoch = world.store.epoch()
    world.store.adopt_root("root-dss3", 2, 5)
    after = contents(world)
    world.store.adopt_root("root-dss3", 2, 6)
    assert contents(world) == after
    assert world.store.epoch() == epoch + 1
    own = [(row.version, row.state) for row in world.changes.roots() if row.name == "root-dss3"]
    assert own == [(1, KeyState.DECRYPT_ONLY), (2, KeyState.ENABLED)]
    assert [row for row in world.changes.roots() if row.name != "root-dss3"] == others


def test_a_bucket_key_is_adopted_once(world, people):
    """The second process that makes the same version gets the one that is stored, and its own is thrown away."""
    first, second = next_version(world), next_version(world)
    assert first.wrapped != second.wrapped
    assert world.changes.adopt_buckets([first]) == [first]
    after = contents(world)
    assert world.changes.adopt_buckets([second]) == [first]
    assert contents(world) == after
    own = [(row.version, row.state) for row in world.changes.buckets(3)]
    assert own == [(1, KeyState.DECRYPT_ONLY), (2, KeyState.ENABLED)]
    assert [row.state for row in world.changes.buckets(4)] == [KeyState.ENABLED]


def test_no_bucket_key_is_retired_while_a_living_kek_is_under_it(world, people):
    """One living KEK, or one bucket key of several that is still needed, and nothing is changed."""
    before, epoch = contents(world), world.store.epoch()
    assert world.changes.retire_buckets([(*PLACE, 1)]) is False
    assert (contents(world), world.store.epoch()) == (before, epoch)
    world.changes.adopt_buckets([next_version(world), next_version(world, (4, 7))])
    world.changes.rewrap_keks([(row, 2, b"new") for row in keks_of_level(world, 4)])
    before = contents(world)
    assert world.changes.retire_buckets([(4, 7, 1), (*PLACE, 1)]) is False
    assert contents(world) == before
    world.changes.rewrap_keks([(row, 2, b"new") for row in keks_of_level(world)[:1]])
    assert world.changes.retire_buckets([(*PLACE, 1)]) is False
    assert world.changes.retire_buckets([(4, 7, 1)]) is True
    assert world.store.epoch() == epoch + 2
    destroyed = [row for row in world.changes.buckets() if row.state is KeyState.DESTROYED]
    assert [(row.place, row.version, row.wrapped) for row in destroyed] == [((4, 7), 1, b"")]


def test_retiring_takes_the_keks_of_the_erased_along(world, people):
    """With the bucket key go the KEKs that were left under it; retiring again changes nothing."""
    erased, living = people
    assert world.changes.tombstone([erased]) == world.store.epoch()
    world.next_bucket(PLACE)
    mine, theirs = keks_of_level(world)
    assert (mine.subject, mine.state, mine.wrapped, mine.bucket_version) == (erased, KeyState.DESTROYED, b"", 1)
    assert (theirs.subject, theirs.state, theirs.bucket_version) == (living, KeyState.ENABLED, 2)
    assert len(world.open_kek(theirs)) == 32
    after = contents(world)
    assert world.changes.retire_buckets([(*PLACE, 1)]) is True
    assert contents(world) == after
    # The level that was not rotated is as it was, and the erased employee's KEK there still has its wrap.
    assert all(row.wrapped for row in keks_of_level(world, 4))


def test_roots_are_retired_below_a_version(world):
    """Lower versions of one root change; the current one and other roots do not."""
    world.store.adopt_root("root-dss3", 2, 0)
    world.changes.retire_roots("root-dss3", 2, KeyState.PENDING_DESTRUCTION)
    world.changes.retire_roots("root-dss3", 2, KeyState.DESTROYED)
    states = {(row.name, row.version): row.state for row in world.changes.roots()}
    assert states.pop(("root-dss3", 1)) is KeyState.DESTROYED
    assert set(states.values()) == {KeyState.ENABLED}


def test_a_tombstone_stays(world, people):
    """An erased employee has no keys to the broker, is not enabled again, and keeps the number that the log knows."""
    erased, living = people
    epoch = world.store.epoch()
    numbers = world.store.numbers(people)
    for turn in (1, 2):
        assert world.changes.tombstone([erased]) == epoch + turn == world.store.epoch()
    assert world.changes.tombstone(["z" * 26]) == epoch + 3
    assert set(world.store.subjects(people)) == {living}
    assert world.store.numbers(people) == numbers
    assert world.changes.suspend_subjects(people, disabled=True) == 1
    assert world.changes.suspend_subjects(people, disabled=False) == 1
    with pytest.raises(EmployeeErasedError):
        world.landed_kek((erased, 3, "2026-03"))
    assert {row.subject for row in world.changes.keks_under([(*PLACE, 1)])} == {living}


@pytest.mark.parametrize("after", list(KeyState))
@pytest.mark.parametrize("before", list(KeyState))
def test_a_kek_changes_state_along_the_transitions_only(world, people, before, after):
    """Every step of the table works, every other one is refused and changes nothing, and destroyed keeps no wrap."""
    first, second = keks_of_level(world)
    edit(world, tables.keks.update().where(tables.keks.c.kek_id == first.kek_id).values(state=before.value))
    name = (first.kek_id, 1)
    stored = contents(world)
    if after in TRANSITIONS[before]:
        assert world.changes.change_keks([name], [before], after) == 1
        blob = b"" if after is KeyState.DESTROYED else first.wrapped
        assert keks_of_level(world) == [replace(first, state=after, wrapped=blob), second]
        assert world.changes.change_keks([name], [before], after) == 0
    else:
        with pytest.raises(KeyIntegrityError):
            world.changes.change_keks([name], [before], after)
        assert contents(world) == stored


def test_a_kek_in_another_state_is_left_alone(world, people):
    """Only KEKs in the states that were named change, and a scope finds those of its employees and months."""
    first, second = keks_of_level(world)
    names = [(first.kek_id, 1), (second.kek_id, 1)]
    world.changes.change_keks(names[:1], [KeyState.ENABLED], KeyState.DISABLED)
    assert world.changes.change_keks(names, [KeyState.ENABLED], KeyState.DECRYPT_ONLY) == 1
    assert [row.state for row in keks_of_level(world)] == [KeyState.DISABLED, KeyState.DECRYPT_ONLY]
    scope = KekScope(subjects=frozenset(people[:1]))
    assert world.changes.names_of(scope, KeyState.DISABLED) == names[:1]
    assert world.changes.names_of(replace(scope, months=frozenset({"2026-04"})), KeyState.DISABLED) == []
    assert world.changes.count_scope(KekScope(sensitivities=frozenset({4}))) == 2


def test_a_kek_version_follows_the_newest_only(world, people):
    """The next version wraps under a bucket key that wraps; one that skips, repeats or comes late stores nothing."""
    first, second = keks_of_level(world)
    epoch = world.store.epoch()
    following = [next_kek(world, row) for row in (first, second)]
    assert world.changes.add_kek_versions(following[:1], KeyState.COMPROMISED) == epoch + 1 == world.store.epoch()
    assert world.landed_kek(first.name) == following[0]
    states = {(row.subject, row.version): row.state for row in keks_of_level(world)}
    assert states[first.subject, 1] is KeyState.COMPROMISED
    before = contents(world)
    for late in (following, [following[1], replace(first, version=4)], [replace(following[1], kek_id="f" * 32)]):
        with pytest.raises(KeyOperationError):
            world.changes.add_kek_versions(late)
        assert contents(world) == before
    world.next_bucket(PLACE)
    before = contents(world)
    with pytest.raises(KeyOperationError):
        world.changes.add_kek_versions([following[1]])
    assert contents(world) == before
    assert world.changes.superseded_keks() == [(first.kek_id, 1)]


def test_a_level_is_suspended_and_resumed(world, people):
    """Every version that opens is disabled; lifted, the newest wraps again, and a destroyed one stays destroyed."""
    world.next_root(3)
    world.store.adopt_root("root-dss3", 3, 0)
    other = [row for row in world.changes.roots() if row.name == "root-dss4"]
    assert world.changes.suspend_root("root-dss3", disabled=True) == 2
    assert world.changes.suspend_root("root-dss3", disabled=True) == 0
    with pytest.raises(KeyStateError):
        world.open_kek(keks_of_level(world)[0])
    assert world.changes.suspend_root("root-dss3", disabled=False) == 2
    assert world.changes.suspend_root("root-dss3", disabled=False) == 0
    own = [row.state for row in world.changes.roots() if row.name == "root-dss3"]
    assert own == [KeyState.DESTROYED, KeyState.DECRYPT_ONLY, KeyState.ENABLED]
    assert [row for row in world.changes.roots() if row.name == "root-dss4"] == other
    assert len(world.open_kek(keks_of_level(world)[0])) == 32


def switched(world):
    """Everything that a switch of the provider is given."""
    roots = [RootRow(row.name, 9, KeyState.ENABLED, 1) for row in world.changes.roots()]
    living = [row for row in world.changes.buckets() if row.state is not KeyState.DESTROYED]
    buckets = [(row, 9, b"new %d" % row.sensitivity) for row in living]
    secrets = [(name, blob, 9, b"new") for name, (_, blob) in sorted(world.store.control_secrets().items())]
    return roots, buckets, secrets


def test_a_provider_is_switched_as_a_whole(world, people):
    """Roots, bucket keys, control secrets and the provider's kind change together; KEKs stay as they are."""
    keks, epoch = world.keks(), world.store.epoch()
    roots, buckets, secrets = switched(world)
    world.changes.switch_provider("elsewhere", epoch, roots, buckets, secrets)
    assert world.store.provider() == "elsewhere"
    assert world.changes.roots() == sorted(roots, key=lambda row: row.name)
    assert {(row.root_version, row.wrapped) for row in world.changes.buckets()} == {(9, b"new 3"), (9, b"new 4")}
    assert set(world.store.control_secrets().values()) == {(9, b"new")}
    assert world.keks() == keks
    assert world.store.epoch() == epoch + 1


@pytest.mark.parametrize("meanwhile", ["rotated", "erased", "made", "forgotten"])
def test_a_provider_is_not_switched_when_keys_have_changed(world, people, meanwhile):
    """A moved epoch, or a bucket key that was not brought along, and nothing is switched."""
    epoch = world.store.epoch()
    roots, buckets, secrets = switched(world)
    if meanwhile == "rotated":
        world.next_bucket(PLACE)
    elif meanwhile == "erased":
        world.changes.tombstone(people[:1])
    elif meanwhile == "made":
        world.hierarchy.landing_view([(people[0], 1, "2026-03")])
    else:
        buckets = buckets[:-1]
    before = contents(world)
    with pytest.raises(KeyOperationError):
        world.changes.switch_provider("elsewhere", epoch, roots, buckets, secrets)
    assert contents(world) == before
    assert world.store.provider() == "local"
