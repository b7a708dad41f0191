"""Peak resident memory of whole processes: it must not grow with the number of rows that pass through.

The module is also the program of those processes: ``python -m bench.memory TASK LAKE ROWS EMPLOYEES SEED THREADS``.
"""

from __future__ import annotations

import resource
import shutil
import sys
from pathlib import Path
from typing import Any

from bench import world
from bench.measure import Scale, check_equal, child, say
from bench.queries import QUERIES

IDLE, INGEST, EXPORT = "idle", "ingest", "export"
EXPORT_QUERY = next(query for query in QUERIES if query.export)


def measure(scale: Scale, folder: Path) -> dict[str, Any]:
    """Peak bytes at a tenth of the rows and at all of them, and the peak of a process that only opens the lake."""
    peaks: dict[str, dict[str, int]] = {IDLE: {}, INGEST: {}, EXPORT: {}}
    taken: dict[str, dict[str, int]] = {INGEST: {}, EXPORT: {}}
    for rows in (max(1, scale.rows // 10), scale.rows):
        store = folder / f"lake-{rows}"
        world.make_lake(store)
        for task in (IDLE, INGEST, EXPORT):
            say(f"  {task}, {rows:,} rows")
            numbers = [rows, scale.employees, scale.seed, scale.threads]
            ended = child(["-m", "bench.memory", task, str(store), *map(str, numbers)])
            passed, peak = map(int, ended.output.split())
            peaks[task][str(rows)] = peak
            if task != IDLE:
                taken[task][str(rows)] = passed
        check_equal("rows that were landed", rows, taken[INGEST][str(rows)])
        shutil.rmtree(store)
    growth = {task: max(found.values()) / min(found.values()) for task, found in peaks.items()}
    return {"peak_bytes": peaks, "rows": taken, "growth": growth}


def _main(task: str, store: Path, rows: int, scale: Scale) -> int:
    if task == INGEST:
        with world.open_lake(store, scale.threads) as db:
            return db.ingest(world.DATASET, world.rows_of(scale, rows)).rows
    with world.connect(store, world.ALL, scale.threads) as gateway:
        if task == IDLE:
            return 0
        result = gateway.sql(EXPORT_QUERY.over(world.DATASET))
        return sum(batch.num_rows for batch in result.batches())


def peak_bytes() -> int:
    """Peak resident bytes of this process.

    Linux is asked for the peak since the program began: its ``ru_maxrss`` also counts the process that started it.
    """
    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text("ascii").splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


if __name__ == "__main__":
    name, place, *numbers = sys.argv[1:]
    wanted, people, seed, threads = map(int, numbers)
    print(_main(name, Path(place), wanted, Scale(wanted, people, 1, threads, seed)), peak_bytes())
