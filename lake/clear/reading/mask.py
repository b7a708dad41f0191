"""Applying column masks to arrays, before any expression of the user sees a value. Every mask is total: none raises."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Mapping

import pyarrow as pa
import pyarrow.compute as pc

from lake.rules.masks import Mask, MaskKind

PSEUDONYM_DIGITS = 20
_YEARS = ("0001-01-01 00:00:00", "9999-12-31 23:59:59.999999")
# Calendar arithmetic is only right, and free of overflow, for years of four digits.
_FIRST, _LAST = (pa.scalar(text, pa.string()).cast(pa.timestamp("us")) for text in _YEARS)


def apply_mask(column: pa.Array, mask: Mask, key: bytes) -> pa.Array:
    """The column as the grant shows it, in its own type (a dictionary's values plain); NULL stays NULL."""
    plain = column.dictionary_decode() if pa.types.is_dictionary(column.type) else column
    return _MASKS[mask.kind](plain, mask, key)


def _constant(column: pa.Array, mask: Mask, _: bytes) -> pa.Array:
    return pc.if_else(pc.is_valid(column), pa.scalar(mask.text, column.type), pa.scalar(None, column.type))


def _hashes(column: pa.Array, key: bytes, digits: int | None) -> pa.Array:
    """HMAC-SHA256 of each distinct value, in hexadecimal digits; unguessable without the role's key."""
    encoded = column.dictionary_encode()
    values = encoded.dictionary.cast(pa.binary()).to_pylist()
    tags = [hmac.new(key, value, hashlib.sha256).hexdigest()[:digits] for value in values]
    return pc.take(pa.array(tags, column.type), encoded.indices)


def _characters(column: pa.Array, start: int, stop: int | None) -> pa.Array:
    """A part of each text."""
    try:
        return pc.utf8_slice_codeunits(column, start, stop)
    except pa.ArrowInvalid:
        # What is not UTF-8 is made readable first.
        texts = [None if value is None else value.decode("utf-8", "replace") for value in _bytes(column)]
        return pc.utf8_slice_codeunits(pa.array(texts, column.type), start, stop)


def _bytes(column: pa.Array) -> list[bytes | None]:
    values: list[bytes | None] = column.cast(pa.binary()).to_pylist()
    return values


def _earlier(column: pa.Array, unit: str) -> pa.Array:
    """Times down to a unit; NULL outside the years 1 to 9999."""
    known = pc.and_(pc.greater_equal(column, _FIRST), pc.less_equal(column, _LAST))
    within = pc.if_else(known, column, pa.scalar(None, column.type))
    return pc.floor_temporal(within, unit=unit).cast(column.type)


def _round_down(column: pa.Array, step: int) -> pa.Array:
    """Down to a multiple; NULL where that is below the least number of the type."""
    if pa.types.is_floating(column.type):
        return pc.multiply(pc.floor(pc.divide(column, float(step))), float(step))
    width = pa.scalar(step, column.type)
    # Integer division truncates towards zero; what it leaves below zero is taken down one more step.
    product = pc.multiply(pc.divide(column, width), width)
    lower = pc.subtract(product, width)
    lower = pc.if_else(pc.less(lower, product), lower, pa.scalar(None, column.type))
    return pc.if_else(pc.greater(product, column), lower, product)


def _lower_edge(column: pa.Array, edges: tuple[int | float, ...]) -> pa.Array:
    """The lower edge of each number's bucket; NULL below the first edge, and for what is no number."""
    found = pa.nulls(len(column), column.type)
    for edge in edges:
        found = pc.if_else(pc.greater_equal(column, pa.scalar(edge, column.type)), pa.scalar(edge, column.type), found)
    return pc.if_else(pc.is_valid(column), found, pa.scalar(None, column.type))


_MASKS: Mapping[MaskKind, Callable[[pa.Array, Mask, bytes], pa.Array]] = {
    MaskKind.NULL: lambda column, _mask, _key: pa.nulls(len(column), column.type),
    MaskKind.CONSTANT: _constant,
    MaskKind.PSEUDONYM: lambda column, _, key: _hashes(column, key, PSEUDONYM_DIGITS),
    MaskKind.HASH: lambda column, _, key: _hashes(column, key, None),
    MaskKind.TRUNCATE: lambda column, mask, _: _characters(column, 0, mask.number),
    MaskKind.KEEP_LAST: lambda column, mask, _: _characters(column, -mask.number, None),
    MaskKind.TRUNCATE_TIME: lambda column, mask, _: _earlier(column, mask.text),
    MaskKind.ROUND: lambda column, mask, _: _round_down(column, mask.number),
    MaskKind.BUCKET: lambda column, mask, _: _lower_edge(column, mask.edges),
}
