"""Many small files: what a question costs for each that it opens, and whether that grows with how many there are."""

from __future__ import annotations

import datetime as dt
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from bench import world
from bench.measure import Scale, check_equal, interleaved, say

LEVELS, MONTHS, ROWS_A_FILE = 4, 3, 20
FILES_EACH = LEVELS * MONTHS
QUESTIONS = {
    "count": "SELECT count(*) AS n FROM {events}",
    "group by": "SELECT type, count(*) AS n, sum(x) AS x FROM {events} GROUP BY type",
    "one month": "SELECT count(*) AS n, sum(x) AS x FROM {events} WHERE ts >= '{first}' AND ts < '{last}'",
    "one employee": "SELECT count(*) AS n, sum(x) AS x FROM {events} WHERE employee = 'E00001'",
}
OPENED = {"count": FILES_EACH, "group by": FILES_EACH, "one month": LEVELS}
"""Files that a question opens for each employee; of one employee it opens theirs alone."""


def measure(scale: Scale, folder: Path, people: int) -> dict[str, Any]:
    """Seconds of each question among a fifth of the files and among all, and milliseconds a file."""
    found: dict[str, Any] = {}
    for some in (max(2, people // 5), people):
        say(f"  {some * FILES_EACH:,} files of {some:,} employees")
        place = folder / f"of-{some}"
        found[str(some * FILES_EACH)] = _measure(place / "lake", some, scale)
        shutil.rmtree(place)
    few, many = found.values()
    growth = {name: many["ms a file"][name] / few["ms a file"][name] for name in OPENED}
    return {"rows a file": ROWS_A_FILE, "files": found, "growth of ms a file": growth}


def _measure(store: Path, people: int, scale: Scale) -> dict[str, Any]:
    world.make_lake(store)
    with world.open_lake(store, scale.threads) as lake:
        report = lake.ingest(world.DATASET, _rows(people))
        check_equal("small files", people * FILES_EACH, report.files)
    first = world.START.replace(day=1) + dt.timedelta(days=31)
    words = {"events": world.DATASET, "first": f"{first:%Y-%m-01}", "last": f"{first + dt.timedelta(days=31):%Y-%m-01}"}
    with world.connect(store, world.ALL, scale.threads, keep=False) as gateway:
        asked = {name: sql.format(**words) for name, sql in QUESTIONS.items()}
        sides = {name: lambda sql=sql: list(gateway.sql(sql).batches()) for name, sql in asked.items()}
        (counted,) = gateway.sql(asked["count"]).arrow().to_pylist()
        check_equal("rows", people * FILES_EACH * ROWS_A_FILE, counted["n"])
        seconds = interleaved(sides, scale.repeat)
    each = {name: 1_000 * seconds[name] / (people * opened) for name, opened in OPENED.items()}
    return {"seconds": seconds, "ms a file": each}


def _rows(people: int) -> Iterator[pa.RecordBatch]:
    """Mouse movements, a few for each employee, level and month."""
    each = LEVELS * ROWS_A_FILE
    size = people * each
    names = pa.array([f"E{number:05d}" for number in range(people)]).take(np.repeat(np.arange(people), each))
    levels = np.tile(np.repeat(np.arange(1, LEVELS + 1, dtype=np.int32), ROWS_A_FILE), people)
    for month in range(MONTHS):
        start = world.START + dt.timedelta(days=2 + 31 * month)
        yield pa.RecordBatch.from_pydict(
            {
                "employee": names,
                "ts": pa.array(np.datetime64(start, "us") + np.tile(np.arange(each), people).astype("timedelta64[s]")),
                "type": pa.repeat("mouse", size),
                "session": pa.repeat(f"session-{month}", size),
                "seq": pa.array(np.arange(size)),
                "x": pa.array(np.arange(size, dtype=np.int32) % 1_920),
                "y": pa.array(np.arange(size, dtype=np.int32) % 1_080),
                "sensitivity": pa.array(levels),
            }
        )
