"""What stands between conforming rows and the lake: capture level, context, kind of field, runs, content. Deny wins.

Each step sees what the one before it has left, and what is dropped is counted by reason. A step that fails or does not
end takes the whole delivery with it: what was not filtered does not land.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Protocol, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from keys.errors import KeysError
from lake.clear.arrow_schema import ready_schema
from lake.clear.landing import context
from lake.clear.landing.carry import OpenRuns
from lake.clear.landing.context import ContextFilter
from lake.clear.landing.kinds import Flags, Kinds, bits, flags
from lake.clear.landing.levels import BUCKET_MS, BUCKET_US, Levels, filled, floored
from lake.clear.landing.rating import Rating
from lake.clear.landing.runs import TOO_LONG, Finished, Runs
from lake.errors import FilterFailedError, LakeError
from lake.rules.capture import KEYED, Capture, Level
from lake.rules.contract import Contract, FieldType
from lake.rules.model import EMPLOYEE_COLUMN, SENSITIVITY_COLUMN, TIME_COLUMN, TYPE_COLUMN

STEP_S = 120.0
"""How long the filter may take for one batch of rows."""
NOT_CAPTURED = "capture.none"
KINDS = ("field.unknown", "field.password", "field.secure")
T = TypeVar("T")


class Screened(Protocol):
    """Texts after the content filter: masked, each column's sensitivity by row (int8), counts by category."""

    @property
    def columns(self) -> Mapping[str, pa.Array]: ...
    @property
    def sensitivities(self) -> Mapping[str, pa.Array]: ...
    @property
    def counts(self) -> Mapping[str, int]: ...


class Screen(Protocol):
    """The content filter. ``digest`` names its rules."""

    @property
    def digest(self) -> str: ...

    def apply(self, strings: Mapping[str, pa.Array]) -> Screened:
        """Find and mask what may not land in the clear."""


class Pipeline:
    """Filters one delivery. ``commit`` once it has landed, else ``abort``: typing that is not over depends on it."""

    def __init__(
        self, contract: Contract, screen: Screen | None, open_runs: OpenRuns, *, step_s: float = STEP_S
    ) -> None:
        self._contract = contract
        self._rules = contract.rules
        self._events = list(contract.events)
        self._screen = screen
        self._step_s = step_s
        self._schema = ready_schema(contract)
        self._context = ContextFilter(contract)
        self._levels = Levels(contract, self._schema)
        self._rating = Rating(contract)
        self._runs = Runs(contract, open_runs)
        self._strings = [spec.name for spec in contract.fields.values() if spec.type is FieldType.STRING]
        self._typed = self._carriers("key", "text")
        self._keyed = self._levels.of(Level.RUNS)
        self._silent = self._levels.of(Level.NONE)
        self._dropped: Counter[str] = Counter()
        self.masked: Counter[str] = Counter()
        self.breaches: Counter[str] = Counter()
        self.rows_in = 0
        self.rows_out = 0

    @property
    def dropped(self) -> Counter[str]:
        """Rows, keys and values that did not land, by reason."""
        return self._dropped + self._levels.counts + self._runs.counts

    def run(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """The rows that may land.

        Raises:
            FilterFailedError: a step failed, or did not end in time.
            BatchRefusedError: too many keys.
        """
        for batch in batches:
            yield from self._out(within(self._step_s, partial(self._filter, batch)))
        yield from self._out(within(self._step_s, self._end))

    def commit(self) -> None:
        """The delivery has landed."""
        self._runs.commit()

    def abort(self) -> None:
        """It has not. Harmless after ``commit``."""
        self._runs.abort()

    def _out(self, found: Sequence[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for rows in found:
            if rows.num_rows:
                self.rows_out += rows.num_rows
                yield rows

    def _carriers(self, *roles: str) -> frozenset[str]:
        """Event types with a field of one of some roles."""
        fields = {name for role in roles for name in self._rules.roles.get(role, ())}
        return frozenset(event.name for event in self._contract.events.values() if fields & set(event.fields))

    def _filter(self, rows: pa.RecordBatch) -> list[pa.RecordBatch]:
        self.rows_in += rows.num_rows
        if self._keyed:
            self._watch(rows)
        rows = self._capture(rows)
        kinds = Kinds(rows[TYPE_COLUMN], self._events)
        allowed = self._in_context(rows, kinds)
        rows, allowed = self._of_kind(rows, kinds, allowed)
        if self._keyed and rows.num_rows:
            keys = flags(kinds.of(self._keyed))
            self._runs.add(self._numbers(rows.filter(bits(keys & ~allowed))))
            self._runs.add(rows.filter(bits(keys & allowed)))
            allowed &= ~keys
        if not allowed.all():
            rows = rows.filter(bits(allowed))
            kinds = Kinds(rows[TYPE_COLUMN], self._events)
        return [self._content(part) for part in self._levels.lower(rows, kinds) if part.num_rows]

    def _capture(self, rows: pa.RecordBatch) -> pa.RecordBatch:
        if not self._silent:
            return rows
        left = rows.filter(pc.invert(Kinds(rows[TYPE_COLUMN], self._events).of(self._silent)))
        self._dropped[NOT_CAPTURED] += rows.num_rows - left.num_rows
        return left

    def _in_context(self, rows: pa.RecordBatch, kinds: Kinds) -> Flags:
        verdicts = self._context.verdicts(rows, kinds)
        for verdict, count in enumerate(np.bincount(verdicts, minlength=1).tolist()):
            if verdict != context.PASSED and count:
                self._dropped[context.REASONS[verdict]] += count
        return np.asarray(verdicts == context.PASSED)

    def _of_kind(self, rows: pa.RecordBatch, kinds: Kinds, allowed: Flags) -> tuple[pa.RecordBatch, Flags]:
        """Nothing that was typed into a field that is secret, or of which nobody says that it is not."""
        name = self._rules.one("kind")
        if name is None or not self._typed:
            return rows, allowed
        coded = pc.fill_null(rows[name], "").dictionary_encode()
        said = [kind.strip().casefold() for kind in coded.dictionary.to_pylist()]
        numbers = np.array([_kind(kind) for kind in said] or [0], np.int8)[coded.indices.to_numpy(zero_copy_only=False)]
        typed = flags(kinds.of(self._typed))
        for number, reason in enumerate(KINDS):
            self._dropped[reason] += int((allowed & typed & (numbers == number)).sum())
        return rows, allowed & ~(typed & (numbers < len(KINDS)))

    def _numbers(self, rows: pa.RecordBatch) -> pa.RecordBatch:
        """Of keys that may not land, only that they are not missing: they end the run before them."""
        kept = [EMPLOYEE_COLUMN, TIME_COLUMN, TYPE_COLUMN, SENSITIVITY_COLUMN, self._rules.one("seq")]
        kept.append(self._rules.one("device") or EMPLOYEE_COLUMN)
        return filled(self._schema, {name: rows[name] for name in kept if name}, rows.num_rows)

    def _watch(self, rows: pa.RecordBatch) -> None:
        """How far each device's events go, by the event types that name their device."""
        device = self._rules.one("device")
        if device:
            rows = rows.filter(Kinds(rows[TYPE_COLUMN], self._events).of(self._carriers("device")))
        names = rows[device] if device else pa.repeat("", rows.num_rows)
        table = pa.table({"employee": rows[EMPLOYEE_COLUMN], "device": names, "ts": rows[TIME_COLUMN].cast(pa.int64())})
        latest = table.group_by(["employee", "device"]).aggregate([("ts", "max")])
        columns = (latest[name].to_pylist() for name in ("employee", "device", "ts_max"))
        for employee, name, ts in zip(*columns, strict=True):
            self._runs.saw(employee, name or "", ts)

    def _end(self) -> list[pa.RecordBatch]:
        finished = self._runs.finish()
        if finished is None:
            return []
        keys, found = finished
        made = []
        types = keys[TYPE_COLUMN].take(pa.array(found.first, pa.int64())).to_pylist()
        for event in self._keyed:
            chosen = [index for index, name in enumerate(types) if name == event]
            if chosen:
                made.append(self._content(self._typed_rows(keys, found, chosen, self._rules.capture[event])))
        return made

    def _typed_rows(self, keys: pa.Table, found: Finished, chosen: list[int], capture: Capture) -> pa.RecordBatch:
        """Finished runs as rows: what is true of the first key, and what all of them made."""
        firsts = keys.take(pa.array([found.first[index] for index in chosen]))
        lasts = keys[TIME_COLUMN].take(pa.array([found.last[index] for index in chosen]))
        single = {name for role in KEYED for name in self._rules.roles.get(role, ())}
        carried = set(self._contract.events[capture.into].fields) - single
        columns: dict[str, pa.Array | pa.ChunkedArray] = {name: firsts[name] for name in (EMPLOYEE_COLUMN, *carried)}
        begin = firsts[TIME_COLUMN].cast(pa.int64()).combine_chunks()
        columns[TIME_COLUMN] = floored(begin, BUCKET_US).cast(firsts[TIME_COLUMN].type)
        columns[TYPE_COLUMN] = pa.repeat(capture.into, len(chosen))
        lasted = pc.divide(pc.subtract(lasts.cast(pa.int64()).combine_chunks(), begin), 1000)
        results = {
            "text": pa.array([found.texts[index] for index in chosen]),
            "keys": pa.array([found.keys[index] for index in chosen]),
            "edits": pa.array([found.edits[index] for index in chosen]),
            "duration_ms": pc.max_element_wise(floored(lasted, BUCKET_MS), pa.scalar(0, pa.int64())),
        }
        for name, output in capture.outputs.items():
            columns[output] = results[name]
        stated = np.ones(len(chosen), np.int8)
        rated = self._stated(keys)
        for row, index in enumerate(chosen):
            stated[row] = rated[found.first[index] : found.last[index] + 1].max()
        rows = filled(self._schema, columns, len(chosen))
        return self._short(self._rating.rated(rows, pa.array(stated)), capture.outputs["text"])

    def _stated(self, keys: pa.Table) -> npt.NDArray[np.int8]:
        (rows,) = keys.combine_chunks().to_batches()
        return np.asarray(self._rating.stated(rows).to_numpy(zero_copy_only=False))

    def _short(self, rows: pa.RecordBatch, name: str) -> pa.RecordBatch:
        """A text that is longer than its field may be does not land; cut, it could end within a secret."""
        longest = self._contract.fields[name].max_length
        long = pc.greater(pc.utf8_length(rows[name]), longest)
        self._dropped[TOO_LONG] += pc.sum(long).as_py() or 0
        index = rows.schema.get_field_index(name)
        return rows.set_column(index, name, pc.if_else(long, pa.scalar(None, pa.string()), rows[name]))

    def _content(self, rows: pa.RecordBatch) -> pa.RecordBatch:
        """Every text of every row, whatever the field is called."""
        strings = {name: rows[name] for name in self._strings if rows[name].null_count < rows.num_rows}
        if not strings or self._screen is None:
            return rows
        screened = self._screen.apply(strings)
        self.masked.update(screened.counts)
        before, levels = rows[SENSITIVITY_COLUMN], []
        for name in strings:
            text, level = screened.columns[name], screened.sensitivities[name]
            ceiling = self._rules.ceilings.get(name, 4)
            if ceiling < 4:
                text, level = self._below(name, text, level, ceiling)
            index = rows.schema.get_field_index(name)
            rows = rows.set_column(index, rows.schema.field(index), text)
            if level.null_count < len(level):
                levels.append(level)
        if not levels:
            return rows
        index = rows.schema.get_field_index(SENSITIVITY_COLUMN)
        raised = pc.max_element_wise(before, *levels, skip_nulls=True)
        return rows.set_column(index, rows.schema.field(index), raised.cast(pa.int8()))

    def _below(self, name: str, text: pa.Array, level: pa.Array, ceiling: int) -> tuple[pa.Array, pa.Array]:
        """What is more sensitive than the field may be is more than the contract describes."""
        above = pc.fill_null(pc.greater(level, ceiling), False)
        breached = int(pc.sum(above).as_py() or 0)
        if not breached:
            return text, level
        self.breaches[name] += breached
        self._dropped["ceiling"] += breached
        return pc.if_else(above, pa.scalar(None, text.type), text), pc.if_else(above, pa.scalar(1, level.type), level)


def _kind(said: str) -> int:
    """Position in ``KINDS`` of a kind that may not land; beyond them for text."""
    return {"text": len(KINDS), "password": 1, "secure": 2}.get(said, 0)


def within(seconds: float, work: Callable[[], T]) -> T:
    """The result of ``work``, in a thread of its own so that one that hangs can be given up.

    Raises:
        FilterFailedError: it failed or took longer; says nothing of what it worked on.
    """
    results: list[T] = []
    failures: list[BaseException] = []

    def attempt() -> None:
        try:
            results.append(work())
        except BaseException as error:  # noqa: BLE001 - told to who waits
            failures.append(error)

    thread = threading.Thread(target=attempt, name="landing-filter", daemon=True)
    thread.start()
    thread.join(seconds)
    if results:
        return results[0]
    if failures and isinstance(failures[0], LakeError | KeysError):
        raise failures[0]
    complaint = "failed" if failures else f"took longer than {seconds:g} s"
    raise FilterFailedError(
        f"the filter {complaint}; nothing of the batch landed", hint="send the batch again"
    ) from None
