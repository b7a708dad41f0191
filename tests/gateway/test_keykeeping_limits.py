"""Operations on keys beside each other, beside readers, and on a full disk: nothing is lost, and all is said."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from keys.errors import KeyOperationError, KeyStateError
from lake.gateway.keykeeping import KeyKeeping
from lake.gateway.keyplans import KeyScope
from tests import world as w
from tests.gateway.keylakes import keeping, later, sound, without
from tests.world import ADA, BEN, World, child, finished, landed, row, same_rows

EXPECTED = landed(w.known_rows())

PAUSING = """
from tests.gateway.keylakes import keeping, later
from lake.gateway.keyplans import KeyScope

def act():
    print("waiting", flush=True)
    sys.stdin.readline()

with world.open(clock=later) as lake:
    keys = keeping(lake)
    sys.addaudithook(hook)
    DO
print("done")
"""
VERBS = {
    "kek": "keys.rotate_keks(KeyScope())",
    "bucket": "keys.rotate_buckets(keys.places(KeyScope()))",
    "root": 'keys.rotate_roots(["root-dss1", "root-dss4"])',
    "shred": 'keys.shred([w.ADA], world.root.parent / "backups")',
}
RUN: dict[str, Callable[[KeyKeeping, Path], object]] = {
    "kek": lambda keys, _: keys.rotate_keks(KeyScope()),
    "bucket": lambda keys, _: keys.rotate_buckets(keys.places(KeyScope())),
    "root": lambda keys, place: keys.rotate_roots(["root-dss1", "root-dss4"], place),
    "shred": lambda keys, place: keys.shred([ADA], place),
}
MIDDLE = {
    "kek": "keys.deks-rewrapped",
    "bucket": "keys.buckets-adopted",
    "root": "keys.root-adopted",
    "shred": "keys.buckets-adopted",
}


@pytest.mark.parametrize("verb", VERBS)
def test_one_operation_at_a_time_and_everybody_else_goes_on(world: World, verb: str) -> None:
    """While one stands still in the middle: others wait; queries, landings and suspending somebody do not."""
    process = child(world, PAUSING.replace("DO", VERBS[verb]), MIDDLE[verb])
    assert process.stdout is not None
    assert process.stdout.readline() == "waiting\n", process.communicate()[1]
    expected = without(EXPECTED, ADA) if verb == "shred" else EXPECTED
    late = [row(BEN, w.NOW.replace(tzinfo=None), "judge", note="meanwhile", n=1)]
    with world.open(clock=later) as lake:
        keys = keeping(lake)
        for attempt in (
            lambda: keys.rotate_roots(["root-control"]),
            lambda: keys.rotate_keks(KeyScope()),
            lambda: keys.change_state(KeyScope(sensitivities=frozenset({2})), disabled=True, whole_level=True),
            keys.resume,
        ):
            with pytest.raises(KeyOperationError, match="is running"):
                attempt()
        assert lake.ingest("events", w.table(late)).rows == 1
        # To stop access to somebody's rows waits for nothing.
        for disabled in (True, False):
            keys.change_state(KeyScope(frozenset({BEN})), disabled=disabled, whole_level=False)
            if disabled:
                with pytest.raises(KeyStateError):
                    world.rows()
    assert same_rows(world.rows(), [*expected, *landed(late)])
    assert process.communicate("\n", timeout=60)[0] == "done\n"
    assert same_rows(world.rows(), [*expected, *landed(late)])
    assert sound(world)


@pytest.mark.parametrize("verb", VERBS)
def test_a_query_that_is_on_its_way_ends(world: World, verb: str) -> None:
    """It has its keys, and goes on with the rows that it began with; the next one sees what has changed."""
    sql = "SELECT a.n, b.ts FROM events a, events b, range(40)"
    total = 144 * 144 * 40
    settings = w.small_settings(release_bytes=20_000, threads=1)
    with world.connect(settings=settings) as reader, world.open(clock=later) as lake:
        batches = reader.sql(sql).batches()
        rows = next(batches).num_rows
        assert rows < total
        RUN[verb](keeping(lake), world.root.parent / "backups")
        rows += sum(batch.num_rows for batch in batches)
        assert rows == total
        assert len(reader.sql("SELECT n FROM events").arrow()) == (108 if verb == "shred" else 144)
    parts = world.entries("query.outcome")
    assert sum(part["rows"] for part in parts) == rows + (108 if verb == "shred" else 144)


FULL = """
import resource
from keys.errors import KeysError
from lake.errors import LakeError
from tests.gateway.keylakes import keeping, later
from lake.gateway.keyplans import KeyScope

def act():
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))

with world.open(clock=later) as lake:
    keys = keeping(lake)
    sys.addaudithook(hook)
    try:
        DO
    except (LakeError, KeysError) as error:
        print(error.code)
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
"""
STEPS = {
    "kek": ["keys.keks-made", "keys.keks-fenced", "keys.deks-rewrapped", "keys.deks-swapped", "keys.keks-retired"],
    "bucket": ["keys.buckets-announced", "keys.buckets-made", "keys.buckets-adopted", "keys.keks-swapped"],
    "root": ["keys.root-announced", "keys.root-made", "keys.root-adopted", "keys.buckets-rewrapped"],
    "shred": ["shred.left-out", "shred.fenced", "shred.announced", "shred.resealed", "keys.backup-proven"],
}


@pytest.mark.parametrize(("verb", "step"), [(verb, step) for verb, steps in STEPS.items() for step in steps])
def test_a_full_disk_stops_it_and_resume_goes_on(world: World, verb: str, step: str) -> None:
    """A typed error that tells nothing of the system's; with room again it is finished, with every row."""
    status, out, err = finished(child(world, FULL.replace("DO", VERBS[verb]), step))
    assert status == 0, err
    assert out.strip() in {"unavailable", "audit_unavailable", "secret_file"}, out
    expected = without(EXPECTED, ADA) if verb == "shred" else EXPECTED
    assert same_rows(world.rows(), expected)
    with world.open(clock=later) as lake:
        assert keeping(lake).resume() is not None
    assert same_rows(world.rows(), expected)
    assert sound(world)


def test_a_place_for_backups_that_cannot_be_written_stops_a_shredding_before_it_destroys(world: World) -> None:
    """Nothing is trimmed; the erased are unreadable already, and another run with a good place ends it."""
    place = world.root.parent / "backups"
    place.write_text("not a folder")
    with world.open(clock=later) as lake:
        keys = keeping(lake)
        with pytest.raises(Exception, match="cannot be made"):
            keys.shred([ADA], place)
        versions = lake.home.provider.describe("root-dss4").versions
        assert all(state.unwraps for state in versions.values())
        assert same_rows(world.rows(), without(EXPECTED, ADA))
        place.unlink()
        assert keys.resume() is not None
        assert keys.verify_shred([]).clean
    assert sound(world)


def test_the_unfinished_are_found_by_another_folder(world: World, tmp_path: Path) -> None:
    """A shredding that is unfinished goes on under its own name only: another place for backups is another command."""
    place = tmp_path / "backups"
    place.write_text("not a folder")
    with world.open(clock=later) as lake:
        keys = keeping(lake)
        with pytest.raises(Exception, match="cannot be made"):
            keys.shred([ADA], place)
        with pytest.raises(KeyOperationError, match="not finished"):
            keys.shred([ADA], tmp_path / "elsewhere")
        with pytest.raises(KeyOperationError, match="not finished"):
            keys.shred([BEN], place)
    assert same_rows(world.rows(), without(EXPECTED, ADA))
