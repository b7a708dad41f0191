"""Synthetic desktop telemetry of any size, for benchmarks and proofs, in constant memory. It imitates nobody.

The rows come employee by employee, each employee's in the order of time, as a collection of daily exports would. The
output depends on the arguments alone, not on the size of the batches: every row's randomness is that of its block of
65,536 rows. It must never be given real names: its vocabulary is in :mod:`lake.clear.landing.synth_words`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from lake.clear.arrow_schema import TIMESTAMP
from lake.clear.landing import synth_words as words
from lake.errors import UsageError

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]

BLOCK = 65_536
START = datetime.fromisoformat("2026-07-01")

SCHEMA = pa.schema(
    [
        ("employee", pa.string()),
        ("ts", TIMESTAMP),
        ("type", pa.string()),
        ("session", pa.string()),
        ("seq", pa.int64()),
        ("x", pa.int32()),
        ("y", pa.int32()),
        ("button", pa.string()),
        ("key_class", pa.string()),
        ("hold_ms", pa.int32()),
        ("app", pa.string()),
        ("window_title", pa.string()),
        ("duration_ms", pa.int64()),
        ("url_host", pa.string()),
        ("status", pa.string()),
        *((name, pa.int64()) for name in ("presses", "clicks", "delta_x", "delta_y", "scroll_x", "scroll_y")),
        ("prompt_text", pa.string()),
        ("meeting", pa.string()),
        ("transcript_text", pa.string()),
        ("note_text", pa.string()),
    ]
)
"""The columns of examples/contracts/desktop.yaml."""

MIXTURE = {
    "mouse": 0.55,
    "key": 0.25,
    "window_focus": 0.08,
    "url_visit": 0.05,
    "prompt": 0.03,
    "input_counts": 0.017,
    "transcript": 0.01,
    "afk": 0.01,
    "performance_note": 0.003,
}
"""Share of each event type."""

TYPES = tuple(MIXTURE)
BUTTONS = ("left", "right", "middle")
KEY_CLASSES = ("letter", "space", "edit", "punct", "nav", "digit", "modifier", "other")
KEY_SHARES = (0.62, 0.14, 0.09, 0.05, 0.04, 0.03, 0.02, 0.01)
STATUSES = ("not-afk", "afk")

HOURS = (0, 0, 0, 0, 0, 0.1, 0.5, 2, 6, 9, 10, 9, 4, 7, 9, 9, 8, 6, 3, 1.2, 0.8, 0.5, 0.2, 0.1)
"""Activity by hour of the day."""

WEEKDAYS = (1.0, 1.05, 1.05, 1.0, 0.85, 0.08, 0.05)
"""Activity by day of the week, from Monday."""


@dataclass(frozen=True, slots=True)
class _World:
    """What all blocks share: who has how many rows, when work happens, and which words are popular."""

    seed: int
    start: int
    ends: Ints
    clock: tuple[Floats, Floats]
    employees: pa.Array
    apps: pa.Array
    hosts: pa.Array
    projects: pa.Array


def synthesise(
    employees: int, rows: int, seed: int, *, start: datetime = START, days: int = 90, batch_rows: int = BLOCK
) -> pa.RecordBatchReader:
    """A stream of ``rows`` rows of ``employees`` people over ``days`` days from ``start`` (naive UTC).

    A few people are far more active than most. With at least twice as many rows as employees, everyone occurs.

    Raises:
        UsageError: a number that is not positive, or more than 99,999 employees.
    """
    if min(employees, rows, days, batch_rows) < 1 or seed < 0 or employees > 99_999:
        raise UsageError("employees (at most 99999), rows, days and batch_rows are at least 1, the seed at least 0")
    world = _world(employees, rows, seed, start, days)
    return pa.RecordBatchReader.from_batches(SCHEMA, _rebatch(_blocks(world, rows), batch_rows))


def canaries(employees: int, seed: int) -> dict[str, list[str]]:
    """Distinctive texts that a run with the same numbers contains, to look for where no plaintext may be.

    Returns:
        ``employees`` (the 50 most active), ``apps``, ``hosts``, ``titles`` and ``texts`` (the 12 most frequent of
        each). All have at least 6 characters; all occur in any output of 20,000 rows or more, and of more than twice
        as many rows as employees.
    """
    order = np.argsort(-_activity(employees, seed), kind="stable")[:50]
    popular = {name: _popular(seed, name).to_pylist()[:12] for name in _POOLS}
    texts = [*words.PROMPT_OPENINGS, *words.PROMPT_DETAILS, *words.SPEECH_OPENINGS, *words.SPEECH_DETAILS]
    return {
        "employees": [_employee(int(index)) for index in order],
        "apps": popular["apps"],
        "hosts": popular["hosts"],
        "titles": popular["projects"],
        "texts": texts,
    }


_POOLS: dict[str, Sequence[str]] = {"apps": words.APPS, "hosts": words.HOSTS, "projects": words.PROJECTS}


def _employee(index: int) -> str:
    return f"E{index + 1:05d}"


def _popular(seed: int, name: str) -> pa.Array:
    """The words of a pool, the most frequent first: another order for each seed."""
    pool = _POOLS[name]
    order = np.random.default_rng([seed, 3, list(_POOLS).index(name)]).permutation(len(pool))
    return pa.array([pool[index] for index in order])


def _activity(employees: int, seed: int) -> Floats:
    """Each employee's share of the rows: half by a law of Zipf's kind, half even."""
    ranks = np.random.default_rng([seed, 1]).permutation(employees) + 1
    zipf = 1.0 / (ranks + 4.0)
    return np.asarray(0.5 * zipf / zipf.sum() + 0.5 / employees, np.float64)


def _world(employees: int, rows: int, seed: int, start: datetime, days: int) -> _World:
    ends = np.floor(np.cumsum(_activity(employees, seed)) * rows).astype(np.int64)
    ends[-1] = rows
    weekdays = np.array([WEEKDAYS[(start.weekday() + day) % 7] for day in range(days)])
    weights = np.outer(weekdays, np.array(HOURS)).ravel() + 1e-6
    share = np.concatenate([[0.0], np.cumsum(weights) / weights.sum()])
    hours = np.arange(len(share), dtype=np.float64)
    popular = {name: _popular(seed, name) for name in _POOLS}
    names = pa.array([_employee(index) for index in range(employees)])
    first = int(np.datetime64(start, "us").astype(np.int64))
    return _World(seed=seed, start=first, ends=ends, clock=(share, hours), employees=names, **popular)


def _blocks(world: _World, rows: int) -> Iterator[pa.RecordBatch]:
    for number, first in enumerate(range(0, rows, BLOCK)):
        yield _block(world, np.random.default_rng([world.seed, 2, number]), first, min(BLOCK, rows - first))


def _rebatch(blocks: Iterator[pa.RecordBatch], batch_rows: int) -> Iterator[pa.RecordBatch]:
    """The same rows in batches of ``batch_rows``."""
    held: list[pa.RecordBatch] = []
    count = 0
    for block in blocks:
        held.append(block)
        count += block.num_rows
        while count >= batch_rows:
            table = pa.Table.from_batches(held, SCHEMA)
            yield _one(table.slice(0, batch_rows))
            held, count = table.slice(batch_rows).to_batches(), count - batch_rows
    if count:
        yield _one(pa.Table.from_batches(held, SCHEMA))


def _one(table: pa.Table) -> pa.RecordBatch:
    return table.combine_chunks().to_batches()[0]


def _block(world: _World, rng: np.random.Generator, first: int, count: int) -> pa.RecordBatch:
    row = np.arange(first, first + count, dtype=np.int64)
    who = np.searchsorted(world.ends, row, side="right").astype(np.int64)
    begins = np.concatenate([[0], world.ends[:-1]])[who]
    order = row - begins
    progress = (order + rng.random(count)) / (world.ends[who] - begins)
    hours = np.interp(progress, *world.clock)
    kind = _draw(rng, tuple(MIXTURE.values()), count)
    columns: dict[str, pa.Array] = {
        "employee": world.employees.take(pa.array(who)),
        "ts": pa.array(world.start + (hours * 3.6e9).astype(np.int64)).cast(TIMESTAMP),
        "type": pa.array(TYPES).take(pa.array(kind)),
        "session": _sessions(world.seed, who, hours),
        "seq": pa.array(order),
        **_input(rng, kind),
        **_windows(world, rng, kind),
        **_texts(world, rng, kind),
    }
    return pa.record_batch([columns[name] for name in SCHEMA.names], schema=SCHEMA)


def _sessions(seed: int, who: Ints, hours: Floats) -> pa.Array:
    """One session a day and employee, under a name that says neither."""
    days = (hours // 24).astype(np.uint64)
    mixed = who.astype(np.uint64) * np.uint64(100_003) + days + np.uint64(seed & 0xFFFF_FFFF)
    for factor in (0xBF58_476D_1CE4_E5B9, 0x94D0_49BB_1331_11EB):
        mixed = (mixed ^ (mixed >> np.uint64(31))) * np.uint64(factor)
    names = pa.array((mixed >> np.uint64(16)).astype(np.int64)).cast(pa.string())
    return pc.binary_join_element_wise("s", names, "")


def _input(rng: np.random.Generator, kind: Ints) -> dict[str, pa.Array]:
    """Mouse, keys and counts."""
    count = len(kind)
    mouse, key, counts = (_is(kind, name) for name in ("mouse", "key", "input_counts"))
    pressed = mouse & (rng.random(count) < 0.12)
    result = {
        "x": _where(mouse, np.clip(rng.normal(960, 420, count), 0, 1919).astype(np.int32)),
        "y": _where(mouse, np.clip(rng.normal(540, 240, count), 0, 1079).astype(np.int32)),
        "button": _pick(pa.array(BUTTONS), pressed, _draw(rng, (0.9, 0.08, 0.02), count)),
        "key_class": _pick(pa.array(KEY_CLASSES), key, _draw(rng, KEY_SHARES, count)),
        "hold_ms": _where(key, rng.gamma(9, 11, count).astype(np.int32)),
    }
    for name, scale in (("presses", 40), ("clicks", 6), ("delta_x", 900), ("delta_y", 600), ("scroll_y", 30)):
        result[name] = _where(counts, rng.exponential(scale, count).astype(np.int64))
    result["scroll_x"] = _where(counts, np.zeros(count, np.int64))
    return result


def _windows(world: _World, rng: np.random.Generator, kind: Ints) -> dict[str, pa.Array]:
    """Programs, windows, web sites and absence."""
    count = len(kind)
    focus, visit, afk = (_is(kind, name) for name in ("window_focus", "url_visit", "afk"))
    timed = focus | visit | afk | _is(kind, "input_counts")
    titles = _sentences(rng, focus, (world.projects, words.TITLE_PARTS, words.DEPARTMENTS))
    return {
        "app": _pick(world.apps, focus | _is(kind, "prompt"), _zipf(rng, len(world.apps), count)),
        "window_title": titles,
        "duration_ms": _where(timed, rng.exponential(45_000, count).astype(np.int64)),
        "url_host": _pick(world.hosts, visit, _zipf(rng, len(world.hosts), count)),
        "status": _pick(pa.array(STATUSES), afk, rng.integers(0, 2, count)),
    }


def _texts(world: _World, rng: np.random.Generator, kind: Ints) -> dict[str, pa.Array]:
    """What was written and said: sentences of a small grammar with numbers, so that few are alike."""
    prompt, said, note = (_is(kind, name) for name in ("prompt", "transcript", "performance_note"))
    subjects = (world.projects, words.TITLE_PARTS)
    return {
        "prompt_text": _sentences(rng, prompt, (words.PROMPT_OPENINGS, *subjects, words.PROMPT_DETAILS)),
        "meeting": _pick(pa.array(words.MEETINGS), said, rng.integers(0, len(words.MEETINGS), len(kind))),
        "transcript_text": _sentences(rng, said, (words.SPEECH_OPENINGS, *subjects, words.SPEECH_DETAILS)),
        "note_text": _sentences(rng, note, (words.NOTE_OPENINGS, *subjects, words.NOTE_DETAILS)),
    }


def _sentences(rng: np.random.Generator, rows: Flags, parts: Sequence[pa.Array | Sequence[str]]) -> pa.Array:
    """One word of each part and a number in the given rows, null in the others."""
    count = int(rows.sum())
    pieces = []
    for part in parts:
        pool = part if isinstance(part, pa.Array) else pa.array(part)
        pieces.append(pool.take(pa.array(_zipf(rng, len(pool), count))))
    number = pa.array(rng.integers(1, 10_000, count)).cast(pa.string())
    sentences = pc.binary_join_element_wise(*pieces, number, " ")
    place = np.cumsum(rows) - 1
    return sentences.take(pa.array(place, pa.int64(), mask=~rows))


def _draw(rng: np.random.Generator, shares: Sequence[float], count: int) -> Ints:
    """Indices with the given shares."""
    limits = np.cumsum(shares)
    return np.searchsorted(limits / limits[-1], rng.random(count), side="right").astype(np.int64)


def _zipf(rng: np.random.Generator, size: int, count: int) -> Ints:
    """Indices below ``size``, the small ones more often."""
    return _draw(rng, tuple(1.0 / (rank + 2) for rank in range(size)), count)


def _is(kind: Ints, name: str) -> Flags:
    return np.asarray(kind == TYPES.index(name))


def _pick(pool: pa.Array, rows: Flags, index: Ints) -> pa.Array:
    return pool.take(pa.array(index, mask=~rows))


def _where(rows: Flags, values: npt.NDArray[np.int32] | Ints) -> pa.Array:
    return pa.array(values, mask=~rows)
