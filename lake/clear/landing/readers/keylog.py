"""Key-by-key logs of typing: ``participant, seq, t_down_ms, t_up_ms, vk, value, pos, doclen``.

Makes of each key its class and its timing. Which key it was (``vk``, ``value``) stays in columns of its own under the
names of the file, so that it lands only under a contract that names them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import NoReturn

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from lake.clear.arrow_schema import TIMESTAMP, incoming_schema
from lake.clear.landing.readers.convert import Rows, assemble, from_text
from lake.clear.landing.readers.csv_rows import Table, tables
from lake.clear.landing.readers.inputs import Input
from lake.rules.contract import Contract
from lake.rules.model import EMPLOYEE_COLUMN, TIME_COLUMN, TYPE_COLUMN

Ints = npt.NDArray[np.int64]

COLUMNS = ("participant", "seq", "t_down_ms", "t_up_ms", "vk", "value", "pos", "doclen")
GAP_BUCKET_MS = 50
"""Gaps between keys are kept this coarse: exact ones identify a person and give away the length of a password."""

MAX_MS = 3650 * 86_400_000
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
        down = places.fit(text["t_down_ms"], "t_down_ms", pa.int64(), from_text)
        up = places.fit(text["t_up_ms"], "t_up_ms", pa.int64(), from_text)
        moments, gaps = self._times(places, text["participant"], down, up)
        found = {
            EMPLOYEE_COLUMN: text["participant"],
            TIME_COLUMN: moments.cast(TIMESTAMP),
            TYPE_COLUMN: pa.repeat("key", len(down)),
            "key_class": _classes(text["vk"], text["value"]),
            "hold_ms": pc.subtract(up, down),
            "gap_bucket_ms": gaps,
        }
        for name in ("seq", "pos", "doclen", "vk", "value"):
            found[name] = text[name]
        return assemble(places, found, self._contract, len(down))

    def _times(self, places: Rows, people: pa.Array, down: pa.Array, up: pa.Array) -> tuple[pa.Array, pa.Array]:
        """Microseconds since 1970 and the bucket of the gap to the key before; null for a first or late key."""
        coded = people.dictionary_encode()
        names, who = coded.dictionary.to_pylist(), coded.indices.to_numpy()
        begin, end = down.to_numpy(), up.to_numpy()
        order = np.argsort(who, kind="stable")
        at = np.searchsorted(who[order], np.arange(len(names)))
        heads, tails = order[at], order[np.append(at[1:], len(order)) - 1]
        first = np.array([self._first.get(name, begin[row]) for name, row in zip(names, heads, strict=True)], np.int64)
        if not _plausible(begin, first[who]) or not _plausible(end, begin):
            self._refuse(places, people.to_pylist(), begin.tolist(), end.tolist())
        before = np.empty_like(begin)
        before[order[1:]] = begin[order[:-1]]
        # Nobody's first key has a gap: one millisecond late is as late as it needs to be.
        before[heads] = [self._last.get(name, begin[row] + 1) for name, row in zip(names, heads, strict=True)]
        gap = begin - before
        self._first.update(zip(names, first.tolist(), strict=True))
        self._last.update(zip(names, begin[tails].tolist(), strict=True))
        moments = pa.array(self._start + (begin - first[who]) * 1000)
        return moments, pa.array(gap // GAP_BUCKET_MS * GAP_BUCKET_MS, mask=gap < 0)

    def _refuse(self, places: Rows, people: list[str], down: list[int], up: list[int]) -> NoReturn:
        """The error for the first row whose times cannot be."""
        first = dict(self._first)
        for row, (who, begin, end) in enumerate(zip(people, down, up, strict=True)):
            if not 0 <= begin - first.setdefault(who, begin) <= MAX_MS:
                raise places.misfit(row, "t_down_ms", "no earlier than the first key, and within ten years of it")
            if not 0 <= end - begin <= MAX_MS:
                raise places.misfit(row, "t_up_ms", "no earlier than t_down_ms")
        raise AssertionError("the columns were refused, and no row of them is wrong")


def _plausible(later: Ints, earlier: Ints) -> bool:
    """Whether each is at most ``MAX_MS`` after the other, computed so that no difference can wrap around."""
    low = np.minimum(earlier, np.iinfo(np.int64).max - MAX_MS)
    return bool(((later >= earlier) & (later <= low + MAX_MS) | (later == earlier)).all())


def _classes(vk: pa.Array, value: pa.Array) -> pa.Array:
    """The class of each key, decided once for each distinct pair."""
    keys, written = vk.dictionary_encode(), value.dictionary_encode()
    width = len(written.dictionary)
    pairs = pc.add(pc.multiply(keys.indices.cast(pa.int64()), width), written.indices).dictionary_encode()
    names, texts = keys.dictionary.to_pylist(), written.dictionary.to_pylist()
    found = [key_class(names[pair // width], texts[pair % width]) for pair in pairs.dictionary.to_pylist()]
    return pa.array(found, pa.string()).take(pairs.indices)
