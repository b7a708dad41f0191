"""What every reader is given and what it gives back.

A reader never raises anything but a :class:`lake.errors.LakeError`, and no message of it holds a value of a row.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol

import pyarrow as pa

from lake.clear.landing.readers.mapping import CsvMapping

MAX_COLUMNS = 1000
"""Columns of a batch. Rows that each name another column would otherwise make a batch without bound."""

BATCH_BYTES = 16 << 20
"""Bytes of text after which a batch ends before it has its number of rows."""


SESSION_START = datetime(2016, 8, 1, 9, tzinfo=UTC).replace(tzinfo=None)
"""Naive UTC, a Monday morning; where recordings that have no date begin unless told otherwise."""


@dataclass(frozen=True, slots=True)
class ReadOptions:
    """How to read.

    Attributes:
        employee: whose rows these are where a row does not say so itself.
        mapping: which contract field each column of a CSV file is.
        session_start: naive UTC; where recordings with relative times begin.
        batch_rows: rows of a batch at most; a batch of long rows has fewer.
        max_bytes: bytes of a text input after decompression.
        max_line: bytes of one line, or of one value where the format has no lines.
    """

    employee: str | None = None
    mapping: CsvMapping | None = None
    session_start: datetime = SESSION_START
    batch_rows: int = 65_536
    max_bytes: int = 64 << 30
    max_line: int = 1 << 20


class Source(Protocol):
    """Rows on their way in, to be iterated once.

    Attributes:
        schema: the columns that every batch begins with: employee, ts, type and the contract's fields, with the
            contract's types, null where the input has nothing. Columns that the contract does not name follow after
            them, in those batches that have them; readers of text and JSON may keep only whether there was a value.
        dropped: reason to rows that the reader left out, complete after the last batch.
    """

    @property
    def schema(self) -> pa.Schema: ...

    @property
    def dropped(self) -> Counter[str]: ...

    def __iter__(self) -> Iterator[pa.RecordBatch]: ...
