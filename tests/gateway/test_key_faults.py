"""kill -9 at every step of a rotation of KEKs and of a shredding, on a whole lake; then ``resume`` finishes."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from keys.errors import CompromisedKeyError, KeyOperationError
from tests import world as w
from tests.gateway.keylakes import crowded, keeping, later, operations, sound, without
from tests.world import ADA, World, child, copy, finished, landed, same_rows

JULY = [row for row in w.known_rows() if row["ts"].month == 7]
"""Enough for several pages of everything."""
EXPECTED = landed(JULY)
ALL = 1_000_000
"""A turn that never comes."""

COMMON = """
from tests.gateway.keylakes import keeping, later
from lake.gateway import kek_rotation
from lake.gateway.keyplans import KeyScope
from keys.operations import rotate_keks

# Small pages, so that there are several.
kek_rotation.DEK_PAGE = 7
rotate_keks.next_page.__kwdefaults__["limit"] = 12
passed = []

def hook(event, arguments):
    if event == "lake.step":
        passed.append(arguments[0])
        if len(passed) == turn:
            os.kill(os.getpid(), signal.SIGKILL)

with world.open(clock=later) as lake:
    keys = keeping(lake)
    sys.addaudithook(hook)
    DO
    turn, mine = 0, list(passed)
print("\\n".join(mine))
"""
VERBS = {
    "rotate kek": "keys.rotate_keks(KeyScope())",
    "rotate kek --compromised": "keys.rotate_keks(KeyScope(), compromised=True)",
    "shred": 'keys.shred([w.ADA], world.root.parent / "backups")',
}
STEPS = {
    "rotate kek": {
        "keys.keks-made",
        "keys.keks-fenced",
        "keys.deks-rewrapped",
        "keys.deks-swapped",
        "keys.keks-retired",
    },
    "shred": {
        "shred.tombstoned",
        "shred.left-out",
        "shred.fenced",
        "shred.announced",
        "shred.resealed",
        "shred.proven",
        "keys.root-made",
        "keys.root-adopted",
        "keys.keks-swapped",
        "keys.buckets-retired",
        "keys.backup-written",
        "keys.backup-proven",
        "keys.root-trimmed",
        "keys.root-retired",
    },
}


@pytest.fixture(scope="module")
def crowd(tmp_path_factory: pytest.TempPathFactory) -> World:
    """A lake whose four employees share one bucket; only to be copied."""
    return crowded(tmp_path_factory.mktemp("crowd"), JULY)


def run(world: World, verb: str, turn: int = ALL) -> list[str] | None:
    """Run a verb in a process of its own; the steps that it passed, or None if it was killed."""
    status, out, err = finished(child(world, COMMON.replace("DO", VERBS[verb]), "", turn))
    assert status in {0, -signal.SIGKILL}, err
    return out.split() if status == 0 else None


RUNS = [
    ("rotate kek", False),
    ("shred", False),
    *(pytest.param(verb, True, marks=pytest.mark.soak) for verb in VERBS),
]


@pytest.mark.parametrize(("verb", "thorough"), RUNS)
def test_killed_anywhere_it_is_finished_by_resume(crowd: World, tmp_path: Path, verb: str, thorough: bool) -> None:
    """At each step: rows are whole or refused, never fewer; after ``resume`` nothing is lost and nothing comes back."""
    (tmp_path / "whole").mkdir()
    steps = run(copy(crowd, tmp_path / "whole"), verb)
    assert steps is not None
    assert STEPS[verb.removesuffix(" --compromised")] <= set(steps)
    expected = without(EXPECTED, ADA) if verb == "shred" else EXPECTED
    for turn in spread(steps, thorough=thorough):
        place = tmp_path / f"turn-{turn}"
        place.mkdir()
        world = copy(crowd, place)
        assert run(world, verb, turn) is None, steps[turn - 1]
        check_cut_off(world, verb, steps[:turn])
        with world.open(clock=later) as lake:
            resumed = keeping(lake).resume()
            assert keeping(lake).resume() is None
        if resumed is None:  # killed before it began, or after it ended: asked again, it does what is left to do
            assert run(world, verb) is not None
        assert same_rows(world.rows(), expected), steps[turn - 1]
        check_log(world, verb)
        assert sound(world), steps[turn - 1]
        if verb == "shred":
            check_gone(world)


def spread(steps: list[str], *, thorough: bool) -> list[int]:
    """Turns to die at: the first time that each step is passed, and the last one too."""
    turns = range(1, len(steps) + 1)
    first = {steps[turn - 1]: turn for turn in reversed(turns)}
    last = {steps[turn - 1]: turn for turn in turns}
    return sorted({*first.values(), *(last.values() if thorough else ())})


def check_cut_off(world: World, verb: str, passed: list[str]) -> None:
    """Before it is finished: the erased are gone from the first step on; others have every row, or a typed error."""
    try:
        rows = world.rows()
    except CompromisedKeyError:
        assert verb == "rotate kek --compromised"
        return
    erased = "shred.left-out" in passed
    assert same_rows(rows, without(EXPECTED, ADA) if erased else EXPECTED), passed[-1]
    with world.open(clock=later) as lake:
        unfinished = [found["verb"] for found in keeping(lake).status()["unfinished"]]
        assert unfinished in ([], [verb.removesuffix(" --compromised")])
        if unfinished:
            with pytest.raises(KeyOperationError, match="not finished"):
                keeping(lake).rotate_roots(["root-control"])


def check_log(world: World, verb: str) -> None:
    """Every run has begun; the one that was cut off has not ended, unless it was killed behind its last word."""
    steps = [entry["step"] for entry in operations(world) if entry["verb"] == verb.removesuffix(" --compromised")]
    assert steps in (["begin", "begin", "done"], ["begin", "done", "begin", "done"], ["begin", "done"])


def check_gone(world: World) -> None:
    with world.open(clock=later) as lake:
        assert keeping(lake).verify_shred([]).clean
        text = keeping(lake).shred([ADA], world.root.parent / "backups")[1]
    assert '"old_wraps_refused":3' in text
