"""What was found, as JSON and as text. Says what machine it was as far as it matters, and not whose."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from typing import Any

from rich.console import Console
from rich.table import Table

from bench.query import OURS
from bench.world import ALL, FILTERED


def machine() -> dict[str, Any]:
    """Processors, system and versions; no names and no paths."""
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return {
        "cpus": os.cpu_count(),
        "memory_bytes": pages,
        "system": platform.system(),
        "architecture": platform.machine(),
        "python": platform.python_version(),
        **{name: version(name) for name in ("duckdb", "pyarrow", "cryptography", "numpy")},
    }


def show(results: Mapping[str, Any]) -> None:
    """Print tables of what was measured."""
    console = Console(file=sys.stdout, width=110)
    for table in _tables(results):
        console.print(table)


def _tables(results: Mapping[str, Any]) -> Iterator[Table]:
    yield from _ingests(results)
    if "query" in results:
        for role in (ALL, FILTERED):
            yield from _queries(role, results["query"])
    if "jobs" in results:
        yield from _jobs(results["jobs"])
    if "wide" in results:
        yield _wide(results["wide"])
    if "startup" in results:
        yield from _startup(results["startup"])
    if "memory" in results:
        yield _memory(results["memory"])
    if "micro" in results:
        yield _micro(results["micro"])
    if "keys" in results:
        yield from _keys(results["keys"])
    if "gateway" in results:
        for kept in ("keeps none", "keeps slices"):
            yield _gateway(kept, results["gateway"])
    if "catalog" in results:
        yield _catalog(results["catalog"])
    if results.get("store"):
        yield _store(results["store"])


def _store(found: Mapping[str, Any]) -> Table:
    landed = found["ingest"]
    title = f"a lake on S3: {landed['rows']:,} rows, {landed['files']} files in each of its batches"
    table = _table(title, "what", "S3, s", "folder, s", "S3 / folder")
    rates = landed["megabytes_per_second"]
    name = f"ingest ({rates['lake']:.1f} and {rates['folder']:.1f} MB/s)"
    for what, taken in ((name, landed["seconds"]), *found["query"]["seconds"].items()):
        table.add_row(
            what, *(f"{taken[side]:.3f}" for side in ("lake", "folder")), f"{taken['lake'] / taken['folder']:.2f}x"
        )
    table.add_row("geometric mean of the questions", "", "", f"{found['query']['ratios']['geometric mean']:.2f}x")
    return table


def _catalog(found: Mapping[str, Any]) -> Table:
    sizes = list(next(iter(next(iter(found["milliseconds"].values())).values())))
    table = _table("planning time by files in the catalog", "query", *(f"{int(size):,}" for size in sizes))
    for name, by_kind in found["milliseconds"].items():
        for kind, taken in by_kind.items():
            table.add_row(f"{name}, {kind}", *(f"{taken[size]:,.1f} ms" for size in sizes))
    return table


def _gateway(kept: str, found: Mapping[str, Any]) -> Table:
    taken, one = found[kept]["seconds"], found[kept]
    title = f"gateway that {kept}: {found['rows']:,} rows in {found['files']} files"
    table = _table(title, "question", "gateway, s", "embedded, s", "gateway / embedded")
    for name, seconds in taken.items():
        ratio = one["ratios"][name]
        table.add_row(name, f"{seconds['lake']:.3f}", f"{seconds['embedded']:.3f}", f"{ratio:.2f}")
    table.add_section()
    for name in ("geometric mean", "worst"):
        table.add_row(name, "", "", f"{one['ratios'][name]:.2f}")
    first, export = one["first row ms"], one["export"]
    table.add_row("first row of a small query, ms", f"{first['lake']:.0f}", f"{first['embedded']:.0f}", "")
    shares = (f"{export['lake']:,.0f}", f"{export['bare Flight']:,.0f}", f"{export['share']:.2f}")
    table.add_row("export, rows/s, beside bare Flight", *shares)
    plain = export["plaintext over Flight"]
    table.add_row("beside plaintext that is read and sent", "", f"{plain:,.0f}", f"{export['to plaintext']:.2f}x")
    return table


def _jobs(found: Mapping[str, Any]) -> Iterator[Table]:
    before, after, merged = found["before"], found["after"], found["compaction"]
    title = f"compaction of {found['rows']:,} rows: {before['files']:,} files become {after['files']:,}"
    table = _table(title, "question", "before, s", "after, s", "times as fast")
    for name, taken in found["queries"].items():
        table.add_row(name, f"{taken['before']:.3f}", f"{taken['after']:.3f}", f"{taken['speedup']:.1f}")
    yield table
    table = _table("jobs", "job", "MB/s", "files/s")
    table.add_row("compaction", f"{merged['MB per second']:.1f}", f"{merged['files'] / merged['seconds']:,.0f}")
    for when in ("scrub of small files", "scrub"):
        for part in ("objects", "all"):
            taken = found[when]
            table.add_row(
                f"{when}, {part}",
                f"{taken[f'{part}, MB per second']:.1f}",
                f"{taken[f'{part}, files per second']:,.0f}",
            )
    table.add_section()
    for name, share in merged["share of time"].items():
        table.add_row(f"of compaction: {name}", f"{share:.0%}", "")
    yield table
    purge, shred = found["purge"], found["shred"]
    title = f"purge of a month of {purge['employees']:,} employees, and shredding of one of them"
    table = _table(title, "way", "seconds", "provider calls", "most of the time")
    for way in ("keys destroyed", "files written anew"):
        table.add_row(way, *_purge(purge[way]))
    for people, taken in shred["employees"].items():
        table.add_row(f"shredding one of {int(people):,}", *_purge(taken))
    yield table
    table = _table("peak memory of a compaction", "rows", "MiB")
    for rows, peak in found["memory of compaction"]["peak_bytes"].items():
        table.add_row(f"{int(rows):,}", f"{peak / 2**20:,.0f}")
    yield table


def _purge(taken: Mapping[str, Any]) -> tuple[str, str, str]:
    name, share = max(taken["share of time"].items(), key=lambda one: one[1], default=("", 0.0))
    return f"{taken['seconds']:.2f}", f"{taken['provider calls']:,}", f"{name} {share:.0%}"


def _table(title: str, first: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left")
    table.add_column(first)
    for column in columns:
        table.add_column(column, justify="right")
    return table


def _ingests(results: Mapping[str, Any]) -> Iterator[Table]:
    for name, found in results.get("ingest", {}).items():
        if found is not None:
            yield _ingest(name, found)
    for form, found in results.get("ingest-server", {}).items():
        yield _server(form, found)


def _ingest(name: str, found: Mapping[str, Any]) -> Table:
    table = _table(f"ingest, {name}: {found['rows']:,} rows", "way", "seconds", "rows/s", "lake takes")
    for side, taken in found["seconds"].items():
        ratio = found["slower_than"].get(side)
        table.add_row(side, f"{taken:.2f}", f"{found['rows_per_second'][side]:,.0f}", f"{ratio:.2f}x" if ratio else "")
    return table


def _server(form: str, found: Mapping[str, Any]) -> Table:
    title = f"ingest server, {form}: {found['rows']:,} rows in {found['batches']} batches"
    table = _table(title, "way", "seconds", "rows/s", "of lake ingest")
    for side, taken in found["seconds"].items():
        share = f"{found['server_share']:.0%}" if side == "server" else ""
        table.add_row(side, f"{taken:.2f}", f"{found['rows_per_second'][side]:,.0f}", share)
    return table


def _queries(role: str, found: Mapping[str, Any]) -> Iterator[Table]:
    seconds = found[role]["seconds"]
    sides = list(next(iter(seconds.values())))
    title = f"query, role {role}: {found['rows']:,} rows in {found['files']} files, seconds"
    table = _table(title, "question", *sides)
    for query, taken in seconds.items():
        table.add_row(query, *(f"{taken[side]:.3f}" for side in sides))
    yield table
    table = _table(f"query, role {role}: how many times as long the lake takes", "", *found[role]["ratios"])
    for what, by_side in ((side, found[role][key]) for side, key in OURS.items()):
        for name in ("geometric mean", "worst"):
            table.add_row(f"{what}, {name}", *(f"{by_query[name]:.2f}" for by_query in by_side.values()))
    yield table


def _wide(found: Mapping[str, Any]) -> Table:
    sizes = list(found["files"])
    table = _table("many small files", "question", *(f"{int(size):,} files, s" for size in sizes), "ms a file", "grows")
    for name in found["files"][sizes[0]]["seconds"]:
        each, growth = found["files"][sizes[-1]]["ms a file"].get(name), found["growth of ms a file"].get(name)
        cells = [f"{found['files'][size]['seconds'][name]:.3f}" for size in sizes]
        table.add_row(name, *cells, f"{each:.2f}" if each else "", f"{growth:.2f}x" if growth else "")
    return table


def _startup(found: Mapping[str, Any]) -> Iterator[Table]:
    table = _table("startup: a process that opens, asks and ends", "way", "seconds")
    for side, taken in found["seconds"].items():
        table.add_row(side, f"{taken:.2f}")
    table.add_row("lake that is made new", f"{found['create_seconds']:.2f}")
    yield table
    if "import_ms" in found:
        table = _table("import lake", "module", "ms with what it imports")
        for name, taken in found["import_ms"].items():
            table.add_row(name, f"{taken:.0f}")
        yield table


def _memory(found: Mapping[str, Any]) -> Table:
    scales = list(next(iter(found["peak_bytes"].values())))
    table = _table("memory: peak of a process, MiB", "task", *(f"{int(rows):,} rows" for rows in scales), "growth")
    for task, peaks in found["peak_bytes"].items():
        table.add_row(task, *(f"{peaks[rows] / 2**20:,.0f}" for rows in scales), f"{found['growth'][task]:.2f}x")
    return table


def _micro(found: Mapping[str, Any]) -> Table:
    table = _table("fixed costs", "what", "figure")
    for side, rate in found["appends_per_second"].items():
        table.add_row(f"durable appends a second, {side}", f"{rate:,.0f}")
    files = found["release_files"]
    table.add_row(f"INTENT and its proof for {files:,} files", f"{found['intent_and_proof_ms']:,.1f} ms")
    table.add_row(f"release of the keys of {files:,} files", f"{found['release_ms']:,.1f} ms")
    return table


def _keys(found: Mapping[str, Any]) -> Iterator[Table]:
    table = _table("keys: rotation of the five roots", "employees", "seconds", "provider calls")
    for people, roots in found["roots"].items():
        table.add_row(f"{int(people):,}", f"{roots['seconds']:.3f}", str(roots["provider_calls"]))
    yield table
    yield _buckets(found)
    table = _table("keys: shredding one employee", "KEKs in the store", "bucket", "survivors", "seconds", "calls")
    sizes = [name for name in found["shred"] if name != "growth"]
    for size in sizes:
        for kind in ("any", "quiet"):
            shred = found["shred"][size][kind]
            cells = (f"{shred['survivors']:,.0f}", f"{shred['seconds']:.3f}", str(shred["provider_calls"]))
            table.add_row(f"{int(size):,}", kind, *cells)
    table.add_section()
    for kind, growth in found["shred"]["growth"].items():
        table.add_row("growth", kind, "", f"{growth:.2f}x")
    yield table
    yield _key_path(found["query"])


def _buckets(found: Mapping[str, Any]) -> Table:
    sizes = found["buckets"]
    sides = [(size, clock) for size in sizes.values() for clock in ("wall", "processor")]
    table = _table(
        "keys: rotation of all 1,024 bucket keys, seconds",
        "what",
        *(f"{size['keks']:,} KEKs, {clock}" for size, clock in sides),
    )
    for name in ("rotate", "envelope", "aes-gcm", "read", "write"):
        table.add_row(name, *(f"{size[clock]['seconds'][name]:.2f}" for size, clock in sides))
    table.add_section()
    for cipher in ("envelope", "aes-gcm"):
        ratios = (f"{size[clock]['slower_than'][cipher]:.2f}x" for size, clock in sides)
        table.add_row(f"rotate / ({cipher} + read + write)", *ratios)
    peaks = ((f"{size['peak_bytes']['rotate'] / 2**20:,.0f}", "") for size in sizes.values())
    table.add_row("peak, MiB", *(cell for pair in peaks for cell in pair))
    return table


def _key_path(found: Mapping[str, Any]) -> Table:
    title = f"keys: a query over {found['files']:,} files of {found['employees']:,} employees"
    table = _table(title, "bucket keys", "open DEKs, ms", "unwrapped", "whole query, s", "release, ms", "release adds")
    for state, opening in found["open_deks"].items():
        query = found["query"][state]
        asked = f"{opening['keys_unwrapped']} in {opening['unwrap_calls']} calls"
        times = (f"{query['seconds']:.2f}", f"{query['release_seconds'] * 1000:,.0f}")
        table.add_row(state, f"{opening['seconds'] * 1000:,.0f}", asked, *times, f"{query['keys_add']:.1%}")
    return table
