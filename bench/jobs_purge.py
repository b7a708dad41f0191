"""Purging a month of many employees by destroying keys and by writing files anew, and shredding one employee."""

from __future__ import annotations

import datetime as dt
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from bench import world
from bench.key_store import Counted
from bench.measure import BenchError, Scale, check_equal, say, timed
from bench.phases import phases, shares
from jobs.clear.retention.execute import RetentionJob
from jobs.runner.run import Runner
from jobs.runner.work import Job, Run
from jobs.sealed.retention.shred import ShredJob
from lake.api import Lake
from lake.gateway.retention import RetentionDesk

RULES = "rules:\n  - {match: {}, keep: 30d, hard_max: 30d}\n"
ROWS_A_FILE = 20
FIRST, LAST = world.START + dt.timedelta(days=1), world.START + dt.timedelta(days=28)
AS_OF = {"keys destroyed": LAST + dt.timedelta(days=62), "files written anew": FIRST + dt.timedelta(days=40)}
"""When everything of the month is past, and when its first half is."""
PURGE_STEPS = {
    "retention.decided": "decide",
    "retention.closed": "close the month",
    "retention.fenced": "close the month",
    "retention.object-written": "decode, encrypt, write",
    "retention.committed": "commit",
    "retention.destroyed": "destroy keys",
    "retention.deleted": "delete objects",
    "job.item-closed": "journal",
}
SHRED_STEPS = {
    "shred.named": "name the keys",
    "shred.keys-destroyed": "keys, backup, proof",
    "shred.object-deleted": "delete objects",
    "directory.remembered": "directory",
    "directory.erased": "directory",
    "job.item-closed": "journal",
}


def purges(scale: Scale, folder: Path) -> dict[str, Any]:
    """Seconds and provider calls of both ways, for a file of each of many employees.

    Raises:
        BenchError: a purge did not take what it should have.
    """
    people = _people(scale)
    found: dict[str, Any] = {"employees": people, "rows a file": ROWS_A_FILE}
    for way, as_of in AS_OF.items():
        say(f"  a purge of {people:,} months, {way}")
        with _lake(folder / way.replace(" ", "-"), people, scale) as lake:
            RetentionDesk(lake.home).apply(RULES, "rules.yaml", "bench")
            job = RetentionJob(lake.home, lake.actor, as_of=as_of, by="bench")
            plan, planning = timed(job.plan)
            RetentionDesk(lake.home).approve(plan.hash, "second", {})
            done, taken, calls, spent = _run(lake, job, PURGE_STEPS)
            gone = people * ROWS_A_FILE // (1 if way == "keys destroyed" else 2)
            check_equal("rows of a purge", gone, done.counts["rows"])
            found[way] = {
                "planning seconds": planning,
                "seconds": taken,
                "provider calls": calls,
                "share of time": shares(spent),
            }
    shutil.rmtree(folder)
    found["times as fast"] = found["files written anew"]["seconds"] / found["keys destroyed"]["seconds"]
    return found


def shreds(scale: Scale, folder: Path) -> dict[str, Any]:
    """Seconds and provider calls of shredding one employee, among a number of them and among ten times as many."""
    found: dict[str, Any] = {}
    for people in (_people(scale), 10 * _people(scale)):
        say(f"  shredding one of {people:,}")
        with _lake(folder / f"of-{people}", people, scale) as lake:
            job = ShredJob(lake.home, lake.actor, employees=["E00000"], backup=folder / f"backup-{people}")
            done, taken, calls, spent = _run(lake, job, SHRED_STEPS)
            check_equal("employees", 1, done.counts["employees"])
            found[str(people)] = {"seconds": taken, "provider calls": calls, "share of time": shares(spent)}
    shutil.rmtree(folder)
    few, many = (one["seconds"] for one in found.values())
    return {"employees": found, "grows by": many / few}


def _people(scale: Scale) -> int:
    return max(4, min(1_000, scale.rows // 1_000))


def _lake(place: Path, people: int, scale: Scale) -> Lake:
    """One file of each employee, half of whose rows are of the first days of the month."""
    world.make_lake(place)
    lake = world.open_lake(place, scale.threads)
    report = lake.ingest(world.DATASET, [_rows(people)])
    check_equal("files", people, report.files)
    return lake


def _rows(people: int) -> pa.RecordBatch:
    size, half = people * ROWS_A_FILE, ROWS_A_FILE // 2
    days = np.repeat(np.array([FIRST, LAST], "datetime64[us]"), half)
    return pa.RecordBatch.from_pydict(
        {
            "employee": pa.array([f"E{number:05d}" for number in range(people) for _ in range(ROWS_A_FILE)]),
            "ts": pa.array(np.tile(days, people) + np.arange(size).astype("timedelta64[s]")),
            "type": pa.repeat("mouse", size),
            "session": pa.repeat("session", size),
            "seq": pa.array(np.arange(size)),
            "x": pa.array(np.arange(size, dtype=np.int32) % 1_920),
            "y": pa.array(np.arange(size, dtype=np.int32) % 1_080),
        }
    )


def _run(lake: Lake, job: Job, steps: dict[str, str]) -> tuple[Run, float, int, dict[str, float]]:
    """The run, its seconds, how often the provider of the root keys was asked, and where the time went."""
    provider = lake.home.hierarchy.provider = Counted(lake.home.hierarchy.provider)
    with phases(steps) as spent:
        done, taken = timed(lambda: Runner(lake.home).run(job))
    if done.state != "done":
        raise BenchError(f"{job.name} ended {done.state}")
    return done, taken, provider.calls.total(), spent
