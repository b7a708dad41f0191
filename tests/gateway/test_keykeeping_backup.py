"""Backups of a lake's key store: one that was opened opens the lake again, and one that is not whole is refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from keys.errors import KeyIntegrityError, KeyStateError, OutdatedPlanError, SecretFileError
from keys.operations.backup import MANIFEST
from lake.errors import UsageError
from lake.gateway.keyplans import KeyScope
from lake.gateway.keyrestore import restore_keys
from lake.rules import layout
from tests import world as w
from tests.gateway.keylakes import answers, keeping, key_folder, later, operations, rows_of, sound
from tests.world import ADA, World, child, finished, landed, row, same_rows

EXPECTED = landed(w.known_rows())
KEPT = ("settings", "control_secrets", "roots", "bucket_keys", "subjects", "keks")


def backups(world: World) -> Path:
    return world.root.parent / "backups"


def back_up(world: World) -> str:
    with world.open() as lake:
        return keeping(lake).backup(backups(world))[0]


def restored(world: World, backup: str | None = None) -> Path:
    """A backup as a key store in a folder of its own."""
    target = world.root.parent / "restored"
    restore_keys(world.root, backups(world), target, backup)
    return target


def put_in_place(world: World, found: Path) -> None:
    """The database was lost; provider file and device secret are there still."""
    for path in key_folder(world).glob(f"{layout.KEY_STORE}*"):
        path.unlink()
    shutil.copy2(found / layout.KEY_STORE, key_folder(world) / layout.KEY_STORE)


def epoch(world: World) -> int:
    with world.open() as lake:
        return lake.home.key_store.epoch()


def test_a_restored_key_store_opens_the_lake(world: World) -> None:
    """Every wrap as it was; queries, landing and rotation go on with it, and the key epoch has moved beyond."""
    before, number = answers(world), epoch(world)
    back_up(world)
    old = rows_of(key_folder(world) / layout.KEY_STORE)
    found = restored(world)
    new = rows_of(found / layout.KEY_STORE)
    assert {name: new[name] for name in KEPT} == {name: old[name] for name in KEPT}
    assert (found / layout.KEY_STORE).stat().st_mode & 0o077 == 0
    assert found.stat().st_mode & 0o777 == 0o700
    put_in_place(world, found)
    assert answers(world) == before
    assert epoch(world) > number
    with world.open(clock=later) as lake:
        lake.ingest("events", w.table([row(ADA, w.NOW.replace(tzinfo=None), "judge", note="new", n=1)]))
        keeping(lake).rotate_keks(KeyScope())
    assert len(world.rows()) == 145
    assert sound(world)


def test_a_backup_is_recorded_and_says_what_opened(world: World) -> None:
    """Writing and testing, each before and after."""
    with world.open() as lake:
        keys = keeping(lake)
        backup, opened = keys.backup(backups(world))
        tested, all_of_it = keys.restore_test(backups(world))
        assert (tested, all_of_it) == (backup, opened)
        assert opened["keks"] == 32
        assert opened["control_secrets"] == 7
        assert keys.backup(backups(world))[1]["keks"] == 0  # what has not changed is not opened again
        assert keys.restore_test(backups(world))[1] == opened
    assert [(entry["verb"], entry["step"]) for entry in operations(world)][:4] == [
        (verb, step) for verb in ("backup", "restore-test") for step in ("begin", "done")
    ]


def test_what_landed_after_the_backup_is_lost_and_said_to_be(world: World) -> None:
    """Its rows are refused with a typed error, the others are there, and nothing is made up for them."""
    back_up(world)
    with world.open() as lake:
        late = row("EMP-NEW", w.NOW.replace(tzinfo=None), "judge", note="late", n=1)
        lake.ingest("events", w.table([late]))
    put_in_place(world, restored(world))
    with pytest.raises(OutdatedPlanError):
        world.rows()
    assert world.rows("SELECT employee FROM events WHERE employee = 'EMP-NEW' AND sensitivity < 4") == []
    found = world.rows(f"SELECT * FROM events WHERE employee IN {w.EMPLOYEES}")  # noqa: S608 - constants
    assert same_rows(found, EXPECTED)


LANDING = """
import shutil
from datetime import datetime
from keys.errors import KeysError
from lake.errors import LakeError
from tests.gateway.test_keykeeping_backup import put_in_place, restored

def act():
    put_in_place(world, restored(world))
    world.open().close()  # as an operator does, to see whether all is well

sys.addaudithook(hook)
with world.open() as lake:
    rows = [w.row("EMP-NEW", datetime(2026, 9, 2), "focus", app="New-QX", n=7)]
    try:
        print(lake.ingest("events", w.table(rows), batch_id="meanwhile").status)
    except (LakeError, KeysError) as error:
        print(error.code)
"""


def test_a_batch_whose_keys_are_of_the_lost_store_does_not_land(world: World) -> None:
    """A process that still has the lost store open cannot commit what the restored one could never open."""
    back_up(world)
    with world.open() as lake:
        keeping(lake).rotate_buckets(keeping(lake).places(KeyScope()))  # the lost store is epochs ahead of its backup
    status, out, err = finished(child(world, LANDING, "ingest.announced"))
    assert status == 0, err
    assert out == "stale_keys\n"
    assert same_rows(world.rows(), EXPECTED)


def test_a_backup_from_before_a_rotation_is_taken_on_purpose_only(world: World) -> None:
    """The catalog's fence has seen later keys than it holds: by name it is restored, unasked it is not."""
    old = back_up(world)
    with world.open(clock=later) as lake:
        keeping(lake).rotate_keks(KeyScope(frozenset({ADA})))
    with pytest.raises(KeyIntegrityError, match="before the last") as failed:
        restored(world)
    assert old in failed.value.hint
    assert not (world.root.parent / "restored").exists()
    put_in_place(world, restored(world, old))
    with pytest.raises(OutdatedPlanError):
        world.rows()
    found = world.rows(f"SELECT * FROM events WHERE employee = '{w.BEN}'")  # noqa: S608 - a constant
    assert same_rows(found, [one for one in EXPECTED if one["employee"] == w.BEN])


Damage = Callable[[Path, str], None]


def parts_of(place: Path, backup: str) -> list[Path]:
    fields = manifest(place, backup)
    return [place / "parts" / digest for digest, _, _ in fields["parts"].values()]


def manifest(place: Path, backup: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((place / f"{backup}{MANIFEST}").read_text().split("\n")[1])
    return found


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


DAMAGES: dict[str, Damage] = {
    "a part changed": lambda place, backup: flip(max(parts_of(place, backup), key=lambda path: path.stat().st_size)),
    "a part cut": lambda place, backup: parts_of(place, backup)[0].write_bytes(b"") and None,
    "a part missing": lambda place, backup: parts_of(place, backup)[0].unlink(),
    "the manifest's epoch": lambda place, backup: edit(place / f"{backup}{MANIFEST}", '"epoch":', '"epoch":1'),
    "a part left out": lambda place, backup: edit(place / f"{backup}{MANIFEST}", '"dss4-', '"dss5-'),
    "the signature": lambda place, backup: edit(place / f"{backup}{MANIFEST}", "\n\n", "\n\n\u2014 other\n"),
    "the manifest cut": lambda place, backup: (place / f"{backup}{MANIFEST}").write_text("") and None,
    "another's name": lambda place, backup: (
        shutil.copy2(place / f"{backup}{MANIFEST}", place / f"{'0' * 32}{MANIFEST}")
        and (place / f"{backup}{MANIFEST}").unlink()
    ),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_backup_that_is_not_whole_is_refused(world: World, damage: str) -> None:
    """By the test and by the restoration, which leaves no folder behind; the next backup stands on its own."""
    backup = back_up(world)
    DAMAGES[damage](backups(world), backup)
    with pytest.raises(KeyIntegrityError):
        restored(world)
    assert not (world.root.parent / "restored").exists()
    with world.open() as lake, pytest.raises(KeyIntegrityError):
        keeping(lake).restore_test(backups(world))
    again = back_up(world)
    with world.open() as lake:
        assert keeping(lake).restore_test(backups(world), again)[1]["keks"] == 32


def test_a_backup_of_another_lake_is_refused(world: World, tmp_path: Path) -> None:
    """Its manifest is signed by somebody else; in its own folder, and among ours."""
    other = w.make(tmp_path / "other", rows=w.known_rows()[:2])
    theirs = back_up(other)
    back_up(world)
    for path in backups(other).rglob("*"):
        if path.is_file():
            shutil.copy2(path, backups(world) / path.relative_to(backups(other)))
    for backup in (theirs, None):
        with pytest.raises(KeyIntegrityError):
            restored(world, backup)
    with world.open() as lake, pytest.raises(KeyIntegrityError):
        keeping(lake).restore_test(backups(world), theirs)


def test_a_place_without_a_backup_is_a_mistake(world: World, tmp_path: Path) -> None:
    """No folder, an empty one, a folder that exists as a target: nothing is written anywhere."""
    with pytest.raises(SecretFileError):
        restored(world)
    backups(world).mkdir()
    with pytest.raises(UsageError, match="no key backup"):
        restored(world)
    back_up(world)
    (tmp_path / "restored").mkdir()
    with pytest.raises(UsageError, match="exists"):
        restored(world)
    assert list((tmp_path / "restored").iterdir()) == []


def test_a_backup_that_would_not_open_is_no_ground_to_destroy_on(world: World) -> None:
    """The provider no longer has what a wrap stands under: the test fails, and says so before anything is lost."""
    old = back_up(world)
    with world.open() as lake:
        keys = keeping(lake)
        keys.rotate_roots(["root-dss4"], world.root.parent / "elsewhere")
        with pytest.raises(KeyStateError):
            keys.restore_test(backups(world), old)
        assert keys.restore_test(world.root.parent / "elsewhere")[1]["keks"] == 32
