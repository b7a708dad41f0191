"""A lake with many small files: rows of several batches, some of a second version of the contract."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from jobs.runner.run import Options, Runner
from jobs.runner.work import Job, Run
from lake.api import Lake
from lake.rules.model import DataFile
from lake.sealed.catalog.upkeep import FileScope
from tests import world as w
from tests.world import World

SECOND = w.CONTRACT.replace("version: 1", "version: 2").replace(
    "  n: {type: int32", "  extra: {type: string, sensitivity: 1, notice: More.}\n  n: {type: int32"
).replace("fields: [app, n, big", "fields: [app, extra, n, big")


def deliveries(count: int, rows: Sequence[Mapping[str, Any]] | None = None) -> list[list[Mapping[str, Any]]]:
    """Rows dealt out to batches, so that the times of each batch lie among those of the others."""
    known = w.known_rows() if rows is None else rows
    return [list(known[index::count]) for index in range(count)]


def make_small(folder: Path, batches: int = 6, *, before: Callable[[Lake, int], None] = lambda *_: None) -> World:
    """The known lake, its rows in many batches."""
    world = w.make(folder, rows=deliveries(batches)[0])
    with world.open() as lake:
        for index, part in enumerate(deliveries(batches)[1:], 1):
            before(lake, index)
            lake.ingest("events", w.table(part), batch_id=f"batch-{index}")
    return world


def live(lake: Lake) -> dict[str, DataFile]:
    """Live files by id."""
    return {file.file_id: file for page in lake.home.upkeep.pages(FileScope(), 500) for file, _ in page}


def run(lake: Lake, job: Job, **options: Any) -> Run:
    """Run a job once."""
    return Runner(lake.home, Options(**options)).run(job)
