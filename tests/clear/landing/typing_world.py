"""A contract that captures keys at every level, rows of keys, and an editor to compare with."""

# ruff: noqa: DTZ001 - capture times are naive UTC
from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import pyarrow as pa

from lake.clear.arrow_schema import incoming_schema
from lake.clear.landing.carry import OpenRuns
from lake.clear.landing.conform import Conformer
from lake.clear.landing.pipeline import Pipeline
from lake.rules.contract import Contract, parse_contract

NOW = datetime(2026, 9, 15, 12)
START = datetime(2026, 9, 15, 9)
CARD = "4539148803436467"

CONTRACT = """\
dataset: typing
version: 1
title: Typing
notice: Made up for tests.
purposes: [study]
retention: {"1": 90d, "2": 90d, "3": 60d, "4": 30d}
fields:
  app: {type: string, sensitivity: 1, notice: The program.}
  url: {type: string, sensitivity: 2, notice: The page.}
  title: {type: string, sensitivity: 2, notice: The window.}
  private: {type: boolean, sensitivity: 1, notice: Whether the window is private.}
  kind: {type: string, sensitivity: 1, notice: Which kind of field.}
  device: {type: string, sensitivity: 1, notice: The computer.}
  window: {type: string, sensitivity: 1, notice: Which window.}
  place: {type: string, sensitivity: 1, notice: Which field.}
  seq: {type: int64, sensitivity: 1, notice: The number of the key.}
  key: {type: string, sensitivity: 4, notice: The key.}
  held: {type: string, sensitivity: 1, notice: Keys held down.}
  caret: {type: int64, sensitivity: 1, notice: Where.}
  chosen: {type: int64, sensitivity: 1, notice: How much was selected.}
  key_class: {type: string, sensitivity: 2, notice: The kind of key.}
  hold_ms: {type: int32, sensitivity: 2, notice: How long.}
  words: {type: string, sensitivity: 4, notice: What was typed.}
  presses: {type: int64, sensitivity: 1, notice: How many keys.}
  edits: {type: int64, sensitivity: 1, notice: How many corrections.}
  lasted: {type: int64, sensitivity: 1, notice: How long.}
events:
  key:
    sensitivity: 1
    notice: A key.
    fields: [app, url, title, private, kind, device, window, place, seq, key, held, caret, chosen, key_class, hold_ms]
    required: [key]
  typed: {sensitivity: 4, notice: Text., fields: [app, kind, device, window, place, words, presses, edits, lasted]}
  counted: {sensitivity: 1, notice: Counts., fields: [app, device, presses, lasted]}
  focus: {sensitivity: 1, notice: A window., fields: [app, url, title, private, device]}
  form: {sensitivity: 3, notice: A form., fields: [app, kind, words]}
filter:
  fields:
    app: app
    url: url
    title: title
    incognito: private
    kind: kind
    device: device
    window: window
    field: place
    seq: seq
    key: key
    modifiers: held
    caret: caret
    selected: chosen
    class: key_class
    timing: hold_ms
    text: words
  capture:
    key: CAPTURE
  apps: {Writer: office, Firefox: browser, Code.exe: development}
  sites: {docs.example.com: office, tracker.example.org: office}
"""
LEVELS = {
    "none": "{level: none}",
    "counts": "{level: counts, into: counted, keys: presses, duration_ms: lasted}",
    "classes": "{level: classes}",
    "runs": "{level: runs, into: typed, text: words, keys: presses, edits: edits, duration_ms: lasted, purpose: study}",
    "raw": "{level: raw, purpose: study}",
}


def text_of(level: str = "runs", **changes: str) -> str:
    """The contract with keys captured at a level, and passages replaced."""
    text = CONTRACT.replace("CAPTURE", LEVELS[level])
    for old, new in changes.items():
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    return text


def contract(level: str = "runs") -> Contract:
    """The contract with keys captured at a level."""
    return parse_contract(text_of(level))


def key(number: int, pressed: str, at: float | datetime = 0.0, **values: Any) -> dict[str, Any]:
    """A key in a text field of a listed program, ``at`` seconds after the start."""
    ts = at if isinstance(at, datetime) else START + timedelta(seconds=at)
    given = {"app": "Writer", "kind": "text", "device": "pc-1", "window": "w1", "place": "f1"}
    return {"employee": "E-1", "ts": ts, "type": "key", "seq": number, "key": pressed, **given, **values}


def keys(
    pressed: Iterable[str], first: int = 1, start: float = 0.0, step: float = 0.2, **values: Any
) -> list[dict[str, Any]]:
    """Keys one after the other."""
    return [key(first + index, one, start + step * index, **values) for index, one in enumerate(pressed)]


@dataclass
class Plain:
    """The outcome of a screen that finds nothing."""

    columns: Mapping[str, pa.Array]
    sensitivities: Mapping[str, pa.Array]
    counts: Mapping[str, int] = field(default_factory=dict)


class NoScreen:
    """A screen that lets everything through and keeps what it saw: what reaches it is what the steps before it left."""

    digest = "sha256:none"

    def __init__(self) -> None:
        self.seen: list[str] = []

    def apply(self, strings: Mapping[str, pa.Array]) -> Plain:
        """Everything, as it is."""
        for column in strings.values():
            self.seen += [text for text in column.to_pylist() if text is not None]
        levels = {name: pa.repeat(pa.scalar(1, pa.int8()), len(column)) for name, column in strings.items()}
        return Plain(strings, levels)


@dataclass
class Site:
    """Deliveries of one contract, one after the other, in one process; its clock moves by hand."""

    contract: Contract
    screen: Any = field(default_factory=NoScreen)
    now: float = 0.0

    def __post_init__(self) -> None:
        self.open = OpenRuns(lambda: self.now)
        self.dropped: dict[str, int] = {}

    def send(self, *batches: Sequence[Mapping[str, Any]], lands: bool = True) -> list[dict[str, Any]]:
        """Deliver batches of rows as one upload; the rows that land."""
        conformer = Conformer(self.contract, NOW)
        schema = incoming_schema(self.contract)
        sent = [pa.RecordBatch.from_pylist(list(rows), schema=schema) for rows in batches]
        pipeline = Pipeline(self.contract, self.screen, self.open)
        try:
            found = [row for batch in pipeline.run(map(conformer.conform, sent)) for row in batch.to_pylist()]
        except BaseException:
            pipeline.abort()
            raise
        self.dropped = {reason: count for reason, count in pipeline.dropped.items() if count}
        self.pipeline = pipeline
        if lands:
            pipeline.commit()
        else:
            pipeline.abort()
        return found

    def pipeline_schema(self) -> pa.Schema:
        """Columns of rows as they are sent."""
        return incoming_schema(self.contract)

    def count(self, rows: pa.RecordBatch) -> int:
        """Deliver rows; how many land."""
        conformed = Conformer(self.contract, NOW).conform(rows)
        pipeline = Pipeline(self.contract, self.screen, self.open)
        found = sum(batch.num_rows for batch in pipeline.run([conformed]))
        pipeline.commit()
        return found


def words(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """Texts of runs."""
    return [row["words"] for row in rows if row["type"] == "typed"]
