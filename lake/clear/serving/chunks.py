"""Parts of a slice on their way: some batches together, in shared memory if another process is to read them.

That memory is anonymous, on no disk, and sealed so that no sandbox can change what another reads.
"""

from __future__ import annotations

import fcntl
import os
import weakref
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TypeVar

import pyarrow as pa

from lake.clear.reading.plan import Source
from lake.clear.sandbox.mapping import mapped

FIRST_BYTES, MOST_BYTES = 256 << 10, 8 << 20
"""How much is gathered before it is handed over: little at first, so that the first row comes soon."""

_Tag = TypeVar("_Tag")
_SEALS = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL


@dataclass(frozen=True, slots=True)
class Gathered:
    """Batches that go on together, and whose rows they hold."""

    schema: pa.Schema
    rows: list[pa.RecordBatch]
    touched: Mapping[Source, int]
    size: int

    def batches(self) -> Iterator[pa.RecordBatch]:
        """The rows."""
        return iter(self.rows)

    @property
    def descriptors(self) -> int:
        """That it takes."""
        return 0

    def shared(self) -> Chunk:
        """The same in shared memory."""
        return Chunk(self)


class Chunk:
    """An Arrow IPC stream behind a descriptor, which goes when nothing refers to the chunk any more."""

    descriptors = 1

    def __init__(self, gathered: Gathered) -> None:
        self.touched = gathered.touched
        self._rows: list[pa.RecordBatch] | None = None
        self.descriptor = os.memfd_create("slice", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        weakref.finalize(self, os.close, self.descriptor)
        with os.fdopen(os.dup(self.descriptor), "wb", buffering=0) as file:
            with pa.ipc.new_stream(pa.PythonFile(file, "w"), gathered.schema) as writer:
                for batch in gathered.rows:
                    writer.write_batch(batch)
            self.size = file.tell()
        fcntl.fcntl(self.descriptor, fcntl.F_ADD_SEALS, _SEALS)

    def batches(self) -> Iterator[pa.RecordBatch]:
        """The rows, where they lie; for this process, which maps them once."""
        if self._rows is None:
            with pa.ipc.open_stream(mapped(os.dup(self.descriptor), self.size)) as reader:
                self._rows = list(reader)
        return iter(self._rows)

    def shared(self) -> Chunk:
        """Itself."""
        return self


Part = Gathered | Chunk
"""What is handed over, and may be kept."""


def pieces(tagged: Iterable[tuple[_Tag, pa.RecordBatch]]) -> Iterator[tuple[Counter[_Tag], pa.RecordBatch]]:
    """Batches as they come, each with how many rows of it are whose."""
    for tag, batch in tagged:
        yield Counter({tag: batch.num_rows}), batch
        del batch


def cut(tagged: Iterable[tuple[_Tag, pa.RecordBatch]], rows: int) -> Iterator[tuple[Counter[_Tag], pa.RecordBatch]]:
    """The same rows in batches of exactly so many, but for the last."""
    waiting: list[pa.RecordBatch] = []
    whose: Counter[_Tag] = Counter()
    have = 0
    for tag, batch in tagged:
        start = 0
        while start < batch.num_rows:
            taken = min(rows - have, batch.num_rows - start)
            waiting.append(batch.slice(start, taken))
            whose[tag] += taken
            have, start = have + taken, start + taken
            if have == rows:
                full, waiting = _one(waiting), []
                yield whose, full
                del full
                whose, have = Counter(), 0
        del batch
    if waiting:
        yield whose, _one(waiting)


def _one(batches: list[pa.RecordBatch]) -> pa.RecordBatch:
    return batches[0] if len(batches) == 1 else pa.concat_batches(batches)


def gathered(
    schema: pa.Schema,
    batches: Iterable[tuple[Counter[Source], pa.RecordBatch]],
    most: Callable[[], int] = lambda: MOST_BYTES,
) -> Iterator[Gathered]:
    """Gather batches; each part knows whose rows are in it.

    Args:
        most: bytes at which a part is complete, asked after each.
    """
    waiting: list[pa.RecordBatch] = []
    touched: Counter[Source] = Counter()
    size, wanted = 0, FIRST_BYTES
    for whose, batch in batches:
        waiting.append(batch)
        touched.update(whose)
        size += batch.nbytes
        del batch
        if size >= wanted:
            part, waiting = waiting, []
            yield Gathered(schema, part, touched, size)
            del part
            touched, size, wanted = Counter(), 0, min(wanted * 4, most())
    if waiting:
        yield Gathered(schema, waiting, touched, size)
