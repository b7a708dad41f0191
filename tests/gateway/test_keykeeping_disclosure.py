"""Searching for keys of the erased: what a search finds, what it cannot reach, and that it says so."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from keys.names import bucket_context, root_name
from keys.providers import KeyToWrap
from keys.refs import KeyState
from lake.api import Lake
from tests import world as w
from tests.gateway.keylakes import crowded, keeping, key_folder
from tests.world import ADA, World, copy, landed

KEKS = len({(one["sensitivity"], one["ts"].month) for one in landed(w.known_rows()) if one["employee"] == ADA})
"""How many keys the erased had."""
NOTES = f"SELECT note FROM events WHERE employee = '{ADA}' AND sensitivity = 4"  # noqa: S608 - a constant


@pytest.fixture
def world(tmp_path: Path) -> World:
    """A lake whose four employees share one bucket."""
    return crowded(tmp_path)


def backups(world: World) -> Path:
    return world.root.parent / "backups"


def shred(world: World) -> None:
    with world.open() as lake:
        keeping(lake).shred([ADA], backups(world))


def test_a_copy_of_everything_from_before_still_opens_the_erased(world: World) -> None:
    """The control, and the limit: who had key store, device secret and key file before has the keys. No search of ours
    reaches it; a folder that is named and holds such a copy is reported as not searched."""
    (world.root.parent / "old").mkdir()
    old = copy(world, world.root.parent / "old")
    assert len(old.rows(NOTES)) > 0
    shred(world)
    assert len(old.rows(NOTES)) > 0
    with world.open() as lake:
        assert keeping(lake).verify_shred([]).clean
        found = keeping(lake).verify_shred([key_folder(old)])
    assert not found.clean
    assert [place.split(":")[0] for place in found.unreadable] == [str(key_folder(old))]


def test_verify_shred_searches_every_backup_that_was_ever_written(world: World) -> None:
    """Clean afterwards, with backups from before among them; not clean when one of them is out of reach."""
    with world.open() as lake:
        keys = keeping(lake)
        keys.backup(backups(world))
        keys.backup(world.root.parent / "elsewhere")
    shred(world)
    with world.open() as lake:
        keys = keeping(lake)
        found = keys.verify_shred([])
        assert found.clean
        assert len(found.artefacts) == 1 + 3 + 1
        assert (found.subjects, found.keks) == (1, KEKS)
        assert found.wraps_tried > 0
        (world.root.parent / "elsewhere").rename(world.root.parent / "away")
        assert keys.verify_shred([]).unreadable == (str(world.root.parent / "elsewhere"),)
        (world.root.parent / "empty").mkdir()
        assert not keys.verify_shred([world.root.parent / "empty"]).clean


def test_a_shredding_that_wraps_the_same_bucket_key_again_is_found_out(world: World) -> None:
    """The naive way leaves the erased open in every old backup: verify-shred names the wraps and what opens them."""
    with world.open() as lake:
        keys, home = keeping(lake), lake.home
        before, _ = keys.backup(backups(world))
        subject = home.directory.find([ADA])[ADA].id
        fresh = home.hierarchy.new_bucket_keys
        naive_bucket_keys(lake)
        keys.shred([ADA], backups(world))
        home.hierarchy.new_bucket_keys = fresh  # type: ignore[method-assign]
        found = keys.verify_shred([])
        own = {row.kek_id for row in home.key_changes.keks_of([subject])}
    assert len(found.paths) == KEKS
    assert not found.clean
    assert {path.artefact for path in found.paths} == {f"{backups(world)}/{before}"}
    assert not own


def naive_bucket_keys(lake: Lake) -> None:
    """What makes new versions of bucket keys wraps the former key again, as a naive shredding would."""
    hierarchy, changes = lake.home.hierarchy, lake.home.key_changes

    def same_again(root: str, version: int, names: list[tuple[int, int, int]]) -> object:
        rows = {(row.sensitivity, row.bucket): row for row in changes.buckets() if row.state.wraps}
        view = hierarchy.store.view_of_keks((), ())
        made = []
        for level, bucket, number in names:
            was = rows[level, bucket]
            key = hierarchy.open_parents(view.roots, view.epoch, [was])[level, bucket, was.version]
            item = KeyToWrap(key, bucket_context(hierarchy.lake, level, bucket, number))
            (blob,) = hierarchy.provider.wrap(root_name(level), version, [item])
            made.append(replace(was, version=number, root_version=version, wrapped=blob, state=KeyState.ENABLED))
        return made

    hierarchy.new_bucket_keys = same_again  # type: ignore[method-assign,assignment]
