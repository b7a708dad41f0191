"""Writing generated rows in the forms that readers take. Only ever for rows that were made up."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq


def write_rows(reader: pa.RecordBatchReader, sink: BinaryIO, kind: str, progress: Callable[[int], None]) -> None:
    """Write a stream as Arrow IPC, Parquet or NDJSON."""
    if kind == "ndjson":
        for batch in reader:
            for row in batch.to_pylist():
                present = {name: value for name, value in row.items() if value is not None}
                sink.write(json.dumps(present, default=_text, ensure_ascii=False).encode() + b"\n")
            progress(batch.num_rows)
        return
    writer: Any
    if kind == "arrow":
        writer = pa.ipc.new_stream(sink, reader.schema)
    else:
        writer = pq.ParquetWriter(sink, reader.schema, compression="zstd")
    with writer:
        for batch in reader:
            writer.write_batch(batch)
            progress(batch.num_rows)


def _text(value: object) -> str:
    if isinstance(value, datetime):
        return value.replace(tzinfo=UTC).isoformat()
    return str(value)
