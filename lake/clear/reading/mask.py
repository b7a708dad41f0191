"""Applying column masks to arrays, before any expression of the user sees a value."""

from __future__ import annotations

import hashlib
import hmac

import pyarrow as pa
import pyarrow.compute as pc

from lake.rules.masks import Mask, MaskKind


def apply_mask(column: pa.Array, mask: Mask, key: bytes) -> pa.Array:
    """The column as the grant shows it, in its own type; NULL stays NULL."""
    match mask.kind:
        case MaskKind.NULL:
            return pa.nulls(len(column), column.type)
        case MaskKind.CONSTANT:
            return pc.if_else(pc.is_valid(column), pa.scalar(mask.text, column.type), pa.scalar(None, column.type))
        case MaskKind.PSEUDONYM:
            return _pseudonyms(column, key)
        case MaskKind.TRUNCATE:
            return pc.utf8_slice_codeunits(column, 0, mask.number)
        case MaskKind.TRUNCATE_TIME:
            return pc.floor_temporal(column, unit=mask.text).cast(column.type)
        case MaskKind.ROUND:
            return _round_down(column, mask.number)


def _pseudonyms(column: pa.Array, key: bytes) -> pa.Array:
    """HMAC-SHA256 of each distinct value, 20 hexadecimal digits; unguessable without the role's key."""
    encoded = column.dictionary_encode()
    tags = [hmac.new(key, value.encode(), hashlib.sha256).hexdigest()[:20] for value in encoded.dictionary.to_pylist()]
    return pc.take(pa.array(tags, column.type), encoded.indices)


def _round_down(column: pa.Array, step: int) -> pa.Array:
    if pa.types.is_floating(column.type):
        return pc.multiply(pc.floor(pc.divide(column, float(step))), float(step))
    # Integer division truncates towards zero; what it leaves below zero is taken down one more step.
    quotient = pc.divide(column, pa.scalar(step, column.type))
    product = pc.multiply(quotient, pa.scalar(step, column.type))
    below = pc.greater(product, column)
    lowest = pc.if_else(below, pc.subtract(product, pa.scalar(step, column.type)), product)
    return lowest.cast(column.type)
