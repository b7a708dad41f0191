"""Parts of a slice in shared memory: anonymous, on no disk, sealed so that no sandbox can change what another reads."""

from __future__ import annotations

import fcntl
import os
import weakref
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

import pyarrow as pa

from lake.clear.reading.plan import Source

FIRST_BYTES, MOST_BYTES = 256 << 10, 8 << 20
"""How much is gathered before it is handed over: little at first, so that the first row comes soon."""

_SEALS = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL


class Chunk:
    """An Arrow IPC stream behind a descriptor, which goes when nothing refers to the chunk any more."""

    def __init__(self, schema: pa.Schema, batches: Iterable[pa.RecordBatch], touched: Mapping[Source, int]) -> None:
        self.touched = touched
        self.descriptor = os.memfd_create("slice", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        weakref.finalize(self, os.close, self.descriptor)
        with os.fdopen(os.dup(self.descriptor), "wb", buffering=0) as file:
            with pa.ipc.new_stream(pa.PythonFile(file, "w"), schema) as writer:
                for batch in batches:
                    writer.write_batch(batch)
            self.size = file.tell()
        fcntl.fcntl(self.descriptor, fcntl.F_ADD_SEALS, _SEALS)


def chunks(schema: pa.Schema, tagged: Iterable[tuple[Source, pa.RecordBatch]]) -> Iterator[Chunk]:
    """Gather batches into chunks; each knows whose rows are in it."""
    gathered: list[pa.RecordBatch] = []
    touched: Counter[Source] = Counter()
    size, wanted = 0, FIRST_BYTES
    for source, batch in tagged:
        gathered.append(batch)
        touched[source] += batch.num_rows
        size += batch.nbytes
        if size >= wanted:
            yield Chunk(schema, gathered, touched)
            gathered, touched, size, wanted = [], Counter(), 0, min(wanted * 4, MOST_BYTES)
    if gathered:
        yield Chunk(schema, gathered, touched)
