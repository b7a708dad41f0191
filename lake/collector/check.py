"""An event held against its contract before it is stored: what the contract does not name never leaves the machine.

The lake refuses a whole batch for one value that does not fit; here that one event is left out and counted.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from lake.clock import parse_timestamp
from lake.collector.context import Context
from lake.rules.contract import Contract, EventType, Field, FieldType
from lake.rules.model import EMPLOYEE_COLUMN, SENSITIVITY_COLUMN, TIME_COLUMN, TYPE_COLUMN

UNKNOWN_TYPE, UNKNOWN_FIELD, MISPLACED = "unknown_event_type", "unknown_field", "field_not_of_event"
MALFORMED = "malformed"
_BITS = {FieldType.INT32: 31, FieldType.INT64: 63}
_OURS = frozenset({EMPLOYEE_COLUMN, TIME_COLUMN})
"""Who it was and when is not for the source of an event to say."""


class Checker:
    """Checks the events of one contract; may be shared by threads."""

    def __init__(self, contract: Contract) -> None:
        self.contract = contract
        self._context = Context(contract)
        self._seq = contract.rules.one("seq")
        self._key = contract.rules.one("key")

    def check(self, event: Mapping[str, Any]) -> tuple[dict[str, Any] | None, Counter[str]]:
        """The fields that may be stored with their ``type``, or None; and what was left out, by reason."""
        dropped: Counter[str] = Counter()
        spec = self.contract.events.get(str(event.get(TYPE_COLUMN)))
        if spec is None:
            dropped[UNKNOWN_TYPE] += 1
            return None, dropped
        fields = self._fields(spec, event, dropped)
        if fields is None or not self._complete(spec, fields):
            dropped[MALFORMED] += 1
            return None, dropped
        reason = self._context.refuses(spec, fields)
        if reason:
            dropped[reason] += 1
            return None, dropped
        rated = event.get(SENSITIVITY_COLUMN)
        rating = {SENSITIVITY_COLUMN: rated} if isinstance(rated, int) and 1 <= rated <= 4 else {}
        return {TYPE_COLUMN: spec.name, **fields, **rating}, dropped

    def unnumbered(self, row: Mapping[str, Any]) -> str | None:
        """The field that is to take the number of a key event; None if it is none, or has one."""
        spec = self.contract.events[row[TYPE_COLUMN]]
        if self._seq is None or self._key not in spec.fields or self._seq not in spec.fields or self._seq in row:
            return None
        return self._seq

    def _fields(self, spec: EventType, event: Mapping[str, Any], dropped: Counter[str]) -> dict[str, Any] | None:
        found: dict[str, Any] = {}
        for name, value in event.items():
            if value is None or name in {TYPE_COLUMN, SENSITIVITY_COLUMN} or name in _OURS:
                continue
            if name not in self.contract.fields:
                dropped[UNKNOWN_FIELD] += 1
            elif name not in spec.fields:
                dropped[MISPLACED] += 1
            else:
                fitted = fit(self.contract.fields[name], value)
                if fitted is None:
                    return None
                found[name] = fitted
        return found

    def _complete(self, spec: EventType, fields: Mapping[str, Any]) -> bool:
        given = {*fields, *([self._seq] if self._seq and self._key in spec.fields else ())}
        return spec.required <= given


def fit(spec: Field, value: Any) -> Any:
    """A value as it is sent; None if the field may not hold it."""
    if spec.type is FieldType.STRING:
        return value if isinstance(value, str) and _is_text(value, spec) else None
    if spec.type is FieldType.BOOLEAN:
        return value if isinstance(value, bool) else None
    if spec.type is FieldType.TIMESTAMP:
        return _moment(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return _number(spec, value)


def _number(spec: Field, value: float) -> float | None:
    if spec.type is FieldType.FLOAT64:
        if isinstance(value, int) and abs(value) > 2**53:
            return None
        number = float(value)
        if not math.isfinite(number):
            return None
    else:
        if value != value or value in {math.inf, -math.inf} or value != int(value):  # noqa: PLR0124 - NaN
            return None
        number = int(value)
        if not -(2 ** _BITS[spec.type]) <= number < 2 ** _BITS[spec.type]:
            return None
    inside = (spec.minimum is None or number >= spec.minimum) and (spec.maximum is None or number <= spec.maximum)
    return number if inside else None


def _is_text(value: str, spec: Field) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return spec.max_length is None or len(value) <= spec.max_length


def _moment(value: Any) -> str | None:
    try:
        if isinstance(value, str) and datetime.fromisoformat(value).tzinfo is not None:
            return parse_timestamp(value).isoformat()
        if isinstance(value, datetime) and value.tzinfo is not None:
            return value.isoformat()
    except (ValueError, OverflowError):
        pass
    return None
