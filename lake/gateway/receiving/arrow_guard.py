"""Arrow from outside, looked at before anything of it is decoded: a few hundred bytes of it can stand for gigabytes.

Refused is whatever grows while it is read: compressed buffers, dictionaries, run-ends, views, nesting, and columns of
nulls with more rows than a batch may have. What is left is as large as its bytes.
"""

from __future__ import annotations

import struct
from collections.abc import Callable

import pyarrow as pa

from lake.clear.landing.readers.options import MAX_COLUMNS
from lake.errors import MalformedInputError
from lake.gateway.receiving.failures import TooLargeError
from lake.gateway.receiving.limits import ReceivingLimits

_PLAIN: tuple[Callable[[pa.DataType], bool], ...] = (
    pa.types.is_boolean,
    pa.types.is_integer,
    pa.types.is_floating,
    pa.types.is_timestamp,
    pa.types.is_string,
    pa.types.is_large_string,
    pa.types.is_null,
)
_HINT = "columns are booleans, numbers, timestamps, text or null; compress nothing within the stream"
_HEADER, _COMPRESSION = 2, 3
"""Places of fields in the tables Message and RecordBatch (Message.fbs of the Arrow columnar format)."""


def check_schema(schema: pa.Schema) -> None:
    """Only columns of plain types.

    Raises:
        MalformedInputError: others, or too many.
    """
    if len(schema) > MAX_COLUMNS:
        raise MalformedInputError(f"more than {MAX_COLUMNS} columns", hint="keep field names to a fixed set")
    for index, kind in enumerate(schema.types, 1):
        if not any(plain(kind) for plain in _PLAIN):
            raise MalformedInputError(f"column {index} is not of a plain type", hint=_HINT)


def check_size(batch: pa.RecordBatch, rows: int, size: int, limits: ReceivingLimits) -> tuple[int, int]:
    """Rows and bytes so far, with a batch whose offsets may point anywhere until they are validated here.

    Raises:
        pa.ArrowInvalid: they do.
        TooLargeError: more than an upload may have. Bytes that two columns share count twice.
    """
    rows += batch.num_rows
    if rows > limits.rows:
        raise TooLargeError(f"more than {limits.rows} rows", hint="make smaller batches")
    batch.validate(full=True)
    size += batch.nbytes  # reads offsets
    if size > limits.text:
        raise TooLargeError(f"more than {limits.text} bytes of columns", hint="make smaller batches")
    return rows, size


def check_stream(body: pa.Buffer, limits: ReceivingLimits) -> None:
    """Look through an Arrow IPC stream without copying or decompressing anything.

    Raises:
        MalformedInputError: it is not a whole stream, or has what is refused.
        TooLargeError: it has too many rows.
    """
    try:
        messages = pa.ipc.MessageReader.open_stream(pa.BufferReader(body))
        first = messages.read_next_message()
        if first.type != "schema":  # read_schema takes any message for one, and crashes
            raise MalformedInputError("the stream does not begin with its schema", hint=_HINT)
        schema = pa.ipc.read_schema(first)
        check_schema(schema)
        rows = size = 0
        while True:
            try:
                message = messages.read_next_message()
            except StopIteration:
                return
            if message.type != "record batch" or _compressed(message.metadata.to_pybytes()):
                raise MalformedInputError("the stream has dictionaries or compressed buffers", hint=_HINT)
            rows, size = check_size(pa.ipc.read_record_batch(message, schema), rows, size, limits)
    except (pa.ArrowException, OSError, ValueError, EOFError, MemoryError, OverflowError, StopIteration, struct.error):
        raise MalformedInputError(
            "not a whole Arrow stream", hint="it is damaged, cut off or of another format; send it again"
        ) from None


def _compressed(metadata: bytes) -> bool:
    """Whether the metadata of a record batch says that its buffers are compressed. Arrow has checked its form."""
    (root,) = struct.unpack_from("<I", metadata, 0)
    header = _field(metadata, root, _HEADER)
    if header is None:
        return True
    table = header + struct.unpack_from("<I", metadata, header)[0]
    return _field(metadata, table, _COMPRESSION) is not None


def _field(data: bytes, table: int, number: int) -> int | None:
    """Where a field of a FlatBuffers table stands; None if the table leaves it out."""
    (back,) = struct.unpack_from("<i", data, table)
    place = table - back
    (length,) = struct.unpack_from("<H", data, place)
    if 4 + 2 * number >= length:
        return None
    (offset,) = struct.unpack_from("<H", data, place + 4 + 2 * number)
    return table + offset if offset else None
