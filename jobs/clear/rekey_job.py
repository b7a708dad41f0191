"""The rekey under the runner: items of some files each, so that it stops, resumes and counts as every job does.

``lake keys rekey`` answers an incident and names whom it concerns; this is for what policy asks for regularly: data of
a level or of months under fresh DEKs. Files that land later have keys of their own and are left alone.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from typing import ClassVar

import sqlalchemy as sa

from jobs.clear.exchange import Page
from jobs.clear.rekey_files import Rewriting
from jobs.runner.work import Counts, Item, Job, Option, Plan, Run, Step
from lake.errors import UsageError
from lake.gateway.home import Home
from lake.gateway.recorder import Actor
from lake.sealed.catalog.upkeep import FileScope

PAGE_FILES = 64
PAGE_BYTES = 64 * 1024 * 1024
MOST_ITEMS = 10_000
"""Of one run; ``more`` of its plan says whether files are left."""
_MONTH = re.compile(r"\d{4}-(0[1-9]|1[0-2])", re.ASCII)


def _levels(text: str) -> frozenset[int]:
    found = frozenset(map(int, text.split(",")))
    if not found <= {1, 2, 3, 4}:
        raise ValueError
    return found


def _months(text: str) -> frozenset[str]:
    found = frozenset(month.strip() for month in text.split(","))
    if not all(map(_MONTH.fullmatch, found)):
        raise ValueError
    return found


def _yes(text: str) -> bool:
    if text != "yes":
        raise ValueError
    return True


class RekeyJob(Job):
    """Writes files anew.

    Args:
        all: every file; otherwise levels, months or both say which.
    """

    name: ClassVar[str] = "rekey"
    options: ClassVar[Mapping[str, Option]] = {
        "all": Option(_yes, "yes: every file"),
        "levels": Option(_levels, "sensitivities from 1 to 4, separated by commas"),
        "months": Option(_months, "months as YYYY-MM, separated by commas"),
    }

    def __init__(
        self,
        home: Home,
        actor: Actor,
        *,
        all: bool = False,  # noqa: A002 - the option's name
        levels: Collection[int] | None = None,
        months: Collection[str] | None = None,
    ) -> None:
        super().__init__(home, actor)
        self._all = all
        self._scope = FileScope(
            sensitivities=None if levels is None else frozenset(levels),
            months=None if months is None else frozenset(months),
        )
        self._run = ""

    def plan(self) -> Plan:
        """See Job.

        Raises:
            UsageError: nothing says which files, or two things do.
        """
        some = self._scope.sensitivities is not None or self._scope.months is not None
        if some == self._all:
            raise UsageError("say in one way which files", hint="--option all=yes, or levels=4, months=2026-07")
        items: list[Item] = []
        files = rows = size = 0
        for page in self._pages():
            items.append(Item(page[0][0].file_id, {"files": [file.file_id for file, _ in page]}))
            files += len(page)
            rows += sum(file.rows for file, _ in page)
            size += sum(file.length for file, _ in page)
            if len(items) == MOST_ITEMS:
                break
        facts = {"files": files, "rows": rows, "bytes": size}
        return Plan(self.name, tuple(items), facts, {"more": len(items) == MOST_ITEMS})

    def begin(self, run: Run) -> None:
        """See Job."""
        self._run = run.id

    def execute(self, item: Item, step: Step) -> Counts:
        """See Job. Files that are live no more are left out."""
        if "counts" in step.noted:
            return dict(step.noted["counts"])  # cut off after the commit

        def left() -> Page:
            return self.home.upkeep.live(item.work["files"])

        def noted(connection: sa.Connection, page: Page) -> None:
            step.note(connection, {"counts": _counts(page)})

        return _counts(Rewriting(self.home, self.actor, self._run, step.lease, noted).replace(left(), left))

    def _pages(self) -> Iterator[Page]:
        """Files in pages of bounded number and size."""
        for found in self.home.upkeep.pages(self._scope, PAGE_FILES):
            start = size = 0
            for at, (file, _) in enumerate(found):
                if size + file.length > PAGE_BYTES and at > start:
                    yield found[start:at]
                    start, size = at, 0
                size += file.length
            yield found[start:]


def _counts(page: Page) -> dict[str, int]:
    return {"files": len(page), "rows": sum(file.rows for file, _ in page)} if page else {}
