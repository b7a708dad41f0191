"""An expression asked of many texts at once: they stand one behind another, and one automaton goes through all of them.

An automaton is built while it reads, and kept. To ask text by text costs a call for each; to ask Arrow costs a new
automaton for each batch, which is more than the reading.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lake.clear.landing.content.detector import compiled

MEMORY = 8 << 20
"""What the automaton of one expression may grow to, in bytes: RE2's own default. Beyond it, it begins anew."""
BREAK = "\n\0\n"
"""Between two texts: the end of a line and the begin of one, and no part of a value (see FILLER) or of white space."""


_TAIL = re.compile(r"(?<!\\)\{(\d+),\d*\}(\)*)$")


class Batch:
    """Texts one behind another.

    Attributes:
        texts: without nulls.
        joined: their UTF-8 bytes, a break behind each.
        starts: where each begins in ``joined``.
        ends: where its break begins.
    """

    __slots__ = ("ends", "joined", "starts", "texts")

    def __init__(self, texts: pa.StringArray) -> None:
        self.texts = texts
        closed = pc.binary_join_element_wise(texts, "", BREAK)
        _, offsets, data = closed.buffers()
        bounds = np.frombuffer(offsets, np.int32, len(texts) + 1, closed.offset * 4) if len(texts) else np.zeros(1, int)
        self.joined = data[: bounds[-1]].to_pybytes() if data is not None else b""
        self.starts: list[int] = bounds[:-1].tolist()
        self.ends: list[int] = (bounds[1:] - len(BREAK)).tolist()

    def __len__(self) -> int:
        return len(self.starts)

    def __getitem__(self, row: int) -> bytes:
        return self.joined[self.starts[row] : self.ends[row]]

    def row(self, position: int) -> int:
        """The text in which, or in whose break, a byte of ``joined`` is."""
        return bisect_right(self.starts, position) - 1

    def take(self, rows: Sequence[int]) -> Batch:
        """Some of the texts."""
        return Batch(self.texts.take(pa.array(rows, pa.int32())))


class Expression:
    """A linear-time expression that says in which texts there is something to look at."""

    def __init__(self, pattern: str) -> None:
        self.pattern = pattern
        # Begin and end of a text are begin and end of a line here, so that no match is lost; those of other lines of a
        # text match too, and so may what goes over a break.
        lines = pattern.replace(r"\z", "$").replace(r"\A", "^")
        # As many as are needed at the end are enough; those that may follow would need a state of the automaton each.
        lines = _TAIL.sub(r"{\1}\2", lines)
        self._compiled = compiled(f"(?m:{lines})", captures=False, memory=MEMORY)

    def rows(self, batch: Batch) -> list[int]:
        """The texts that it matches anywhere, in order; now and then one more, never one less."""
        search, joined, starts, ends = self._compiled.search, batch.joined, batch.starts, batch.ends
        found: list[int] = []
        position, last = 0, len(starts) - 1
        while (match := search(joined, position)) is not None:
            start = match.start()
            row = batch.row(start)
            if start < ends[row]:
                found.append(row)
            if row == last:
                break
            position = starts[row + 1]
        return found


class Frequent(Expression):
    """A short expression that matches in many texts, which Arrow asks faster: a match costs it nothing."""

    def rows(self, batch: Batch) -> list[int]:
        """The texts that it matches anywhere, in order."""
        found: list[int] = np.flatnonzero(pc.match_substring_regex(batch.texts, self.pattern)).tolist()
        return found
