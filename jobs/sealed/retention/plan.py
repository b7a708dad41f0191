"""What is due: every month of an employee and sensitivity that rules or contracts end, from the catalog alone.

The months share a KEK over all datasets, so they are dealt with as one. Holds are no part of the plan's hash: they are
shown, and looked at again when it is executed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from itertools import groupby
from typing import Any

import sqlalchemy as sa

from jobs.runner.work import Item, Plan
from lake.clock import timestamp
from lake.errors import ContractBreachError, IntegrityError, UsageError
from lake.gateway.contracts import Contracts
from lake.gateway.holds import HoldDesk
from lake.gateway.home import Home
from lake.gateway.retention import RetentionDesk
from lake.rules import retention as rules
from lake.rules.contract import Contract
from lake.rules.hold import Spared, touching
from lake.rules.retention import ALL, Cut, Kept, Retention, Span
from lake.sealed.catalog.rows import microseconds, moment
from lake.sealed.catalog.tables import batches, files

RETENTION = "retention"
GROUPS_OF_ITEM, PARTS_OF_ITEM = 50, 10
"""Months of one item: of those that go whole, and of those that are written anew, file after file."""

Month = tuple[int, str, int, str]
"""An employee's number and pseudonym, a sensitivity, a month."""


@dataclass(frozen=True, slots=True)
class Found:
    """A live file, and what is past of it."""

    file_id: str
    dataset: str
    rows: int
    length: int
    span: Span

    @property
    def touched(self) -> bool:
        """Whether a row of it may go."""
        return self.span.first <= self.span.cut.may

    @property
    def whole(self) -> bool:
        """Whether all of them may."""
        return self.span.last <= self.span.cut.may


@dataclass(slots=True)
class _Totals:
    months: int = 0
    destroyed_months: int = 0
    files: int = 0
    rows: int = 0
    bytes: int = 0
    partial_files: int = 0
    partial_rows: int = 0
    people: set[int] = field(default_factory=set)
    held: dict[str, int] = field(default_factory=dict)
    held_files: int = 0

    def facts(self) -> dict[str, int]:
        return {
            "months": self.months,
            "months_destroyed": self.destroyed_months,
            "employees": len(self.people),
            "files": self.files,
            "rows": self.rows,
            "bytes": self.bytes,
            "partial_files": self.partial_files,
            "partial_rows": self.partial_rows,
        }


def default_as_of(home: Home) -> datetime:
    """The start of today in UTC: a plan is the same all day long."""
    return home.clock().astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0, tzinfo=None)


class Planner:
    """Plans purges of one lake as of a moment (naive UTC)."""

    def __init__(self, home: Home, as_of: datetime) -> None:
        if as_of > home.clock().astimezone(UTC).replace(tzinfo=None):
            raise UsageError("a purge is as of a time that has come", hint="was the clock put back since the plan?")
        self._home = home
        self.as_of = as_of
        self.retention: Retention = RetentionDesk(home).current()
        contracts = Contracts(home)
        self._versions = {(one.dataset, one.version): one for one in contracts.all()}
        self._newest: dict[str, Contract] = {}
        self._landing: list[Contract] = []
        standing = contracts.approvals.standing()
        for dataset in {dataset for dataset, _ in self._versions}:
            self._landing += (self._versions[dataset, version] for version in standing.in_force(dataset))
            try:
                self._newest[dataset] = contracts.get(dataset)
            except ContractBreachError:
                continue  # none is in force: the version that rows landed under binds
        self.cut = lru_cache(maxsize=100_000)(self._cut)
        self.month_end = lru_cache(maxsize=10_000)(self._month_end)

    def plan(self) -> Plan:
        """Everything that is due."""
        spared = HoldDesk(self._home).spared()
        totals = _Totals()
        items: list[Item] = []
        whole: list[dict[str, Any]] = []
        parts: list[dict[str, Any]] = []
        for month, found in self.months():
            if not rules.due([file.span for file in found]):
                continue
            group = self._group(month, found)
            _count(totals, month, found, spared, destroys=group["destroy"])
            (whole if group["destroy"] else parts).append(group)
        items += (_item(parts[at : at + PARTS_OF_ITEM]) for at in range(0, len(parts), PARTS_OF_ITEM))
        items += (_item(whole[at : at + GROUPS_OF_ITEM]) for at in range(0, len(whole), GROUPS_OF_ITEM))
        facts = {
            "as_of": timestamp(self.as_of.replace(tzinfo=UTC)),
            "rules": self.retention.digest,
            "contracts": sorted([one.dataset, one.version, one.digest] for one in self._versions.values()),
            **totals.facts(),
        }
        facts["second_person"] = self.retention.threshold.exceeded(
            totals.rows + totals.partial_rows, len(totals.people)
        )
        shown = {"held_files": totals.held_files, "holds": dict(sorted(totals.held.items()))}
        return Plan(RETENTION, tuple(sorted(items, key=lambda item: item.id)), facts, shown)

    def months(self) -> Iterator[tuple[Month, list[Found]]]:
        """Every month of an employee and sensitivity that has live files, with them."""
        by = (files.c.number, files.c.subject, files.c.sensitivity, files.c.month)
        query = (
            sa.select(
                *by,
                *(files.c[name] for name in ("file_id", "dataset", "schema_version", "rows", "length")),
                *(files.c.first_ts, files.c.last_ts, batches.c.landed_at),
            )
            .join(batches, (batches.c.dataset == files.c.dataset) & (batches.c.batch_id == files.c.batch_id))
            .where(files.c.removed_seq.is_(None))
            .order_by(*by, files.c.file_id)
        )
        with self._home.catalog.database.reading() as connection:
            rows = connection.execution_options(yield_per=5_000).execute(query)
            for month, part in groupby(rows, key=lambda row: (row.number, row.subject, row.sensitivity, row.month)):
                yield month, [self._found(row) for row in part]

    def _found(self, row: Any) -> Found:
        limits = self.cut(row.dataset, row.sensitivity, row.schema_version, row.landed_at)
        span = Span(moment(row.first_ts), moment(row.last_ts), limits)
        return Found(row.file_id, row.dataset, row.rows, row.length, span)

    def _cut(self, dataset: str, sensitivity: int, version: int, landed_at: int) -> Cut:
        own = self._versions.get((dataset, version))
        if own is None:
            raise IntegrityError("a file names a contract version that is not there", hint="run 'lake doctor'")
        kept = Kept(dataset, sensitivity, version, moment(landed_at))
        limits = rules.rules_of(self.retention, kept, [own, self._newest.get(dataset, own)])
        return rules.cut(limits, kept.received, self.as_of)

    def _month_end(self, sensitivity: int, month: str) -> datetime:
        return rules.month_ends(self.retention, self._landing, sensitivity, month)

    def _group(self, month: Month, found: Sequence[Found]) -> dict[str, Any]:
        number, subject, sensitivity, name = month
        over = self.month_end(sensitivity, name) <= self.as_of
        return {
            "number": number,
            "subject": subject,
            "sensitivity": sensitivity,
            "month": name,
            # What may still land for the month needs a key: then the old one has a successor.
            "destroy": over and all(file.whole for file in found),
            "files": [
                [file.file_id, None if file.span.cut.may == ALL else microseconds(file.span.cut.may)]
                for file in found
                if file.touched
            ],
        }


def _item(groups: Sequence[Mapping[str, Any]]) -> Item:
    first = groups[0]
    kind = "month" if first["destroy"] else "part"
    return Item(f"{kind}/{first['month']}/{first['sensitivity']}/{first['subject']}", {"groups": list(groups)})


def _count(totals: _Totals, month: Month, found: Sequence[Found], spared: Sequence[Spared], *, destroys: bool) -> None:
    totals.months += 1
    totals.destroyed_months += destroys
    totals.people.add(month[0])
    for file in filter(lambda one: one.touched, found):
        if file.whole:
            totals.files += 1
            totals.rows += file.rows
            totals.bytes += file.length
        else:
            totals.partial_files += 1
            totals.partial_rows += file.rows
        last = min(file.span.last, file.span.cut.may)
        if holds := touching(spared, month[0], file.dataset, file.span.first, last):
            totals.held_files += 1
            for one in holds:
                totals.held[one.hold] = totals.held.get(one.hold, 0) + 1


def day(text: str) -> datetime:
    """A day as an option has it: its start.

    Raises:
        ValueError: it is none.
    """
    return datetime.strptime(text, "%Y-%m-%d") + timedelta()  # noqa: DTZ007 - naive UTC
