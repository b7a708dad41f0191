"""Peak memory of a compaction, which must not grow with the rows that it merges.

The module is also the program of those processes: ``python -m bench.jobs_memory LAKE THREADS``.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Any

from bench import world
from bench.measure import Scale, check_equal, child, say
from bench.memory import peak_bytes
from jobs.clear.compact import Compact
from jobs.runner.run import Runner

BATCHES = 8


def measure(scale: Scale, folder: Path) -> dict[str, Any]:
    """Peak bytes of a process that merges the files of one employee, for a tenth of the rows and for all."""
    peaks: dict[str, int] = {}
    for rows in (max(BATCHES, scale.rows // 10), scale.rows):
        say(f"  memory of a compaction of {rows:,} rows")
        store = folder / f"lake-{rows}"
        world.make_lake(store)
        with world.open_lake(store, scale.threads) as lake:
            table = world.rows_of(Scale(rows, 1, 1, scale.threads, scale.seed), rows).read_all()
            for index in range(BATCHES):
                lake.ingest(world.DATASET, table.take(list(range(index, rows, BATCHES))), batch_id=str(index))
            del table
        files, peak = map(int, child(["-m", "bench.jobs_memory", str(store), str(scale.threads)]).output.split())
        check_equal("whether there was something to merge", True, files > 0)
        peaks[str(rows)] = peak
        shutil.rmtree(store)
    return {"peak_bytes": peaks, "growth": max(peaks.values()) / min(peaks.values())}


def _main(store: Path, threads: int) -> int:
    with world.open_lake(store, threads) as lake:
        return Runner(lake.home).run(Compact(lake.home, lake.actor)).counts.get("files", 0)


if __name__ == "__main__":
    print(_main(Path(sys.argv[1]), int(sys.argv[2])), peak_bytes())
