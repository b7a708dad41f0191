"""A lake that was lost and made again of a unit answers every question as before, and says what it cannot know."""

# ruff: noqa: DTZ001 - capture times are naive UTC
from __future__ import annotations

import shutil
from datetime import datetime
from pathlib import Path

import pytest

from keys.errors import KeyIntegrityError, KeyOperationError, SecretFileError
from keys.operations.unit import UnitFolder
from lake.errors import IntegrityError, StaleKeysError, UsageError
from lake.gateway.backup import Backups, list_units
from lake.gateway.reconcile import reconcile
from lake.rules import layout
from lake.sealed.catalog.fence import GENERATION, read_fence
from tests import world as w
from tests.gateway.keylakes import answers, later, rows_of, sound
from tests.gateway.units import back_up, checked, contents, keep_roots, lose, manifest, restored, units
from tests.world import ADA, World, landed, row, same_rows

EXPECTED = landed(w.known_rows())
CATALOG_TABLES = ("contracts", "policies", "directory", "actors", "batches", "files", "removals", "elevations")


def late_batch(world: World, text: str = "late") -> None:
    """A batch after the backup: of somebody known and of somebody new."""
    with world.open(clock=later) as lake:
        sent = [row(who, datetime(2026, 9, 2), "judge", note=text, n=1) for who in (ADA, "EMP-NEW")]
        lake.ingest("events", w.table(sent), batch_id=text)


def test_every_query_answers_as_before_the_loss(world: World) -> None:
    """Catalog, key store and audit log are gone; several principals ask again, and the lake goes on from there."""
    before = answers(world)
    taken = back_up(world)
    safe = keep_roots(world)
    rows = rows_of(world.root / layout.CATALOG)
    new = lose(world)
    report = restored(new)
    assert (report["unit"], report["missing"], report["orphans"]) == (taken.unit.id, 0, 0)
    assert (report["keks"], report["closed_keks"], report["objects"]) == (32, 0, 32)
    there = rows_of(new.root / layout.CATALOG)
    added = {name: set(there[name]) - set(rows[name]) for name in CATALOG_TABLES}
    assert {name for name in CATALOG_TABLES if added[name] or set(rows[name]) - set(there[name])} == {"actors"}
    assert len(added["actors"]) == 1  # who restored it
    assert answers(new) == before
    assert sound(new)
    assert not list(new.root.glob(".*"))
    assert sorted(path.name for path in new.root.parent.iterdir()) == ["lake.key", "new", "safe", "units"]
    assert safe.is_dir()
    late_batch(new)
    assert len(new.rows()) == len(EXPECTED) + 2


def test_the_restored_log_goes_on_from_the_units_head(world: World) -> None:
    """The same entries up to the head that was signed; the next one is the restoration, and the books agree."""
    answers(world)
    taken = back_up(world)
    keep_roots(world)
    before = world.entries()
    late_batch(world)
    new = lose(world)
    report = restored(new)
    size = taken.unit.audit_size
    after = new.entries()
    assert after[:size] == before[:size]
    entry = next(found for found in after[size:] if found["type"] == "lake.restore")
    assert (entry["unit"], entry["size"], entry["missing"]) == (taken.unit.id, size, 0)
    assert entry["orphans"] == report["orphans"] == 2
    with new.open() as lake:
        found = reconcile(lake.home, lake.actor)
        assert (found.differences, found.releases) == ([], 7)


def test_what_landed_after_the_unit_is_an_orphan_and_comes_back_by_sending_it_again(world: World) -> None:
    """Its keys' wraps were in the lost catalog only: the objects are counted and named, and the batch lands anew."""
    back_up(world)
    keep_roots(world)
    named = set(world.objects())
    late_batch(world)
    orphans = {path.relative_to(world.root).as_posix() for path in set(world.objects()) - named}
    new = lose(world)
    report = restored(new)
    assert set(report["orphan_objects"]) == orphans
    assert report["orphans"] == 2
    assert same_rows(new.rows(), EXPECTED)
    late_batch(new)
    assert len(new.rows("SELECT * FROM events WHERE note = 'late'")) == 2
    assert sound(new)


def test_a_missing_object_is_named(world: World) -> None:
    """One that is gone, and one that was cut; the others are there."""
    back_up(world)
    keep_roots(world)
    gone, cut = world.objects()[:2]
    gone.unlink()
    cut.write_bytes(cut.read_bytes()[:-1])
    wanted = sorted(path.relative_to(world.root).as_posix() for path in (gone, cut))
    report = restored(lose(world))
    assert (report["missing"], report["missing_objects"]) == (2, wanted)


def test_a_surviving_log_is_continued_not_cut(world: World) -> None:
    """Entries after the unit are kept where a copy has them: no fork; the copy of another log is refused."""
    taken = back_up(world)
    keep_roots(world)
    late_batch(world)
    answers(world)
    before = world.entries()
    survivor = world.root.parent / "survivor"
    shutil.copytree(world.root / layout.AUDIT, survivor)
    other = world.root.parent / "other"
    w.make(other, rows=w.known_rows()[:2])
    new = lose(world)
    with pytest.raises(IntegrityError):
        restored(new, audit=other / "lake" / layout.AUDIT)
    report = restored(new, audit=survivor)
    assert report["entries_recovered"] == report["entries"] - taken.unit.audit_size > 10
    after = new.entries()
    assert after[: report["entries"]] == before[: report["entries"]]
    assert sound(new)


def test_a_log_that_is_older_than_the_unit_does_not_continue_it(world: World) -> None:
    """A copy from before the unit is not taken for the newer one."""
    old = world.root.parent / "old"
    shutil.copytree(world.root / layout.AUDIT, old)
    back_up(world)
    keep_roots(world)
    new = lose(world)
    with pytest.raises(IntegrityError, match="does not continue"):
        restored(new, audit=old)
    assert contents(new.root).keys() == {path.relative_to(new.root).as_posix() for path in new.objects()}


def test_commits_under_the_lost_key_store_are_refused(world: World) -> None:
    """The key epoch and the fence move to a generation that the lost store never reached."""
    back_up(world)
    keep_roots(world)
    new = lose(world)
    restored(new)
    with new.open() as lake:
        assert lake.home.key_store.epoch() >= GENERATION
        with lake.home.catalog.database.reading() as connection:
            assert read_fence(connection) == GENERATION
        batch = lake.home.catalog.batch(*next(iter(lake.home.catalog.batch_ids())))
        with pytest.raises(StaleKeysError):
            lake.home.catalog.land(batch, [], key_epoch=5)


def test_a_second_unit_writes_what_is_new_only(world: World) -> None:
    """Full bundles of the log and pages that did not change are taken over; both units open on their own."""
    first = back_up(world)
    stored = contents(units(world) / "parts")
    with world.open() as lake:
        for number in range(300):
            lake.home.recorder.record("audit.read", lake.actor, {"report": f"r{number}"})
    second = back_up(world)
    assert second.written < second.parts
    third = back_up(world)
    assert third.written == 2  # the rest of the log, and its head
    assert set(stored) <= set(contents(units(world) / "parts"))
    assert checked(world, first.unit.id)["entries"] == first.unit.audit_size
    assert checked(world)["unit"] == third.unit.id
    assert third.unit.audit_size > 300
    keep_roots(world)
    new = lose(world)
    assert restored(new)["entries"] == third.unit.audit_size
    assert sound(new)


def test_a_unit_shows_nothing_of_what_it_holds(world: World) -> None:
    """No name, pseudonym, dataset or key id lies in clear in a part; files are the owner's alone."""
    taken = back_up(world)
    rows = rows_of(world.root / layout.CATALOG)["files"]
    words = {b"events", b"lake.create", b"ingest.batch", b"contract", *(str(row[2]).encode() for row in rows)}
    for name, content in contents(units(world) / "parts").items():
        assert not [word for word in words if word in content], name
        assert (units(world) / "parts" / name).stat().st_mode & 0o077 == 0
    assert set(manifest(world, taken.unit.id)) == {
        "v", "id", "lake", "audit_key", "at", "provider", "root_version", "wrapped", "index", "index_length", "keys",
        "keys_digest", "epoch", "fence", "catalog_seq", "catalog_mac", "audit_size", "audit_root", "objects",
        "objects_digest",
    }  # fmt: skip


def test_a_restoration_needs_the_roots(world: World) -> None:
    """Without the device secret, with another one, or with another key file nothing is opened and nothing is left."""
    back_up(world)
    keep_roots(world)
    other = w.make(world.root.parent / "other", rows=w.known_rows()[:2])
    strange = world.root.parent / "strange"
    strange.mkdir()
    shutil.copy2(other.root / "keys" / "device.secret", strange)
    new = lose(world)
    with pytest.raises(UsageError, match="device secret"):
        restored(new, roots=None)
    with pytest.raises(Exception, match="another device"):
        restored(new, roots=strange)
    with pytest.raises(Exception, match="does not open"):
        restored(World(new.root, other.key))
    assert sorted(path.name for path in new.root.iterdir()) == [layout.DATA]
    assert not [path for path in new.root.parent.iterdir() if path.name.startswith(".")]


def test_a_target_that_is_taken_is_left_alone(world: World, tmp_path: Path) -> None:
    """A lake, a file, a folder with something in it; and a key store's folder that holds something."""
    back_up(world)
    keep_roots(world)
    before = contents(world.root)
    with pytest.raises(UsageError, match="not an empty"):
        restored(world)
    assert contents(world.root) == before
    taken = tmp_path / "store"
    taken.mkdir()
    (taken / "mine").write_text("x")
    with pytest.raises(UsageError, match="not an empty"):
        restored(World(tmp_path / "fresh", world.key), key_store=taken)
    assert contents(taken) == {"mine": b"x"}
    assert not (tmp_path / "fresh").exists()


def test_a_drill_beside_the_living_lake_changes_nothing_of_it(world: World, tmp_path: Path) -> None:
    """Into another folder with a key store elsewhere; the drill says that the objects are missing there."""
    back_up(world)
    keep_roots(world)
    before = contents(world.root)
    drill = World(tmp_path / "drill", world.key)
    report = restored(drill, key_store=tmp_path / "drill-keys")
    assert (report["missing"], report["orphans"], len(report["missing_objects"])) == (32, 0, 20)
    assert contents(world.root) == before
    assert drill.entries()
    assert sorted(path.name for path in (tmp_path / "drill-keys").iterdir()) == [
        "device.secret", "keystore.bin", "keystore.db", "keystore.lock",
    ]  # fmt: skip


def test_places_without_a_unit(world: World) -> None:
    """No folder and an empty one; a folder that another process writes to."""
    with world.open() as lake:
        actor, home = lake.actor, lake.home
        with pytest.raises(SecretFileError):
            Backups(home, actor).verify(units(world))
        units(world).mkdir()
        with pytest.raises(UsageError, match="no backup"):
            Backups(home, actor).verify(units(world))
        with UnitFolder(units(world)).exclusive(), pytest.raises(KeyOperationError, match="running"):
            Backups(home, actor).take(units(world))
        with pytest.raises(KeyIntegrityError):
            Backups(home, actor).verify(units(world), "0" * 32)


def test_units_are_listed_newest_first_without_a_key(world: World) -> None:
    """By their signatures; one that is damaged is told apart."""
    ids = [back_up(world, clock=clock).unit.id for clock in (w.clock, w.clock, later)]
    found, damaged = list_units(units(world))
    assert [one["unit"] for one in found] == ids[::-1]
    assert damaged == {}
    (units(world) / f"{ids[1]}.unit").write_text("")
    found, damaged = list_units(units(world))
    assert [one["unit"] for one in found] == [ids[2], ids[0]]
    assert set(damaged) == {ids[1]}


def test_a_backup_is_on_record(world: World) -> None:
    """Begun and done, or failed, with the unit's id; a check too."""
    taken = back_up(world)
    checked(world)
    shutil.rmtree(units(world) / "keys")
    (units(world) / "keys").write_text("")
    with pytest.raises(SecretFileError):
        back_up(world)
    found = world.entries("lake.backup")
    assert [entry["step"] for entry in found] == ["begin", "done", "verify", "begin", "failed"]
    assert {found[1]["unit"], found[2]["unit"]} == {taken.unit.id}
    assert found[0]["index"] == taken.unit.audit_size - 1
