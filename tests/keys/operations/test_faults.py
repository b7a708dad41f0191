"""Killed at every step of every verb: nothing living is lost, nothing erased comes back, the command finishes."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from keys.names import ROOT_NAMES
from keys.operations import rotate, shred
from keys.operations.move import move
from keys.providers.local import LocalProvider
from keys.rows import BucketKeyRow
from tests.keys.operations import catalog, faults
from tests.keys.operations.catalog import Files
from tests.keys.operations.keyside import (
    OTHER,
    Keys,
    Opened,
    make,
    opened,
    opens,
    providers_of,
    pseudonym,
    sealed_files,
    secret_of,
)
from tests.keys.operations.watched import Watched

BUCKETS = (7, 7, 7, 9, 9, 200, 200)
USED = (1, 4)
AGAIN = 5
"""After every n-th kill the finished command is run once more."""


@dataclass(frozen=True)
class Verb:
    """A command, and the employees whom it erases."""

    run: Callable[[Keys], object]
    erases: tuple[str, ...] = ()
    deks: bool = False
    moves: bool = False


def shredding(*numbers: int) -> Verb:
    names = tuple(map(pseudonym, numbers))
    return Verb(lambda keys: shred.shred(keys.keeper, names, keys.backups), names)


def to_other(keys: Keys) -> object:
    target = LocalProvider(keys.place / OTHER, secret_of(keys.place))
    seen = keys.provider
    return move(keys.keeper, Watched(target, seen.before, seen.after) if isinstance(seen, Watched) else target)


def buckets_of(keys: Keys) -> object:
    return rotate.rotate_buckets(keys.keeper, [(level, bucket) for level in USED for bucket in (7, 9)])


VERBS = {
    "rotate-one-root": Verb(lambda keys: rotate.rotate_roots(keys.keeper, ["root-dss4"])),
    "rotate-every-root": Verb(lambda keys: rotate.rotate_roots(keys.keeper, ROOT_NAMES)),
    "rotate-roots-and-trim": Verb(
        lambda keys: rotate.rotate_roots(keys.keeper, ["root-control", "root-dss4"], keys.backups)
    ),
    "rotate-buckets": Verb(buckets_of),
    "rotate-keks": Verb(catalog.rotate, deks=True),
    "rotate-compromised-keks": Verb(lambda keys: catalog.rotate(keys, compromised=True), deks=True),
    "shred-one": shredding(0),
    "shred-three": shredding(0, 1, 5),
    "move": Verb(to_other, moves=True),
}


@dataclass(frozen=True)
class Template:
    """A key store that no run touches: each works on a copy."""

    place: Path
    keks: Opened
    subjects: dict[tuple[str, int], str]
    deks: dict[str, bytes]
    wraps: tuple[BucketKeyRow, ...]
    files: tuple[bytes, ...]


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Template]:
    """Seven employees in three buckets, with a backup."""
    place = tmp_path_factory.mktemp("faults") / "template"
    make(place, BUCKETS, levels=USED)
    with opened(place) as keys:
        files = Files(keys)
        files.land(keys)
        keys.keeper.proven_backup(keys.backups)
        subjects = {(row.kek_id, row.version): row.subject for row in keys.rows()}
        made = Template(
            place, keys.living(), subjects, files.deks(), tuple(keys.changes.buckets()), tuple(sealed_files(keys))
        )
    assert len(made.keks) == 28
    return made


def check_living(keys: Keys, template: Template, verb: Verb) -> None:
    """Every key of everybody who is not being erased opens, to what it was."""
    keys.verify()
    if verb.deks:
        assert Files(keys).deks() == template.deks
        return
    now = keys.living()
    for kek, key in template.keks.items():
        assert template.subjects[kek] in verb.erases or now[kek] == key


def check_erased(keys: Keys, template: Template, verb: Verb, scratch: Path) -> None:
    """No key of theirs opens: from the live store, from any backup, with any copy of the provider's file."""
    gone = {kek for kek, subject in template.subjects.items() if subject in verb.erases}
    assert not gone & keys.living().keys()
    found = keys.disclosure()
    assert found.clean, found
    assert len(found.artefacts) >= 3
    lost = {(row.sensitivity, row.bucket) for row in keys.rows() if row.subject in verb.erases}
    wraps = [row for row in template.wraps if row.place in lost]
    assert wraps
    for provider in providers_of(keys, [*template.files, *sealed_files(keys)], scratch):
        assert not any(opens(provider, row) for row in wraps)


def check_finished(place: Path, template: Template, verb: Verb, scratch: Path) -> None:
    with opened(place) as keys:
        assert keys.keeper.journal.unfinished() is None
        check_living(keys, template, verb)
        assert verb.moves == keys.moved
        if verb.erases:
            check_erased(keys, template, verb, scratch)


def chosen(points: list[str], *, thorough: bool) -> list[int]:
    """Turns to die at: every point, or the first time that each kind of point is passed."""
    turns = range(1, len(points) + 1)
    return list(turns) if thorough else sorted({points[turn - 1]: turn for turn in reversed(turns)}.values())


@pytest.mark.parametrize("thorough", [False, pytest.param(True, marks=pytest.mark.soak)], ids=["once", "thorough"])
@pytest.mark.parametrize("name", VERBS)
def test_killed_at_every_step(template: Template, tmp_path: Path, name: str, *, thorough: bool) -> None:
    """One run for each point; then the same command again."""
    verb = VERBS[name]
    whole = tmp_path / "whole"
    shutil.copytree(template.place, whole)
    points = faults.run(whole, verb.run)
    assert points is not None
    check_finished(whole, template, verb, tmp_path / "whole-scratch")

    def kill_and_finish(fatal: int) -> None:
        place = tmp_path / f"run-{fatal}"
        shutil.copytree(template.place, place)
        assert faults.run(place, verb.run, fatal) is None, (fatal, points)
        with opened(place) as keys:
            check_living(keys, template, verb)
        for attempt in ("resumed", "again") if fatal % AGAIN == 0 else ("resumed",):
            with opened(place) as keys:
                verb.run(keys)
            check_finished(place, template, verb, tmp_path / f"{attempt}-{fatal}")
        shutil.rmtree(place)

    faults.in_halves(kill_and_finish, chosen(points, thorough=thorough), tmp_path / "second-process")


def test_there_are_many_points(template: Template, tmp_path: Path) -> None:
    """What the kills above are worth: how many there are, and that they fall into every part of a shredding."""
    total: list[str] = []
    for name, verb in VERBS.items():
        shutil.copytree(template.place, tmp_path / name)
        points = faults.run(tmp_path / name, verb.run) or []
        print(name, len(points))
        total += points
    assert len(total) >= 200
    steps = ("tombstoned", "fenced", "announced", "resealed", "proven")
    assert {f"shred.{step}" for step in steps} <= set(total)
    for call in ("wrap", "unwrap", "rewrap", "new_version", "describe", "trim", "create"):
        assert {f"before {call}", f"after {call}"} <= set(total)
