"""Scrub: a changed byte anywhere is found and named, queries refuse what is damaged, and no report says what it was."""

from __future__ import annotations

import json
import signal
import sqlite3
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from jobs.clear import scrub as clear
from jobs.clear.compact import Compact
from jobs.clear.scrub import ScrubFiles
from jobs.runner.journal import RunJournal
from jobs.runner.run import Options, Runner, StoppedError
from jobs.sealed.scrub import CATALOG, Scrub, ScrubObjects
from jobs.sealed.scrub_pace import MIB, Pace
from lake.api import Lake
from lake.cli.main import main
from lake.errors import QuarantinedError, UsageError
from lake.gateway.keykeeping import KeyKeeping
from lake.gateway.keyplans import KeyScope
from lake.rules.model import DataFile
from lake.sealed.audit import entries
from tests import world as w
from tests.jobs.small_files import live, run
from tests.world import ADA, World, child, finished, landed, same_rows

EXPECTED = landed(w.known_rows())


def one(world: World, level: int = 3) -> DataFile:
    """A live file of a sensitivity."""
    with world.open() as lake:
        return min(
            (file for file in live(lake).values() if file.partition.sensitivity == level), key=lambda f: f.file_id
        )


def flip(path: Path, position: int) -> None:
    """Change one bit of a byte."""
    content = bytearray(path.read_bytes())
    content[position] ^= 1
    path.write_bytes(content)


def damage(lake: Lake) -> dict[str, str]:
    """What is in quarantine."""
    return {found.file_id: found.reason for found in lake.home.quarantine.listed()}


@pytest.mark.parametrize("job", [ScrubFiles, ScrubObjects])
def test_a_whole_lake_is_whole(world: World, job: type[Scrub]) -> None:
    """Every byte and row is counted; a scrub that has keys says in the log whose files it read."""
    with world.open() as lake:
        files = live(lake)
        done = run(lake, job(lake.home, lake.actor))
        assert damage(lake) == {}
    counts = done.counts
    assert (done.state, counts["files"], counts["bytes"]) == ("done", len(files), sum(f.length for f in files.values()))
    outcomes = world.entries(entries.JOB_OUTCOME)
    if job is ScrubFiles:
        assert counts["rows"] == len(EXPECTED) == sum(entry["rows"] for entry in outcomes)
        assert {entry["job"] for entry in world.entries(entries.JOB_INTENT)} == {"scrub"}
    else:
        assert outcomes == []
        assert "rows" not in counts


def gone(path: Path) -> None:
    """Remove it."""
    path.unlink()


OBJECTS: dict[str, tuple[Callable[[Path], None], str]] = {
    "its magic": (lambda path: flip(path, 1), "digest"),
    "a page": (lambda path: flip(path, 200), "digest"),
    "the footer": (lambda path: flip(path, path.stat().st_size - 40), "digest"),
    "the last byte": (lambda path: flip(path, path.stat().st_size - 1), "digest"),
    "cut off": (lambda path: path.write_bytes(path.read_bytes()[:-1]), "length"),
    "longer": (lambda path: path.write_bytes(path.read_bytes() + b"x"), "length"),
    "gone": (gone, "missing"),
}


@pytest.mark.parametrize("job", [ScrubFiles, ScrubObjects])
@pytest.mark.parametrize("what", OBJECTS)
def test_a_changed_object_is_named_and_refused_until_it_is_whole(world: World, what: str, job: type[Scrub]) -> None:
    """Queries that need the file fail at once and those that do not go on; put back, it is read again."""
    file = one(world)
    path = world.root / file.object_key
    kept = path.read_bytes()
    break_it, reason = OBJECTS[what]
    break_it(path)
    with world.open() as lake:
        assert run(lake, job(lake.home, lake.actor)).state == "incomplete"
        assert damage(lake) == {file.file_id: reason}
    with pytest.raises(QuarantinedError) as refused:
        world.rows("SELECT count(*) FROM events")
    assert refused.value.details == {"files": 1}
    below = [row for row in EXPECTED if row["sensitivity"] < 3]
    assert same_rows(world.rows("SELECT * FROM events WHERE sensitivity < 3"), below)
    path.write_bytes(kept)
    with world.open() as lake:
        assert run(lake, ScrubFiles(lake.home, lake.actor)).state == "done"
        assert damage(lake) == {}
    assert same_rows(world.rows(), EXPECTED)


def test_tags_alone_find_a_changed_byte_anywhere(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where length and digest are not looked at, every part of a file is still covered by a tag or compared."""
    monkeypatch.setattr(clear, "object_problem", lambda *_: "")
    file = one(world, 1)
    path = world.root / file.object_key
    kept = path.read_bytes()
    with world.open() as lake:
        for position in [*range(0, 48, 7), *range(48, file.length, 211), *range(file.length - 60, file.length, 9)]:
            flip(path, position)
            assert run(lake, ScrubFiles(lake.home, lake.actor)).state == "incomplete", position
            assert damage(lake) == {file.file_id: "module"}, position
            path.write_bytes(kept)
        assert run(lake, ScrubFiles(lake.home, lake.actor)).state == "done"


def test_a_file_in_the_place_of_another_is_found(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two objects of the same length, swapped: each is whole and neither is the one that its row names."""
    monkeypatch.setattr(clear, "object_problem", lambda *_: "")
    with world.open() as lake:
        by_length: dict[int, list[DataFile]] = {}
        for file in live(lake).values():
            by_length.setdefault(file.length, []).append(file)
        some, other = next(files for files in by_length.values() if len(files) > 1)[:2]
        paths = [world.root / file.object_key for file in (some, other)]
        contents = [path.read_bytes() for path in paths]
        for path, content in zip(paths, reversed(contents), strict=True):
            path.write_bytes(content)
        run(lake, ScrubFiles(lake.home, lake.actor))
        assert damage(lake) == {some.file_id: "module", other.file_id: "module"}


CATALOG_ROWS = {
    "its wrap": "UPDATE files SET wrapped_dek = zeroblob(length(wrapped_dek)) WHERE file_id = ?",
    "its rows": "UPDATE files SET rows = rows + 1 WHERE file_id = ?",
    "its times": "UPDATE files SET last_ts = last_ts + 1 WHERE file_id = ?",
    "its batch": "UPDATE files SET batch_id = 'first-batcj' WHERE file_id = ?",
}


@pytest.mark.parametrize("what", CATALOG_ROWS)
def test_a_changed_row_of_the_catalog_is_found(world: World, what: str) -> None:
    """By the wrap, which is bound to what is needed to read the file, or by the chain, which is of the whole row."""
    file = one(world)
    with sqlite3.connect(world.root / "catalog.db") as connection:
        connection.execute(CATALOG_ROWS[what], (file.file_id,))
    connection.close()
    with world.open() as lake:
        done = run(lake, ScrubFiles(lake.home, lake.actor))
        failed = {item.id for item, _, _ in RunJournal(lake.home).items(done, "failed")}
        assert damage(lake) == ({} if what == "its batch" else {file.file_id: "wrap"})
    assert done.state == "incomplete"
    assert (CATALOG in failed) == (what != "its wrap")


def test_a_report_holds_no_value_and_no_person(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    """From the command line: exit codes, a list of ids, and nothing of what was in the files."""
    at = ["--lake", str(world.root), "--key-file", str(world.key), "--json"]
    assert main(["jobs", "run", "scrub", *at]) == 0
    assert main(["jobs", "quarantine", *at]) == 0
    file = one(world)
    flip(world.root / file.object_key, 300)
    capsys.readouterr()
    assert main(["jobs", "run", "scrub", "--option", "rate=1000", *at]) == 1
    document = json.loads(capsys.readouterr().out)
    assert document["counts"]["failed"] == 1
    assert main(["jobs", "quarantine", *at]) == 4
    text = capsys.readouterr().out
    (found,) = json.loads(text)
    assert (found["file"], found["damage"], found["dataset"]) == (file.file_id, "digest", "events")
    told = json.dumps(document) + text + json.dumps(world.entries(entries.JOB_OUTCOME))
    assert not [secret for secret in (*w.EMPLOYEES, "canary") if secret in told]


def test_a_sample_is_a_share_and_the_same_all_day(world: World) -> None:
    """Half of the files, the others on another day as well; over some days every one has its turn."""
    seen: set[int] = set()
    total = 0
    with world.open() as lake:
        files = len(live(lake))
        plans = {ScrubFiles(lake.home, lake.actor, sample=0.5).plan().hash for _ in range(2)}
        assert len(plans) == 1
    for day in range(4):
        with world.open(clock=lambda day=day: w.NOW + timedelta(days=day)) as lake:
            counts = run(lake, ScrubObjects(lake.home, lake.actor, sample=0.5)).counts
            total += counts["files"]
            seen.add(counts["files"])
    assert 0.25 < total / (4 * files) < 0.75
    assert max(seen) < files
    with world.open() as lake:
        for wrong in (0, 1.5):
            with pytest.raises(UsageError):
                ScrubFiles(lake.home, lake.actor, sample=wrong)


def test_the_pace_waits_for_what_was_read_too_soon() -> None:
    """By a clock of its own: ten MiB at four a second take two and a half seconds, in naps that keep a lease alive."""
    time, naps, alive = [0.0], [], []

    def wait(seconds: float) -> None:
        naps.append(seconds)
        time[0] += seconds

    pace = Pace(4, alive=lambda: alive.append(1), now=lambda: time[0], wait=wait)
    for _ in range(10):
        pace.read(MIB)
    assert (time[0], sum(naps), len(alive)) == (2.5, 2.5, len(naps))
    unbound = Pace(None, now=lambda: time[0], wait=wait)
    unbound.read(10**12)
    assert time[0] == 2.5


SCRUB = """
from jobs.clear import scrub
from jobs.sealed import scrub as sealed
from jobs.runner.run import Runner

sealed.PAGE = 8
with world.open() as lake:
    sys.addaudithook(hook)
    Runner(lake.home).run(scrub.ScrubFiles(lake.home, lake.actor))
"""


@pytest.mark.parametrize("step", ["scrub.intended", "scrub.keys-released", "scrub.judged", "scrub.saved", "job.item"])
def test_killed_it_goes_on_where_it_was(world: World, step: str) -> None:
    """Files that were looked at are not looked at again, and damage that was found stays found."""
    file = one(world)
    flip(world.root / file.object_key, 100)
    status, _, err = finished(child(world, SCRUB, step, 2))
    assert status == -signal.SIGKILL, err
    with world.open() as lake:
        done = run(lake, ScrubFiles(lake.home, lake.actor))
        notes = [note for item, _, note in RunJournal(lake.home).items(done) if item.id != CATALOG]
        assert sum(note["total"]["files"] for note in notes) == len(live(lake))
        assert sum(note["total"]["damaged"] for note in notes) == 1
        assert damage(lake) == {file.file_id: "digest"}
        assert done.state == "incomplete"


def test_asked_to_stop_it_stops_between_pages(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """And the next run goes on there."""
    monkeypatch.setattr("jobs.sealed.scrub.PAGE", 8)
    asked = iter([False, False, False, True])
    with world.open() as lake:
        with pytest.raises(StoppedError):
            Runner(lake.home, Options(stopping=lambda: next(asked))).run(ScrubFiles(lake.home, lake.actor))
        read = sum(entry["files"] for entry in entries_of(lake))
        assert 0 < read < len(live(lake))
        run(lake, ScrubFiles(lake.home, lake.actor))
        assert sum(entry["files"] for entry in entries_of(lake)) == len(live(lake))


def entries_of(lake: Lake) -> list[dict[str, int]]:
    """Outcomes of jobs so far."""
    found = (json.loads(content) for _, content in lake.home.log.entries())
    return [entry for entry in found if entry["type"] == entries.JOB_OUTCOME]


def test_suspended_files_are_counted_as_unchecked(world: World) -> None:
    """Their objects and wraps are looked at; their modules are not, as nobody may use the keys."""
    with world.open() as lake:
        keeping = KeyKeeping(lake.home, lake.actor)
        keeping.change_state(KeyScope(employees=frozenset({ADA})), disabled=True, whole_level=False)
        (ada,) = lake.home.directory.find([ADA]).values()
        hers = [file for file in live(lake).values() if file.partition.subject == ada.id]
        done = run(lake, ScrubFiles(lake.home, lake.actor))
        assert (done.state, done.counts["unchecked"]) == ("done", len(hers))
        assert damage(lake) == {}
        flip(world.root / hers[0].object_key, 50)
        run(lake, ScrubFiles(lake.home, lake.actor))
        assert damage(lake) == {hers[0].file_id: "digest"}


def test_compaction_leaves_damaged_files_alone(small: World) -> None:
    """They are merged once they are whole again."""
    file = one(small, 1)
    flip(small.root / file.object_key, 100)
    with small.open(settings=w.small_settings(compact_least=2)) as lake:
        run(lake, ScrubObjects(lake.home, lake.actor))
        assert run(lake, Compact(lake.home, lake.actor)).state == "done"
        assert file.file_id in live(lake)
