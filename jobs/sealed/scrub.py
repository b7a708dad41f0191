"""Scrub, the part that needs no key: every object against its row, every row against its commit, every commit's MAC.

Damage found goes into quarantine, and what is whole again comes out of it. Reports name files and kinds of damage,
never a value.
"""

from __future__ import annotations

import hashlib
import sys
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC
from typing import Any, ClassVar

from jobs.runner.run import StoppedError
from jobs.runner.work import Counts, Item, Job, Option, Plan, Step
from jobs.sealed.scrub_pace import MIB, Pace
from lake.errors import IntegrityError, UsageError
from lake.gateway.home import Home
from lake.gateway.recorder import Actor
from lake.rules.model import DataFile
from lake.sealed.catalog.upkeep import FileScope

CHUNK = 4 * MIB
ITEM_FILES = 256
ITEM_BYTES = 256 * MIB
PAGE = 64
"""Files whose keys are asked for together."""
CATALOG = "catalog"
MISSING, LENGTH, DIGEST = "missing", "length", "digest"
"""What may be wrong with an object."""
Page = Sequence[tuple[DataFile, int]]


class DamageFoundError(IntegrityError):
    """A scrub found files that are not what was written; they are in quarantine."""

    code = "damage"


@dataclass(slots=True)
class Found:
    """What a scrub has seen of one item.

    Attributes:
        damaged: kind of damage by file id.
        whole: ids of files in which nothing is wrong.
        unchecked: files of which a part could not be looked at, as their keys may not be used now.
        bytes: bytes of the objects.
    """

    damaged: dict[str, str] = field(default_factory=dict)
    whole: list[str] = field(default_factory=list)
    unchecked: int = 0
    files: int = 0
    rows: int = 0
    bytes: int = 0


def _share(text: str) -> float:
    value = float(text)
    if not 0 < value <= 1:
        raise ValueError
    return value


def _rate(text: str) -> float:
    value = float(text)
    if not 0 < value <= 1_000_000:
        raise ValueError
    return value


class Scrub(Job):
    """The frame of both scrubs: ranges of files as items, quarantine, report.

    Args:
        sample: share of the files, above 0 and up to 1; which ones changes with the day.
        rate: MiB of objects per second; None for no bound.
    """

    options: ClassVar[Mapping[str, Option]] = {
        "sample": Option(_share, "share of the files to look at, above 0 and at most 1 (default: 1)"),
        "rate": Option(_rate, "MiB read per second, at most (default: no bound)"),
    }

    def __init__(self, home: Home, actor: Actor, *, sample: float = 1.0, rate: float | None = None) -> None:
        super().__init__(home, actor)
        if not 0 < sample <= 1:
            raise UsageError("a sample is a share above 0 and at most 1")
        if rate is not None and rate <= 0:
            raise UsageError("a rate is a number of MiB per second above 0")
        self._sample = sample
        self._rate = rate

    def plan(self) -> Plan:
        """See Job. Items are the catalog, then ranges of file ids."""
        items = [Item(CATALOG)]
        files = size = 0
        last = ""
        counted = bytes_here = 0
        position = ""
        for page in self.home.upkeep.pages(FileScope(), 10_000):
            for file, _ in page:
                files, size = files + 1, size + file.length
                counted, bytes_here, position = counted + 1, bytes_here + file.length, file.file_id
                if counted == ITEM_FILES or bytes_here >= ITEM_BYTES:
                    items.append(_range(last, position))
                    last, counted, bytes_here = position, 0, 0
        if counted:
            items.append(_range(last, position))
        day = self.home.clock().astimezone(UTC).date().isoformat()
        share = round(self._sample * 1_000_000)
        facts = {"files": files, "bytes": size, "sample_per_million": share, "seed": day}
        return Plan(self.name, tuple(items), facts)

    def begin(self, run: Any) -> None:
        """See Job. A run that goes on looks at the files that it was begun for."""
        self._sample = run.facts["sample_per_million"] / 1_000_000
        self._seed = str(run.facts["seed"])

    def execute(self, item: Item, step: Step) -> Counts:
        """See Job.

        Raises:
            DamageFoundError: something is wrong; the whole item was looked at first, and its damage is in quarantine.
        """
        if item.id == CATALOG:
            self.home.catalog.check_anchor(*self.home.key_store.anchor("catalog"))
            return {"commits": self.home.catalog.verify().seq}
        pace = Pace(self._rate, alive=step.alive)
        after = str(step.noted.get("after", item.work["after"]))
        total = dict(step.noted.get("total", {"damaged": 0, "files": 0, "rows": 0, "bytes": 0, "unchecked": 0}))
        for page in self._pages(after, str(item.work["to"])):
            if step.stopping():
                raise StoppedError(f"{self.name} was asked to stop", hint="run the command again to go on")
            step.alive()
            found = self._checked(page, pace)
            self.home.quarantine.judge(found.damaged, found.whole, at=self._now(), lease=step.lease)
            sys.audit("lake.step", "scrub.judged")
            total["damaged"] += len(found.damaged)
            for name in ("files", "rows", "bytes", "unchecked"):
                total[name] += getattr(found, name)
            step.save({"after": page[-1][0].file_id, "total": total})
            sys.audit("lake.step", "scrub.saved")
        if total["damaged"]:
            raise DamageFoundError(
                f"{total['damaged']} files are not what was written", hint="'lake jobs quarantine' names them"
            )
        return {name: count for name, count in total.items() if count}

    @abstractmethod
    def _checked(self, page: Page, pace: Pace) -> Found:
        """Look at some files."""

    def _pages(self, after: str, to: str) -> Iterator[Page]:
        while True:
            found = self.home.upkeep.page(FileScope(), after, PAGE)
            within = [(file, number) for file, number in found if file.file_id <= to]
            chosen = [(file, number) for file, number in within if self._chosen(file)]
            if chosen:
                yield chosen
            if len(within) < PAGE:
                return
            after = within[-1][0].file_id

    def _chosen(self, file: DataFile) -> bool:
        draw = hashlib.sha256(f"{self._seed}/{file.file_id}".encode()).digest()
        return int.from_bytes(draw[:4], "big") < self._sample * 2**32

    def _now(self) -> Any:
        return self.home.clock().astimezone(UTC).replace(tzinfo=None)


class ScrubObjects(Scrub):
    """Lengths and digests of objects, and the catalog's chain; needs no key of any data."""

    name: ClassVar[str] = "scrub-objects"

    def _checked(self, page: Page, pace: Pace) -> Found:
        found = Found()
        for file, _ in page:
            problem = object_problem(self.home, file, pace)
            found.files, found.bytes = found.files + 1, found.bytes + file.length
            if problem:
                found.damaged[file.file_id] = problem
            # One that is in quarantine for what only its key shows stays there.
        return found


def object_problem(home: Home, file: DataFile, pace: Pace) -> str:
    """What is wrong with a file's object as bytes; empty if nothing is.

    Raises:
        UnavailableError, StoreRefusedError: it cannot be read now, which says nothing about it.
    """
    hasher = hashlib.sha256()
    position = 0
    while position < file.length:
        try:
            part = home.objects.part(file.object_key, position, min(CHUNK, file.length - position))
        except IntegrityError:
            return MISSING
        if part.total != file.length or not part.content:
            return LENGTH
        hasher.update(part.content)
        position += len(part.content)
        pace.read(len(part.content))
    return "" if hasher.digest() == file.sha256 else DIGEST


def _range(after: str, to: str) -> Item:
    return Item(to, {"after": after, "to": to})
