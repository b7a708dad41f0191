"""What standing behind a gateway costs: the same questions embedded and over loopback, exports beside bare Flight."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import flight

import lake
from bench import world
from bench.measure import ROOT, Scale, check_equal, geometric_mean, interleaved, say
from bench.plain import write_twin
from bench.queries import FILTERED_QUERIES, QUERIES, Query
from bench.query import answer, ratios
from lake.api import Connection
from lake.settings import Settings

LAKE, EMBEDDED = "lake", "embedded"
"""A gateway over loopback, and the library in the asker's own process."""
SMALL = Query("first row", "SELECT ts, type FROM {events} WHERE employee = '{employee}' LIMIT 10", employee="E00002")
TARGETS = {"queries": 1.25, "first row ms": 50.0, "export share": 0.60, "export to plaintext": 1.2}
"""What is aimed at: ratio to embedded, milliseconds beyond it, share of the rows a second of bare Flight, and how much
longer an export may take than pyarrow that reads plaintext and sends it over bare Flight."""
BARE, PLAIN = "bare Flight", "plaintext over Flight"


def measure(scale: Scale, folder: Path) -> dict[str, Any]:
    """Ratios of a gateway, that keeps slices and that keeps none, to the embedded lake."""
    say("  writing the rows")
    store = folder / "lake"
    world.make_lake(store)
    with world.open_lake(store, scale.threads) as db:
        files = db.ingest(world.DATASET, world.rows_of(scale, scale.rows)).files
    rows = world.rated(world.rows_of(scale, scale.rows))
    write_twin(rows, folder / "twin", budget=Settings().landing_bytes, threads=scale.threads, complete=True)
    try:
        found = {name: _gateway(store, scale, kept) for name, kept in (("keeps none", 0), ("keeps slices", 1024))}
    finally:
        shutil.rmtree(folder)
    return {"rows": scale.rows, "files": files, "targets": TARGETS, **found}


def _gateway(store: Path, scale: Scale, kept: int) -> dict[str, Any]:
    """Everything against one server."""
    roles = ((world.ALL, QUERIES), (world.FILTERED, FILTERED_QUERIES))
    taken: dict[str, dict[str, float]] = {}
    with _server(store, kept) as url:
        for role, queries in roles:
            with (
                world.connect(store, role, scale.threads, keep=kept > 0) as embedded,
                _remote(url, store, role) as remote,
            ):
                for query in queries:
                    say(f"  {role}: {query.name}")
                    sides = {LAKE: _whole(remote, query), EMBEDDED: _whole(embedded, query)}
                    name = f"{role}, {query.name}"
                    check_equal(name, *(answer(ask()) for ask in sides.values()))
                    taken[name] = interleaved(sides, scale.repeat, warm=False)
        with world.connect(store, world.ALL, scale.threads) as embedded, _remote(url, store, world.ALL) as remote:
            first = _first_row(remote, embedded, scale.repeat)
            export = _export(remote, scale.repeat, store.parent)
    return {"seconds": taken, "ratios": ratios(taken, EMBEDDED, LAKE), "first row ms": first, "export": export}


@contextmanager
def _server(store: Path, kept: int) -> Iterator[str]:
    """A gateway in a process of its own."""
    identity = store.with_name("identity.yaml")
    identity.write_text("local_tokens: true\n", "utf-8")
    identity.chmod(0o600)
    options = ["--identity", str(identity), "--slice-cache", str(kept), "--metrics", "off"]
    command = [sys.executable, "-m", "lake.cli.main", "serve", "gateway", "--listen", "127.0.0.1:0", "--insecure"]
    command += ["--lake", str(store), "--key-file", str(world.key_file(store)), "--json", *options]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        assert process.stdout is not None  # noqa: S101 - it is a pipe
        yield str(json.loads(process.stdout.readline())["addresses"][0])
    finally:
        process.terminate()
        process.wait(30)


def _remote(url: str, store: Path, role: str) -> Connection:
    command = [sys.executable, "-m", "lake.cli.main", "token", "--user", world.USERS[role], "--purpose", world.PURPOSE]
    command += ["--lake", str(store), "--key-file", str(world.key_file(store))]
    token = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()
    return lake.connect(url, token=token)


def _whole(connection: Connection, query: Query) -> Callable[[], list[pa.RecordBatch]]:
    sql = query.over(world.DATASET)
    return lambda: list(connection.sql(sql).batches())


def _first_row(remote: Connection, embedded: Connection, repeat: int) -> dict[str, float]:
    """Milliseconds until the first batch of a small query is there."""

    def first(connection: Connection) -> Callable[[], object]:
        def ask() -> None:
            result = connection.sql(SMALL.over(world.DATASET))
            next(result.batches())
            result.close()

        return ask

    taken = interleaved({LAKE: first(remote), EMBEDDED: first(embedded)}, 5 * repeat)
    return {name: 1000 * found for name, found in taken.items()} | {"beyond": 1000 * (taken[LAKE] - taken[EMBEDDED])}


def _export(remote: Connection, repeat: int, folder: Path) -> dict[str, float]:
    """Rows a second of an export, beside Flight servers that have the very same batches, or the rows in plaintext."""
    (query,) = [one for one in QUERIES if one.name == "export slice"]
    ask = _whole(remote, query)
    batches = ask()
    rows = sum(batch.num_rows for batch in batches)
    path = folder / "batches.arrows"
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, batches[0].schema) as writer:
        for batch in batches:
            writer.write_batch(batch)
    del batches
    with _bare("batches", path) as bare, _bare("files", folder / "twin") as plain:
        sides: dict[str, Callable[[], object]] = {LAKE: ask, BARE: bare, PLAIN: plain}
        for read in (bare, plain):
            check_equal("rows of the export", rows, read())
        taken = interleaved(sides, repeat, warm=False)
    path.unlink()
    rates = {name: rows / found for name, found in taken.items()}
    ratios = {"share": taken[BARE] / taken[LAKE], "to plaintext": taken[LAKE] / taken[PLAIN]}
    return {"rows": rows, **rates, **ratios}


@contextmanager
def _bare(kind: str, path: Path) -> Iterator[Callable[[], int]]:
    """Reads from a server of ``bench/bare_flight.py`` in a process of its own."""
    command = [sys.executable, "-m", "bench.bare_flight", kind, str(path)]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None  # noqa: S101 - it is a pipe
    client = flight.connect(f"grpc://127.0.0.1:{int(process.stdout.readline())}")
    try:
        yield lambda: sum(chunk.data.num_rows for chunk in client.do_get(flight.Ticket(b"")))
    finally:
        client.close()
        process.kill()
        process.wait()


def mean(found: dict[str, Any]) -> float:
    """The geometric mean of the ratios of all questions."""
    return geometric_mean(taken[LAKE] / taken[EMBEDDED] for taken in found["seconds"].values())
