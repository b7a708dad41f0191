"""Backup and restoration killed at every announced step: former units stay valid, a lake is there wholly or not."""

from __future__ import annotations

import shutil
import signal
from pathlib import Path

import pytest

from lake.errors import UnavailableError, UsageError
from lake.gateway.restoring import Restoring
from lake.rules import layout
from tests.gateway.keylakes import QUESTIONS, Answers, answers, sound
from tests.gateway.units import back_up, checked, keep_roots, lose, restored, units
from tests.world import World, child, copy, finished

BACKUP = """
from tests.gateway.units import back_up
sys.addaudithook(hook)
print(back_up(world).unit.id)
"""
BACKUP_STEPS = (
    ("backup.catalog-pinned", 1),
    ("backup.log-pinned", 1),
    ("keys.backup-part", 1),
    ("keys.backup-written", 1),
    ("backup.keys-written", 1),
    ("backup.part-written", 1),
    ("backup.part-written", 2),
    ("backup.parts-durable", 1),
    ("backup.published", 1),
)


RARE = ("backup.log-pinned", "keys.backup-part", "keys.backup-written", "audit.copy-published", "restore.log-written",
        "restore.page-written", "restore.config-written")  # fmt: skip
"""Steps between which nothing else becomes durable that counts: every one of them is tried in a soak."""


def often(step: str) -> tuple[pytest.MarkDecorator, ...]:
    """Whether a step is tried each time."""
    return (pytest.mark.soak,) if step in RARE else ()


@pytest.mark.parametrize(
    "crash", [pytest.param(crash, marks=often(crash[0]), id=f"{crash[0]}-{crash[1]}") for crash in BACKUP_STEPS]
)
def test_a_killed_backup_leaves_the_former_unit_valid(world: World, crash: tuple[str, int]) -> None:
    """The former one is the newest until the manifest is written; the next backup is whole."""
    former = back_up(world).unit.id
    status, out, err = finished(child(world, BACKUP, *crash))
    assert (status, out) == (-signal.SIGKILL, ""), err
    newest = checked(world)["unit"]
    assert (newest == former) == (crash[0] != "backup.published")
    assert checked(world, former)["unit"] == former
    again = back_up(world)
    assert checked(world)["unit"] == again.unit.id
    assert sound(world)


FULL = """
import resource
from keys.errors import KeysError
from lake.errors import LakeError
from tests.gateway.units import back_up

def act():
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))

sys.addaudithook(hook)
try:
    back_up(world)
except (KeysError, LakeError) as error:
    print(error.code)
"""


@pytest.mark.parametrize("step", ["backup.log-pinned", "backup.part-written", "backup.parts-durable"])
def test_a_full_disk_is_said_and_the_former_unit_stays(world: World, step: str) -> None:
    """A typed error, no half-written file, and once there is space the backup is taken."""
    former = back_up(world).unit.id
    status, out, err = finished(child(world, FULL, step))
    assert (status, out) == (0, "secret_file\n"), err
    assert checked(world)["unit"] == former
    assert not list(units(world).rglob(".*"))
    assert back_up(world).unit.id == checked(world)["unit"]


@pytest.fixture(scope="module")
def lost(template: World, answered: Answers, tmp_path_factory: pytest.TempPathFactory) -> tuple[World, Answers]:
    """What is left of a lake that was lost after a backup, and what it answered; only to be copied."""
    world = copy(template, tmp_path_factory.mktemp("lost"))
    back_up(world)
    keep_roots(world)
    return lose(world), answered


@pytest.fixture
def place(lost: tuple[World, Answers], tmp_path: Path) -> World:
    """A copy of it: objects, key file, roots and units."""
    shutil.copytree(lost[0].root.parent, tmp_path, dirs_exist_ok=True)
    return World(tmp_path / lost[0].root.name, tmp_path / lost[0].key.name)


RESTORE = """
from tests.gateway.units import restored
sys.addaudithook(hook)
print(restored(world, key_store=world.root.parent / "store" if sys.argv[5] == "elsewhere" else None)["unit"])
"""
RESTORE_STEPS = (
    "restore.folders-made",
    "restore.roots-written",
    "audit.copy-published",
    "restore.log-written",
    "restore.keys-written",
    "restore.page-written",
    "restore.catalog-written",
    "restore.config-written",
    "restore.recorded",
    "restore.whole",
    "restore.marks-removed",
    "restore.data-moved",
)


ELSEWHERE = ("restore.folders-made", "restore.keys-written", "restore.whole", "restore.marks-removed")


@pytest.mark.parametrize(
    ("step", "store"),
    [
        *(pytest.param(step, "inside", marks=often(step)) for step in RESTORE_STEPS),
        *((step, "elsewhere") for step in ELSEWHERE),
    ],
)
def test_a_killed_restoration_is_finished_by_the_next(
    place: World, lost: tuple[World, Answers], step: str, store: str
) -> None:
    """Until it is whole there is no lake; the same call again gives one that answers as before, with nothing beside."""
    status, out, err = finished(child(place, RESTORE, step, 1, store))
    assert (status, out) == (-signal.SIGKILL, ""), err
    assert not (place.root / layout.CONFIG).exists()
    restored(place, key_store=place.root.parent / "store" if store == "elsewhere" else None)
    assert answers(place, QUESTIONS[::3]) == lost[1][::3]
    kept = ["lake.key", "new", "safe", *(["store"] if store == "elsewhere" else []), "units"]
    assert sorted(path.name for path in place.root.parent.iterdir()) == kept
    assert not list(place.root.parent.glob("*/.*"))
    assert len(place.objects()) == 32


def test_a_restoration_that_was_killed_at_its_end_is_done(place: World, lost: tuple[World, Answers]) -> None:
    """The lake is in its place; a second restoration to it is refused."""
    status, _, err = finished(child(place, RESTORE, "restore.in-place", 1, "inside"))
    assert status == -signal.SIGKILL, err
    assert answers(place) == lost[1]
    with pytest.raises(UsageError, match="not an empty"):
        restored(place)
    assert sound(place)


def test_a_restoration_onto_a_full_disk_leaves_nothing(place: World, lost: tuple[World, Answers]) -> None:
    """A typed error; the objects stay, and once there is space it succeeds."""
    source = FULL.replace("import back_up", "import restored").replace("back_up(world)", "restored(world)")
    for step in ("restore.folders-made", "restore.roots-written", "restore.log-written", "restore.catalog-written"):
        status, out, err = finished(child(place, source, step))
        assert status == 0, err
        assert out.strip() in {"secret_file", "audit_unavailable", "unavailable"}, out
        assert sorted(path.name for path in place.root.iterdir()) == [layout.DATA]
        assert not list(place.root.parent.glob(".*"))
    restored(place)
    assert answers(place) == lost[1]


def test_two_restorations_exclude_each_other(place: World) -> None:
    """The second is told to wait."""
    with Restoring(place.root, None).exclusive(), pytest.raises(UnavailableError, match="another restoration"):
        restored(place)
