"""Columns as found to columns of the contract's types, where nothing is lost; a complaint names row and field only.

What is not exactly representable is refused, never rounded or guessed. The one exception is time finer than a
microsecond, which is cut.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import chain
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lake.clear.arrow_schema import TIMESTAMP, incoming_schema
from lake.clear.landing.readers.inputs import Input
from lake.clear.landing.readers.options import MAX_COLUMNS
from lake.errors import MalformedInputError
from lake.rules.contract import Contract
from lake.rules.model import EMPLOYEE_COLUMN

EXPECTED = {
    pa.string(): "text is expected",
    pa.bool_(): "true or false is expected",
    pa.int32(): "a whole number of at most 32 bits is expected",
    pa.int64(): "a whole number of at most 64 bits is expected",
    pa.float64(): "a finite number is expected",
    TIMESTAMP: "a time with an offset is expected, such as 2026-07-01T09:00:00Z",
}

FROM_PYTHON: dict[pa.DataType, frozenset[type]] = {
    pa.string(): frozenset({str}),
    pa.bool_(): frozenset({bool}),
    pa.int32(): frozenset({int, float}),
    pa.int64(): frozenset({int, float}),
    pa.float64(): frozenset({int, float}),
    TIMESTAMP: frozenset({str}),
}
"""Which values of JSON may become which type; a whole number may be written 5.0."""

RFC3339 = r"^\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)$"
WHOLE = r"^[+-]?\d+$"
DECIMAL = r"^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$"
WHOLE_BYTES, DECIMAL_BYTES = b"0123456789-", b"0123456789-.eE"
"""Of these bytes Arrow parses nothing as a number that the patterns refuse, so that the patterns need not be tried."""

BOOLEANS = {"true": True, "false": False, "1": True, "0": False}
_FIRST_TIME = pa.scalar(datetime(1, 1, 1, tzinfo=UTC), TIMESTAMP)
_LAST_TIME = pa.scalar(datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC), TIMESTAMP)
_TO_MICROSECONDS = {"unix_s": 1e6, "unix_ms": 1e3}

CACHED_ROWS = 2048

REFUSALS = (pa.ArrowException, ValueError, OverflowError, TypeError)
"""What a conversion raises when a value does not fit; the text may quote the value and is never passed on."""


@dataclass(frozen=True, slots=True)
class Rows:
    """Where the rows of a batch stand: ``numbers[i]`` is the line (or row, from 1) of row ``i``."""

    source: Input
    numbers: Sequence[int]
    unit: str = "line"

    def misfit(self, index: int, field: str, expected: str) -> MalformedInputError:
        """The error for one value."""
        number = self.numbers[index]
        details: dict[str, str | int] = {"file": self.source.name, self.unit: number, "field": field}
        message = f"{self.source.name}, {self.unit} {number}: the field {field!r} does not fit"
        return MalformedInputError(message, hint=expected, **details)

    def fit(self, values: Any, field: str, target: pa.DataType, attempt: Callable[[Any, pa.DataType], Any]) -> Any:
        """``attempt(values, target)``, or the error for the first row on which it fails.

        Args:
            values: an Arrow array or a list, one value for each row.
        """
        try:
            return attempt(values, target)
        except REFUSALS:
            low, high = 0, len(values)
        while high - low > 1:
            middle = (low + high) // 2
            try:
                attempt(values[low:middle], target)
            except REFUSALS:
                high = middle
            else:
                low = middle
        raise self.misfit(low, field, EXPECTED[target])


def from_python(values: list[Any], target: pa.DataType) -> pa.Array:
    """Values of parsed JSON. Raises one of ``REFUSALS``."""
    found = set(map(type, values)) - {type(None)}
    if not found <= FROM_PYTHON[target]:
        raise TypeError
    if float in found and target != pa.float64():
        # Arrow would cut 5.5 to 5 without a word.
        values = [_whole(value) if isinstance(value, float) else value for value in values]
    if target == TIMESTAMP:
        return rfc3339(pa.array(values, pa.string()))
    return _finite(pa.array(values, target))


def from_text(values: pa.Array, target: pa.DataType) -> pa.Array:
    """Fields of a CSV file. Raises one of ``REFUSALS``."""
    if target == pa.string():
        return values
    if target == TIMESTAMP:
        return rfc3339(values)
    if target == pa.bool_():
        return each_distinct(values, _boolean, target)
    if target == pa.float64():
        _require(_holds_only(values, DECIMAL_BYTES) or _all_match(values, DECIMAL))
    else:
        _require(_holds_only(values, WHOLE_BYTES) or _all_match(values, WHOLE))
    return _finite(values.cast(target))


def each_distinct(values: pa.Array, convert: Callable[[str], object], target: pa.DataType) -> pa.Array:
    """``convert`` of each text, called once for each distinct one; null stays null. Raises what it raises."""
    coded = values.dictionary_encode()
    return pa.array([convert(text) for text in coded.dictionary.to_pylist()], target).take(coded.indices)


def from_arrow(values: pa.Array, target: pa.DataType) -> pa.Array:
    """A column of a Parquet or Arrow file. Raises one of ``REFUSALS``."""
    if pa.types.is_dictionary(values.type):
        values = values.dictionary_decode()
    found = values.type
    if pa.types.is_null(found):
        return values.cast(target)
    text = pa.types.is_string(found) or pa.types.is_large_string(found) or pa.types.is_string_view(found)
    number = pa.types.is_integer(found) or pa.types.is_floating(found)
    if target == TIMESTAMP:
        return rfc3339(values.cast(pa.string())) if text else _instants(values)
    fits = {pa.string(): text, pa.bool_(): pa.types.is_boolean(found)}
    if not fits.get(target, number):
        raise TypeError
    return _finite(values.cast(target))


def _instants(values: pa.Array) -> pa.Array:
    """Arrow timestamps. A zone only says how to show an instant; without one, the time is UTC already."""
    if not pa.types.is_timestamp(values.type):
        raise TypeError
    exact = values.type.unit != "ns"
    return _in_range(values.cast(pa.timestamp("us", values.type.tz), safe=exact).cast(TIMESTAMP))


def rfc3339(values: pa.Array) -> pa.Array:
    """Texts with an offset to naive UTC. Raises one of ``REFUSALS``."""
    _require(_all_match(values, RFC3339))
    try:
        moments = values.cast(pa.timestamp("us", "UTC"))
    except pa.ArrowInvalid:
        cut = pc.replace_substring_regex(pc.utf8_upper(values), r"(\.\d{6})\d+", r"\1")
        moments = cut.cast(pa.timestamp("us", "UTC"))
    return _in_range(moments.cast(TIMESTAMP))


def times(form: str) -> Callable[[pa.Array, pa.DataType], pa.Array]:
    """How to read times of one form of a CSV mapping; the result raises one of ``REFUSALS``."""

    def read(values: pa.Array, target: pa.DataType) -> pa.Array:
        if form == "iso":
            return rfc3339(values)
        if form == "unix_us":
            return _in_range(from_text(values, pa.int64()).cast(target))
        if form in _TO_MICROSECONDS:
            scaled = pc.multiply(from_text(values, pa.float64()), _TO_MICROSECONDS[form])
            return _in_range(pc.round(scaled).cast(pa.int64()).cast(target))
        return each_distinct(values, lambda text: _strptime(text, form), target)

    return read


def from_rows(places: Rows, rows: list[dict[str, Any]], contract: Contract) -> pa.RecordBatch:
    """Parsed objects as a batch. Of fields that the contract does not name it keeps true where there was a value.

    Raises:
        MalformedInputError: a value does not fit, or more than ``MAX_COLUMNS`` unknown fields.
    """
    known = incoming_schema(contract)
    names = dict.fromkeys(chain.from_iterable(rows))
    _bound(places, len(names.keys() - set(known.names)))
    found: dict[str, pa.Array] = {}
    for name, values in _transposed(rows, names).items():
        index = known.get_field_index(name)
        if index >= 0:
            found[name] = places.fit(values, name, known.field(index).type, from_python)
        else:
            # JSON can escape half a surrogate pair, which no column name can hold.
            storable = name.encode("utf-8", "backslashreplace").decode()
            found[storable] = pa.array([None if value is None else True for value in values], pa.bool_())
    return assemble(places, found, contract, len(rows))


def _transposed(rows: list[dict[str, Any]], names: Iterable[str]) -> dict[str, list[Any]]:
    """Column by column, a portion of the rows at a time: rows in the processor's cache make it half as long."""
    columns: dict[str, list[Any]] = {name: [] for name in names}
    for start in range(0, len(rows), CACHED_ROWS):
        portion = rows[start : start + CACHED_ROWS]
        for name, values in columns.items():
            values += [row.get(name) for row in portion]
    return columns


def assemble(rows: Rows, found: Mapping[str, pa.Array], contract: Contract, count: int) -> pa.RecordBatch:
    """A batch: the contract's columns, null where ``found`` has none, then the unknown ones in their order.

    Text that is found for a field of another type is read as that type: readers whose text is text have converted it.

    Raises:
        MalformedInputError: a value does not fit, or more than ``MAX_COLUMNS`` columns.
    """
    known = incoming_schema(contract)
    unknown = [name for name in found if name not in known.names]
    _bound(rows, len(unknown))
    columns = [_known(rows, found.get(field.name), field, count) for field in known]
    owner = rows.source.options.employee
    if owner is not None:
        place = known.get_field_index(EMPLOYEE_COLUMN)
        columns[place] = pc.fill_null(columns[place], owner)
    fields = [*known, *(pa.field(name, found[name].type) for name in unknown)]
    return pa.record_batch([*columns, *(found[name] for name in unknown)], schema=pa.schema(fields))


def _bound(rows: Rows, unknown: int) -> None:
    if unknown > MAX_COLUMNS:
        raise rows.source.malformed(f"more than {MAX_COLUMNS} unknown fields", hint="keep field names to a fixed set")


def _known(rows: Rows, column: pa.Array | None, field: pa.Field, count: int) -> pa.Array:
    if column is None:
        return pa.nulls(count, field.type)
    if column.type == field.type:
        return column
    return rows.fit(column, field.name, field.type, from_text if column.type == pa.string() else from_arrow)


def _require(fits: bool) -> None:
    if not fits:
        raise ValueError


def _all_match(values: pa.Array, pattern: str) -> bool:
    return all_true(pc.match_substring_regex(values, pattern))


def _holds_only(values: pa.Array, allowed: bytes) -> bool:
    """Whether the texts, taken together, have no other bytes."""
    if not len(values):
        return True
    _, offsets, data = values.buffers()
    ends = np.frombuffer(offsets, np.int32)
    text = data[ends[values.offset] : ends[values.offset + len(values)]] if data else b""
    return not bytes(text).translate(None, allowed)


def all_true(flags: pa.BooleanArray) -> bool:
    """Whether no row is false; null rows do not count."""
    return bool(pc.all(flags, min_count=0).as_py())


def _finite(values: pa.Array) -> pa.Array:
    if pa.types.is_floating(values.type):
        _require(all_true(pc.is_finite(values)))
    return values


def _in_range(moments: pa.Array) -> pa.Array:
    """Only what Python's datetime can say, so that no later step fails on it."""
    bounds = pc.min_max(moments)
    if bounds["min"].is_valid:
        _require(pc.and_(pc.less_equal(_FIRST_TIME, bounds["min"]), pc.less_equal(bounds["max"], _LAST_TIME)).as_py())
    return moments


def _whole(value: float) -> int:
    if not value.is_integer():
        raise ValueError
    return int(value)


def _boolean(text: str) -> bool:
    if text.lower() not in BOOLEANS:
        raise ValueError
    return BOOLEANS[text.lower()]


def _strptime(text: str, form: str) -> datetime:
    moment = datetime.strptime(text, form)  # noqa: DTZ007  without %z it is UTC, as documented
    return moment if moment.tzinfo is None else moment.astimezone(UTC).replace(tzinfo=None)
