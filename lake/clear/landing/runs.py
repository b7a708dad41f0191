"""Typing runs of one delivery: keys in the order of their numbers, divided where typing stopped.

Keys that were held from before are joined with them.

A run ends with Enter or Tab, with a key in another field, window or program, or after ten seconds without one. It lands
with the delivery in which it ends, and not at all if a key of it is missing: half of a number is not recognised.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from lake.clear.landing.carry import REORDER_S, Held, OpenRuns, StreamId
from lake.clear.landing.editor import SELECT_ALL, typed
from lake.clear.landing.strokes import Edit, Stroke, is_shortcut, stroke
from lake.errors import BatchRefusedError
from lake.rules.contract import Contract
from lake.rules.model import EMPLOYEE_COLUMN, TIME_COLUMN

GAP_US = 10_000_000
MAX_DELIVERY = 4_000_000
"""Keys in one delivery."""
OPEN, LOST, DUPLICATE, UNNUMBERED, TOO_LONG = "run.open", "run.lost", "run.duplicate", "run.unnumbered", "run.too_long"
Ints = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]


@dataclass(slots=True)
class Finished:
    """Runs that ended: the first key's row of each, and what was typed."""

    first: list[int] = field(default_factory=list)
    last: list[int] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    keys: list[int] = field(default_factory=list)
    edits: list[int] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Keys:
    """Key rows of a delivery in the order of device and number, as the assembler needs them."""

    rows: pa.Table
    seq: Ints
    ts: Ints
    breaks: Flags
    """Whether a run ends before this key."""
    strokes: list[Stroke]
    void: Flags
    """Keys of which only the number is there: they were dropped before."""
    ends: Flags
    carets: list[int | None] | None
    selected: list[int | None] | None


class Runs:
    """Collects the key rows of one delivery and makes runs of them. ``commit`` once it has landed, else ``abort``."""

    def __init__(self, contract: Contract, open_runs: OpenRuns) -> None:
        self._contract = contract
        self._rules = contract.rules
        self._open = open_runs
        self._batches: list[pa.Table] = []
        self._collected = 0
        self._claimed: set[StreamId] = set()
        self._changed: dict[StreamId, Held] = {}
        self._latest: dict[tuple[str, str], int] = {}
        self._found = Finished()
        self._over = False
        self.counts: Counter[str] = Counter()

    def add(self, rows: pa.RecordBatch) -> None:
        """Keys, in any order. Those without a key are void.

        Raises:
            BatchRefusedError: more than a delivery may have.
        """
        self._collected += rows.num_rows
        if self._collected > MAX_DELIVERY:
            raise BatchRefusedError(f"more than {MAX_DELIVERY} keys in one batch", hint="send smaller batches")
        if rows.num_rows:
            self._batches.append(pa.Table.from_batches([rows]))

    def saw(self, employee: str, device: str, ts: int) -> None:
        """A device's events go up to this time (µs), so a run that ended ten seconds before it is over."""
        self._latest[employee, device] = max(ts, self._latest.get((employee, device), ts))

    def finish(self) -> tuple[pa.Table, Finished] | None:
        """All key rows, and the runs among them that ended; None if the delivery has no keys.

        Raises:
            UnavailableError: another delivery of one of the devices did not finish in time.
        """
        fresh = [self._numbered(pa.concat_tables(self._batches))] if self._batches else []
        self._batches.clear()
        streams = {self._id(*who) for table in fresh for who in self._streams(table)}
        streams |= self._open.holding(self._id(*who) for who in self._latest)
        if self._over:
            raise BatchRefusedError("the delivery was given up")
        held = self._open.claim(streams)
        self._claimed = streams
        before = [known.rows for known in held.values() if known.rows is not None]
        if not any(table.num_rows for table in (*before, *fresh)):
            return None
        keys = self._sorted(pa.concat_tables([*before, *fresh]))
        for employee, device, start, end in self._parts(keys.rows):
            stream = self._id(employee, device)
            self._changed[stream] = self._stream(
                keys, start, end, held.get(stream, Held()), self._latest.get((employee, device), 0)
            )
        return keys.rows, self._found

    def commit(self) -> None:
        """The delivery has landed."""
        self._end(self._changed)

    def abort(self) -> None:
        """It has not; what was held before stays. Harmless after ``commit``."""
        self._end(None)

    def _end(self, changed: dict[StreamId, Held] | None) -> None:
        self._over = True
        if self._claimed:
            self._open.release(self._claimed, changed)
            self._claimed = set()

    def _id(self, employee: str, device: str) -> StreamId:
        return (self._contract.dataset, employee, device)

    def _numbered(self, rows: pa.Table) -> pa.Table:
        """Keys without a number have no place in a run."""
        numbers = rows[self._rules.one("seq")]
        valid = pc.fill_null(pc.greater(numbers, 0), False)
        left = rows.filter(valid)
        self.counts[UNNUMBERED] += rows.num_rows - left.num_rows
        return left

    def _device(self, rows: pa.Table) -> pa.ChunkedArray:
        name = self._rules.one("device")
        return pc.fill_null(rows[name], "") if name else pa.chunked_array([pa.repeat("", rows.num_rows)])

    def _streams(self, rows: pa.Table) -> list[tuple[str, str]]:
        table = pa.table({"employee": rows[EMPLOYEE_COLUMN], "device": self._device(rows)})
        distinct = table.group_by(["employee", "device"]).aggregate([])
        return list(zip(distinct["employee"].to_pylist(), distinct["device"].to_pylist(), strict=True))

    def _sorted(self, rows: pa.Table) -> Keys:
        """In the order of number, each number once: a key that was held, hence stands first, wins."""
        who = _codes(rows[EMPLOYEE_COLUMN]) * (1 << 31) + _codes(self._device(rows))
        seq = _ints(rows[self._rules.one("seq")])
        order = np.lexsort((seq, who))
        who, seq = who[order], seq[order]
        first = np.ones(len(seq), bool)
        first[1:] = (seq[1:] != seq[:-1]) | (who[1:] != who[:-1])
        self.counts[DUPLICATE] += int(len(seq) - first.sum())
        rows = rows.take(pa.array(order[first])).combine_chunks()
        return self._keys(rows, who[first], seq[first])

    def _keys(self, rows: pa.Table, who: Ints, seq: Ints) -> Keys:
        coded = rows[self._rules.one("key")].combine_chunks().dictionary_encode()
        table: list[Stroke] = [*map(stroke, coded.dictionary.to_pylist()), Edit.NOTHING]
        indices = coded.indices.fill_null(len(table) - 1).to_numpy(zero_copy_only=False)
        void = coded.indices.is_null().to_numpy(zero_copy_only=False)
        closing = np.array([key is Edit.CLOSE for key in table])[indices]
        strokes = [table[index] for index in indices.tolist()]
        self._apply_modifiers(rows, strokes)
        ts = _ints(rows[TIME_COLUMN].cast(pa.int64()))
        breaks = np.ones(len(ts), bool)
        breaks[1:] = (who[1:] != who[:-1]) | closing[:-1] | void[:-1] | void[1:] | (ts[1:] - ts[:-1] > GAP_US)
        for role in ("app", "url", "window", "field"):
            for name in self._rules.roles.get(role, ()):
                codes = _codes(rows[name])
                breaks[1:] |= codes[1:] != codes[:-1]
        carets, selected = (self._optional(rows, role) for role in ("caret", "selected"))
        return Keys(rows, seq, ts, breaks, strokes, void, closing | void, carets, selected)

    def _apply_modifiers(self, rows: pa.Table, strokes: list[Stroke]) -> None:
        name = self._rules.one("modifiers")
        if name is None or rows[name].null_count == rows.num_rows:
            return
        coded = rows[name].combine_chunks().dictionary_encode()
        shortcut = np.array([*map(is_shortcut, coded.dictionary.to_pylist()), False])
        for index in np.flatnonzero(
            shortcut[coded.indices.fill_null(len(shortcut) - 1).to_numpy(zero_copy_only=False)]
        ):
            key = strokes[index]
            if isinstance(key, str):
                strokes[index] = SELECT_ALL if key.casefold() == "a" else Edit.NOTHING

    def _optional(self, rows: pa.Table, role: str) -> list[int | None] | None:
        name = self._rules.one(role)
        if name is None or rows[name].null_count == rows.num_rows:
            return None
        values: list[int | None] = rows[name].to_pylist()
        return values

    def _parts(self, rows: pa.Table) -> list[tuple[str, str, int, int]]:
        """Each device's rows."""
        who = _codes(rows[EMPLOYEE_COLUMN]) * (1 << 31) + _codes(self._device(rows))
        starts = np.flatnonzero(np.append(True, who[1:] != who[:-1]))
        firsts = rows.take(pa.array(starts))
        names = zip(firsts[EMPLOYEE_COLUMN].to_pylist(), self._device(firsts).to_pylist(), strict=True)
        ends = [*starts[1:].tolist(), rows.num_rows]
        return [(*name, start, end) for name, start, end in zip(names, starts.tolist(), ends, strict=True)]

    def _stream(self, keys: Keys, start: int, end: int, held: Held, latest: int) -> Held:
        """Take in the keys of one device; what is held of it now."""
        now = self._open.now()
        begin = held.next - held.open
        # Numbers that were taken in before and are not held any more have landed or are lost: these came again.
        again = int(np.searchsorted(keys.seq[start:end], begin))
        self.counts[DUPLICATE] += again
        start += again
        if start == end:
            return replace(held, seen=now)
        headless = held.headless
        if held.closed_ts is not None and not held.open:
            # The run was taken to be over because time went by, and its device goes on with it after all.
            headless |= bool(keys.ts[start] - held.closed_ts <= GAP_US)
        numbers = keys.seq[start:end]
        gaps = start + np.flatnonzero(np.diff(numbers, prepend=begin - 1) != 1)
        ready, waiting = end, None
        if len(gaps):
            waiting = now if held.waiting is None else held.waiting
            if now - waiting <= REORDER_S:
                ready, gaps = int(gaps[0]), gaps[:0]
            else:
                waiting = None  # what is missing will not come
        first, closed_ts = start, held.closed_ts
        if start < ready:
            part = _Part(start, ready, frozenset(gaps.tolist()), headless, None if waiting is not None else latest)
            first, headless, closed_ts = self._divide(keys, part)
        rows = keys.rows.take(pa.array(np.arange(first, end))) if first < end else None
        self.counts[OPEN] += end - first
        after = int(keys.seq[ready - 1]) + 1 if ready > start else held.next
        return Held(after, rows, ready - first, headless, closed_ts, waiting, now)

    def _divide(self, keys: Keys, part: _Part) -> tuple[int, bool, int | None]:
        """Where the open run begins, whether its beginning is missing, and when the last one was closed by time."""
        cuts = np.flatnonzero(keys.breaks[part.start : part.ready]) + part.start
        bounds = sorted({part.start, *cuts.tolist(), *part.gaps} - {part.ready})
        headless, closed_ts = part.headless, None
        for first, last in zip(bounds, [*bounds[1:], part.ready], strict=True):
            if first == last:
                continue
            headless = first in part.gaps or (headless and first == part.start)
            ended = bool(keys.ends[last - 1])
            if last == part.ready and not ended:
                if part.latest is None or part.latest - keys.ts[last - 1] <= GAP_US:
                    return first, headless, None
                closed_ts = int(keys.ts[last - 1])
            if keys.void[first]:
                continue
            if headless or (last in part.gaps and not ended):
                self.counts[LOST] += last - first
            else:
                self._end_run(keys, first, last)
        return part.ready, False, closed_ts

    def _end_run(self, keys: Keys, first: int, last: int) -> None:
        carets = None if keys.carets is None else keys.carets[first:last]
        selected = None if keys.selected is None else keys.selected[first:last]
        result = typed(keys.strokes[first:last], carets, selected)
        self._found.first.append(first)
        self._found.last.append(last - 1)
        self._found.texts.append(result.text)
        self._found.keys.append(last - first)
        self._found.edits.append(result.edits)


@dataclass(frozen=True, slots=True)
class _Part:
    """Keys of one device that can be divided: ``gaps`` are where numbers before a key are missing for good.

    ``latest`` is how far the device's events go; None if keys that follow are still missing.
    """

    start: int
    ready: int
    gaps: frozenset[int]
    headless: bool
    latest: int | None


def _ints(column: pa.ChunkedArray) -> Ints:
    return np.asarray(column.combine_chunks().to_numpy(zero_copy_only=False), np.int64)


def _codes(column: pa.ChunkedArray) -> Ints:
    """A number for each distinct value; null has one of its own."""
    coded = column.combine_chunks().dictionary_encode()
    return np.asarray(coded.indices.fill_null(-1).to_numpy(zero_copy_only=False), np.int64)
