"""Key-by-key logs of typing: ``participant, seq, t_down_ms, t_up_ms, vk, value, pos, doclen``.

Makes of each key its class and its timing. Which key it was (``vk``, ``value``) stays in columns of its own under the
names of the file, so that it lands only under a contract that names them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pyarrow as pa

from lake.clear.arrow_schema import TIMESTAMP, incoming_schema
from lake.clear.landing.readers.convert import Rows, assemble, from_text
from lake.clear.landing.readers.csv_rows import Table, tables
from lake.clear.landing.readers.inputs import Input
from lake.rules.contract import Contract
from lake.rules.model import EMPLOYEE_COLUMN, TIME_COLUMN, TYPE_COLUMN

COLUMNS = ("participant", "seq", "t_down_ms", "t_up_ms", "vk", "value", "pos", "doclen")
GAP_BUCKET_MS = 50
"""Gaps between keys are kept this coarse: exact ones identify a person and give away the length of a password."""

MAX_DAYS = 3650
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

EDIT = frozenset({"VK_BACK", "VK_DELETE", "VK_INSERT"})
NAVIGATION = frozenset({"VK_LEFT", "VK_RIGHT", "VK_UP", "VK_DOWN", "VK_HOME", "VK_END", "VK_PRIOR", "VK_NEXT"})
MODIFIER = frozenset(f"VK_{side}{key}" for side in ("", "L", "R") for key in ("SHIFT", "CONTROL", "MENU", "WIN")) | {
    "VK_CAPITAL",
    "VK_NUMLOCK",
}
SPACE = frozenset({"VK_SPACE", "VK_RETURN", "VK_TAB"})


def key_class(vk: str, value: str) -> str:
    """One of letter, digit, punct, space, edit, nav, modifier, other.

    Args:
        vk: name of a Windows virtual key; anything else when the key has none.
        value: the character that it wrote, if any; it decides where the key alone does not.
    """
    for name, keys in (("edit", EDIT), ("nav", NAVIGATION), ("modifier", MODIFIER), ("space", SPACE)):
        if vk in keys:
            return name
    written = value or vk.removeprefix("VK_")
    if len(written) != 1:
        return "punct" if vk.startswith("VK_OEM_") else "other"
    if written.isalpha():
        return "letter"
    if written.isdigit():
        return "digit"
    return "space" if written.isspace() else "punct"


class KeylogSource:
    """Keys of a log. Times in the file are relative; a participant's first key is placed at ``session_start``."""

    def __init__(self, source: Input, contract: Contract) -> None:
        self._source = source
        self._contract = contract
        self._start = (source.options.session_start.replace(tzinfo=UTC) - EPOCH) // timedelta(microseconds=1)
        self._first: dict[str, int] = {}
        self._last: dict[str, int] = {}
        self.schema = incoming_schema(contract)
        self.dropped: Counter[str] = Counter()

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        with self._source.text() as data:
            for table in tables(self._source, data, expected=COLUMNS):
                yield self._batch(table)

    def _batch(self, table: Table) -> pa.RecordBatch:
        places = Rows(self._source, table.numbers)
        text = table.columns
        people = text["participant"].to_pylist()
        down = places.fit(text["t_down_ms"], "t_down_ms", pa.int64(), from_text).to_pylist()
        up = places.fit(text["t_up_ms"], "t_up_ms", pa.int64(), from_text).to_pylist()
        keys = zip(text["vk"].to_pylist(), text["value"].to_pylist(), strict=True)
        timed = [self._time(places, row, *key) for row, key in enumerate(zip(people, down, up, strict=True))]
        found = {
            EMPLOYEE_COLUMN: text["participant"],
            TIME_COLUMN: pa.array([moment for moment, _ in timed], pa.int64()).cast(TIMESTAMP),
            TYPE_COLUMN: pa.array(["key"] * len(people)),
            "key_class": pa.array([key_class(vk, value) for vk, value in keys], pa.string()),
            "hold_ms": pa.array([end - begin for begin, end in zip(down, up, strict=True)], pa.int64()),
            "gap_bucket_ms": pa.array([gap for _, gap in timed], pa.int64()),
        }
        for name in ("seq", "pos", "doclen", "vk", "value"):
            found[name] = text[name]
        return assemble(places, found, self._contract, len(people))

    def _time(self, places: Rows, row: int, who: str, down: int, up: int) -> tuple[int, int | None]:
        """Microseconds since 1970 and the bucket of the gap to the key before; null for a first or late key."""
        elapsed = down - self._first.setdefault(who, down)
        if not 0 <= elapsed <= MAX_DAYS * 86_400_000:
            raise places.misfit(row, "t_down_ms", "no earlier than the first key, and within ten years of it")
        if not 0 <= up - down <= MAX_DAYS * 86_400_000:
            raise places.misfit(row, "t_up_ms", "no earlier than t_down_ms")
        gap = down - self._last[who] if who in self._last else -1
        self._last[who] = down
        return self._start + elapsed * 1000, gap // GAP_BUCKET_MS * GAP_BUCKET_MS if gap >= 0 else None
