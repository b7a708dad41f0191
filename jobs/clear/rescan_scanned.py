"""Which files were looked through with some rules already, from the journal of rescans and the kinds of commits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from jobs.runner.journal import FAILED, RUNNING, RunJournal
from jobs.runner.work import Run
from lake.gateway.home import Home
from lake.rules.model import DataFile
from lake.sealed.catalog import tables

RUNS = 1_000
"""Runs that are asked about; of older ones files are looked through again, which changes nothing."""


@dataclass(frozen=True, slots=True)
class _Done:
    """One run that has ended: the files up to a commit and an id, but for those that failed, and those it made."""

    datasets: frozenset[str] | None
    up_to: int
    to: str | None
    made: frozenset[int]
    failed: frozenset[str]

    def has(self, dataset: str, file_id: str, seq: int) -> bool:
        if self.datasets is not None and dataset not in self.datasets:
            return False
        if seq in self.made:
            return True
        return seq <= self.up_to and (self.to is None or file_id <= self.to) and file_id not in self.failed


class Scanned:
    """What was looked through with the rules of one digest."""

    def __init__(self, home: Home, digest: str) -> None:
        self._home = home
        self._journal = RunJournal(home)
        runs = [run for run in self._journal.recent("rescan", RUNS) if run.facts.get("digest") == digest]
        self._done = [self._of(run) for run in runs if run.state != RUNNING]

    def of(self, files: Sequence[DataFile]) -> set[str]:
        """Ids of those of these files that were."""
        if not self._done:
            return set()
        seqs = self._home.upkeep.landed_in([file.file_id for file in files])
        return {
            file.file_id
            for file in files
            if any(done.has(file.partition.dataset, file.file_id, seqs[file.file_id]) for done in self._done)
        }

    def _of(self, run: Run) -> _Done:
        failed = set(run.facts["left_out"])
        if run.counts.get(FAILED):
            failed |= {name for item, _, _ in self._journal.items(run, FAILED) for name in item.work["files"]}
        commits = tables.commits.c
        end = int(run.detail.get("end", 0))
        within = (commits.kind == "rescan") & (commits.seq > run.facts["up_to"]) & (commits.seq <= end)
        with self._home.catalog.database.reading() as connection:
            made = frozenset(connection.execute(sa.select(commits.seq).where(within)).scalars())
        datasets = run.facts["datasets"]
        return _Done(
            None if datasets is None else frozenset(datasets),
            run.facts["up_to"],
            run.facts["to"],
            made,
            frozenset(failed),
        )
