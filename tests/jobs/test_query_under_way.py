"""A query under way while its files are purged, shredded or replaced: all of its rows, or an error; never a part."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from jobs.clear.rekey_job import RekeyJob
from jobs.runner.run import Runner
from jobs.sealed.retention.shred import ShredJob
from jobs.sealed.sweep import SweepJob
from lake.api import Lake
from lake.clear.reading import decode, scan
from lake.clear.serving import chunks, exports
from lake.errors import FilesChangedError, IntegrityError, LakeError
from lake.gateway.retention import RetentionDesk
from tests.jobs.purging import purge
from tests.world import ADA, BEN, World, known_rows, landed, same_rows, small_settings

EXPECTED = landed(known_rows())
RULES = "rules:\n  - {match: {}, keep: 20d, hard_max: 20d}\n"
OPENED = 5
"""Files that are opened before the others go."""
PLAIN, ENGINE = "SELECT * FROM events", "SELECT * FROM events WHERE n IS NULL OR n + 1 > -100000"


class Gate:
    """Lets some files be opened, and the others once it is told to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.reached, self.let = threading.Event(), threading.Event()
        self._left = OPENED
        self._lock = threading.Lock()
        whole = decode.Decoding.open

        def held(decoding: decode.Decoding, coded: Sequence[str] = ()) -> decode.RowGroups:
            with self._lock:
                self._left -= 1
                late = self._left < 0
            if late:
                self.reached.set()
                assert self.let.wait(60)
            return whole(decoding, coded)

        monkeypatch.setattr(decode.Decoding, "open", held)


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Iterator[Gate]:
    """Files are opened one by one, and rows leave at once."""
    for module, name in (
        (scan, "SHARE_ROWS"),
        (chunks, "FIRST_BYTES"),
        (chunks, "MOST_BYTES"),
        (exports, "BATCH_ROWS"),
    ):
        monkeypatch.setattr(module, name, 1)
    made = Gate(monkeypatch)
    yield made
    made.let.set()


def _purge(lake: Lake, _folder: Path) -> None:
    RetentionDesk(lake.home).apply(RULES, "rules.yaml", "operator")
    assert purge(lake).counts["rows"] > 0


def _shred(lake: Lake, folder: Path) -> None:
    Runner(lake.home).run(ShredJob(lake.home, lake.actor, employees=[ADA, BEN], backup=folder / "backup"))


def _replace(lake: Lake, _folder: Path) -> None:
    Runner(lake.home).run(RekeyJob(lake.home, lake.actor, all=True))
    assert Runner(lake.home).run(SweepJob(lake.home, lake.actor, grace_hours=timedelta())).counts


@pytest.mark.parametrize("sql", [PLAIN, ENGINE], ids=["plain", "engine"])
@pytest.mark.parametrize("act", [_purge, _shred, _replace])
def test_it_gives_all_of_its_rows_or_an_error(
    world: World, tmp_path: Path, gate: Gate, act: Callable[[Lake, Path], None], sql: str
) -> None:
    """What was not opened yet is gone: the error says that files went and not that they are damaged."""
    found: list[dict[str, Any]] = []
    errors: list[LakeError] = []

    def ask() -> None:
        with world.connect(settings=small_settings(release_bytes=1)) as connection:
            try:
                for batch in connection.sql(sql).batches():
                    found.extend(batch.to_pylist())
            except LakeError as error:
                errors.append(error)

    asking = threading.Thread(target=ask)
    asking.start()
    assert gate.reached.wait(60)
    with world.open() as lake:
        act(lake, tmp_path)
    gate.let.set()
    asking.join(60)
    assert not asking.is_alive()
    last = world.entries("query.outcome")[-1]
    if errors:
        assert isinstance(errors[0], FilesChangedError)
        assert (last["out"], last["error"], last["final"]) == ("error", "files_changed", True)
        assert len(found) < len(EXPECTED)
    else:
        assert same_rows(found, EXPECTED)
        assert last["out"] == "allow"
    assert errors or act is not _replace  # of it no file is left, so that it cannot end well


def test_what_is_damaged_is_still_damage(world: World) -> None:
    """A file that is missing and that nobody took away."""
    with world.open() as lake:
        victim = min(lake.home.catalog.object_keys())
    (world.root / victim).unlink()
    with pytest.raises(IntegrityError, match="missing"):
        world.rows()
