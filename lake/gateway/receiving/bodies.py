"""Bodies of batches: bytes in memory, of a type and an encoding, read as rows within limits."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from lake.clear.landing.readers.source import ReadOptions, Source, open_source
from lake.errors import ContractBreachError
from lake.gateway.receiving.arrow_guard import check_stream
from lake.gateway.receiving.failures import TooLargeError, UnsupportedError
from lake.gateway.receiving.header import BatchHeader
from lake.gateway.receiving.limits import ReceivingLimits
from lake.rules.contract import Contract
from lake.rules.model import TIME_COLUMN

NDJSON, ARROW = "application/x-ndjson", "application/vnd.apache.arrow.stream"
_NAMES = {
    (NDJSON, ""): "batch.ndjson",
    (NDJSON, "gzip"): "batch.ndjson.gz",
    (NDJSON, "zstd"): "batch.ndjson.zst",
    (ARROW, ""): "batch.arrow",
}
BATCH_ROWS = 16_384
"""Rows that are parsed at a time: several batches are read at once."""


@dataclass(frozen=True, slots=True)
class Form:
    """What a body is; ``name`` is what messages call it."""

    name: str
    importer: str

    @classmethod
    def of(cls, content_type: str, encoding: str) -> Form:
        """The form that two headers name.

        Raises:
            UnsupportedError: none that is taken.
        """
        kind = content_type.partition(";")[0].strip().lower()
        packed = encoding.strip().lower().replace("identity", "")
        name = _NAMES.get((kind, packed))
        if name is None:
            raise UnsupportedError(
                "a body of this type and encoding is not taken", hint=f"{NDJSON}, plain, gzip or zstd, or {ARROW}"
            )
        return cls(name, "arrow" if kind == ARROW else "ndjson")


def open_body(body: pa.Buffer, form: Form, contract: Contract, limits: ReceivingLimits) -> Source:
    """The rows of a body.

    Raises:
        BatchRefusedError: what can be seen without reading rows is wrong; iterating raises it for the rest.
    """
    if form.importer == "arrow":
        check_stream(body, limits)
    options = ReadOptions(batch_rows=BATCH_ROWS, max_bytes=limits.decompressed(body.size), max_line=limits.line)
    return open_source(Path(form.name), form.importer, contract, options, stream=pa.BufferReader(body))


def within(batches: Iterator[pa.RecordBatch], header: BatchHeader, limits: ReceivingLimits) -> Iterator[pa.RecordBatch]:
    """The same, until there are more rows than a batch may have, or one outside of what the header says.

    Raises:
        TooLargeError, ContractBreachError: one of the two.
    """
    rows = 0
    for batch in batches:
        rows += batch.num_rows
        if rows > limits.rows:
            raise TooLargeError(f"more than {limits.rows} rows", hint="make smaller batches")
        if header.captured is not None and batch.num_rows:
            _check_captured(batch[TIME_COLUMN], header.captured)
        yield batch


def _check_captured(times: pa.Array, captured: tuple[datetime, datetime]) -> None:
    bounds = pc.min_max(times)
    first, last = bounds["min"].as_py(), bounds["max"].as_py()
    if first is not None and not captured[0] <= first <= last <= captured[1]:
        raise ContractBreachError("a row was captured outside of what the header says", hint="see 'captured'")
