"""Labelled texts: the sets under ``LAKE_SHARED_DATA/pii``, texts made from a seed, and harmless lines.

The sets keep their own labels. One for which the filter has no category (towns, organisations, ages) is scored all the
same: whether it was covered by whatever was found.
"""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bench.measure import ROOT

DATA = Path(os.environ.get("LAKE_SHARED_DATA", ROOT.parent / "shared" / "data"))
Gold = tuple[int, int, str]


@dataclass(frozen=True, slots=True)
class Labelled:
    """A text with what is personal in it: first character, the one after the last, label."""

    text: str
    gold: tuple[Gold, ...]


@dataclass(frozen=True, slots=True)
class LabelledSet:
    """Texts of one origin."""

    name: str
    origin: str
    texts: tuple[Labelled, ...]


def shared() -> Iterator[LabelledSet]:
    """The labelled sets that are there."""
    place = DATA / "pii"
    sentences, leaks = place / "synth_sentences.json.gz", place / "business_leaks.json"
    if sentences.exists():
        yield LabelledSet("synth_sentences", "microsoft/presidio-research, MIT", tuple(_sentences(sentences)))
    if leaks.exists():
        yield LabelledSet("business_leaks", "Nannigalaxy/PII-synthetic_dataset, MIT", tuple(_leaks(leaks)))


def _sentences(path: Path) -> Iterator[Labelled]:
    for row in json.loads(gzip.decompress(path.read_bytes())):
        spans = ((span["start_position"], span["end_position"], span["entity_type"]) for span in row["spans"])
        yield Labelled(row["full_text"], tuple(spans))


def _leaks(path: Path) -> Iterator[Labelled]:
    """Values are given as text, some with quotes or stars around them; those that are not in the text are left out."""
    for row in json.loads(path.read_text("utf-8")):
        found = []
        for entity in row["NER"]:
            value = entity.get("entity", "")
            at = row["text"].find(value) if value else -1
            if at < 0:
                value = value.strip("*'\" ")
                at = row["text"].find(value) if value else -1
            if at >= 0:
                found.append((at, at + len(value), entity["label"]))
        yield Labelled(row["text"], tuple(found))


def without_personal_data() -> list[str] | None:
    """Texts of ``business_leaks`` that are labelled as harmless; None if the set is not here."""
    path = DATA / "pii" / "business_leaks.json"
    if not path.exists():
        return None
    return [row["text"] for row in json.loads(path.read_text("utf-8")) if not row["has_pii"]]


def harmless(lines: int) -> list[str]:
    """Lines of prose and code of this project, spread over its files: no personal data is in them but examples."""
    found = []
    for pattern in ("docs/**/*.md", "README.md", "lake/**/*.py", "keys/**/*.py"):
        for path in sorted(ROOT.glob(pattern)):
            if "content" not in path.parts and path.name != "scorecard.md":
                found += [line.strip() for line in path.read_text("utf-8").splitlines() if len(line.strip()) > 20]
    step = max(1, len(found) // lines)
    return found[::step][:lines]
