"""Rekey: the same rows under fresh keys, recorded first, each once whatever is killed where."""

from __future__ import annotations

import signal
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest

from jobs.clear import rekey, rekey_files
from jobs.clear.reencrypt import ref
from jobs.clear.rekey_files import Rewriting
from jobs.sealed import sweep
from keys.errors import EmployeeErasedError, KeyIntegrityError, KeyOperationError, KeysError
from keys.operations import rotate_keks
from keys.receipts import REKEY_INTENT
from lake.api import Lake
from lake.errors import IntegrityError
from lake.gateway.doctor import DAMAGE, Doctor
from lake.gateway.kek_rotation import dek_request
from lake.gateway.keykeeping import KeyKeeping
from lake.gateway.keyplans import KeyScope
from lake.gateway.reconcile import reconcile, released_to
from lake.gateway.reports import Interval
from lake.rules.model import DataFile
from lake.sealed.audit import entries
from lake.sealed.catalog.upkeep import FileScope, Rewrap
from tests import world as w
from tests.world import ADA, BEN, World, child, finished, landed, same_rows

EXPECTED = landed(w.known_rows())
FILES = 32

REKEY = """
from jobs.clear import rekey
from lake.sealed.catalog.upkeep import FileScope

rekey.PAGE_FILES = 6
with world.open() as lake:
    sys.addaudithook(hook)
    rekey.Rekey(lake.home, lake.actor).run(FileScope())
"""


def files(lake: Lake, scope: FileScope | None = None) -> dict[str, DataFile]:
    """Live files by id."""
    return {file.file_id: file for page in lake.home.upkeep.pages(scope or FileScope(), 7) for file, _ in page}


def numbers(lake: Lake, *employees: str) -> frozenset[int]:
    """Dense numbers of employees."""
    return frozenset(subject.number for subject in lake.home.directory.find(employees).values())


def whole(world: World) -> None:
    """Every row is there once, every wrap, digest and commit holds, and both books agree."""
    assert same_rows(world.rows(), EXPECTED)
    with world.open() as lake:
        assert not [found for found in Doctor(lake.home).examine_lake() if found.state == DAMAGE]
        assert reconcile(lake.home, lake.actor).differences == []


def test_every_file_is_another_one_and_every_row_the_same(world: World) -> None:
    """Ids, objects, DEKs and wraps are new; rows, partitions and batches are not."""
    with world.open() as lake:
        old = files(lake)
        deks = lake.home.broker.open_deks([dek_request(file) for file in old.values()])
        seen: list[int] = []
        operation = rekey.Rekey(lake.home, lake.actor, seen.append).run(FileScope())
        new = files(lake)
        fresh = lake.home.broker.open_deks([dek_request(file) for file in new.values()])
    assert (operation.done, operation.detail["files"], operation.detail["rows"], sum(seen)) == (True, FILES, 144, FILES)
    assert not old.keys() & new.keys()
    assert len(set(deks) | set(fresh)) == 2 * FILES
    kept = ("partition", "rows", "first_ts", "last_ts", "schema_version", "kek_id", "kek_version")

    def facts(some: dict[str, DataFile]) -> list[str]:
        return sorted(repr([getattr(file, name) for name in kept]) for file in some.values())

    assert facts(old) == facts(new)
    assert len({file.object_key for file in (*old.values(), *new.values())}) == 2 * FILES
    whole(world)


def test_keys_are_released_for_recorded_pages_only(world: World) -> None:
    """Each page has its INTENT with the partitions and its OUTCOME; the book holds the same keys."""
    with world.open() as lake:
        rekey.Rekey(lake.home, lake.actor).run(FileScope(sensitivities=frozenset({4})))
        book = lake.home.key_store.releases()
    intents = world.entries(REKEY_INTENT)
    outcomes = {entry["ref"]: entry for entry in world.entries(entries.REKEY_OUTCOME)}
    assert outcomes.keys() == {entry["index"] for entry in intents}
    for entry in intents:
        assert {level for of in entry["scope"]["partitions"].values() for level in of} == {"4"}
        assert book[entry["index"]] == (entry["actor"]["p"], {4: entry["scope"]["files"]})
        assert outcomes[entry["index"]]["files"] == entry["scope"]["files"]
    assert sum(entry["scope"]["files"] for entry in intents) == 8


@pytest.mark.parametrize("which", ["employee", "level", "month", "all of them"])
def test_a_scope_leaves_the_rest_alone(world: World, which: str) -> None:
    """What is not named keeps its object, its key and its wrap; the plan says the same and changes nothing."""
    with world.open() as lake:
        scope = {
            "employee": FileScope(numbers=numbers(lake, ADA)),
            "level": FileScope(sensitivities=frozenset({1, 4})),
            "month": FileScope(months=frozenset({"2026-07"})),
            "all of them": FileScope(numbers(lake, ADA, BEN), frozenset({3}), frozenset({"2026-08"})),
        }[which]
        before, meant = files(lake), files(lake, scope)
        planned = rekey.plan(lake.home, scope)
        assert (planned.files, planned.bytes) == (len(meant), sum(file.length for file in meant.values()))
        assert files(lake) == before
        rekey.Rekey(lake.home, lake.actor).run(scope)
        after = files(lake)
    assert 0 < len(meant) < FILES
    assert before.keys() - after.keys() == meant.keys()
    assert {name: after[name] for name in before.keys() & after.keys()} == {
        name: file for name, file in before.items() if name not in meant
    }
    whole(world)


def test_what_was_released_to_somebody(world: World) -> None:
    """Only partitions whose keys a user was given; a user who was given none is an error."""
    with world.open() as lake:
        lake.apply_policy(w.POLICY.replace("users:\n", f"users:\n  only-ben: {{roles: [own], employee: {BEN}}}\n"))
    world.rows("SELECT * FROM events WHERE sensitivity = 4", "olga", "own_data")
    world.rows("SELECT count(*) FROM events")
    with world.open() as lake:
        partitions, up_to = released_to(lake.home, "olga", Interval())
        scope = FileScope(partitions=partitions, up_to=up_to)
        meant = files(lake, scope)
        ben = lake.home.directory.find([BEN])[BEN].id
        assert {file.partition.subject for file in meant.values()} == {ben}
        assert {file.partition.sensitivity for file in meant.values()} == {4}
        assert rekey.scope_of(rekey.document(scope)) == scope
        rekey.Rekey(lake.home, lake.actor).run(scope)
        assert not files(lake).keys() & meant.keys()
        for user, within in (("only-ben", Interval()), ("olga", Interval(last=w.NOW - timedelta(days=1)))):
            with pytest.raises(Exception, match="no key was released"):
                released_to(lake.home, user, within)
    whole(world)


def test_an_old_wrap_and_an_old_key_are_good_for_nothing_new(world: World) -> None:
    """Who kept a DEK and its object has what they had; it opens no new file, and the catalog has lost its wrap."""
    with world.open() as lake:
        old = files(lake)
        rekey.Rekey(lake.home, lake.actor).run(FileScope())
        for file in files(lake).values():
            former = next(each for each in old.values() if each.partition == file.partition)
            stolen = dek_request(replace(file, wrapped_dek=former.wrapped_dek))
            with pytest.raises(KeyIntegrityError):
                lake.home.broker.check_wrap(stolen)
        with lake.home.catalog.database.reading() as connection:
            left = connection.exec_driver_sql(
                "SELECT count(*), count(wrapped_dek) FROM files WHERE removed_seq IS NOT NULL"
            ).one()
    assert tuple(left) == (FILES, 0)


def test_replaced_objects_stay_for_queries_under_way(world: World) -> None:
    """A query that was planned before reads to its end; the sweep takes the objects after its grace."""
    with world.connect() as connection:
        stream = connection.sql("SELECT * FROM events")
        with world.open() as lake:
            rekey.Rekey(lake.home, lake.actor).run(FileScope())
        assert same_rows(stream.arrow().to_pylist(), EXPECTED)
    with world.open() as lake:
        assert (sweep.plan(lake.home).orphans, sweep.plan(lake.home).waiting) == ((), FILES)
        later = sweep.plan(lake.home, timedelta(0))
        assert sweep.execute(lake.home, later, lake.actor) == FILES
        assert sorted(file.object_key for file in files(lake).values()) == [
            path.relative_to(world.root).as_posix() for path in world.objects()
        ]
    whole(world)


STEPS = [
    ("rekey.begun", 1),
    *((f"rekey.{step}", turn) for step in ("intended", "keys-released", "objects-durable") for turn in (1, 3)),
    *((f"rekey.{step}", turn) for step in ("replaced", "recorded") for turn in (1, 4, 6)),
    *(("rekey.object-written", turn) for turn in (1, 5, 17, 32)),
]


FEW = {1, 3, 6, 32}
"""Each step dies the first time and once more by default."""


@pytest.mark.parametrize(
    ("step", "turn"),
    [pytest.param(*each, marks=() if each[1] in FEW else pytest.mark.soak) for each in STEPS],
)
def test_killed_anywhere_every_row_is_there_once(world: World, step: str, turn: int) -> None:
    """Whole after the kill and after the same command again, which writes no file twice; rests are orphans."""
    assert finished(child(world, REKEY, step, turn))[0] == -signal.SIGKILL
    whole(world)
    with world.open() as lake:
        first = lake.home.catalog.counts()["commits"]
        job = rekey.Rekey(lake.home, lake.actor)
        unfinished = job.unfinished()
        assert unfinished is not None
        assert unfinished[0] == FileScope()
        operation = job.run(unfinished[0])
        assert operation.done
        assert job.unfinished() is None
        assert lake.home.catalog.counts()["commits"] >= first
        removed = lake.home.catalog.object_keys() - {file.object_key for file in files(lake).values()}
        assert len(removed) == FILES, "each file was replaced once"
        sweep.execute(lake.home, sweep.plan(lake.home, timedelta(0)), lake.actor)
    assert len(world.objects()) == FILES
    whole(world)


def test_one_at_a_time_and_beside_other_operations(world: World) -> None:
    """An unfinished rekey must be finished before one of another scope; rotation and disabling need not wait."""
    assert finished(child(world, REKEY, "rekey.replaced", 2))[0] == -signal.SIGKILL
    with world.open() as lake:
        job = rekey.Rekey(lake.home, lake.actor)
        with pytest.raises(KeyOperationError, match="not finished"):
            job.run(FileScope(sensitivities=frozenset({1})))
        keeping = KeyKeeping(lake.home, lake.actor)
        assert keeping.keeper.journal.unfinished() is None
        keeping.rotate_keks(KeyScope(sensitivities=frozenset({4})))
        keeping.change_state(KeyScope(sensitivities=frozenset({3})), disabled=True, whole_level=True)
        with pytest.raises(KeysError):
            job.run(FileScope())
        keeping.change_state(KeyScope(sensitivities=frozenset({3})), disabled=False, whole_level=True)
        assert job.run(FileScope()).done
    whole(world)


class Between:
    """Does something once, when a step is passed."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, act: Callable[[], object]) -> None:
        self.acted = 0
        real = rekey_files.release

        def released(*arguments: object) -> list[bytes]:
            deks = real(*arguments)  # type: ignore[arg-type]
            if not self.acted:
                self.acted = 1
                act()
            return deks

        monkeypatch.setattr(rekey_files, "release", released)


def test_keys_that_are_rotated_meanwhile_are_read_again(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """KEKs get new versions after the old DEKs were released: what is committed names the new ones."""
    later = w.NOW + timedelta(seconds=1)
    with world.open() as lake, world.open(clock=lambda: later) as other:
        between = Between(monkeypatch, lambda: KeyKeeping(other.home, other.actor).rotate_keks(KeyScope()))
        assert rekey.Rekey(lake.home, lake.actor).run(FileScope()).detail["files"] == FILES
        assert between.acted
        assert {file.kek_version for file in files(lake).values()} == {2}
    whole(world)


def test_who_is_shredded_meanwhile_is_left_out(
    world: World, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """An employee goes between release and commit: no file of theirs comes back, others are all there."""
    place = tmp_path_factory.mktemp("backups")
    with world.open() as lake, world.open() as other:
        between = Between(monkeypatch, lambda: KeyKeeping(other.home, other.actor).shred([ADA], place))
        gone = lake.home.directory.find([ADA])[ADA]
        rekey.Rekey(lake.home, lake.actor).run(FileScope())
        assert between.acted
        assert gone.id not in {file.partition.subject for file in files(lake).values()}
        with pytest.raises(EmployeeErasedError):
            lake.home.broker.landing_keys([ref(replace_subject(files(lake), gone.id))])
    assert same_rows(world.rows(), [one for one in EXPECTED if one["employee"] != ADA])


def replace_subject(some: dict[str, DataFile], subject: str) -> DataFile:
    """Any file, as if it were this employee's."""
    file = next(iter(some.values()))
    return replace(file, partition=replace(file.partition, subject=subject))


def test_a_file_that_is_replaced_meanwhile_is_not_replaced_twice(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of two that replace a file one wins, and the other drops what it wrote."""
    with world.open() as lake, world.open() as other:
        bens = FileScope(numbers(lake, BEN))
        aside = Rewriting(other.home, other.actor, "0" * 32, None)
        between = Between(monkeypatch, lambda: aside.replace(theirs, list))
        theirs = other.home.upkeep.page(bens, "", FILES)
        operation = rekey.Rekey(lake.home, lake.actor).run(FileScope())
        assert between.acted
        assert operation.detail["files"] == FILES - len(theirs)
        assert len(files(lake)) == FILES
    assert len(world.objects()) == 2 * FILES
    whole(world)


def test_an_employee_whose_files_are_left_out_meanwhile(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files that go between release and commit do not come back as new ones."""
    with world.open() as lake, world.open() as other:
        bens = FileScope(numbers(lake, BEN))
        gone = len(files(lake, bens))
        Between(monkeypatch, lambda: other.home.advance(other.home.upkeep.erase(numbers(other, BEN))))
        operation = rekey.Rekey(lake.home, lake.actor).run(FileScope())
        assert operation.detail["files"] == len(files(lake)) == FILES - gone
    assert len(world.objects()) == 2 * FILES - gone
    assert same_rows(world.rows(), [one for one in EXPECTED if one["employee"] != BEN])


def test_a_damaged_file_is_not_taken_over(world: World) -> None:
    """A flipped bit ends the run with the file's id; files before it stay replaced, nothing half-written is left."""
    with world.open() as lake:
        victim = sorted(files(lake).values(), key=lambda file: file.file_id)[20]
        path = world.root / victim.object_key
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
        before = world.objects()
        with pytest.raises(IntegrityError, match=victim.file_id):
            rekey.Rekey(lake.home, lake.actor).run(FileScope())
        assert world.objects() == before
        assert victim.file_id in files(lake)


def test_compromised_keks_open_for_rekey_only(world: World) -> None:
    """A KEK that somebody may have: no query opens it, rekey does, and only with an INTENT of its own kind."""
    with world.open() as lake:
        keeping = KeyKeeping(lake.home, lake.actor)
        scope, _ = keeping.kek_scope(KeyScope())
        # As after a kill in the middle of `rotate kek --compromised`: new versions, and the files still under the old.
        rotate_keks.next_page(keeping.keeper, scope, lake.home.hierarchy.now() + 1, "", compromised=True)
    with pytest.raises(KeysError):
        world.rows()
    with world.open() as lake:
        assert rekey.Rekey(lake.home, lake.actor).run(FileScope()).detail["files"] == FILES
        assert {file.kek_version for file in files(lake).values()} == {2}
    whole(world)


def test_a_wrap_is_replaced_only_if_it_is_what_was_read(world: World) -> None:
    """Two sweeps at once: the later compare-and-swap changes nothing."""
    with world.open() as lake:
        file = next(iter(files(lake).values()))
        change = Rewrap(file.file_id, file.wrapped_dek, file.kek_id, 7, b"new wrap")
        assert (lake.home.upkeep.rewrap([change]), lake.home.upkeep.rewrap([change])) == (1, 0)
