"""Units older than a shredding bring nobody back: their keys open no more, and whoever restores one is told."""

# ruff: noqa: S608 - the statements are the tests' own
from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from keys.errors import KeyIntegrityError, KeyStateError, KeyStoreLockedError, OutdatedPlanError
from keys.names import bucket_row_context, root_name
from keys.operations.restore import bucket_rows_of
from keys.operations.unit import UnitFolder
from keys.providers import WrappedKey
from lake.gateway.backup import key_backup_of
from lake.gateway.erased import Erased
from lake.gateway.keyplans import KeyScope
from lake.rules import layout
from tests import world as w
from tests.gateway.keylakes import crowded, keeping, later, sound, without
from tests.gateway.units import back_up, checked, keep_roots, lose, restored, units
from tests.world import ADA, BEN, World, copy, landed, same_rows

EXPECTED = landed(w.known_rows())
LEVELS = {one["sensitivity"] for one in EXPECTED if one["employee"] == ADA}


@pytest.fixture(scope="module")
def crowd(tmp_path_factory: pytest.TempPathFactory) -> World:
    """A lake whose four employees share one bucket; only to be copied."""
    return crowded(tmp_path_factory.mktemp("crowd"))


@pytest.fixture
def world(crowd: World, tmp_path: Path) -> World:
    """A copy of the crowded lake."""
    return copy(crowd, tmp_path)


def shred(world: World, place: Path) -> None:
    with world.open() as lake:
        keeping(lake).shred([ADA], place)


def test_an_older_unit_is_refused_unless_named_and_opens_nothing_of_the_erased(world: World) -> None:
    """Their bucket keys and everybody's of those levels are refused by the provider; the tombstone is set again."""
    old = back_up(world).unit
    with world.open() as lake:
        number = lake.home.key_store.counts()["subjects"]
    shred(world, units(world) / "keys")
    with pytest.raises(KeyStateError):
        checked(world, old.id)
    safe = keep_roots(world, store=True)
    new = lose(world)
    with pytest.raises(KeyIntegrityError, match="open no more") as failed:
        restored(new)
    assert old.id in failed.value.hint
    assert sorted(path.name for path in new.root.iterdir()) == [layout.DATA]
    report = restored(new, old.id, roots=safe)
    assert report["closed_bucket_keys"] == len(LEVELS)
    assert report["closed_keks"] > 0
    assert report["erased_again"] == 1
    entry = next(found for found in new.entries("lake.restore"))
    assert (entry["closed_keks"], entry["erased_again"]) == (report["closed_keks"], 1)
    folder = UnitFolder(units(new))
    rows = [row for row in bucket_rows_of(folder.keys, key_backup_of(folder, old)) if row.sensitivity in LEVELS]
    assert rows
    with new.open() as lake:
        for row in rows:
            item = WrappedKey(row.root_version, row.wrapped, bucket_row_context(lake.home.config.lake, row))
            with pytest.raises(KeyStateError):
                lake.home.provider.unwrap(root_name(row.sensitivity), [item])
        assert keeping(lake).status()["employees"]["erased"] == 1
        assert lake.home.key_store.counts()["subjects"] == number
        assert lake.home.directory.find([ADA, BEN]).keys() == {BEN}
        assert Erased(lake.home).tags() == {lake.home.control.lookup_tag(ADA)}
        lake.home.catalog.verify()
    assert new.rows(f"SELECT * FROM events WHERE employee = '{ADA}'") == []
    with pytest.raises((OutdatedPlanError, KeyStateError)):
        new.rows(f"SELECT * FROM events WHERE employee = '{BEN}'")


def test_the_units_own_roots_stay_closed(world: World) -> None:
    """Its keystore.bin was sealed with a device secret that the shredding replaced."""
    old = back_up(world).unit
    shred(world, world.root.parent / "elsewhere")
    keep_roots(world)
    new = lose(world)
    with pytest.raises(KeyStoreLockedError):
        restored(new, old.id)


def test_a_surviving_log_says_who_was_erased(world: World) -> None:
    """Where no later key backup lies beside the unit, the log's later entries name them by number."""
    old = back_up(world).unit
    shred(world, world.root.parent / "elsewhere")
    survivor = world.root.parent / "survivor"
    shutil.copytree(world.root / layout.AUDIT, survivor)
    keep_roots(world, store=True)
    new = lose(world)
    assert restored(new, old.id, audit=survivor)["erased_again"] == 1
    assert new.rows(f"SELECT * FROM events WHERE employee = '{ADA}'") == []


def test_a_unit_after_the_shredding_brings_everybody_else_back(world: World) -> None:
    """Unasked, with all of their rows; the erased stay erased, and a search finds no way to their keys."""
    back_up(world)
    shred(world, units(world) / "keys")
    taken = back_up(world)
    keep_roots(world)
    new = lose(world)
    report = restored(new)
    assert (report["unit"], report["closed_keks"], report["erased_again"]) == (taken.unit.id, 0, 0)
    assert same_rows(new.rows(), without(EXPECTED, ADA))
    assert sound(new)
    with new.open() as lake:
        assert keeping(lake).verify_shred([units(new) / "keys"]).clean


def test_a_unit_from_before_a_rotation_restores_unasked(world: World) -> None:
    """Its catalog and its key store are of the same moment: new KEKs and bucket keys do not concern it."""
    back_up(world)
    with world.open(clock=later) as lake:
        keeping(lake).rotate_keks(KeyScope())
        keeping(lake).rotate_buckets(keeping(lake).places(KeyScope()))
        keeping(lake).rotate_roots(["root-control", "root-dss4"])
    keep_roots(world, store=True)
    new = lose(world)
    assert restored(new)["closed_keks"] == 0
    assert same_rows(new.rows(), EXPECTED)
    assert sound(new)


def test_trimmed_control_roots_close_a_unit_for_good(world: World) -> None:
    """The key of the unit itself stands under the control root."""
    old = back_up(world).unit
    with world.open() as lake:
        keeping(lake).rotate_roots(["root-control"], world.root.parent / "elsewhere")
    again = back_up(world)
    assert again.written == again.parts  # nothing is taken over from what does not open
    keep_roots(world, store=True)
    new = lose(world)
    with pytest.raises(KeyStateError):
        restored(new, old.id)
    assert restored(new)["unit"] == again.unit.id
    assert sound(new)
