"""A whole process that opens a lake and answers a small question, beside one that asks plaintext Parquet."""

from __future__ import annotations

import shutil
import statistics
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from bench import world
from bench.measure import Scale, check_equal, child, interleaved, say

ROWS = 20_000
QUESTION = "SELECT count(*) AS n, count(DISTINCT app) AS apps FROM {events}"

LAKE = """
import lake
with lake.connect({path!r}, user={user!r}, purpose={purpose!r}, key_file={key!r}) as db:
    print(db.sql({sql!r}).arrow().to_pylist())
"""
PLAIN = """
import duckdb
print(duckdb.sql({sql!r}).to_arrow_table().to_pylist())
"""


def measure(scale: Scale, folder: Path, *, imports: bool) -> dict[str, Any]:
    """Wall seconds of both, process start included.

    Args:
        imports: also name the modules that take longest to import.
    """
    say("  a small lake")
    programs = _programs(folder, scale)
    answers = {name: child(["-c", program]).output for name, program in programs.items()}
    check_equal("startup question", answers["plain duckdb"], answers["lake"])
    runs = {name: _runner(program) for name, program in programs.items()}
    medians = interleaved(runs, 2 * scale.repeat - 1, warm=False)
    found: dict[str, Any] = {
        "seconds": medians,
        "slower_than": {"plain duckdb": medians["lake"] / medians["plain duckdb"]},
        "create_seconds": statistics.median(_created(folder / f"made-{turn}") for turn in range(scale.repeat)),
    }
    if imports:
        found["import_ms"] = slowest_imports(folder)
    shutil.rmtree(folder)
    return found


def _programs(folder: Path, scale: Scale) -> dict[str, str]:
    store, plain = folder / "lake", folder / "plain.parquet"
    world.make_lake(store)
    rows = world.rows_of(scale, ROWS).read_all()
    with world.open_lake(store, scale.threads) as db:
        db.ingest(world.DATASET, rows)
    pq.write_table(rows, plain)
    return {
        "lake": LAKE.format(
            path=str(store),
            user=world.USERS[world.ALL],
            purpose=world.PURPOSE,
            key=str(world.key_file(store)),
            sql=QUESTION.format(events=world.DATASET),
        ),
        "plain duckdb": PLAIN.format(sql=QUESTION.format(events=f"'{plain}'")),
    }


def _runner(program: str) -> Any:
    return lambda: child(["-c", program])


def _created(path: Path) -> float:
    program = f"import lake; lake.create({str(path)!r}, key_file={str(path) + '.key'!r})"
    return child(["-c", program]).wall


def slowest_imports(folder: Path, count: int = 12) -> dict[str, float]:
    """Milliseconds of the packages that ``import lake.api`` spends longest in, what they import in turn included."""
    log = folder / "imports.txt"
    program = f"import os, sys; os.dup2(os.open({str(log)!r}, os.O_CREAT | os.O_WRONLY), 2); import lake.api"
    child(["-c", program], options=["-X", "importtime"])
    taken: dict[str, float] = {}
    for line in log.read_text("utf-8").splitlines():
        parts = line.removeprefix("import time:").split("|")
        if len(parts) == 3 and parts[1].strip().isdigit():
            taken[parts[2].strip()] = int(parts[1]) / 1000
    return dict(sorted(taken.items(), key=lambda item: -item[1])[:count])
