"""A lake with many small files: its known rows come in several batches, some under a second version of the contract."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jobs.runner.run import Runner
from jobs.runner.work import Job, Run
from lake.api import Lake
from lake.gateway.contract_approval import Approvals
from lake.gateway.contracts import Contracts
from lake.gateway.doctor import DAMAGE, Doctor
from lake.gateway.reconcile import reconcile
from lake.rules.model import DataFile
from lake.sealed.catalog.upkeep import FileScope
from tests import world as w
from tests.world import World, landed, same_rows

BATCHES = 7
SECOND = w.CONTRACT.replace("version: 1", "version: 2").replace(
    "  title: {type", "  extra: {type: string, sensitivity: 1, notice: More.}\n  title: {type"
)
SECOND = SECOND.replace("fields: [app, n, big", "fields: [app, extra, n, big")
EXPECTED = landed(w.known_rows())
FEW = [row for row in w.known_rows() if row["employee"] in w.EMPLOYEES[:2]]
"""Rows of two people: enough for what is tried at every step."""


def dealt(rows: Sequence[Mapping[str, Any]], count: int = BATCHES) -> list[list[Mapping[str, Any]]]:
    """Rows dealt out to batches, so that the times of each lie among those of the others."""
    return [list(rows[index::count]) for index in range(count)]


def make_small(
    folder: Path, rows: Sequence[Mapping[str, Any]] | None = None, *, count: int = BATCHES, renewed: int = 4
) -> World:
    """The known lake with its rows in seven batches, the last three under a second version of the contract."""
    parts = dealt(w.known_rows() if rows is None else rows, count)
    world = w.make(folder, rows=parts[0])
    with world.open() as lake:
        for index, part in enumerate(parts[1:], 1):
            if index == renewed:
                renew(lake, SECOND)
            lake.ingest("events", w.table(part), batch_id=f"batch-{index}")
    return world


def renew(lake: Lake, text: str) -> None:
    """Put a version of the contract in force that takes two people."""
    approvals = Approvals(lake.home)
    approvals.approve("bob-canary", approvals.propose(text, "test", "ann-canary").id)
    lake.contracts = Contracts(lake.home)


def live(lake: Lake) -> dict[str, DataFile]:
    """Live files by id."""
    return {file.file_id: file for page in lake.home.upkeep.pages(FileScope(), 500) for file, _ in page}


def run(lake: Lake, job: Job) -> Run:
    """Run a job once."""
    return Runner(lake.home).run(job)


def whole(world: World, expected: Sequence[Mapping[str, Any]] = EXPECTED) -> None:
    """Every row is there once, every wrap, digest and commit holds, and both books agree."""
    assert same_rows(world.rows(), expected)
    with world.open() as lake:
        assert not [found for found in Doctor(lake.home).examine_lake() if found.state == DAMAGE]
        assert reconcile(lake.home, lake.actor).differences == []
