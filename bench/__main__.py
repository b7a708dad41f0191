"""The command: ``python -m bench [--only ingest,query,…,catalog,store] [--rows N] ...``; ``--help`` names all."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow as pa

from bench import (
    catalog,
    gateway,
    ingest,
    ingest_server,
    jobs,
    keys,
    memory,
    micro,
    page,
    query,
    report,
    startup,
    store,
    wide,
)
from bench.compare import worse
from bench.measure import ROOT, BenchError, Scale, say

DEFAULT = Scale()
FULL = Scale(rows=20_000_000, employees=200)
"""As the goals for reading are stated."""
SECTIONS = (
    *("ingest", "query", "startup", "memory", "micro", "keys"),
    *("gateway", "catalog", "store", "ingest-server", "jobs", "wide"),
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print tables, write JSON; 1 if two sides did not do the same work."""
    options = _parser().parse_args(arguments)
    rows, people = (FULL.rows, FULL.employees) if options.full else (options.rows, options.employees)
    scale = Scale(rows, people, options.repeat, options.threads)
    if options.page and not {"ingest", "query"} <= set(options.only):
        say("--page needs the sections ingest and query")
        return 2
    pa.set_cpu_count(scale.threads)
    try:
        with tempfile.TemporaryDirectory(prefix="lake-bench-", dir=options.folder) as place:
            results = measure(options, scale, Path(place))
    except BenchError as error:
        say(f"void: {error}")
        return 1
    document = {"machine": report.machine(), "scale": asdict(scale), "results": results}
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(document, indent=2) + "\n", "utf-8")
    report.show(results)
    if options.page:
        page.write(document, ROOT / "docs")
    if options.compare:
        before = json.loads(options.compare.read_text("utf-8"))
        for line in worse(before["results"], results) or ["no ratio got worse beyond noise"]:
            say(line)
    return 0


def measure(options: argparse.Namespace, scale: Scale, folder: Path) -> dict[str, Any]:
    """The chosen sections, one after the other, each in a folder of its own that it removes.

    Raises:
        BenchError: the sides of a comparison differ in what they did.
    """
    sections: dict[str, Callable[[Path], Any]] = {
        "ingest": lambda place: {
            "generated": ingest.generated(scale, place / "generated"),
            "recordings": ingest.recordings(scale, place / "recordings"),
        },
        "query": lambda place: query.measure(scale, place, with_ducklake=options.ducklake),
        "startup": lambda place: startup.measure(scale, place, imports=options.imports),
        "memory": lambda place: memory.measure(scale, place),
        "micro": lambda place: micro.measure(scale, place, files=min(10_000, scale.rows)),
        "keys": lambda place: keys.measure(scale, place),
        "gateway": lambda place: gateway.measure(scale, place),
        "catalog": lambda place: catalog.measure(scale, place),
        "store": lambda place: store.measure(scale, place),
        "ingest-server": lambda place: ingest_server.measure(scale, place),
        "jobs": lambda place: jobs.measure(scale, place),
        "wide": lambda place: wide.measure(scale, place, options.wide or (10_000 if options.full else scale.wide)),
    }
    results: dict[str, Any] = {}
    for name in options.only:
        say(f"{name}:")
        start = time.perf_counter()
        results[name] = sections[name](folder / name)
        say(f"  done in {time.perf_counter() - start:.0f} s")
    return results


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench", description=sys.modules["bench"].__doc__)
    parser.add_argument("--only", type=_sections, default=list(SECTIONS), help="sections, separated by commas")
    parser.add_argument("--rows", type=_positive, default=DEFAULT.rows, help="rows to query (default: %(default)s)")
    parser.add_argument("--employees", type=_positive, default=DEFAULT.employees)
    parser.add_argument("--repeat", type=_positive, default=DEFAULT.repeat, help="repetitions; the median counts")
    parser.add_argument("--threads", type=_positive, default=DEFAULT.threads, help="threads of either side")
    parser.add_argument("--imports", action="store_true", help="name the slowest imports")
    parser.add_argument("--full", action="store_true", help=f"{FULL.rows:,} rows of {FULL.employees} employees")
    parser.add_argument("--wide", type=_positive, help="employees of the section wide, with 12 small files each")
    parser.add_argument("--no-ducklake", dest="ducklake", action="store_false", help="leave DuckLake out")
    parser.add_argument("--page", action="store_true", help="write docs/performance.md; needs ingest and query")
    parser.add_argument("--compare", type=Path, metavar="FILE", help="say what got worse since this result")
    parser.add_argument("--folder", type=Path, help="where the data may lie meanwhile (default: the system's)")
    parser.add_argument("--output", type=Path, default=ROOT / "bench" / "results" / "latest.json")
    return parser


def _sections(text: str) -> list[str]:
    chosen = text.split(",")
    if not set(chosen) <= set(SECTIONS):
        raise argparse.ArgumentTypeError(f"sections are {', '.join(SECTIONS)}")
    return chosen


def _positive(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError("a whole number of at least 1 is expected")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
