"""Questions through the gateway, beside DuckDB over the same rows in plaintext; every answer must be the same."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from bench import world
from bench.measure import BenchError, Scale, check_equal, geometric_mean, interleaved, say
from bench.plain import PlainFile, write_hive, write_twin
from bench.queries import FILTERED_QUERIES, MASKED_VIEW, QUERIES, Query
from lake.api import Connection
from lake.clear.landing.content.tokens import TOKEN
from lake.gateway.filtering import mask_tags
from lake.settings import Settings

LAKE, FAIR, FOUND = "lake", "plain twin", "plain pyarrow"
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


def measure(scale: Scale, folder: Path) -> dict[str, Any]:
    """Seconds and ratios of every question, for a role that sees everything and one that does not."""
    say("  writing the rows three times")
    store = prepare(scale, folder)
    try:
        everything = _role(world.ALL, QUERIES, store, (FAIR, FOUND), scale)
        filtered = _role(world.FILTERED, FILTERED_QUERIES, store, (FAIR,), scale)
    finally:
        shutil.rmtree(folder)
    return {"rows": scale.rows, "files": len(store.twin), world.ALL: everything, world.FILTERED: filtered}


def prepare(scale: Scale, folder: Path) -> Store:
    """Write the rows; the lake and its twin have the same files, which their number must show."""
    store = folder / "lake"
    world.make_lake(store)
    with world.open_lake(store, scale.threads) as db:
        report = db.ingest(world.DATASET, world.rows_of(scale, scale.rows))
        masks = mask_tags(db.home)

    def rows() -> Iterator[pa.RecordBatch]:
        return world.rated(world.rows_of(scale, scale.rows), masks=masks)

    twin = write_twin(rows(), folder / "twin", budget=Settings().landing_bytes, threads=scale.threads)
    check_equal("files of the twin", (report.files, report.rows), (len(twin), sum(file.rows for file in twin)))
    first = next(rows())
    write_hive(rows(), first.schema, folder / "found")
    return Store(store, twin, folder / "found")


def _role(role: str, queries: Sequence[Query], store: Store, plain: Sequence[str], scale: Scale) -> dict[str, Any]:
    """All questions of one role; one connection of each side stays open throughout."""
    seconds: dict[str, dict[str, float]] = {}
    with world.connect(store.lake, role, scale.threads) as gateway, duckdb.connect() as engine:
        engine.execute(f"SET threads = {scale.threads}")
        for query in queries:
            say(f"  {role}: {query.name}")
            sides = {LAKE: through_gateway(gateway, query)}
            for number, side in enumerate(plain):
                sides[side] = through_duckdb(engine, query, view(store, side, query, role), f"events_{number}")
            same_answers(query, sides)
            seconds[query.name] = interleaved(sides, scale.repeat, warm=False)
    return {"seconds": seconds, "ratios": {side: ratios(seconds, side) for side in plain}}


def through_gateway(gateway: Connection, query: Query) -> Callable[[], list[pa.RecordBatch]]:
    """The question to the lake, taken whole as Arrow."""
    sql = query.over(world.DATASET)
    return lambda: list(gateway.sql(sql).batches())


def through_duckdb(
    engine: duckdb.DuckDBPyConnection, query: Query, source: str, name: str
) -> Callable[[], list[pa.RecordBatch]]:
    """The question to DuckDB over a view that is made beforehand."""
    engine.execute(f"CREATE OR REPLACE VIEW {name} AS {source}").fetchall()
    sql = query.over(name)
    return lambda: list(engine.sql(sql).to_arrow_reader(BATCH_ROWS))


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
        BenchError: an answer differs from the lake's, or there is none.
    """
    answers = {name: answer(ask(), tokens=one_lake) for name, ask in sides.items()}
    for name, found in answers.items():
        check_equal(f"query {query.name!r}, {LAKE} and {name}", answers[LAKE], found)
    if not answers[LAKE].rows:
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
    return pa.int64() if pa.types.is_integer(kind) else kind


def ratios(seconds: Mapping[str, Mapping[str, float]], side: str) -> dict[str, float]:
    """The lake's seconds over a side's, by question, with their geometric mean and the worst."""
    by_query = {name: taken[LAKE] / taken[side] for name, taken in seconds.items()}
    return {**by_query, "geometric mean": geometric_mean(by_query.values()), "worst": max(by_query.values())}
