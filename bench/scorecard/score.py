"""Recall, precision and speed of the content filter."""

from __future__ import annotations

import random
import statistics
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from bench.scorecard import made, sets, typed
from lake.clear.landing.content.categories import CATEGORIES
from lake.clear.landing.content.screen import DIGEST, ContentScreen

COVERED = 0.6
"""Share of a labelled value that has to be masked for it to count as found."""
LINES = 2_000
SPEED_TEXTS = 50_000
DIRTY = 0.1
BATCH = 10_000


def measure() -> dict[str, Any]:
    """The whole card. All but ``speed`` is the same on every machine."""
    screen = ContentScreen(b"scorecard" * 4)
    return {
        "rules": DIGEST,
        "sets": {one.name: of_set(screen, one) for one in (made.made(), *sets.shared())},
        "typed": typed.typed(),
        "forms": typed.forms(),
        "harmless": harmless(screen),
        "speed": speed(screen),
    }


def of_set(screen: ContentScreen, labelled: sets.LabelledSet) -> dict[str, Any]:
    """By label: values, those covered, and as what; by category: finds, and those that no label covers."""
    totals: Counter[str] = Counter()
    covered: Counter[str] = Counter()
    kinds: dict[str, Counter[str]] = defaultdict(Counter)
    finds: Counter[str] = Counter()
    beside: Counter[str] = Counter()
    for text in labelled.texts:
        spans = [span for span in screen.spans(text.text) if CATEGORIES[span[2]].masked]
        masked = {place for start, end, _ in spans for place in range(start, end)}
        gold = {place for start, end, _ in text.gold for place in range(start, end)}
        for start, end, label in text.gold:
            totals[label] += 1
            if len(masked.intersection(range(start, end))) >= COVERED * (end - start):
                covered[label] += 1
                kinds[label].update({kind for first, last, kind in spans if first < end and start < last})
        for start, end, kind in spans:
            finds[kind] += 1
            beside[kind] += gold.isdisjoint(range(start, end))
    labels = {
        label: {"total": totals[label], "found": covered[label], "as": dict(kinds[label].most_common(3))}
        for label in sorted(totals)
    }
    precision = {kind: {"finds": finds[kind], "beside_labels": beside[kind]} for kind in sorted(finds)}
    return {"origin": labelled.origin, "texts": len(labelled.texts), "labels": labels, "finds": precision}


def harmless(screen: ContentScreen) -> dict[str, Any]:
    """Share of harmless texts in which something is masked."""
    lines = sets.harmless(LINES)
    counts: Counter[str] = Counter()
    flagged = 0
    for line in lines:
        found = {kind for _, _, kind in screen.spans(line) if CATEGORIES[kind].masked}
        flagged += bool(found)
        counts.update(found)
    result: dict[str, Any] = {"lines": len(lines), "flagged": flagged, "as": dict(counts.most_common())}
    free = sets.without_personal_data()
    if free is not None:
        result["labelled_free"] = {"texts": len(free), "flagged": sum(bool(screen.spans(text)) for text in free)}
    return result


def speed(screen: ContentScreen) -> dict[str, float]:
    """Texts per second and core, one in ten with a find, all of them different; the median of five in CPU time."""
    rng = random.Random(made.SEED)
    dirty = [text.text for text in made.made().texts]
    clean = [line for line in sets.harmless(20_000) if not screen.spans(line)]
    texts = [f"{rng.choice(dirty if rng.random() < DIRTY else clean)} {_word(rng)}" for _ in range(SPEED_TEXTS)]
    columns = [pa.array(texts[at : at + BATCH]) for at in range(0, len(texts), BATCH)]
    seconds = statistics.median(_seconds(screen, columns) for _ in range(5))
    characters = sum(map(len, texts)) / len(texts)
    return {
        "texts_per_second_and_core": round(len(texts) / seconds),
        "characters_a_text": round(characters, 1),
        "dirty": DIRTY,
    }


def _seconds(screen: ContentScreen, columns: Sequence[pa.Array]) -> float:
    begin = time.process_time()
    for column in columns:
        screen.apply({"text": column})
    return time.process_time() - begin


def _word(rng: random.Random) -> str:
    return "".join(rng.choice("abcdefghijklmnopqrstuvwxyz") for _ in range(6))
