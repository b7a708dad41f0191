"""Removing orphans: objects that no catalog row names, left by batches that did not land.

Plan first, act on confirmation. An object younger than the grace period may belong to a batch that is landing now, so
it stays. A crash in between leaves fewer orphans, and running it again goes on.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

from lake.gateway.home import Home
from lake.gateway.recorder import Actor
from lake.sealed.objects import StoredObject

GRACE = timedelta(hours=24)
SWEEP = "job.sweep"


@dataclass(frozen=True, slots=True)
class SweepPlan:
    """What would go, and what is too young to."""

    orphans: tuple[StoredObject, ...]
    waiting: int

    @property
    def bytes(self) -> int:
        """Bytes of the orphans."""
        return sum(orphan.length for orphan in self.orphans)


def plan(home: Home, grace: timedelta = GRACE) -> SweepPlan:
    """Find the orphans. Lists first and asks the catalog after, so that a batch landing meanwhile is seen."""
    listed = list(home.objects.list())
    known = home.catalog.object_keys()
    orphans = [found for found in listed if found.key not in known]
    old = tuple(found for found in orphans if found.age >= grace.total_seconds())
    return SweepPlan(old, len(orphans) - len(old))


def execute(home: Home, planned: SweepPlan, actor: Actor, progress: Callable[[int], None] = lambda _: None) -> int:
    """Remove the planned orphans, after recording that they go.

    Returns:
        How many were removed.
    """
    home.recorder.record(SWEEP, actor, {"files": len(planned.orphans), "bytes": planned.bytes})
    known = home.catalog.object_keys()
    removed = 0
    for orphan in planned.orphans:
        if orphan.key in known:
            continue
        home.objects.delete(orphan.key)
        sys.audit("lake.step", "sweep.removed")
        removed += 1
        progress(1)
    return removed
