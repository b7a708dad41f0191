"""docs/performance.md and its picture, made of a result: the references and the lake side by side."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from bench.query import ARROW, DOOR, DUCKLAKE, FAIR, FOUND, KEPT, LAKE, OURS
from bench.world import ALL, FILTERED

FONT = 'font-family="sans-serif" font-size="11"'
TEXT, PICTURE = "performance.md", "performance.svg"
SIDES = (LAKE, KEPT, DOOR, FAIR, FOUND, ARROW, DUCKLAKE)
OUR_COLOURS = {LAKE: "#1b4f72", KEPT: "#2e86c1", DOOR: "#85c1e9"}
COLOURS = OUR_COLOURS | {FAIR: "#7d6608", FOUND: "#d4ac0d", ARROW: "#7b7d7d", DUCKLAKE: "#943126"}
INTRODUCTION = Path(__file__).with_suffix(".md")


def write(document: Mapping[str, Any], folder: Path) -> None:
    """Write text and picture for a result that has the sections ``query`` and ``ingest``, perhaps others."""
    (folder / TEXT).write_text("\n".join(_text(document)) + "\n", "utf-8")
    (folder / PICTURE).write_text(picture(document["results"]["query"][ALL]["seconds"]), "utf-8")


def _text(document: Mapping[str, Any]) -> Iterator[str]:
    machine, scale, query = document["machine"], document["scale"], document["results"]["query"]
    yield INTRODUCTION.read_text("utf-8")
    yield (
        f"{scale['rows']:,} rows of {scale['employees']} employees in {query['files']:,} files; "
        f"{scale['threads']} threads; medians of {scale['repeat']}. "
        f"{machine['cpus']} cores, {machine['memory_bytes'] / 2**30:.0f} GiB, Python {machine['python']}, "
        f"DuckDB {machine['duckdb']}, pyarrow {machine['pyarrow']}.\n"
    )
    yield f"![seconds of each question by side]({PICTURE})\n"
    for role, title in ((ALL, "Everything granted"), (FILTERED, "A row filter, a hidden column and a mask")):
        yield from _role(title, query[role])
    yield from _exports(query[ALL])
    yield from _memory(query["peak_bytes"])
    yield from _ingest(document["results"]["ingest"]["generated"])
    if "wide" in document["results"]:
        yield from _wide(document["results"]["wide"])
    if "jobs" in document["results"]:
        yield from _compaction(document["results"]["jobs"])


def _role(title: str, found: Mapping[str, Any]) -> Iterator[str]:
    seconds = found["seconds"]
    sides = [side for side in SIDES if side in next(iter(seconds.values()))]
    yield f"## {title}\n"
    yield from _table(
        ["question, seconds", *sides],
        [[name, *(f"{taken[side]:.3f}" for side in sides)] for name, taken in seconds.items()],
    )
    others = [side for side in sides if side not in OURS]
    rows = [
        [f"{ours}: {what}", *(f"{found[key][side][what]:.2f}" for side in others)]
        for ours, key in OURS.items()
        for what in ("geometric mean", "worst")
    ]
    yield from _table(["ratio to", *others], rows)


def _exports(found: Mapping[str, Any]) -> Iterator[str]:
    yield "## Exports\n"
    names = [name for name in found["rows"] if name.startswith("export")]
    sides = [side for side in SIDES if side in found["seconds"][names[0]]]
    yield from _table(
        ["million rows/s", *sides],
        [
            [name, *(f"{found['rows'][name] / found['seconds'][name][side] / 1e6:.1f}" for side in sides)]
            for name in names
        ],
    )


def _memory(peaks: Mapping[str, int]) -> Iterator[str]:
    yield "## Memory\n"
    yield "Peak resident memory of a process that asks one side everything once.\n"
    yield from _table(["side", "MiB"], [[side, f"{peak / 2**20:,.0f}"] for side, peak in peaks.items()])


def _ingest(found: Mapping[str, Any]) -> Iterator[str]:
    yield "## Ingest\n"
    slower, off = found["slower_than"], found["filter off, slower_than"]
    rows = []
    for side in found["seconds"]:
        times = [f"{by_side[side]:.2f}" if side in by_side else "" for by_side in (slower, off)]
        rows.append([side, f"{found['rows_per_second'][side]:,.0f}", *times])
    yield from _table(["way", "rows/s", "lake takes, times", "with the content filter off"], rows)


def _wide(found: Mapping[str, Any]) -> Iterator[str]:
    sizes = list(found["files"])
    yield "## Many small files\n"
    yield f"Files of {found['rows a file']} rows, nothing kept: seconds, and milliseconds for each that is opened.\n"
    rows = []
    for name in found["files"][sizes[0]]["seconds"]:
        of = [found["files"][size] for size in sizes]
        each = [f"{one['ms a file'][name]:.2f}" if name in one["ms a file"] else "" for one in of]
        rows.append([name, *(f"{one['seconds'][name]:.3f}" for one in of), *each])
    headings = [*(f"{int(size):,} files, s" for size in sizes), *(f"{int(size):,} files, ms a file" for size in sizes)]
    yield from _table(["question", *headings], rows)


def _compaction(found: Mapping[str, Any]) -> Iterator[str]:
    before, after = found["before"]["files"], found["after"]["files"]
    yield "## Compaction\n"
    yield f"{found['rows']:,} rows of {found['batches']} batches, in {before:,} files before and {after:,} after.\n"
    rows = [
        [name, f"{taken['before']:.3f}", f"{taken['after']:.3f}", f"{taken['speedup']:.1f}"]
        for name, taken in found["queries"].items()
    ]
    yield from _table(["question", "before, s", "after, s", "times as fast"], rows)


def _table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    yield "| " + " | ".join(headings) + " |"
    yield "|" + "---|" * len(headings)
    yield from ("| " + " | ".join(row) + " |" for row in rows)
    yield ""


def picture(seconds: Mapping[str, Mapping[str, float]]) -> str:
    """Bars of seconds, a group for each question and a bar for each side; an SVG."""
    sides = [side for side in SIDES if side in next(iter(seconds.values()))]
    longest = max(value for taken in seconds.values() for value in taken.values())
    bar, gap, left, wide = 11, 16, 150, 560
    group = bar * len(sides) + gap
    height = group * len(seconds) + 40 + 18 * len(sides)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{left + wide + 70}" height="{height}" {FONT}>',
        '<rect width="100%" height="100%" fill="white"/>',
    ]
    for number, (name, taken) in enumerate(seconds.items()):
        top = 10 + number * group
        parts.append(
            f'<text x="{left - 8}" y="{top + group / 2 - gap / 2 + 4}" text-anchor="end">{escape(name)}</text>'
        )
        for place, side in enumerate(sides):
            y, width = top + place * bar, max(1.0, taken[side] / longest * wide)
            parts.append(f'<rect x="{left}" y="{y}" width="{width:.1f}" height="{bar - 2}" fill="{COLOURS[side]}"/>')
            parts.append(f'<text x="{left + width + 4:.1f}" y="{y + bar - 3}" font-size="9">{taken[side]:.2f} s</text>')
    for place, side in enumerate(sides):
        y = 24 + group * len(seconds) + 18 * place
        parts.append(f'<rect x="{left}" y="{y}" width="12" height="12" fill="{COLOURS[side]}"/>')
        parts.append(f'<text x="{left + 18}" y="{y + 10}">{escape(side)}</text>')
    return "\n".join([*parts, "</svg>"]) + "\n"
