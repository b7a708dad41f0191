"""ActivityWatch exports: ``{"buckets": {NAME: {"type": ..., "events": [...]}}}``, read as a stream.

Of a visited page only the host is taken; path, query and private tabs never leave this file. Of what an event holds
beyond the known keys only its presence is kept.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import ijson
import pyarrow as pa

from lake.clear.arrow_schema import incoming_schema
from lake.clear.landing.readers.convert import Rows, from_rows
from lake.clear.landing.readers.inputs import Input
from lake.clear.landing.readers.json_tree import Tree
from lake.errors import MalformedInputError, UsageError
from lake.rules.activitywatch import KINDS, fields_of, milliseconds
from lake.rules.contract import Contract
from lake.rules.model import EMPLOYEE_COLUMN, TIME_COLUMN, TYPE_COLUMN

Event = dict[str, Any]


_SHAPE = 'expected {"buckets": {name: {"type": ..., "events": [...]}}}, type before events'
"""Said with every complaint about the form of an export."""


class ActivityWatchSource:
    """Events of an export; rows are numbered as the events of the file."""

    def __init__(self, source: Input, contract: Contract) -> None:
        if source.options.employee is None:
            raise UsageError("an ActivityWatch export does not say whose it is", hint="name the employee")
        self._source = source
        self._contract = contract
        self.schema = incoming_schema(contract)
        self.dropped: Counter[str] = Counter()

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        numbers, rows = list[int](), list[Event]()
        with self._source.text() as data, self._damage():
            tree = Tree(self._source, data)
            for number, (bucket, event) in enumerate(_events(tree), 1):
                row = self._row(bucket, event, number)
                if row is None:
                    continue
                numbers.append(number)
                rows.append(row)
                if len(rows) >= self._source.options.batch_rows:
                    yield self._batch(numbers, rows)
                    numbers, rows = [], []
        if rows:
            yield self._batch(numbers, rows)

    @contextmanager
    def _damage(self) -> Iterator[None]:
        try:
            yield
        except (ijson.JSONError, ValueError, OverflowError):
            raise self._source.malformed("not a whole ActivityWatch export", hint=_SHAPE) from None

    def _row(self, bucket: str | None, event: Any, number: int) -> Event | None:
        """The fields of an event that stays, else None and a count."""
        if not isinstance(event, dict) or not isinstance(event.get("data"), dict):
            raise self._misfit(number, "data", "each event has timestamp, duration and data")
        kind = KINDS.get(bucket or "")
        if kind is None:
            self.dropped["activitywatch:unknown_bucket_type"] += 1
            return None
        reason, fields, unknown = fields_of(bucket or "", event["data"])
        if reason:
            self.dropped[f"activitywatch:{reason}"] += 1
            return None
        row: Event = {
            EMPLOYEE_COLUMN: self._source.options.employee,
            TIME_COLUMN: event.get("timestamp"),
            TYPE_COLUMN: kind.type,
            "seq": event.get("id"),
            "duration_ms": self._milliseconds(event.get("duration"), number),
            **fields,
        }
        row.update((f"data.{key}", True) for key in unknown)
        return row

    def _milliseconds(self, seconds: Any, number: int) -> int | None:
        try:
            return milliseconds(seconds)
        except ValueError:
            raise self._misfit(number, "duration_ms", "a duration in seconds is expected") from None

    def _misfit(self, number: int, field: str, expected: str) -> MalformedInputError:
        return Rows(self._source, (number,), "event").misfit(0, field, expected)

    def _batch(self, numbers: list[int], rows: list[Event]) -> pa.RecordBatch:
        return from_rows(Rows(self._source, numbers, "event"), rows, self._contract)


def _events(tree: Tree) -> Iterator[tuple[str | None, Any]]:
    """Bucket type and event of every event in the file."""
    buckets = False
    for key in tree.members():
        if key != "buckets":
            tree.skip()
            continue
        buckets = True
        for _ in tree.members():
            kind: Any = None
            for part in tree.members():
                if part == "events":
                    if not isinstance(kind, str):
                        raise ValueError
                    for event in tree.items():
                        yield kind, event
                elif part == "type":
                    kind = tree.value()
                else:
                    tree.skip()
    tree.end()
    if not buckets:
        raise ValueError
