"""Units of backup for tests: what is kept apart from a lake, what is left of a lost one, and lakes made of a unit."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from keys.operations.unit import SUFFIX
from keys.providers import local as local_provider
from lake.gateway.backup import Backups, Taken
from lake.gateway.backup_restore import Target, restore_unit
from lake.rules import layout
from lake.settings import Secrets
from tests import world as w
from tests.gateway.keylakes import key_folder
from tests.world import World


def units(world: World) -> Path:
    """The folder of a lake's units."""
    return world.root.parent / "units"


def back_up(world: World, **options: Any) -> Taken:
    """A unit of now."""
    with world.open(**options) as lake:
        return Backups(lake.home, lake.actor).take(units(world))


def checked(world: World, unit_id: str | None = None) -> dict[str, Any]:
    """A unit, opened as a whole by the living lake."""
    with world.open() as lake:
        return Backups(lake.home, lake.actor).verify(units(world), unit_id)


def keep_roots(world: World, *, store: bool = False) -> Path:
    """What an operator keeps apart: the device secret; with ``store``, also what survived of the key store's roots."""
    safe = world.root.parent / "safe"
    safe.mkdir(exist_ok=True)
    for name in (local_provider.DEVICE, *([local_provider.STORE] if store else [])):
        shutil.copy2(key_folder(world) / name, safe / name)
    return safe


def lose(world: World) -> World:
    """All of a lake is gone but its objects, which lie at the place of the next one."""
    new = World(world.root.parent / "new", world.key)
    new.root.mkdir()
    (world.root / layout.DATA).rename(new.root / layout.DATA)
    shutil.rmtree(world.root)
    return new


def restored(new: World, unit_id: str | None = None, **target: Any) -> dict[str, Any]:
    """A lake of a unit, at the place where the objects of the lost one lie."""
    safe = new.root.parent / "safe"
    place = Target(new.root, **{"roots": safe} | target)
    return restore_unit(units(new), place, Secrets(key_file=new.key), user="operator", unit_id=unit_id, clock=w.clock)


def manifest(world: World, unit_id: str) -> dict[str, Any]:
    """What a manifest states."""
    found: dict[str, Any] = json.loads((units(world) / f"{unit_id}{SUFFIX}").read_text().split("\n")[1])
    return found


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below a folder."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
