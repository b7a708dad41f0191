"""What tests of purges share: an oracle of rows, and keys and wraps as they were before."""

# ruff: noqa: DTZ001 - capture times are naive UTC
from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from jobs.clear.retention.execute import RetentionJob
from jobs.runner.run import Options, Runner
from jobs.runner.work import Run
from jobs.sealed.retention.certificate import Certificate, open_certificate
from jobs.sealed.retention.verify import Verification
from keys.errors import KeysError
from keys.refs import DekRequest
from lake.api import Lake
from lake.gateway.kek_rotation import dek_request
from lake.gateway.retention import RetentionDesk
from lake.rules.model import DataFile
from lake.sealed.catalog.upkeep import FileScope
from tests import world as w
from tests.world import World

DAYS = {1: 365, 2: 180, 3: 90, 4: 30}
TODAY = datetime(2026, 9, 15)
SECOND = "second-person"


def kept(rows: Sequence[Mapping[str, Any]], days: Mapping[int, int] = DAYS, at: datetime = TODAY) -> list[Any]:
    """The rows that the contract keeps: those younger than its days."""
    return [row for row in w.landed(rows) if row["ts"] + timedelta(days=days[w.level(row)]) > at]


def files(lake: Lake) -> dict[str, DataFile]:
    """Live files by id."""
    return {file.file_id: file for page in lake.home.upkeep.pages(FileScope(), 500) for file, _ in page}


def job(lake: Lake, **options: Any) -> RetentionJob:
    """The job as its operator runs it."""
    return RetentionJob(lake.home, lake.actor, by="operator", **options)


def approve(lake: Lake, plan: str) -> None:
    """By somebody else."""
    RetentionDesk(lake.home).approve(plan, SECOND, {})


def purge(lake: Lake, **options: Any) -> Run:
    """Plan, approve, execute."""
    plan = job(lake).plan()
    approve(lake, plan.hash)
    return Runner(lake.home, Options(plan=plan.hash)).run(job(lake, **options))


def certified(world: World, **options: Any) -> Certificate:
    """Verified in another process' place: nothing that executed is open any more."""
    with world.open() as lake:
        text = Verification(lake.home, lake.actor, **options).certify()
        return open_certificate(text, lake.home.config.audit_key)


def opens(lake: Lake, requests: Sequence[DekRequest]) -> list[str]:
    """Ids of the files whose saved wraps still open with a key that the lake has."""
    found = []
    for request in requests:
        try:
            lake.home.broker.check_wrap(request)
        except KeysError:
            continue
        found.append(request.binding.file_id)
    return found


def saved(lake: Lake) -> list[DekRequest]:
    """Wraps of every live file, as a thief of the catalog has them."""
    return [dek_request(file) for file in files(lake).values()]


def tree(root: Path) -> dict[str, str]:
    """A digest of every file below a folder; SQLite's shared memory is none of a database's content."""
    return {
        path.relative_to(root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*"))
        if path.is_file() and not path.name.endswith("-shm")
    }
