"""Removing orphans: objects that no live file needs, left by batches that did not land or replaced by others.
Uploads in parts that were begun and never finished go with them.

Plan first, act on confirmation. An object younger than the grace period may belong to a batch that is landing now,
and one that was replaced within it to a query that is still reading: both stay. A crash in between leaves fewer
orphans, and running it again goes on.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, timedelta
from typing import Any

from jobs.runner.work import Counts, Item, Job, Option, Plan, Run, Step
from lake.errors import LakeError
from lake.gateway.collection.devices import Devices
from lake.gateway.collection.halts import Halts
from lake.gateway.collection.leases import forget_over
from lake.gateway.home import Home
from lake.gateway.recorder import Actor
from lake.sealed.catalog.leases import Leases, holder_of
from lake.sealed.objects import StoredObject, Upload

GRACE = timedelta(hours=24)
SWEEP = "job.sweep"
LEASE_SECONDS = 300
RENEW_EVERY = 100
"""Removals within one lease."""


@dataclass(frozen=True, slots=True)
class SweepPlan:
    """What would go, and what is too young to."""

    orphans: tuple[StoredObject, ...]
    waiting: int
    uploads: tuple[Upload, ...] = ()

    @property
    def bytes(self) -> int:
        """Bytes of the orphans."""
        return sum(orphan.length for orphan in self.orphans)


def plan(home: Home, grace: timedelta = GRACE) -> SweepPlan:
    """Find the orphans. Lists first and asks the catalog after, so that a batch landing meanwhile is seen."""
    listed = list(home.objects.list())
    live = _needed(home, timedelta())
    needed = _needed(home, grace)
    orphans = [found for found in listed if found.key not in live]
    old = tuple(found for found in orphans if found.age >= grace.total_seconds() and found.key not in needed)
    uploads = tuple(upload for upload in home.objects.unfinished() if upload.age >= grace.total_seconds())
    return SweepPlan(old, len(orphans) - len(old), uploads)


def _needed(home: Home, grace: timedelta) -> set[str]:
    """Objects of live files, and of those that were removed within the grace period."""
    return home.catalog.object_keys(removed_after=(home.clock() - grace).astimezone(UTC).replace(tzinfo=None))


def execute(home: Home, planned: SweepPlan, actor: Actor, progress: Callable[[int], None] = lambda _: None) -> int:
    """Remove the planned orphans, after recording that they go.

    Returns:
        How many objects were removed.

    Raises:
        LeaseHeldError: another host is sweeping.
        LeaseLostError: this one was silent for so long that another has begun.
    """
    leases = Leases(home.catalog.database)
    lease = leases.take(SWEEP, holder_of(home.root), LEASE_SECONDS)
    try:
        return _remove(home, planned, actor, progress, lambda: leases.renew(lease, LEASE_SECONDS))
    finally:
        with suppress(LakeError):  # it ends by itself
            leases.release(lease)


def _remove(
    home: Home, planned: SweepPlan, actor: Actor, progress: Callable[[int], None], renew: Callable[[], None]
) -> int:
    found = {"files": len(planned.orphans), "bytes": planned.bytes, "uploads": len(planned.uploads)}
    home.recorder.record(SWEEP, actor, found)
    live = _needed(home, timedelta())
    removed = 0
    for position, orphan in enumerate(planned.orphans):
        if position % RENEW_EVERY == 0:
            renew()
        if orphan.key in live:
            continue
        home.objects.delete(orphan.key)
        sys.audit("lake.step", "sweep.removed")
        removed += 1
        progress(1)
    for position, upload in enumerate(planned.uploads):
        if position % RENEW_EVERY == 0:
            renew()
        home.objects.abort(upload)
    return removed


def _hours(text: str) -> timedelta:
    hours = float(text)
    if not 0 <= hours <= 1_000_000:
        raise ValueError
    return timedelta(hours=hours)


class SweepJob(Job):
    """The same under the runner: an item for every hundred orphans, and one for each upload."""

    name = SWEEP.removeprefix("job.")
    destroys = True
    options = {"grace-hours": Option(_hours, "hours for which younger objects are left alone: a number from 0 on")}  # noqa: RUF012 - the base says ClassVar

    def __init__(self, home: Home, actor: Actor, *, grace_hours: timedelta = GRACE) -> None:
        super().__init__(home, actor)
        self._grace = grace_hours

    def plan(self) -> Plan:
        """See Job."""
        found = plan(self.home, self._grace)
        keys = [orphan.key for orphan in found.orphans]
        parts = [keys[start : start + RENEW_EVERY] for start in range(0, len(keys), RENEW_EVERY)]
        items = [Item(f"orphans/{index}", {"keys": part}) for index, part in enumerate(parts)]
        uploads = [[upload.key, upload.id] for upload in found.uploads]
        items += [Item(f"upload/{index}", {"upload": upload}) for index, upload in enumerate(uploads)]
        facts = {"orphans": len(keys), "bytes": found.bytes, "uploads": len(uploads)}
        return Plan(self.name, tuple(items), facts, {"waiting": found.waiting})

    def execute(self, item: Item, step: Step) -> Counts:
        """See Job. An object that is needed again stays."""
        if "upload" in item.work:
            key, upload = item.work["upload"]
            self.home.objects.abort(Upload(key, upload, 0))
            return {"uploads": 1}
        live = _needed(self.home, timedelta())
        removed = 0
        for key in item.work["keys"]:
            if key in live:
                continue
            step.alive()
            self.home.objects.delete(key)
            sys.audit("lake.step", "sweep.removed")
            removed += 1
        return {"removed": removed}

    def finish(self, run: Run) -> Mapping[str, Any]:  # noqa: ARG002 - the base has it
        """See Job. Leases of collectors that are long over go too; those of jobs keep a row for their tokens."""
        return {"leases": forget_over(self.home, Halts(self.home, Devices(self.home)))}
