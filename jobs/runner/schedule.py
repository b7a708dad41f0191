"""When jobs are due: cron expressions in UTC, as cronsim reads them (Debian's cron).

UTC has no hour that is left out or comes twice, so nothing is skipped or done double when clocks change.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

from cronsim import CronSim, CronSimError

from jobs.runner.registry import JOBS, known
from lake.errors import UsageError
from lake.rules.document import read_document
from lake.settings import Settings


class Schedule:
    """The next time of each job.

    Args:
        crons: expressions by the job's name.

    Raises:
        UsageError: there is no such job, or an expression is none.
    """

    def __init__(self, crons: Mapping[str, str]) -> None:
        for name, cron in crons.items():
            known(name)
            _next(name, cron, datetime(2026, 1, 1, tzinfo=UTC))
        self.crons = dict(sorted(crons.items()))

    def next(self, after: datetime) -> dict[str, datetime]:
        """For each job the first time after a moment."""
        return {name: _next(name, cron, after) for name, cron in self.crons.items()}


def usual() -> dict[str, str]:
    """The expressions of the jobs that have a usual time."""
    return {name: job.cron for name, job in JOBS.items() if job.cron}


def in_force(settings: Settings, file: tuple[str, str] | None = None) -> Schedule:
    """The schedule of a daemon: usual times, changed by the settings, or by a file (text, name) in their place.

    Raises:
        DocumentError, UsageError: what changes them is no schedule.
    """
    text, source = file or (settings.schedule, "LAKE_SCHEDULE")
    return Schedule(read_schedule(text, source) if text.strip() else usual())


def read_schedule(text: str, source: str) -> dict[str, str]:
    """Expressions from a YAML document: a mapping from jobs to expressions, ``off`` for never.

    Raises:
        DocumentError: it is not such a document.
    """
    found = usual()
    for name, node in read_document(text, source).items():
        if name not in JOBS:
            raise node.error(f"there is no job {name[:64]!r}", hint=f"one of {', '.join(sorted(JOBS))}")
        cron = node.string(max_length=200)
        if cron == "off":
            found.pop(name, None)
            continue
        try:
            CronSim(cron, datetime(2026, 1, 1, tzinfo=UTC))
        except CronSimError:
            raise node.error("this is no cron expression", hint='five fields, such as "17 3 * * *"') from None
        found[name] = cron
    return found


def _next(name: str, cron: str, after: datetime) -> datetime:
    try:
        return next(CronSim(cron, after.astimezone(UTC)))
    except (CronSimError, StopIteration):
        raise UsageError(f"the schedule of {name} is no cron expression that comes due: {cron[:100]!r}") from None
