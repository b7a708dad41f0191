"""Questions to the lake, beside the same rows in plaintext and in DuckLake; every answer must be the same.

The twin is the fair reference: the lake's own layout in plaintext, the files that a catalog leaves, footers cached.
What pyarrow writes and a glob finds is what somebody without the lake would have.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from bench import arrow_only, ducklake, world
from bench.measure import ROOT, BenchError, Scale, check_equal, child, geometric_mean, interleaved, say
from bench.memory import peak_bytes
from bench.plain import PlainFile, write_hive, write_twin
from bench.queries import FILTERED_QUERIES, MASKED_VIEW, QUERIES, Query
from lake.api import Connection
from lake.clear.landing.content.tokens import TOKEN
from lake.gateway.caller import Caller
from lake.gateway.filtering import mask_tags
from lake.gateway.service import GatewayService
from lake.rules.model import Identity
from lake.settings import Settings

LAKE, KEPT, DOOR = "lake, nothing kept", "lake, kept", "gateway, kept"
"""Ours: all decrypted anew, embedded; what an earlier question decrypted is still there; behind a gateway's door."""
OURS = {LAKE: "ratios", KEPT: "kept ratios", DOOR: "gateway ratios"}
"""Under what names their ratios to the others are found."""
FAIR, FOUND = "plain twin", "plain pyarrow"
"""What protection costs; what a user would have."""
ARROW, DUCKLAKE = "pyarrow dataset", "DuckLake encrypted"
HIVE = "hive_partitioning = true, hive_types = {'employee': VARCHAR, 'sensitivity': TINYINT, 'month': VARCHAR}"
BATCH_ROWS = 122_880


@dataclass(frozen=True, slots=True)
class Answer:
    """A result as far as it is compared: columns, number of rows, and a digest that no order of rows changes."""

    columns: tuple[tuple[str, str], ...]
    rows: int
    digest: int


@dataclass(frozen=True, slots=True)
class Store:
    """The same rows three times: a lake, its plaintext twin, and folders as pyarrow writes them."""

    lake: Path
    twin: Sequence[PlainFile]
    found: Path


def measure(scale: Scale, folder: Path, *, with_ducklake: bool = True) -> dict[str, Any]:
    """Seconds and ratios of every question, for a role that sees everything and one that does not; peaks of memory."""
    say("  writing the rows three times")
    store = prepare(scale, folder)
    lake_of_ducks = _ducklake(store, folder, scale) if with_ducklake else None
    try:
        everything = _role(world.ALL, QUERIES, store, scale, lake_of_ducks)
        filtered = _role(world.FILTERED, FILTERED_QUERIES, store, scale, None)
        peaks = {side: _peak(side, store, scale) for side in (LAKE, KEPT, FAIR, FOUND, ARROW)}
        if lake_of_ducks is not None:
            peaks[DUCKLAKE] = lake_of_ducks.peak_bytes()
    finally:
        if lake_of_ducks is not None:
            lake_of_ducks.close()
        shutil.rmtree(folder)
    sizes = {"rows": scale.rows, "files": len(store.twin)}
    return {**sizes, world.ALL: everything, world.FILTERED: filtered, "peak_bytes": peaks}


def prepare(scale: Scale, folder: Path) -> Store:
    """Write the rows; the lake and its twin have the same files, which their number must show."""
    store = folder / "lake"
    world.make_lake(store)
    with world.open_lake(store, scale.threads) as db:
        report = db.ingest(world.DATASET, world.rows_of(scale, scale.rows))
        masks = mask_tags(db.home)

    def rows() -> Iterator[pa.RecordBatch]:
        return world.rated(world.rows_of(scale, scale.rows), masks=masks)

    twin = write_twin(rows(), folder / "twin", budget=Settings().landing_bytes, threads=scale.threads, complete=True)
    check_equal("files of the twin", (report.files, report.rows), (len(twin), sum(file.rows for file in twin)))
    first = next(rows())
    write_hive(rows(), first.schema, folder / "found")
    return Store(store, twin, folder / "found")


def _role(
    role: str, queries: Sequence[Query], store: Store, scale: Scale, lake_of_ducks: ducklake.Asked | None
) -> dict[str, Any]:
    """All questions of one role; one connection of each side stays open throughout."""
    seconds: dict[str, dict[str, float]] = {}
    rows: dict[str, int] = {}
    plain = (FAIR, FOUND) if role == world.ALL else (FAIR,)
    with (
        world.connect(store.lake, role, scale.threads, keep=False) as cold,
        world.connect(store.lake, role, scale.threads) as kept,
        world.service(store.lake, scale.threads) as service,
        _engine(scale, cached=True) as fair,
        _engine(scale, cached=False) as found,
    ):
        for query in queries:
            say(f"  {role}: {query.name}")
            sides = {LAKE: through_gateway(cold, query), KEPT: through_gateway(kept, query)}
            sides[DOOR] = through_service(service, role, query)
            for side in plain:
                engine = fair if side == FAIR else found
                sides[side] = through_duckdb(engine, query, view(store, side, query, role), "events")
            if role == world.ALL:
                sides[ARROW] = through_arrow(store, query)
            same_answers(query, sides)
            rows[query.name] = answer(sides[LAKE]()).rows
            timed: dict[str, Callable[[], object]] = dict(sides)
            if lake_of_ducks is not None:
                timed[DUCKLAKE] = _asked(lake_of_ducks, query, store, sides[LAKE])
            seconds[query.name] = interleaved(timed, scale.repeat, warm=False)
    others = [side for side in next(iter(seconds.values())) if side not in OURS]
    return {
        "seconds": seconds,
        "rows": rows,
        **{key: {side: ratios(seconds, side, ours) for side in others} for ours, key in OURS.items()},
    }


@contextmanager
def _engine(scale: Scale, *, cached: bool) -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as engine:
        engine.execute(f"SET threads = {scale.threads}")
        if cached:
            engine.execute("SET parquet_metadata_cache = true")
        yield engine


def through_gateway(gateway: Connection, query: Query) -> Callable[[], list[pa.RecordBatch]]:
    """The question to the lake, taken whole as Arrow."""
    sql = query.over(world.DATASET)
    return lambda: list(gateway.sql(sql).batches())


def through_service(service: GatewayService, role: str, query: Query) -> Callable[[], list[pa.RecordBatch]]:
    """The same through what is behind a gateway's door: sandboxes, and slices that are kept between questions."""
    caller, sql = Caller(Identity(world.USERS[role]), world.PURPOSE), query.over(world.DATASET)

    def ask() -> list[pa.RecordBatch]:
        stream = service.run(caller, sql)
        try:
            return list(stream)
        finally:
            stream.close()

    return ask


def through_duckdb(
    engine: duckdb.DuckDBPyConnection, query: Query, source: str, name: str
) -> Callable[[], list[pa.RecordBatch]]:
    """The question to DuckDB over a view that is made beforehand."""
    engine.execute(f"CREATE OR REPLACE VIEW {name} AS {source}").fetchall()
    sql = query.over(name)
    return lambda: list(engine.sql(sql).to_arrow_reader(BATCH_ROWS))


def through_arrow(store: Store, query: Query) -> Callable[[], list[pa.RecordBatch]]:
    """The question to pyarrow's dataset over the twin's files, as a catalog prunes them."""
    files = [str(file.path) for file in pruned(store.twin, query)]
    first, last = (moment.isoformat() for moment in query.window) if query.window else ("", "")
    question = {"name": query.name, "employee": query.employee, "first": first, "last": last}
    return lambda: arrow_only.answer(files, question)


def _ducklake(store: Store, folder: Path, scale: Scale) -> ducklake.Asked | None:
    """The same rows in DuckLake, in an environment of its own; None where that cannot be had."""
    say("  an environment with DuckLake")
    python = ducklake.environment(folder.parent / "ducklake")
    if python is None:
        say("  DuckLake is left out: its packages cannot be installed here")
        return None
    paths = ", ".join(f"'{file.path}'" for file in store.twin)
    source = f"SELECT * FROM read_parquet([{paths}], {HIVE})"  # noqa: S608 - of the benchmark's own making
    setup = {"folder": str(folder / "ducks"), "threads": scale.threads, "source": source}
    return ducklake.Asked(python, ROOT, setup)


def _asked(
    lake_of_ducks: ducklake.Asked, query: Query, store: Store, ours: Callable[[], list[pa.RecordBatch]]
) -> Callable[[], object]:
    """The question to DuckLake, whose answer is compared once."""
    question = {"sql": query.over("events")}
    kept = store.found.with_name("answer.arrow")
    lake_of_ducks.ask(question, kept)
    with pa.memory_map(str(kept)) as file:
        found = pa.ipc.open_file(file).read_all()
    check_equal(f"query {query.name!r}, {LAKE} and {DUCKLAKE}", answer(ours()), answer(found.to_batches()))
    kept.unlink()
    return lambda: lake_of_ducks.ask(question)


def _peak(side: str, store: Store, scale: Scale) -> int:
    """Peak resident bytes of a process that asks one side everything once."""
    return int(child(["-m", "bench.query", side, str(store.lake.parent), str(scale.threads)]).output)


def _ask_all(side: str, folder: Path, threads: int) -> None:
    files = [
        PlainFile(path, "", datetime.min, datetime.max, 0)  # noqa: DTZ901 - all of them
        for path in sorted((folder / "twin").rglob("*.parquet"))
    ]
    store = Store(folder / "lake", files, folder / "found")
    everywhere = [replace(query, employee=None, window=None) for query in QUERIES]
    ours: Connection | None = None
    for asked, query in zip(everywhere, QUERIES, strict=True):
        if side in OURS:
            ours = ours or world.connect(store.lake, world.ALL, threads, keep=side == KEPT)
            through_gateway(ours, query)()
        elif side == ARROW:
            question = {"name": query.name, "employee": query.employee, "first": "", "last": ""}
            if query.window is not None:
                question |= {"first": query.window[0].isoformat(), "last": query.window[1].isoformat()}
            arrow_only.answer([str(file.path) for file in store.twin], question)
        else:
            with _engine(Scale(threads=threads), cached=side == FAIR) as engine:
                through_duckdb(engine, query, view(store, side, asked, world.ALL), "events")()


def view(store: Store, side: str, query: Query, role: str) -> str:
    """The plaintext rows in SQL as the role would see them: the twin's files as a catalog prunes them, or a glob."""
    if side == FOUND:
        files = f"'{store.found}/**/*.parquet', hive_partitioning = true"
    else:
        paths = ", ".join(f"'{file.path}'" for file in pruned(store.twin, query))
        files = f"[{paths}], {HIVE}"
    columns, where = ("*", "") if role == world.ALL else (MASKED_VIEW, f"WHERE {world.ROW_FILTER}")
    return f"SELECT {columns} FROM read_parquet({files}) {where}"  # noqa: S608 - of the benchmark's own making


def pruned(files: Iterable[PlainFile], query: Query) -> list[PlainFile]:
    """The files that a catalog of employees and times would leave."""
    return [file for file in files if query.employee in {None, file.employee} and _meets(file, query.window)]


def _meets(file: PlainFile, window: tuple[datetime, datetime] | None) -> bool:
    return window is None or (file.first <= window[1] and file.last >= window[0])


def same_answers(
    query: Query, sides: Mapping[str, Callable[[], list[pa.RecordBatch]]], *, one_lake: bool = True
) -> None:
    """Ask every side once.

    Args:
        one_lake: whether equal values have equal mask tokens; in several lakes only their categories are compared.

    Raises:
        BenchError: an answer differs from that of the first side, or there is none.
    """
    answers = {name: answer(ask(), tokens=one_lake) for name, ask in sides.items()}
    first, expected = next(iter(answers.items()))
    for name, found in answers.items():
        check_equal(f"query {query.name!r}, {first} and {name}", expected, found)
    if not expected.rows:
        raise BenchError(f"query {query.name!r} finds nothing: it measures nothing")


def answer(batches: list[pa.RecordBatch], *, tokens: bool = True) -> Answer:
    """What is compared of a result."""
    if not batches:
        return Answer((), 0, 0)
    rows = pa.Table.from_batches(batches)
    # How wide a whole number is, and whether text is a dictionary, is not part of the answer.
    wide = pa.schema([pa.field(field.name, _wide(field.type)) for field in rows.schema])
    rows = rows.cast(wide)
    for name in () if tokens else rows.column_names:
        if pa.types.is_string(rows[name].type):
            plain = pc.replace_substring_regex(rows[name], TOKEN.pattern, "[masked]")
            rows = rows.set_column(rows.column_names.index(name), name, plain)
    columns = tuple((field.name, str(field.type)) for field in wide)
    with duckdb.connect() as engine:
        engine.register("answer", rows)
        found = engine.execute("SELECT sum(hash(answer)::HUGEINT) FROM answer").fetchone()
    return Answer(columns, rows.num_rows, int(found[0]) if found and found[0] is not None else 0)


def _wide(kind: pa.DataType) -> pa.DataType:
    if pa.types.is_dictionary(kind):
        return kind.value_type
    whole = pa.types.is_integer(kind) or (pa.types.is_decimal(kind) and kind.scale == 0)
    return pa.int64() if whole else kind


def ratios(seconds: Mapping[str, Mapping[str, float]], side: str, ours: str) -> dict[str, float]:
    """The lake's seconds over a side's, by question, with their geometric mean and the worst."""
    by_query = {name: taken[ours] / taken[side] for name, taken in seconds.items()}
    return {**by_query, "geometric mean": geometric_mean(by_query.values()), "worst": max(by_query.values())}


if __name__ == "__main__":
    _ask_all(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))
    print(peak_bytes())
