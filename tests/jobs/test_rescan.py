"""Rescan: landed texts under newer rules. Rows rise and never fall, finds are masked, and former files open no more."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from jobs.clear.compact import Compact
from jobs.clear.rescan import Rescan, RescanDryRun
from jobs.clear.rescan_rows import Rescanner
from jobs.clear.scrub import ScrubFiles
from jobs.runner.run import Options, Runner, StoppedError
from jobs.sealed.scrub import ScrubObjects
from keys.errors import KeysError
from lake.api import Lake
from lake.cli.main import main
from lake.errors import UsageError
from lake.gateway.holds import HoldDesk
from lake.gateway.kek_rotation import dek_request
from lake.rules.contract import parse_contract
from lake.rules.hold import HoldScope
from lake.rules.model import DataFile
from tests import world as w
from tests.jobs.small_files import EXPECTED, FEW, live, run, whole
from tests.world import ADA, World, child, finished, same_rows

MASK = "[FOUND]"


@dataclass(frozen=True)
class _Screened:
    columns: Mapping[str, pa.Array]
    sensitivities: Mapping[str, pa.Array]
    counts: Mapping[str, int]


@dataclass(frozen=True)
class WordScreen:
    """Finds one word: masks it, and rates its text."""

    word: str = "canary 1"
    level: int = 4
    digest: str = "rules-1"

    def apply(self, strings: Mapping[str, pa.Array]) -> _Screened:
        """See Screen."""
        columns, levels, found = {}, {}, 0
        for name, texts in strings.items():
            hit = pc.fill_null(pc.match_substring(texts, self.word), False)
            columns[name] = pc.replace_substring(texts, self.word, MASK)
            levels[name] = pc.if_else(hit, pa.scalar(self.level, pa.int8()), pa.scalar(1, pa.int8()))
            found += pc.sum(hit).as_py() or 0
        return _Screened(columns, levels, {"WORD": found} if found else {})


SCREEN = WordScreen()


def expected(screen: WordScreen = SCREEN, *, purge: bool = False) -> list[dict[str, Any]]:
    """The known rows as they must be afterwards."""
    rows = []
    for row in EXPECTED:
        texts = {name: row[name] for name in ("app", "title", "said", "note") if row[name] is not None}
        hit = any(screen.word in text for text in texts.values())
        masked = {name: text.replace(screen.word, MASK) for name, text in texts.items()}
        level = max(row["sensitivity"], screen.level) if hit else row["sensitivity"]
        if not (purge and level > row["sensitivity"]):
            rows.append(row | masked | {"sensitivity": level})
    return rows


RISING = [row for row, after in zip(EXPECTED, expected(), strict=True) if after["sensitivity"] > row["sensitivity"]]


def of_few(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Those of the people whose rows are in the small lake."""
    return [row for row in rows if row["employee"] in {one["employee"] for one in FEW}]


@pytest.mark.parametrize("purge", [False, True])
def test_finds_are_masked_and_their_rows_rise_or_go(small: World, purge: bool) -> None:
    """A dry run counts the same and changes nothing; every other row is what it was."""
    with small.open() as lake:
        before = live(lake)
        tried = run(lake, RescanDryRun(lake.home, lake.actor, screen=SCREEN, purge=purge))
        assert live(lake) == before
    assert same_rows(small.rows(), EXPECTED)
    with small.open() as lake:
        done = run(lake, Rescan(lake.home, lake.actor, screen=SCREEN, purge=purge))
    assert tried.counts == done.counts
    assert done.counts["purged" if purge else "moved"] == len(RISING) > 0
    whole(small, expected(purge=purge))


def test_no_row_ever_falls(small: World) -> None:
    """Rules that rate everything as harmless mask, and leave every row where it is."""
    low = WordScreen(level=1)
    with small.open() as lake:
        done = run(lake, Rescan(lake.home, lake.actor, screen=low))
        assert "moved" not in done.counts
        assert done.counts["masked"] > 0
    whole(small, expected(low))


def test_former_files_open_no_more(small: World) -> None:
    """The ciphertext was saved before; the wrap is gone from the catalog, and no wrap that is left opens for it."""
    with small.open() as lake:
        before = live(lake)
        run(lake, Rescan(lake.home, lake.actor, screen=SCREEN))
        after = live(lake)
        gone = {name: file for name, file in before.items() if name not in after}
        assert gone
        with lake.home.catalog.database.reading() as connection:
            rows = connection.exec_driver_sql("SELECT file_id, wrapped_dek FROM files").all()
        wraps = dict(map(tuple, rows))
        assert all(wraps[name] is None for name in gone)
        some = next(iter(gone.values()))
        for file in after.values():
            forged = DataFile(
                *(getattr(some, name) for name in DataFile.__slots__[:-3]),
                file.kek_id,
                file.kek_version,
                file.wrapped_dek,
            )
            with pytest.raises(KeysError):
                lake.home.broker.check_wrap(dek_request(forged))


@pytest.mark.parametrize(
    "step",
    [
        "job.recorded",
        "rescan.intended",
        "rescan.keys-released",
        "rescan.object-written",
        "rescan.objects-durable",
        "rescan.replaced",
        "rescan.recorded",
        "job.item-closed",
        "job.finished",
    ],
)
def test_killed_at_any_step_it_goes_on(few: World, step: str) -> None:
    """Every row is there once at any time, and afterwards all of them are under the new rules."""
    source = """
from jobs.clear import rescan
from jobs.clear.rescan_rows import Rescanner
from jobs.clear.scrub import ScrubFiles
from jobs.runner.run import Options, Runner, StoppedError
from tests.jobs.test_rescan import SCREEN

with world.open() as lake:
    sys.addaudithook(hook)
    Runner(lake.home).run(rescan.Rescan(lake.home, lake.actor, screen=SCREEN))
"""
    status, _, err = finished(child(few, source, step))
    assert status == -signal.SIGKILL, err
    assert len(few.rows()) == len(FEW)
    with few.open() as lake:
        done = run(lake, Rescan(lake.home, lake.actor, screen=SCREEN))
        assert done.counts["moved"] == len(of_few(RISING)) > 0
    whole(few, of_few(expected()))


def planned(lake: Lake, screen: WordScreen = SCREEN) -> set[str]:
    """Files that a rescan would look through."""
    job = Rescan(lake.home, lake.actor, screen=screen)
    return {name for item in job.plan().items for name in item.work["files"]}


def test_what_was_looked_through_is_not_again(small: World) -> None:
    """Neither what stayed nor what a rescan wrote; but what landed or was merged since, and all under others."""
    with small.open() as lake:
        run(lake, Rescan(lake.home, lake.actor, screen=SCREEN))
        assert planned(lake) == set()
        assert planned(lake, WordScreen(digest="rules-2")) == set(live(lake))
        again = Rescan(lake.home, lake.actor, screen=SCREEN, again=True).plan()
        assert again.facts["files"] == len(live(lake))
        before = set(live(lake))
        lake.ingest("events", w.table([w.row(ADA, w.NOW.replace(tzinfo=None), "focus", app="Mail-QX")]), batch_id="new")
        assert planned(lake) == set(live(lake)) - before
        run(lake, Compact(lake.home, lake.actor))
        assert planned(lake) == set(live(lake)) - before
        done = run(lake, Rescan(lake.home, lake.actor, screen=SCREEN))
        assert "masked" not in done.counts
        assert planned(lake) == set()


def test_an_unfinished_run_is_finished_as_it_was_begun(small: World) -> None:
    """Not with other rules or options."""
    with small.open() as lake:
        with pytest.raises(StoppedError):
            Runner(lake.home, Options(stopping=lambda: True)).run(Rescan(lake.home, lake.actor, screen=SCREEN))
        with pytest.raises(UsageError):
            run(lake, Rescan(lake.home, lake.actor, screen=SCREEN, purge=True))
        with pytest.raises(UsageError):
            run(lake, Rescan(lake.home, lake.actor, screen=WordScreen(digest="rules-2")))
        run(lake, Rescan(lake.home, lake.actor, screen=SCREEN))
    whole(small, expected())


def test_what_a_hold_spares_stays_as_it_is(small: World) -> None:
    """Until the hold is released: then it is looked through, and it alone."""
    with small.open() as lake:
        desk = HoldDesk(lake.home)
        hold = desk.place("ann-canary", HoldScope(employee=ADA), "a case of the court, 17/4", date(2027, 1, 1))
        (ada,) = lake.home.directory.find([ADA]).values()
        hers = {name for name, file in live(lake).items() if file.partition.subject == ada.id}
        run(lake, Rescan(lake.home, lake.actor, screen=SCREEN))
        assert hers <= live(lake).keys()
        assert planned(lake) == set()
        desk.release("ann-canary", hold.id, "the case is over")
        desk.release("bob-canary", hold.id, "the case is over")
        assert planned(lake) == hers
        run(lake, Rescan(lake.home, lake.actor, screen=SCREEN))
    whole(small, expected())


def test_a_hold_placed_after_the_plan_stops_its_items(small: World) -> None:
    """Nothing of theirs is changed, and the next run has them in its plan."""
    with small.open() as lake:
        job = Rescan(lake.home, lake.actor, screen=SCREEN)
        plan = job.plan()
        HoldDesk(lake.home).place("ann-canary", HoldScope(employee=ADA), "a case of the court, 17/4", date(2027, 1, 1))
        done = Runner(lake.home).run(job, plan)
        assert done.state == "incomplete"
    rows = [row for row in small.rows() if row["employee"] == ADA]
    assert same_rows(rows, [row for row in EXPECTED if row["employee"] == ADA])


def test_damaged_files_wait(small: World) -> None:
    """A file in quarantine is left out, and is looked through when it is whole."""
    with small.open() as lake:
        file = min(live(lake).values(), key=lambda one: one.file_id)
        path = small.root / file.object_key
        kept = path.read_bytes()
        path.write_bytes(kept[:-1])
        run(lake, ScrubObjects(lake.home, lake.actor))
        assert run(lake, Rescan(lake.home, lake.actor, screen=SCREEN)).state == "done"
        path.write_bytes(kept)
        run(lake, ScrubFiles(lake.home, lake.actor))
        assert planned(lake) == {file.file_id}


def test_ceilings_of_the_contract_hold() -> None:
    """A text that is more sensitive than its field may be goes, as it does on landing, and raises nothing."""
    contract = parse_contract(w.CONTRACT.replace("  apps:", "  ceilings: {title: 3}\n  apps:"), "contract")
    texts = pa.RecordBatch.from_pylist(
        [{"title": "canary 1", "said": None}, {"title": "plain", "said": "canary 1"}, {"title": None, "said": None}]
    )
    rescanner = Rescanner(contract, SCREEN)

    def read() -> Iterator[pa.RecordBatch]:
        yield texts

    judged = rescanner.judge(read, 2)
    assert judged.levels.tolist() == [2, 4, 2]
    assert judged.counts == {"found.WORD": 2, "masked": 1, "above_ceiling": 1}
    rows = [row for level in (2, 4) for part in rescanner.rows(read, 2, judged, level) for row in part.to_pylist()]
    assert rows == [{"title": None, "said": None}, {"title": None, "said": None}, {"title": "plain", "said": MASK}]


def test_from_the_command_line(small: World, capsys: pytest.CaptureFixture[str]) -> None:
    """With the rules that batches land under: it destroys, so that it acts with --yes only."""
    at = ["--lake", str(small.root), "--key-file", str(small.key), "--json"]
    assert main(["jobs", "run", "rescan", *at]) == 0
    assert json.loads(capsys.readouterr().out)["changed"] is False
    assert main(["jobs", "run", "rescan-dry-run", "--option", "purge=yes", *at]) == 0
    tried = json.loads(capsys.readouterr().out)["counts"]
    assert main(["jobs", "run", "rescan", "--yes", "--option", "purge=yes", *at]) == 0
    assert json.loads(capsys.readouterr().out)["counts"] == tried
    assert main(["jobs", "run", "rescan", "--yes", "--option", "purge=maybe", *at]) == 2
