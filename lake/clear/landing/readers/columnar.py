"""Parquet and Arrow IPC files. Every batch is validated in full before a value is looked at: offsets in a hostile file
may point anywhere.

Memory is bounded by the largest row group (Parquet) or record batch (Arrow) that the writer made, not by the file.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from lake.clear.arrow_schema import incoming_schema
from lake.clear.landing.readers.convert import Rows, assemble, from_arrow
from lake.clear.landing.readers.inputs import Input, Unclosed
from lake.errors import UsageError
from lake.rules.contract import Contract

IPC_FILE_MAGIC = b"ARROW1"
IPC_END = b"\xff\xff\xff\xff\x00\x00\x00\x00"
"""What a finished Arrow stream ends with (Arrow columnar format, "IPC Streaming Format")."""


class ColumnarSource:
    """Rows of a Parquet file, or of an Arrow file or stream."""

    def __init__(self, source: Input, contract: Contract, *, parquet: bool) -> None:
        self._source = source
        self._contract = contract
        self._read = _parquet if parquet else _arrow
        self._kind = "Parquet" if parquet else "Arrow"
        self.schema = incoming_schema(contract)
        self.dropped: Counter[str] = Counter()

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        with self._source.raw() as raw, self._damage():
            first = 1
            for whole in self._read(raw, self._source):
                whole.validate(full=True)
                for start in range(0, whole.num_rows, self._source.options.batch_rows):
                    batch = whole.slice(start, self._source.options.batch_rows)
                    yield self._batch(batch, first)
                    first += batch.num_rows

    @contextmanager
    def _damage(self) -> Iterator[None]:
        try:
            yield
        except (pa.ArrowException, OSError, ValueError, EOFError, MemoryError, OverflowError):
            raise self._source.malformed(
                f"not a whole {self._kind} file", hint="it is damaged, cut off or of another format; send it again"
            ) from None

    def _batch(self, batch: pa.RecordBatch, first: int) -> pa.RecordBatch:
        names = batch.schema.names
        if len(set(names)) != len(names):
            raise self._source.malformed("a column stands here twice", hint="give each column a name of its own")
        places = Rows(self._source, range(first, first + batch.num_rows), "row")
        found = {}
        for name, column in zip(names, batch.columns, strict=True):
            index = self.schema.get_field_index(name)
            fits = index >= 0
            found[name] = places.fit(column, name, self.schema.field(index).type, from_arrow) if fits else column
        return assemble(places, found, self._contract, batch.num_rows)


def _parquet(raw: BinaryIO, source: Input) -> Iterator[pa.RecordBatch]:
    if not raw.seekable():
        raise UsageError("a Parquet file cannot be read from a pipe", hint="write it to a file, or send Arrow")
    with pq.ParquetFile(
        pa.PythonFile(Unclosed(raw), mode="r"), page_checksum_verification=True, pre_buffer=False
    ) as file:
        yield from file.iter_batches(batch_size=source.options.batch_rows, use_threads=False)


def _arrow(raw: BinaryIO, source: Input) -> Iterator[pa.RecordBatch]:
    """Batches of either form of Arrow IPC; a stream without its end mark was cut off."""
    head = raw.read(len(IPC_FILE_MAGIC))
    if head == IPC_FILE_MAGIC:
        if not raw.seekable():
            raise UsageError("an Arrow file cannot be read from a pipe", hint="send it in the streaming form")
        raw.seek(0)
        with pa.ipc.open_file(pa.PythonFile(Unclosed(raw), mode="r")) as file:
            for index in range(file.num_record_batches):
                yield file.get_batch(index)
        return
    stream = _Remembering(raw, head)
    with pa.ipc.open_stream(pa.PythonFile(stream, mode="r")) as batches:
        yield from batches
    if stream.tail != IPC_END:
        raise source.malformed("the Arrow stream has no end", hint="it was cut off; send it again")


class _Remembering(Unclosed):
    """A stream of which ``head`` was read already; it remembers its last bytes."""

    def __init__(self, stream: BinaryIO, head: bytes) -> None:
        super().__init__(stream)
        self._head = head
        self.tail = b""

    def read(self, size: int = -1) -> bytes:
        """See io.RawIOBase."""
        data, self._head = (self._head, b"") if size < 0 else (self._head[:size], self._head[size:])
        data += super().read(size - len(data) if size >= 0 else -1)
        self.tail = (self.tail + data[-len(IPC_END) :])[-len(IPC_END) :]
        return data

    def seekable(self) -> bool:
        """No: only forwards."""
        return False
