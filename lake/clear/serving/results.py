"""Rows that come back from a sandbox: well-formed Arrow of the schema that was announced, no larger than it was sent.

Whoever reads a value later believes its offsets, so each is looked at here. Compressed buffers, views and runs are not
taken, and dictionaries only of texts: a few bytes must not become many rows, or many bytes.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator

import pyarrow as pa
import pyarrow.compute as pc

MOST_ROWS = 122_880
"""In a batch; a sandbox of ours sends no more."""
MOST_DECODED = 1 << 30
"""Bytes of the texts that a dictionary column stands for, in a batch."""

_SCALARS: tuple[Callable[[pa.DataType], bool], ...] = (
    pa.types.is_null,
    pa.types.is_boolean,
    pa.types.is_integer,
    pa.types.is_floating,
    pa.types.is_decimal,
    pa.types.is_temporal,
    pa.types.is_binary,
    pa.types.is_string,
    pa.types.is_large_binary,
    pa.types.is_large_string,
)
_NESTED: tuple[Callable[[pa.DataType], bool], ...] = (
    pa.types.is_list,
    pa.types.is_large_list,
    pa.types.is_fixed_size_list,
    pa.types.is_struct,
    pa.types.is_map,
)
_HEADER_TYPE, _HEADER, _COMPRESSION, _DATA = 1, 2, 3, 1
_RECORD_BATCH, _DICTIONARY = 3, 2
"""Fields of the tables Message, RecordBatch and DictionaryBatch, and kinds of message (Arrow, format/Message.fbs)."""


class ResultError(Exception):
    """What came is no result of a sandbox of ours."""


def schema_of(payload: pa.Buffer) -> pa.Schema:
    """The schema of a result.

    Raises:
        ResultError: it is not one, or has a type that no result has.
    """
    try:
        schema = pa.ipc.read_schema(payload)
    except Exception:  # noqa: BLE001 - whatever hostile bytes make Arrow raise
        raise ResultError("a schema is not one") from None
    if schema.metadata or not all(_is_known(field.type) for field in schema):
        raise ResultError("a schema has what no result has")
    return schema


def batch_of(payload: pa.Buffer, schema: pa.Schema) -> pa.RecordBatch:
    """The one batch of a payload, every offset and text of it looked at.

    Raises:
        ResultError: it is not one, not of this schema, or stands for more than it holds.
    """
    try:
        return _checked(_read(payload, schema), payload.size)
    except ResultError:
        raise
    except Exception:  # noqa: BLE001 - whatever hostile bytes make Arrow raise
        raise ResultError("a batch is not one") from None


def _read(payload: pa.Buffer, schema: pa.Schema) -> pa.RecordBatch:
    for message in pa.ipc.MessageReader.open_stream(payload):
        if _is_compressed(message.metadata.to_pybytes()):
            raise ResultError("a batch is compressed")
    with pa.ipc.open_stream(payload) as reader:
        if reader.schema != schema:
            raise ResultError("a batch has another schema")
        (batch,) = reader
    return batch


def _checked(batch: pa.RecordBatch, size: int) -> pa.RecordBatch:
    batch.validate()
    for column in batch.columns:
        _validate(column)
    if batch.num_rows > MOST_ROWS:
        raise ResultError("a batch has too many rows")
    for column in batch.columns:
        _check_extent(column, batch.num_rows + 8 * size)
    return batch


def _is_compressed(metadata: bytes) -> bool:
    """Whether a message is of compressed buffers; Arrow has verified that the metadata are well-formed."""
    root = struct.unpack_from("<I", metadata)[0]
    kind, header = _slot(metadata, root, _HEADER_TYPE), _slot(metadata, root, _HEADER)
    if not kind or not header or metadata[kind] not in {_RECORD_BATCH, _DICTIONARY}:
        return False
    table = _follow(metadata, header)
    if metadata[kind] == _DICTIONARY:
        data = _slot(metadata, table, _DATA)
        if not data:
            return False
        table = _follow(metadata, data)
    return _slot(metadata, table, _COMPRESSION) != 0


def _slot(metadata: bytes, table: int, field: int) -> int:
    """Where a table's field lies, 0 if it has none (FlatBuffers, internals: a table points back to its vtable)."""
    vtable = table - struct.unpack_from("<i", metadata, table)[0]
    if 4 + 2 * field >= struct.unpack_from("<H", metadata, vtable)[0]:
        return 0
    offset: int = struct.unpack_from("<H", metadata, vtable + 4 + 2 * field)[0]
    return table + offset if offset else 0


def _follow(metadata: bytes, place: int) -> int:
    return place + int(struct.unpack_from("<I", metadata, place)[0])


def _is_known(kind: pa.DataType) -> bool:
    if isinstance(kind, pa.BaseExtensionType):
        return isinstance(kind, pa.OpaqueType) and _is_known(kind.storage_type)
    if pa.types.is_dictionary(kind):
        return bool(pa.types.is_string(kind.value_type))
    if any(fits(kind) for fits in _NESTED) or (pa.types.is_union(kind) and kind.mode == "sparse"):
        return all(_is_known(kind.field(index).type) for index in range(kind.num_fields))
    return any(fits(kind) for fits in _SCALARS)


def _validate(array: pa.Array) -> None:
    """Look at every offset, text and index. A HUGEINT may have more digits than the decimal that it comes as."""
    kind = array.type
    if not _has_decimals(kind):
        array.validate(full=True)
        return
    array.validate()
    if pa.types.is_large_list(kind) or pa.types.is_list(kind) or pa.types.is_map(kind):
        hull = pa.large_list(pa.null()) if pa.types.is_large_list(kind) else pa.list_(pa.null())
        nothing = pa.nulls(len(array.values))
        pa.Array.from_buffers(hull, len(array), array.buffers()[:2], children=[nothing]).validate(full=True)
    if pa.types.is_union(kind) and not set(array.type_codes.unique().to_pylist()) <= set(kind.type_codes):
        raise ResultError("a union has a value of no member")
    for part in _parts(array):
        _validate(part)


def _has_decimals(kind: pa.DataType) -> bool:
    return pa.types.is_decimal(kind) or any(_has_decimals(kind.field(index).type) for index in range(kind.num_fields))


def _check_extent(array: pa.Array, most: int) -> None:
    """No part of a column has more items than there are bits and rows; what has no buffers could have any number."""
    if len(array) > most:
        raise ResultError("a batch stands for more than it holds")
    if pa.types.is_dictionary(array.type):
        lengths = pc.binary_length(array.dictionary).take(array.indices)
        if (pc.sum(lengths).as_py() or 0) > MOST_DECODED:
            raise ResultError("a batch stands for more than it holds")
    for part in _parts(array):
        _check_extent(part, most)


def _parts(array: pa.Array) -> Iterator[pa.Array]:
    """What a nested column is made of."""
    kind = array.type
    if isinstance(kind, pa.BaseExtensionType):
        yield array.storage
    elif pa.types.is_struct(kind) or pa.types.is_union(kind):
        yield from (array.field(index) for index in range(kind.num_fields))
    elif kind.num_fields:
        yield array.values
