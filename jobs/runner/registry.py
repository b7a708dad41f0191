"""The jobs that ``lake jobs run`` knows, each loaded when it is asked for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from jobs.runner.work import Job
from lake.errors import UsageError
from lake.gateway.home import Home
from lake.gateway.recorder import Actor


@dataclass(frozen=True, slots=True)
class Known:
    """A job: where its class is, what it does, and its usual time (a cron expression, UTC) if the daemon runs it.

    Attributes:
        place: ``module:Class``, a subclass of ``Job`` whose options all have defaults.
        cron: None for what takes a decision of people each time.
    """

    place: str
    summary: str
    cron: str | None = None

    def load(self) -> type[Job]:
        """The class."""
        module, _, name = self.place.partition(":")
        found: type[Job] = getattr(import_module(module), name)
        return found


JOBS: Mapping[str, Known] = {
    "compact": Known("jobs.clear.compact:Compact", "merge small files of a partition", "27 1 * * *"),
    "rekey": Known("jobs.clear.rekey_job:RekeyJob", "write data anew under fresh DEKs: see 'lake keys rekey'"),
    "scrub": Known("jobs.clear.scrub:ScrubFiles", "check every object, row, wrap and AEAD tag", "7 4 * * 0"),
    "scrub-objects": Known("jobs.sealed.scrub:ScrubObjects", "check every object and row; needs no key of data"),
    "rescan": Known("jobs.clear.rescan:Rescan", "look through landed texts with the newest filter rules"),
    "rescan-dry-run": Known("jobs.clear.rescan:RescanDryRun", "count what a rescan would do, and change nothing"),
    "retention": Known(
        "jobs.clear.retention.execute:RetentionJob", "purge rows that are past: see 'lake jobs retention'"
    ),
    "shred": Known("jobs.sealed.retention.shred:ShredJob", "finish a shredding: see 'lake jobs shred'"),
    "sweep": Known("jobs.sealed.sweep:SweepJob", "remove objects that no batch owns", "17 3 * * *"),
}


def known(name: str) -> Known:
    """A job by its name.

    Raises:
        UsageError: there is none.
    """
    if name not in JOBS:
        raise UsageError(f"there is no job {name[:64]!r}", hint=f"one of {', '.join(sorted(JOBS))}")
    return JOBS[name]


def make(name: str, home: Home, actor: Actor, given: Mapping[str, str] | None = None) -> Job:
    """A job, with options as they are given on the command line.

    Raises:
        UsageError: there is no such job or option, or an option's text is not one.
    """
    found = known(name).load()
    read: dict[str, Any] = {}
    for option, text in (given or {}).items():
        if option not in found.options:
            can = ", ".join(sorted(found.options)) or "none"
            raise UsageError(f"{name} has no option {option[:64]!r}", hint=f"it has: {can}")
        try:
            read[option.replace("-", "_")] = found.options[option].read(text)
        except (ValueError, OverflowError):
            raise UsageError(f"--option {option}: {found.options[option].words}") from None
    return found(home, actor, **read)
