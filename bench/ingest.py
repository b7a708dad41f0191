"""Rows a second into the lake, beside a plain partitioned write of the same rows."""

from __future__ import annotations

import gzip
import io
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain, count
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from bench import world
from bench.measure import ROOT, BenchError, Scale, check_equal, interleaved, say
from bench.plain import check_layout, write_hive, write_twin
from lake.clear.landing.readers.balabit import TYPES
from lake.clear.landing.readers.source import ReadOptions, expand, open_source
from lake.gateway.ingest import Delivery, HashedBatches, Ingest
from lake.rules.contract import parse_contract
from lake.settings import Settings

SENSITIVITY_BY_STATE = {"Move": 1, "Up": 1, "Down": 1, "Drag": 2, "Pressed": 2, "Released": 2}
OUT_OF_RANGE = "65535"
UNSCREENED = "lake, content filter off"


def generated(scale: Scale, folder: Path) -> dict[str, Any]:
    """Generated rows, made beforehand and fed to all sides from memory; neither side syncs but the lake."""
    rows = world.rows_of(scale, scale.ingest_rows).read_all()
    ready = pa.Table.from_batches(world.rated(rows.to_batches()))
    check_layout(ready.slice(0, 200_000).drop_columns(["employee", "sensitivity"]))
    sides = _Sides(folder, scale.threads)
    landed = {
        "lake": lambda: sides.lake(world.DATASET, rows.to_batches),
        UNSCREENED: lambda: sides.lake(world.DATASET, rows.to_batches, screen=Unscreened()),
        "plain twin": lambda: sides.twin(ready.to_batches()),
        "plain pyarrow": lambda: sides.hive(ready),
    }
    return _compare("generated", landed, sides, rows.num_rows, scale.repeat)


def recordings(scale: Scale, folder: Path) -> dict[str, Any] | None:
    """The mouse recordings of the shared folder, from compressed CSV files to partitioned files; None without them."""
    place = Path(os.environ.get("LAKE_SHARED_DATA", ROOT.parent / "shared" / "data")) / "balabit"
    if not place.is_dir():
        say("  no recordings here (LAKE_SHARED_DATA): left out")
        return None
    files = expand([place], "balabit")
    sides = _Sides(folder, scale.threads)
    landed = {
        "lake": lambda: sides.lake(world.MOUSE, lambda: _through_readers(files)),
        "plain twin": lambda: sides.twin(table for file in files for table in _by_hand(file)),
    }
    return _compare("recordings", landed, sides, None, scale.repeat)


def _compare(
    what: str, landed: dict[str, Callable[[], int]], sides: _Sides, expected: int | None, repeat: int
) -> dict[str, Any]:
    say(f"  {what}")
    counts: dict[str, int] = {}

    def counted(name: str, work: Callable[[], int]) -> Callable[[], None]:
        def run() -> None:
            counts[name] = work()

        return run

    medians = interleaved({name: counted(name, work) for name, work in landed.items()}, repeat, warm=False)
    sides.remove()
    for name, rows in counts.items():
        check_equal(f"ingest of {what} rows, {name}", counts["lake"] if expected is None else expected, rows)
    rows = counts["lake"]
    plain = {name: taken for name, taken in medians.items() if name not in {"lake", UNSCREENED}}
    found = {
        "rows": rows,
        "seconds": medians,
        "rows_per_second": {name: rows / taken for name, taken in medians.items()},
        "slower_than": {name: medians["lake"] / taken for name, taken in plain.items()},
    }
    if UNSCREENED in medians:
        found["filter off, slower_than"] = {name: medians[UNSCREENED] / taken for name, taken in plain.items()}
    return found


@dataclass(frozen=True, slots=True)
class Passed:
    """Texts as they came."""

    columns: Mapping[str, pa.Array]
    sensitivities: Mapping[str, pa.Array]
    counts: Mapping[str, int]


class Unscreened:
    """In the place of the content filter, to see what that costs: finds nothing. No lake can be set up so."""

    digest = "none"

    def apply(self, strings: Mapping[str, pa.Array]) -> Passed:
        """See ``Screen``."""
        levels = {name: pa.nulls(len(column), pa.int8()) for name, column in strings.items()}
        return Passed(strings, levels, {})


class _Sides:
    """One lake, into which every repetition is another batch, and a fresh folder for each plain write."""

    def __init__(self, folder: Path, threads: int) -> None:
        self._folder = folder
        self._threads = threads
        self._turn = count()
        self._lake = folder / "lake"
        world.make_lake(self._lake)

    def lake(self, dataset: str, batches: Callable[[], Any], screen: Unscreened | None = None) -> int:
        """Open, land, close."""
        with world.open_lake(self._lake, self._threads) as db:
            found = iter(batches())
            first = next(found)
            rows = HashedBatches(first.schema, chain([first], found))
            landing = Ingest(db.home, db.contracts, db.actor, db.open_runs, screen=screen)
            report = landing.land(Delivery(dataset, rows, rows, f"turn-{next(self._turn)}"))
        if report.status != "landed":
            raise BenchError("a batch was taken for one that has landed before")
        return report.rows

    def twin(self, batches: Any) -> int:
        """The same files in plaintext."""
        budget = Settings().landing_bytes
        files = write_twin(batches, self._fresh("twin"), budget=budget, threads=self._threads)
        return sum(file.rows for file in files)

    def hive(self, rows: pa.Table) -> int:
        """As pyarrow does it by default."""
        write_hive(rows.to_batches(), rows.schema, self._fresh("hive"))
        return int(rows.num_rows)

    def _fresh(self, name: str) -> Path:
        return self._folder / f"{name}-{next(self._turn)}"

    def remove(self) -> None:
        """Make room."""
        shutil.rmtree(self._folder)


def _through_readers(files: list[Path]) -> Any:
    contract = parse_contract(world.contract("mouse"), "mouse")
    for file in files:
        yield from open_source(file, "balabit", contract, ReadOptions())


def _by_hand(file: Path) -> Iterator[pa.RecordBatch]:
    """A recording as a short script would read it with pyarrow alone."""
    with gzip.open(file) as stream:
        text = pyarrow.csv.ConvertOptions(column_types={name: pa.string() for name in ("state", "x", "y", *_CLOCKS)})
        rows = pyarrow.csv.read_csv(io.BytesIO(stream.read()), convert_options=text)
    rows = rows.filter(pc.not_equal(rows["state"], "state"))
    session = int(file.name.removeprefix("session_").split(".")[0])
    states = pa.array(list(SENSITIVITY_BY_STATE))
    position = pc.index_in(rows["state"], value_set=states)
    begin = ReadOptions().session_start.timestamp() + session % 90 * 86_400
    moments = pc.add(pc.multiply(rows["client timestamp"].cast(pa.float64()), 1e6), begin * 1e6)
    types = pa.array([TYPES.get(state, "scroll") for state in SENSITIVITY_BY_STATE])
    columns = {
        "employee": pa.array([file.parent.name] * rows.num_rows),
        "ts": pc.floor(moments).cast(pa.int64()).cast(pa.timestamp("us")),
        "type": types.take(position),
        "session": pa.array([str(session)] * rows.num_rows),
        "button": rows["button"],
        "sensitivity": pa.array(list(SENSITIVITY_BY_STATE.values()), pa.int8()).take(position),
    }
    for axis in ("x", "y"):
        columns[axis] = pc.if_else(pc.equal(rows[axis], OUT_OF_RANGE), None, rows[axis]).cast(pa.int32())
    yield from pa.table(columns).combine_chunks().to_batches()


_CLOCKS = ("record timestamp", "client timestamp", "button")
