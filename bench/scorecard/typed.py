"""Values typed key by key within real writing, and real entries in forms: what of them lands as typing runs."""

# ruff: noqa: DTZ001 - capture times are naive UTC
from __future__ import annotations

import csv
import gzip
import json
import random
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

import pyarrow as pa

from bench.measure import ROOT
from bench.scorecard import made
from bench.scorecard.sets import DATA
from lake.clear.arrow_schema import incoming_schema
from lake.clear.landing.carry import OpenRuns
from lake.clear.landing.conform import Conformer
from lake.clear.landing.content.screen import ContentScreen
from lake.clear.landing.pipeline import Pipeline
from lake.rules.contract import Contract, parse_contract

KEYSTROKES = DATA / "keystrokes" / "keystrokes.csv.gz"
FORMS = DATA / "desktop_actions" / "form_events.jsonl.gz"
SECRET_TASKS = frozenset({"enter-password", "login-user"})
BEGIN = datetime(2026, 9, 1)
NOW = datetime(2026, 9, 10)
ROUNDS = 20
UPLOADS = 3
KINDS = ("CARD", "IBAN", "SSN", "EMAIL", "PHONE")
Key = dict[str, Any]


def contract() -> Contract:
    """The contract that docs/filter.md shows: typing runs in listed programs."""
    text = (ROOT / "docs" / "filter.md").read_text("utf-8")
    return parse_contract(text.split("```yaml contract\n", 1)[1].split("```", 1)[0])


def typed() -> dict[str, dict[str, int]]:
    """By category: values typed into real writing, and how many landed as they were or as a token of their category."""
    if not KEYSTROKES.exists():
        return {}
    writers = _writers()
    rng = random.Random(made.SEED)
    scores: dict[str, dict[str, int]] = {}
    for kind in KINDS:
        make = made.KINDS[kind][0]
        leaked = masked = 0
        for number in range(ROUNDS):
            value = make(rng)
            keys = _within(rng, rng.choice(writers), value, employee=f"writer-{number}")
            cuts = sorted(rng.sample(range(1, len(keys)), UPLOADS - 1))
            uploads = [keys[start:end] for start, end in zip((0, *cuts), (*cuts, len(keys)), strict=True)]
            text = " ".join(landed(uploads))
            leaked += _plain(value) in _plain(text)
            masked += f"[{kind}:" in text
        scores[kind] = {"total": ROUNDS, "leaked": leaked, "masked": masked}
    return scores


def forms() -> dict[str, dict[str, int]]:
    """Entries of people in password fields: how many landed, by the kind of field that the collector says it is."""
    if not FORMS.exists():
        return {}
    entries: dict[str, list[Key]] = defaultdict(list)
    with gzip.open(FORMS, "rt") as lines:
        for line in lines:
            event = json.loads(line)
            if event["type"] == "keypress" and event.get("charCode", 0) >= 32 and event["task"] in SECRET_TASKS:
                at = BEGIN + timedelta(milliseconds=event["t_ms"])
                entries[event["demo"]].append({"ts": at, "key": chr(event["charCode"])})
    scores = {}
    for kind in ("password", "unknown", "text"):
        count = 0
        for demo, keys in entries.items():
            rows = [_key(number, key["key"], key["ts"], demo, kind) for number, key in enumerate(keys, 1)]
            rows.append(_key(len(rows) + 1, "Enter", rows[-1]["ts"], demo, kind))
            count += "".join(key["key"] for key in keys) in "\0".join(landed([rows]))
        scores[kind] = {"total": len(entries), "landed": count}
    return scores


def landed(uploads: Iterable[Sequence[Key]]) -> list[str]:
    """Typed texts that land of uploads, one after the other."""
    chosen, open_runs = contract(), OpenRuns()
    screen = ContentScreen(b"scorecard" * 4)
    texts: list[str] = []
    for rows in uploads:
        pipeline = Pipeline(chosen, screen, open_runs)
        conformer = Conformer(chosen, NOW)
        table = pa.Table.from_pylist(list(rows), schema=incoming_schema(chosen))
        for batch in pipeline.run(map(conformer.conform, table.to_batches())):
            texts += [text for text in batch["typed_text"].to_pylist() if text]
        pipeline.commit()
    return texts


def _writers() -> list[list[Mapping[str, str]]]:
    by_writer: dict[str, list[Mapping[str, str]]] = defaultdict(list)
    with gzip.open(KEYSTROKES, "rt") as lines:
        for row in csv.DictReader(lines):
            by_writer[row["participant"]].append(row)
    return [rows for _, rows in sorted(by_writer.items())]


def _within(rng: random.Random, rows: Sequence[Mapping[str, str]], value: str, employee: str) -> list[Key]:
    """Forty keys of a writer, the value in the rhythm of the next ones, with a wrong key taken back, and forty more."""
    begin = rng.randrange(len(rows) - 200)
    before, rhythm, after = rows[begin : begin + 40], rows[begin + 40 : begin + 120], rows[begin + 120 : begin + 160]
    strokes = [row["value"] or row["vk"] for row in before if row["vk"] != "VK_RETURN"] + ["End", " "]
    wrong = rng.randrange(1, len(value))
    strokes += [*value[:wrong], rng.choice("0123456789"), "Backspace", *value[wrong:], " "]
    strokes += [row["value"] or row["vk"] for row in after if row["vk"] not in {"VK_RETURN", "VK_BACK", "VK_LEFT"}]
    gaps = [min(max(int(late["t_down_ms"]) - int(early["t_down_ms"]), 15), 2_000) for early, late in pairwise(rhythm)]
    at, keys = BEGIN, []
    for number, stroke in enumerate([*strokes, "Enter"], 1):
        at += timedelta(milliseconds=gaps[number % len(gaps)])
        keys.append(_key(number, stroke, at, employee, "text"))
    return keys


def _key(number: int, pressed: str, at: datetime, employee: str, kind: str) -> Key:
    place = {"app": "winword.exe", "field_kind": kind, "device": f"pc-{employee}"}
    return {"employee": employee, "ts": at, "type": "key", "seq": number, "key": pressed, **place}


def _plain(text: str) -> str:
    return re.sub(r"[\s\-()]", "", text)
