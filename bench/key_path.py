"""The keys of a query over many small files: what opening them adds, and what the provider is asked."""

from __future__ import annotations

import datetime as dt
import shutil
import statistics
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from bench import world
from bench.key_store import Counted
from bench.measure import Scale, check_equal, say, timed
from keys.receipts import Receipt
from keys.refs import DekRequest
from lake.api import Connection
from lake.gateway.home import Home
from lake.gateway.kek_rotation import dek_request
from lake.sealed.catalog.catalog import Selection

MONTHS = 10
ROWS_A_FILE = 20
QUESTION = "SELECT count(*) AS n, sum(x) AS x, max(ts) AS last FROM {events}"
COLD, WARM = "cold", "warm"


class Timed:
    """The broker as a gateway has it; remembers how long its releases took."""

    def __init__(self, home: Home) -> None:
        self._inner = home.broker
        self.seconds = 0.0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def release(self, receipt: Receipt, requests: Sequence[DekRequest]) -> list[bytes]:
        """See Broker."""
        deks, self.seconds = timed(lambda: self._inner.release(receipt, requests))
        return deks


def measure(scale: Scale, folder: Path) -> dict[str, Any]:
    """Seconds of opening DEKs and of the whole query, with no bucket key open and with all of them."""
    people = scale.files // MONTHS
    files = people * MONTHS
    store = folder / "lake"
    say(f"  a lake of {files:,} small files")
    world.make_lake(store)
    with world.open_lake(store, scale.threads) as db:
        report = db.ingest(world.DATASET, _rows(people))
        check_equal("small files", (files, files * ROWS_A_FILE), (report.files, report.rows))
        found = _measure(db.home, report.rows, scale.repeat)
    shutil.rmtree(folder)
    return {"files": files, "employees": people, "rows": files * ROWS_A_FILE, **found}


def _rows(people: int) -> Iterator[pa.RecordBatch]:
    """Mouse movements, all of the lowest sensitivity: a few for every employee and month."""
    size = people * ROWS_A_FILE
    names = pa.array([f"E{number:05d}" for number in range(people)]).take(np.repeat(np.arange(people), ROWS_A_FILE))
    for month in range(MONTHS):
        start = world.START + dt.timedelta(days=2 + 31 * month)
        seen = np.datetime64(start, "us") + np.tile(np.arange(ROWS_A_FILE), people).astype("timedelta64[s]")
        columns = {
            "employee": names,
            "ts": pa.array(seen),
            "type": pa.repeat("mouse", size),
            "session": pa.repeat(f"session-{month}", size),
            "seq": pa.array(np.arange(size)),
            "x": pa.array(np.arange(size, dtype=np.int32) % 1_920),
            "y": pa.array(np.arange(size, dtype=np.int32) % 1_080),
        }
        yield pa.RecordBatch.from_pydict(columns)


def _measure(home: Home, rows: int, repeat: int) -> dict[str, Any]:
    provider = home.hierarchy.provider = Counted(home.hierarchy.provider)
    selected = home.catalog.select(Selection(world.DATASET, frozenset({1})))
    requests = [dek_request(file) for file, _ in selected]
    broker = home.broker
    opening: dict[str, dict[str, Any]] = {}
    for state in (COLD, WARM):
        say(f"  opening their keys, {state}")
        samples: list[float] = []
        for _ in range(repeat):
            if state == COLD:
                home.hierarchy.forget()
            provider.reset()
            deks, taken = timed(lambda: broker.open_deks(requests))
            samples.append(taken)
            check_equal("opened keys", len(requests), len(set(deks)))
        asked = {"unwrap_calls": provider.calls["unwrap"], "keys_unwrapped": provider.keys["unwrap"]}
        opening[state] = {"seconds": statistics.median(samples), **asked}
    return {
        "open_deks": opening,
        "query": {state: _query(home, provider, state, rows, repeat) for state in (COLD, WARM)},
    }


def _query(home: Home, provider: Counted, state: str, rows: int, repeat: int) -> dict[str, Any]:
    """The whole query through the gateway, and the part of it that is the broker's."""
    say(f"  the whole query, {state}")
    broker = home.broker
    watch = Timed(home)
    home.broker = watch  # type: ignore[assignment]
    connection = Connection(home, world.USERS[world.ALL], world.PURPOSE, None)
    sql = QUESTION.format(events=world.DATASET)
    whole: list[float] = []
    released: list[float] = []
    try:
        for _ in range(repeat):
            if state == COLD:
                home.hierarchy.forget()
            provider.reset()
            answers, taken = timed(lambda: list(connection.sql(sql).batches()))
            whole.append(taken)
            released.append(watch.seconds)
            check_equal("rows of the query", rows, answers[0].column("n")[0].as_py())
    finally:
        home.broker = broker
    total, keys = statistics.median(whole), statistics.median(released)
    return {
        "seconds": total,
        "release_seconds": keys,
        "keys_add": keys / (total - keys),
        "unwrap_calls": provider.calls["unwrap"],
        "keys_unwrapped": provider.keys["unwrap"],
    }
