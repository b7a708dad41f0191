"""A unit that is not what was written is refused, by check and restoration, and the part that was changed is named."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from keys.errors import KeyIntegrityError, KeysError
from keys.operations.unit import SUFFIX, UnitFolder
from lake.errors import LakeError
from lake.gateway.backup import Backups
from lake.rules import layout
from tests import world as w
from tests.gateway.test_keykeeping_backup import edit, flip
from tests.gateway.units import back_up, checked, contents, keep_roots, lose, manifest, restored, units
from tests.world import World


def stored(world: World, unit_id: str) -> dict[str, Path]:
    """Where each part of a unit lies, by name."""
    folder = UnitFolder(units(world))
    with world.open() as lake:
        opened = folder.open(folder.read(unit_id), lake.home.provider)
        return {name: units(world) / "parts" / part[0] for name, part in opened._parts.items()}


def test_a_flipped_byte_in_any_part_is_found_and_named(world: World) -> None:
    """Each part of the unit, its index, and each part of its key backup; whole again they are accepted."""
    unit = back_up(world).unit
    parts = stored(world, unit.id)
    assert {name.rpartition("/")[0] for name in parts} >= {
        "catalog/files",
        "catalog/commits",
        "catalog/batches",
        "audit",
    }
    parts["index"] = units(world) / "parts" / unit.index
    with world.open() as lake:
        checking = Backups(lake.home, lake.actor)
        for name, path in parts.items():
            flip(path)
            with pytest.raises(KeyIntegrityError, match=f"part {name} "):
                checking.verify(units(world))
            flip(path)
        for path in sorted((units(world) / "keys" / "parts").iterdir()):
            flip(path)
            with pytest.raises(KeyIntegrityError, match="part of a key backup"):
                checking.verify(units(world))
            flip(path)
        assert checking.verify(units(world))["parts"] == len(parts) - 1


CHANGED = {"key_integrity", "integrity"}
Damage = Callable[[World, str, str], None]
"""Of a lake with an older and a newer unit."""


def note(world: World, unit_id: str) -> Path:
    return units(world) / f"{unit_id}{SUFFIX}"


def swap_parts(world: World, first: str, second: str) -> None:
    """The newer unit's index has the bytes of the older one's."""
    old, new = (units(world) / "parts" / manifest(world, unit)["index"] for unit in (first, second))
    new.write_bytes(old.read_bytes())


def mix_manifests(world: World, first: str, second: str) -> None:
    """The newer unit's manifest names the older one's index and key backup, under the newer signature."""
    old, new = manifest(world, first), manifest(world, second)
    for name in ("index", "keys", "keys_digest"):
        edit(note(world, second), json.dumps(new[name]), json.dumps(old[name]))


def other_lakes(world: World, first: str, second: str) -> None:
    """Another lake's unit in place of this one's, with all its parts."""
    other = w.make(world.root.parent / "other", rows=w.known_rows()[:2])
    theirs = back_up(other).unit.id
    for unit in (first, second):
        note(world, unit).unlink()
    shutil.copytree(units(other), units(world), dirs_exist_ok=True)
    assert note(world, theirs).is_file()


DAMAGES: dict[str, Damage] = {
    "an older manifest under the newer id": lambda world, first, second: (
        shutil.copy2(note(world, first), note(world, second)) and None
    ),
    "an older manifest under an id of its own": lambda world, first, second: (
        shutil.copy2(note(world, first), note(world, "f" * 32)) and None
    ),
    "an older manifest with the newer id written in": lambda world, first, second: (
        shutil.copy2(note(world, first), note(world, second)) and edit(note(world, second), first, second)
    ),
    "the parts of another unit": swap_parts,
    "a manifest mixed of two": mix_manifests,
    "the key backup of another unit": lambda world, first, second: (
        shutil.copy2(
            units(world) / "keys" / f"{manifest(world, first)['keys']}.manifest",
            units(world) / "keys" / f"{manifest(world, second)['keys']}.manifest",
        )
        and None
    ),
    "the key backup gone": lambda world, first, second: (
        units(world) / "keys" / f"{manifest(world, second)['keys']}.manifest"
    ).unlink(),
    "a later head of the log": lambda world, first, second: edit(
        note(world, second), '"audit_size":', '"audit_size":1'
    ),
    "the signature gone": lambda world, first, second: edit(note(world, second), "\n\n", "\n"),
    "the manifest cut": lambda world, first, second: note(world, second).write_text("") and None,
    "the index gone": lambda world, first, second: (units(world) / "parts" / manifest(world, second)["index"]).unlink(),
    "a unit of another lake": other_lakes,
}


@pytest.fixture(scope="module")
def backed(template: World, tmp_path_factory: pytest.TempPathFactory) -> tuple[World, str, str]:
    """A lake with two units; only to be copied."""
    world = w.copy(template, tmp_path_factory.mktemp("backed"))
    first = back_up(world).unit.id
    with world.open() as lake:
        lake.ingest("events", w.table(w.known_rows()[:3]), batch_id="more")
    return world, first, back_up(world).unit.id


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_unit_that_is_not_one_is_refused(backed: tuple[World, str, str], tmp_path: Path, damage: str) -> None:
    """With typed errors of code 4, by the check and by the restoration, which leaves nothing behind."""
    template, first, second = backed
    world = w.copy(template, tmp_path)
    shutil.copytree(units(template), units(world))
    DAMAGES[damage](world, first, second)
    with pytest.raises((KeysError, LakeError)) as failed:
        checked(world)
    assert failed.value.exit_code == 4
    safe = keep_roots(world)
    new = lose(world)
    with pytest.raises((KeysError, LakeError)) as failed:
        restored(new, roots=safe)
    # Another lake's unit is whole; our roots do not open its key backup.
    assert failed.value.code in ({"key_store_locked"} if damage == "a unit of another lake" else CHANGED)
    assert sorted(path.name for path in new.root.iterdir()) == [layout.DATA]
    assert not list(tmp_path.glob(".*"))


def test_the_older_unit_still_restores_beside_a_damaged_one(backed: tuple[World, str, str], tmp_path: Path) -> None:
    """Named, it is taken; and the next backup does not build upon what is damaged."""
    template, first, second = backed
    world = w.copy(template, tmp_path)
    shutil.copytree(units(template), units(world))
    for path in set(stored(world, second).values()):
        flip(path)
    again = back_up(world)
    assert again.written == again.parts
    assert checked(world)["unit"] == again.unit.id
    keep_roots(world)
    with pytest.raises(KeyIntegrityError):
        restored(World(tmp_path / "drill", world.key), second)
    assert contents(units(world))
    assert restored(lose(world))["unit"] == again.unit.id
    assert first != second
