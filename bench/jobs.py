"""Jobs: what compaction and scrub read in a second, where the time goes, and what compaction does for queries."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from bench import jobs_memory, jobs_purge
from bench.measure import BenchError, Scale, check_equal, interleaved, timed
from bench.phases import phases, shares
from bench.world import ALL, DATASET, connect, make_lake, open_lake, rows_of
from jobs.clear.compact import Compact
from jobs.clear.scrub import ScrubFiles
from jobs.runner.run import Runner
from jobs.runner.work import Job, Run
from jobs.sealed.scrub import ScrubObjects
from lake.api import Lake

BATCHES = 30
MOST_ROWS = 1_000_000
MB = 1_000_000
MOST_EMPLOYEES = 20
QUERIES = {
    "every row by type": "SELECT type, count(*) AS n FROM desktop_events GROUP BY type ORDER BY type",
    "one employee": "SELECT count(*) AS n FROM desktop_events WHERE employee = 'E00001'",
    "one hour": "SELECT count(*) AS n FROM desktop_events WHERE ts BETWEEN '2025-07-02 10:00' AND '2025-07-02 11:00'",
}


def measure(scale: Scale, folder: Path) -> dict[str, Any]:
    """Land rows in many batches, ask, merge, ask again, and scrub.

    Raises:
        BenchError: a query's answer is another one after the merge.
    """
    path = folder / "lake"
    scale = replace(scale, employees=min(scale.employees, MOST_EMPLOYEES))
    make_lake(path)
    rows = min(scale.rows, MOST_ROWS)
    with open_lake(path, scale.threads) as lake:
        for index, part in enumerate(_dealt(rows_of(scale, rows))):
            lake.ingest(DATASET, part, batch_id=f"batch-{index}")
        before = _holding(lake)
    found: dict[str, Any] = {"rows": rows, "employees": scale.employees, "batches": BATCHES, "before": before}
    found["queries"], answers = _queries(path, scale)
    with open_lake(path, scale.threads) as lake:
        found["scrub of small files"] = _scrubbed(lake, before["bytes"])
        found["compaction"] = _compacted(lake)
        found["after"] = after = _holding(lake)
        found["scrub"] = _scrubbed(lake, after["bytes"])
    later, same = _queries(path, scale)
    check_equal("queries before and after compaction", answers, same)
    found["queries"] = {
        name: {"before": taken, "after": later[name], "speedup": taken / later[name]}
        for name, taken in found["queries"].items()
    }
    found["purge"] = jobs_purge.purges(scale, folder / "purges")
    found["shred"] = jobs_purge.shreds(scale, folder / "shreds")
    found["memory of compaction"] = jobs_memory.measure(scale, folder / "memory")
    return found


def _dealt(reader: pa.RecordBatchReader) -> Iterator[pa.Table]:
    """Batches whose times lie among those of the others, as those of many devices do."""
    table = reader.read_all()
    for index in range(BATCHES):
        rows = pa.array(range(index, table.num_rows, BATCHES), pa.int64())
        if len(rows):
            yield table.take(rows)


def _holding(lake: Lake) -> dict[str, int]:
    found = [row for row in lake.home.catalog.summary() if row["dataset"] == DATASET]
    return {name: sum(int(row[name]) for row in found) for name in ("files", "rows", "bytes")}


def _queries(path: Path, scale: Scale) -> tuple[dict[str, float], list[Any]]:
    with connect(path, ALL, scale.threads, keep=False) as lake:
        answers = [lake.sql(sql).arrow().to_pylist() for sql in QUERIES.values()]
        sides = {name: lambda sql=sql: lake.sql(sql).arrow() for name, sql in QUERIES.items()}
        return interleaved(sides, scale.repeat), answers


def _compacted(lake: Lake) -> dict[str, Any]:
    with phases(NAMES) as spent:
        (size, files), taken = timed(lambda: _whole(lake))
    return {
        "seconds": taken,
        "files": files,
        "bytes": size,
        "MB per second": size / MB / taken,
        "share of time": shares(spent),
    }


def _whole(lake: Lake) -> tuple[int, int]:
    """Merge until there is nothing to merge; bytes and files that went in."""
    size = files = 0
    while (done := _run(lake, Compact(lake.home, lake.actor))).items:
        size, files = size + done.counts["bytes"], files + done.counts["files"]
    return size, files


def _scrubbed(lake: Lake, size: int) -> dict[str, float]:
    found = {}
    for name, job in (("objects", ScrubObjects), ("all", ScrubFiles)):
        done, taken = timed(lambda job=job: _run(lake, job(lake.home, lake.actor)))
        check_equal("bytes of a scrub", size, done.counts["bytes"])
        found[f"{name}, MB per second"] = size / MB / taken
        found[f"{name}, files per second"] = done.counts["files"] / taken
    return found


def _run(lake: Lake, job: Job) -> Run:
    done = Runner(lake.home).run(job)
    if done.state != "done":
        raise BenchError(f"{job.name} ended {done.state}")
    return done


NAMES = {
    "compact.intended": "record",
    "compact.keys-released": "keys",
    "compact.object-written": "decode, merge, encrypt, write",
    "compact.objects-durable": "sync",
    "compact.replaced": "commit",
    "compact.recorded": "record",
    "job.item-closed": "journal",
}
"""What a step of compaction ends."""
