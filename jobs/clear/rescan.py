"""Rescan: data that has landed, under newer filter rules. Finds are masked, and their rows rise to the sensitivity of
what was found, or are purged; no row's sensitivity ever falls.

Rows that rise move to the partition of their new sensitivity, under a fresh DEK and that partition's KEK. The wrap of
the former file's DEK goes with the commit that replaces it, and its object with the next sweep.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, ClassVar

import pyarrow as pa
import sqlalchemy as sa

from jobs.clear.compact_merge import rows_of, whole_groups
from jobs.clear.exchange import Draft, Opened, Page, concluded, exchange, names, opened
from jobs.clear.reencrypt import ref
from jobs.clear.rescan_rows import BATCH_ROWS, Judgement, Rescanner
from jobs.clear.rescan_scanned import Scanned
from jobs.clear.stored import StoredContracts
from jobs.runner.work import Counts, Item, Job, Option, Plan, Run, Step
from lake.clear.arrow_schema import stored_schema
from lake.clear.landing.pipeline import Screen
from lake.clear.reading.plan import FileToRead
from lake.errors import IntegrityError, LakeError, UnavailableError, UsageError
from lake.gateway.filtering import content_screen
from lake.gateway.holds import HoldDesk
from lake.gateway.home import Home
from lake.gateway.recorder import Actor
from lake.rules.hold import Spared, touching
from lake.rules.model import DataFile
from lake.sealed.catalog.upkeep import FileScope

ITEM_FILES = 16
ITEM_BYTES = 64 * 1024 * 1024
MOST_ITEMS = 10_000
"""Of one run; the next one goes on."""


def _yes(text: str) -> bool:
    return bool(("no", "yes").index(text))


class HeldError(LakeError):
    """Rows are under a legal hold: what they say may not change."""

    code = "held"


@dataclass(frozen=True, slots=True)
class _Work:
    """One file, opened."""

    file: DataFile
    source: FileToRead
    rescanner: Rescanner
    schema: pa.Schema


class Rescan(Job):
    """Looks through files that were not looked through with these rules yet.

    Args:
        screen: the rules; None for those that batches land under now.
        datasets: None for all.
        purge: whether rows that would rise are left out instead.
        again: also files that were looked through with these rules before.
    """

    name: ClassVar[str] = "rescan"
    destroys: ClassVar[bool] = True
    options: ClassVar[Mapping[str, Option]] = {
        "datasets": Option(names, "datasets, separated by commas (default: all)"),
        "purge": Option(_yes, "yes to leave out the rows that would rise (default: no)"),
        "again": Option(_yes, "yes for files too that were looked through with these rules (default: no)"),
    }
    writes: ClassVar[bool] = True

    def __init__(
        self,
        home: Home,
        actor: Actor,
        *,
        screen: Screen | None = None,
        datasets: Collection[str] | None = None,
        purge: bool = False,
        again: bool = False,
    ) -> None:
        super().__init__(home, actor)
        self._screen = content_screen(home) if screen is None else screen
        self._datasets = None if datasets is None else sorted(datasets)
        self._purge = purge
        self._again = again
        self._holds = HoldDesk(home)
        self._contracts = StoredContracts(self.home)

    def plan(self) -> Plan:
        """See Job. Items name files by id; files in quarantine, and those that a hold spares, are left for later."""
        scanned = Scanned(self.home, self._screen.digest)
        up_to = self.home.catalog.head().seq
        spared = self._holds.spared()
        damaged = {one.file_id for one in self.home.quarantine.listed()}
        items: list[Item] = []
        files = size = skipped = 0
        to = None
        waiting: list[DataFile] = []
        left_out: list[str] = []
        for file, number, before in self._live(scanned, up_to):
            if before and not self._again:
                skipped += 1
                continue
            if file.file_id in damaged or _held(spared, file, number):
                left_out.append(file.file_id)
                continue
            if waiting and (len(waiting) == ITEM_FILES or sum(one.length for one in waiting) >= ITEM_BYTES):
                items.append(_item(waiting))
                waiting = []
                if len(items) == MOST_ITEMS:
                    to = items[-1].work["files"][-1]
                    break
            waiting.append(file)
            files, size = files + 1, size + file.length
        if waiting:
            items.append(_item(waiting))
        facts = self._asked() | {"up_to": up_to, "to": to, "left_out": left_out, "files": files, "bytes": size}
        return Plan(self.name, tuple(items), facts, {"scanned_before": skipped, "more": to is not None})

    def begin(self, run: Run) -> None:
        """See Job.

        Raises:
            UsageError: the unfinished run was asked for otherwise, or with other rules.
        """
        if any(run.facts.get(name) != value for name, value in self._asked().items()):
            raise UsageError(
                "an unfinished rescan has other rules or options", hint="finish it as it was begun: 'lake jobs status'"
            )

    def execute(self, item: Item, step: Step) -> Counts:
        """See Job."""
        if self.writes:
            return exchange(self.home, self.actor, self.name, step, partial(self._rescan, step=step), whole=False)
        page = self.home.upkeep.live(list(item.work["files"]))
        if not page:
            return {}
        found = opened(self.home, self.actor, "rescan", page, dry_run=True)
        counts: Counter[str] = Counter()
        for work in self._works(found, page):
            step.alive()
            counts += self._counted(work, self._judged(work))
        fields = {"files": len(page), "rows": sum(file.rows for file, _ in page), "changed": False}
        concluded(self.home, self.actor, "rescan", found.intent, fields)
        return dict(counts)

    def finish(self, run: Run) -> dict[str, Any]:
        """See Job. Up to where commits of rescans are this run's own."""
        del run
        return {"end": self.home.catalog.head().seq}

    def _asked(self) -> dict[str, Any]:
        return {"digest": self._screen.digest, "datasets": self._datasets, "purge": self._purge}

    def _live(self, scanned: Scanned, up_to: int) -> Iterator[tuple[DataFile, int, bool]]:
        """Files in order of id, each with its employee's number and whether it was looked through before."""
        for page in self.home.upkeep.pages(FileScope(up_to=up_to), 5_000):
            wanted = [(file, number) for file, number in page if self._means(file)]
            done = scanned.of([file for file, _ in wanted])
            yield from ((file, number, file.file_id in done) for file, number in wanted)

    def _means(self, file: DataFile) -> bool:
        return self._datasets is None or file.partition.dataset in self._datasets

    def _rescan(self, found: Opened, page: Page, draft: Draft, step: Step) -> Counts:
        counts: Counter[str] = Counter()
        with self.home.catalog.database.reading() as connection:
            draft.confirm = partial(self._confirm, self._holds.newest(connection))
        spared = self._holds.spared()
        if any(_held(spared, file, number) for file, number in page):
            raise HeldError("a hold was placed on rows that were to be masked", hint="run the rescan again")
        for work in self._works(found, page):
            step.alive()
            judged = self._judged(work)
            counts += self._counted(work, judged)
            if self._changes(work, judged):
                self._write(work, judged, draft, step)
        return dict(counts)

    def _confirm(self, holds: int, connection: sa.Connection) -> None:
        if self._holds.newest(connection) != holds:
            raise UnavailableError("holds were changed meanwhile", hint="run the rescan again")

    def _write(self, work: _Work, judged: Judgement, draft: Draft, step: Step) -> None:
        file, own = work.file, work.file.partition.sensitivity
        draft.gone.add(file.file_id)
        levels = sorted(set(judged.levels.tolist()))
        targets = {
            level: replace(file.partition, sensitivity=level) for level in levels if level == own or not self._purge
        }
        if not targets:
            return
        refs = {level: replace(ref(file), sensitivity=level) for level in targets}
        issue = draft.announce(set(refs.values()))
        rows = 0
        for level, partition in targets.items():

            def alive(level: int = level) -> Iterator[pa.Table]:
                chosen = work.rescanner.rows(self._read(work), own, judged, level)
                for table in whole_groups(chosen, work.schema):
                    step.alive()
                    yield table

            made = draft.write(
                partition, file.schema_version, work.schema, alive(), key=issue(refs[level]), of=file.file_id
            )
            rows += made.rows
        if rows != sum(int((judged.levels == level).sum()) for level in targets):
            raise IntegrityError(f"the object of file {file.file_id} changed while it was read", hint="'lake doctor'")

    def _works(self, found: Opened, page: Page) -> Iterator[_Work]:
        for source, (file, _) in zip(found.files, page, strict=True):
            contract = self._contracts.get(file.partition.dataset, file.schema_version)
            yield _Work(file, source, Rescanner(contract, self._screen), stored_schema(contract))

    def _read(self, work: _Work) -> Any:
        return lambda: rows_of(work.source, self.home.objects.location(), work.schema, BATCH_ROWS)

    def _judged(self, work: _Work) -> Judgement:
        judged = work.rescanner.judge(self._read(work), work.file.partition.sensitivity)
        if len(judged.levels) != work.file.rows:
            raise IntegrityError(
                f"the object of file {work.file.file_id} is not what was written",
                hint="restore it from a backup; 'lake jobs run scrub' names every damaged file",
            )
        return judged

    def _changes(self, work: _Work, judged: Judgement) -> bool:
        return judged.masks or bool((judged.levels != work.file.partition.sensitivity).any())

    def _counted(self, work: _Work, judged: Judgement) -> Counter[str]:
        own = work.file.partition.sensitivity
        risen = judged.levels[judged.levels > own]
        counts = Counter({"files": 1, "rows": work.file.rows}) + judged.counts
        counts["changed"] += self._changes(work, judged)
        counts["purged" if self._purge else "moved"] += len(risen)
        for level in set(risen.tolist()):
            counts[f"to.{level}"] += int((risen == level).sum())
        return +counts


class RescanDryRun(Rescan):
    """The same counts, with nothing changed. It reads what a rescan would read, and is recorded as one."""

    name: ClassVar[str] = "rescan-dry-run"
    destroys: ClassVar[bool] = False
    writes: ClassVar[bool] = False


def _held(spared: Sequence[Spared], file: DataFile, number: int) -> bool:
    return bool(touching(spared, number, file.partition.dataset, file.first_ts, file.last_ts))


def _item(files: list[DataFile]) -> Item:
    return Item(files[0].file_id, {"files": [file.file_id for file in files]})
