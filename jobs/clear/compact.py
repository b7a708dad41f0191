"""Compaction: the small files of an employee, a sensitivity and a month become few of a useful size, sorted by time.

A partition is never left: neither sensitivity nor month nor employee of a row changes. Only files of one version of the
contract are merged, and only such that every rule of retention keeps each row as long as before: decision 0033. Memory:
one batch of rows of each file that is merged, a row group, and the encrypted file that is made.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import ClassVar

import pyarrow as pa

from jobs.clear.compact_merge import merged, rows_of, whole_groups
from jobs.clear.exchange import Draft, Opened, Page, exchange, names
from jobs.clear.reencrypt import ref
from jobs.clear.stored import StoredContracts
from jobs.runner.work import Counts, Item, Job, Option, Plan, Step
from lake.clear.arrow_schema import stored_schema
from lake.errors import IntegrityError
from lake.gateway.home import Home
from lake.gateway.recorder import Actor
from lake.gateway.retention import RetentionDesk
from lake.rules.model import DataFile, month_of
from lake.rules.retention import ClockKind, Rule
from lake.sealed.catalog.upkeep import Place

MOST_ITEMS = 10_000
"""Of one run; the next one goes on. A plan is kept in memory and in the journal."""
PLACES = 1_000
_MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Small:
    """A file that may be merged, and the time at which its batch landed (naive UTC)."""

    file: DataFile
    landed: datetime


class Compact(Job):
    """Merges small files.

    Args:
        datasets: None for all.
    """

    name: ClassVar[str] = "compact"
    options: ClassVar[Mapping[str, Option]] = {
        "datasets": Option(names, "datasets, separated by commas (default: all)"),
    }

    def __init__(
        self,
        home: Home,
        actor: Actor,
        *,
        datasets: Collection[str] | None = None,
    ) -> None:
        super().__init__(home, actor)
        self._datasets = None if datasets is None else frozenset(datasets)
        self._rules: tuple[Rule, ...] = ()
        self._damaged: set[str] = set()
        self._contracts = StoredContracts(self.home)

    def plan(self) -> Plan:
        """See Job. Items name files by id; what is in quarantine is left alone."""
        self._damaged = {one.file_id for one in self.home.quarantine.listed()}
        self._rules = RetentionDesk(self.home).current().rules
        items: list[Item] = []
        files = rows = size = 0
        for place in self._places():
            for group in self._groups(place):
                first = group[0].file
                items.append(
                    Item(
                        f"{first.partition.dataset}/{place[1]}/{place[2]}/{place[3]}/{first.file_id}",
                        {"files": [small.file.file_id for small in group], "of": _newest(group).file.file_id},
                    )
                )
                files += len(group)
                rows += sum(small.file.rows for small in group)
                size += sum(small.file.length for small in group)
                if len(items) == MOST_ITEMS:
                    return self._planned(items, files, rows, size)
        return self._planned(items, files, rows, size)

    def execute(self, item: Item, step: Step) -> Counts:
        """See Job."""

        def merge(found: Opened, page: Page, draft: Draft) -> Mapping[str, int]:
            made = self._merge(found, page, draft, item.work["of"], step)
            draft.gone |= {file.file_id for file, _ in page}
            return {"files": len(page), "made": 1, "rows": made.rows, "bytes": sum(file.length for file, _ in page)}

        return exchange(self.home, self.actor, self.name, step, merge)

    def _planned(self, items: list[Item], files: int, rows: int, size: int) -> Plan:
        facts = {"files": files, "rows": rows, "bytes": size, "merges": len(items)}
        return Plan(self.name, tuple(items), facts, {"more": len(items) == MOST_ITEMS})

    def _places(self) -> Iterator[Place]:
        settings = self.home.settings
        after: Place | None = None
        while True:
            page = self.home.upkeep.crowded(
                rows=settings.compact_rows // 2, length=settings.compact_bytes // 2, after=after, limit=PLACES
            )
            yield from (place for place in page if self._datasets is None or place[0] in self._datasets)
            if len(page) < PLACES:
                return
            after = page[-1]

    def _groups(self, place: Place) -> Iterator[list[Small]]:
        """Files to be merged with each other: of the same promises, next to each other in time, of bounded size."""
        settings = self.home.settings
        over = place[3] < month_of(self.home.clock().astimezone(UTC).replace(tzinfo=None))
        least = 2 if over else max(2, settings.compact_least)
        alike: dict[tuple[int, date | None, datetime | None], list[Small]] = {}
        for small in self._small(place):
            alike.setdefault(self._alike(small), []).append(small)
        for group in alike.values():
            for part in _parts(group, settings.compact_rows, settings.compact_bytes, settings.compact_files):
                if len(part) >= least:
                    yield part

    def _small(self, place: Place) -> Iterator[Small]:
        settings = self.home.settings
        for file, landed in self.home.upkeep.of_partition(place):
            if file.rows >= settings.compact_rows // 2 or file.length >= settings.compact_bytes // 2:
                continue
            if file.file_id in self._damaged:
                continue
            yield Small(file, landed)

    def _alike(self, small: Small) -> tuple[int, date | None, datetime | None]:
        """What has to be equal among files of one merge.

        The merged file counts as landed with the newest of its batches. That is exact where a row counts from the
        earlier of capture and landing, unless it was captured after it landed; and where rows count from landing, as
        plans are made for the start of a day, for batches of one day.
        """
        file = small.file
        partition, version = file.partition, file.schema_version
        by_landing = any(
            rule.clock is ClockKind.RECEIVED and rule.matches(partition.dataset, partition.sensitivity, version)
            for rule in self._rules
        )
        return (
            version,
            (small.landed - _MICROSECOND).date() if by_landing else None,
            small.landed if file.last_ts > small.landed else None,
        )

    def _merge(self, found: Opened, page: Page, draft: Draft, of: str, step: Step) -> DataFile:
        partition = page[0][0].partition
        version = page[0][0].schema_version
        schema = stored_schema(self._contracts.get(partition.dataset, version))
        location = self.home.objects.location()
        sources = [rows_of(file, location, schema) for file in found.files]

        def alive() -> Iterator[pa.Table]:
            for table in whole_groups(merged(sources, schema), schema):
                step.alive()
                yield table

        key = draft.announce({ref(page[0][0])})(ref(page[0][0]))
        made = draft.write(partition, version, schema, alive(), key=key, of=of)
        rows = sum(file.rows for file, _ in page)
        bounds = min(file.first_ts for file, _ in page), max(file.last_ts for file, _ in page)
        if (made.rows, made.first_ts, made.last_ts) != (rows, *bounds):
            raise IntegrityError(
                "files do not hold the rows that the catalog counts", hint="'lake jobs run scrub' names damaged files"
            )
        return made


def _newest(group: Iterable[Small]) -> Small:
    """The file whose batch landed last: the merged file takes its batch over."""
    return max(group, key=lambda small: (small.landed, small.file.file_id))


def _parts(group: list[Small], rows: int, size: int, files: int) -> Iterator[list[Small]]:
    part: list[Small] = []
    for small in group:
        if part and (
            len(part) == files
            or sum(one.file.rows for one in part) + small.file.rows > rows
            or sum(one.file.length for one in part) + small.file.length > size
        ):
            yield part
            part = []
        part.append(small)
    if part:
        yield part
