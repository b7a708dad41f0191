"""The questions of ``bench.queries`` answered by pyarrow's dataset and kernels alone, without an engine of SQL."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

FOLDERS = pa.schema([("employee", pa.string()), ("sensitivity", pa.int8()), ("month", pa.string())])
TOP = 100
PAUSE_SECONDS = 300


def answer(files: Sequence[str], question: Mapping[str, Any]) -> list[pa.RecordBatch]:
    """The question, over plaintext files in hive folders."""
    rows = ds.dataset(list(files), format="parquet", partitioning=ds.partitioning(FOLDERS, flavor="hive"))
    return _ANSWERS[question["name"]](rows, question)


def _full_aggregate(rows: ds.Dataset, _: Any) -> list[pa.RecordBatch]:
    names = {"x": "x", "y": "y", "hold": "hold_ms", "duration": "duration_ms"}
    table = rows.to_table(columns=["employee", "ts", "sensitivity", *names.values()])
    times = pc.min_max(table["ts"])
    found = {"n": pa.scalar(table.num_rows), "people": pc.count_distinct(table["employee"])}
    found |= {alias: pc.sum(table[name]) for alias, name in names.items()}
    found |= {"first": times["min"], "last": times["max"], "level": pc.max(table["sensitivity"])}
    return pa.table({name: [value.as_py()] for name, value in found.items()}).to_batches()


def _by_app_and_type(rows: ds.Dataset, _: Any) -> list[pa.RecordBatch]:
    table = rows.to_table(columns=["app", "type", "duration_ms"])
    found = table.group_by(["app", "type"]).aggregate([([], "count_all"), ("duration_ms", "sum")])
    return found.rename_columns(["app", "type", "n", "duration"]).to_batches()


def _window(rows: ds.Dataset, question: Mapping[str, Any]) -> list[pa.RecordBatch]:
    first, last = (pa.scalar(datetime.fromisoformat(question[name]), pa.timestamp("us")) for name in ("first", "last"))
    inside = (pc.field("ts") >= first) & (pc.field("ts") < last)
    table = rows.to_table(columns=["type", "x", "ts"], filter=inside)
    found = table.group_by("type").aggregate([([], "count_all"), ("x", "sum"), ("ts", "max")])
    return found.rename_columns(["type", "n", "x", "last"]).to_batches()


def _one_employee(rows: ds.Dataset, question: Mapping[str, Any]) -> list[pa.RecordBatch]:
    table = rows.to_table(columns=["app", "duration_ms"], filter=pc.field("employee") == question["employee"])
    found = table.group_by("app").aggregate([([], "count_all"), ("duration_ms", "sum")])
    return found.rename_columns(["app", "n", "duration"]).to_batches()


def _needle(rows: ds.Dataset, _: Any) -> list[pa.RecordBatch]:
    wanted = pc.ends_with(pc.field("prompt_text"), "77")
    return rows.to_table(columns=["employee", "ts", "prompt_text"], filter=wanted).to_batches()


def _top(rows: ds.Dataset, _: Any) -> list[pa.RecordBatch]:
    names = ["ts", "employee", "type", "app", "window_title"]
    table = rows.to_table(columns=names)
    # By time alone first: sorting by five keys is only needed among the newest and those that are as new.
    newest = pc.select_k_unstable(table, TOP, sort_keys=[("ts", "descending")])
    least = table["ts"][newest[-1].as_py()]
    table = table.filter(pc.greater_equal(table["ts"], least))
    order = [("ts", "descending"), *((name, "ascending") for name in names[1:])]
    return table.sort_by(order).slice(0, TOP).to_batches()


def _distinct(rows: ds.Dataset, _: Any) -> list[pa.RecordBatch]:
    names = {"sessions": "session", "titles": "window_title", "hosts": "url_host"}
    table = rows.to_table(columns=list(names.values()))
    return pa.table({alias: [pc.count_distinct(table[name]).as_py()] for alias, name in names.items()}).to_batches()


def _sessions(rows: ds.Dataset, _: Any) -> list[pa.RecordBatch]:
    wanted = pc.field("type").isin(["key", "window_focus"])
    table = rows.to_table(columns=["employee", "ts"], filter=wanted).sort_by(
        [("employee", "ascending"), ("ts", "ascending")]
    )
    who = table["employee"].combine_chunks().dictionary_encode()
    codes, times = who.indices.to_numpy(), table["ts"].cast(pa.int64()).to_numpy() // 1_000_000
    pauses = np.zeros(len(codes), bool)
    pauses[1:] = (codes[1:] == codes[:-1]) & (np.diff(times) > PAUSE_SECONDS)
    found = {
        "employee": who.dictionary,
        "n": np.bincount(codes),
        "pauses": np.bincount(codes, weights=pauses).astype(np.int64),
    }
    return pa.table(found).to_batches()


def _export(rows: ds.Dataset, _: Any) -> list[pa.RecordBatch]:
    names = ["employee", "ts", "type", "session", "x", "y", "app", "window_title", "duration_ms"]
    return list(rows.scanner(columns=names, filter=pc.field("type").isin(["mouse", "window_focus"])).to_reader())


def _numbers(rows: ds.Dataset, _: Any) -> list[pa.RecordBatch]:
    return list(rows.scanner(columns=["ts", "type", "x", "y", "app"]).to_reader())


_ANSWERS: dict[str, Callable[[ds.Dataset, Mapping[str, Any]], list[pa.RecordBatch]]] = {
    "full aggregate": _full_aggregate,
    "group by app, type": _by_app_and_type,
    "two-hour window": _window,
    "one employee": _one_employee,
    "needle": _needle,
    "top 100": _top,
    "distinct": _distinct,
    "sessions": _sessions,
    "export slice": _export,
    "export five columns": _numbers,
}
