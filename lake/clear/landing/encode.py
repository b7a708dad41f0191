"""The one place that writes data files: plaintext rows in, ciphertext out, in memory. Format: docs/formats.md.

Encryption properties are made once per attempt and never reused: a second file under the same ones would share its
AAD, and pages could be moved between the two unnoticed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from itertools import chain
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyarrow.parquet.encryption import create_encryption_properties

from keys.broker import LandingKey
from keys.errors import KeyIntegrityError
from lake.rules.layout import FORMAT_PME, FORMAT_PME_VERSION
from lake.rules.model import TIME_COLUMN, TYPE_COLUMN

ROW_GROUP_ROWS = 122_880
"""Rows of a row group, DuckDB's own unit of work."""


@dataclass(frozen=True, slots=True)
class EncodedFile:
    """A finished file in memory with what the catalog must know of it; times are naive UTC."""

    content: memoryview
    format: str
    format_version: int
    length: int
    sha256: bytes
    rows: int
    first_ts: datetime
    last_ts: datetime


LONG_TEXT = 48
"""Bytes of a column's mean text from which on it is compressed with zstd, as what people write."""


def filled(rows: pa.Table) -> pa.Table:
    """The rows without the columns in which none of them has a value: no file needs those."""
    return rows.select([name for name in rows.column_names if rows[name].null_count < rows.num_rows])


def layout(rows: pa.Table) -> dict[str, Any]:
    """How rows are laid out in a file, encryption apart: the writer's options (decisions 0034, 0037, 0039)."""
    filled = [name for name in rows.column_names if rows[name].null_count < rows.num_rows]
    texts = [name for name in filled if pa.types.is_string(rows.schema.field(name).type)]
    long = {name for name in texts if _mean_bytes(rows[name]) >= LONG_TEXT}
    return {
        "compression": {name: "zstd" if name in long else "lz4" for name in rows.column_names} if long else "lz4",
        "use_dictionary": texts,
        # Half the bytes of plain integers and a third of the time to read them.
        "column_encoding": {
            field.name: "DELTA_BINARY_PACKED"
            for field in rows.schema
            if pa.types.is_integer(field.type) or pa.types.is_timestamp(field.type)
        },
        "data_page_version": "1.0",
        # Of texts only the event type's can rule a row group out: the others' range over nearly all that there is.
        "write_statistics": [name for name in rows.column_names if name == TYPE_COLUMN or name not in texts],
        "store_schema": False,
    }


def _mean_bytes(texts: pa.ChunkedArray) -> float:
    ends = [
        np.frombuffer(part.buffers()[1], np.int32, len(part) + 1, part.offset * 4) for part in texts.chunks if len(part)
    ]
    return float(sum(int(found[-1]) - int(found[0]) for found in ends) / (len(texts) - texts.null_count))


def _encode_pme(schema: pa.Schema, parts: Iterable[pa.Table], key: LandingKey) -> pa.Buffer:
    if len(key.dek) != 32 or len(key.aad_prefix) != 32:
        raise KeyIntegrityError("a data file needs a 256-bit key and a 32-byte AAD prefix")
    properties = create_encryption_properties(
        key.dek,
        aad_prefix=key.aad_prefix,
        store_aad_prefix=False,
        encryption_algorithm="AES_GCM_V1",
        plaintext_footer=False,
    )
    sink = pa.BufferOutputStream()
    following = iter(parts)
    first = next(following)
    if first.num_rows % ROW_GROUP_ROWS:  # there is no other part
        first = filled(first)
        schema = first.schema
    with pq.ParquetWriter(sink, schema, **layout(first), encryption_properties=properties) as writer:
        for rows in chain([first], following):
            writer.write_table(rows, row_group_size=ROW_GROUP_ROWS)
    return sink.getvalue()


Encoder = Callable[[pa.Schema, Iterable[pa.Table], LandingKey], pa.Buffer]
ENCODERS: dict[tuple[str, int], Encoder] = {(FORMAT_PME, FORMAT_PME_VERSION): _encode_pme}


def encode(rows: pa.Table, key: LandingKey, kind: tuple[str, int] = (FORMAT_PME, FORMAT_PME_VERSION)) -> EncodedFile:
    """Encrypt rows (sorted by time, at least one) to a file in memory."""
    return encode_parts(rows.schema, [rows], key, kind)


def encode_parts(
    schema: pa.Schema,
    parts: Iterable[pa.Table],
    key: LandingKey,
    kind: tuple[str, int] = (FORMAT_PME, FORMAT_PME_VERSION),
) -> EncodedFile:
    """The same of rows that come in parts, each of whole row groups but for the last; by the first it is laid out."""
    counted = 0
    bounds: list[datetime] = []

    def counting() -> Iterator[pa.Table]:
        nonlocal counted
        for rows in parts:
            counted += rows.num_rows
            bounds.extend(pc.min_max(rows[TIME_COLUMN]).as_py().values())
            yield rows

    content = memoryview(ENCODERS[kind](schema, counting(), key))
    return EncodedFile(
        content=content,
        format=kind[0],
        format_version=kind[1],
        length=content.nbytes,
        sha256=hashlib.sha256(content).digest(),
        rows=counted,
        first_ts=min(bounds),
        last_ts=max(bounds),
    )
