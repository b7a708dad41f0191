"""Column masks: a closed list. A mask replaces values before any user expression sees them, so every clause sees it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from lake.rules.contract import FieldType
from lake.rules.document import Node


class MaskKind(StrEnum):
    """What a mask does to a value."""

    NULL = "null"  # nothing remains; the column is not decoded
    CONSTANT = "constant"  # one text for every value
    PSEUDONYM = "pseudonym"  # keyed hash, the same within one role and purpose
    HASH = "hash"  # the same at full length
    TRUNCATE = "truncate"  # the first n characters
    KEEP_LAST = "keep_last"  # the last n characters
    TRUNCATE_TIME = "truncate_time"  # down to the hour, day or month
    ROUND = "round"  # down to a multiple
    BUCKET = "bucket"  # down to the edge of a bucket


TIME_UNITS = ("minute", "hour", "day", "month")
MAX_EDGES = 100
_WORDS = (MaskKind.NULL, MaskKind.PSEUDONYM, MaskKind.HASH)
_NUMBERS = {FieldType.INT32, FieldType.INT64, FieldType.FLOAT64}
_FITS = {
    MaskKind.NULL: set(FieldType),
    MaskKind.TRUNCATE_TIME: {FieldType.TIMESTAMP},
    MaskKind.ROUND: _NUMBERS,
    MaskKind.BUCKET: _NUMBERS,
}
"""Types of columns; of text where it does not say."""


@dataclass(frozen=True, slots=True)
class Mask:
    """A mask with its argument: text of a constant, characters, time unit, step, or lower edges of buckets."""

    kind: MaskKind
    text: str = ""
    number: int = 0
    edges: tuple[int | float, ...] = ()


def parse_mask(node: Node, kind: FieldType) -> Mask:
    """Read a mask and check that it fits its column's type; ``null``, ``pseudonym`` or ``{truncate: 8}`` and the like.

    Raises:
        DocumentError: unknown, or not for this type.
    """
    if node.is_scalar():
        word = MaskKind(node.one_of([kind.value for kind in _WORDS]))
        _check_fit(node, word, kind)
        return Mask(word)
    pairs = list(node.items())
    if len(pairs) != 1:
        raise node.error("a mask has one name")
    name, argument = pairs[0]
    if name not in {kind.value for kind in MaskKind if kind not in _WORDS}:
        raise argument.error(f"unknown mask {name[:64]!r}", hint=f"one of: {', '.join(k.value for k in MaskKind)}")
    mask = MaskKind(name)
    match mask:
        case MaskKind.CONSTANT:
            found = Mask(mask, text=argument.string(max_length=200))
        case MaskKind.TRUNCATE | MaskKind.KEEP_LAST:
            found = Mask(mask, number=argument.integer(minimum=1, maximum=10_000))
        case MaskKind.TRUNCATE_TIME:
            found = Mask(mask, text=argument.one_of(TIME_UNITS))
        case MaskKind.BUCKET:
            found = Mask(mask, edges=_edges(argument, kind))
        case _:
            found = Mask(mask, number=argument.integer(minimum=2, maximum=1_000_000_000))
    _check_fit(node, mask, kind)
    return found


def _edges(node: Node, kind: FieldType) -> tuple[int | float, ...]:
    """Lower edges in rising order, within the column's type."""
    items = node.sequence()
    bits = 31 if kind is FieldType.INT32 else 63
    edges: list[int | float] = []
    for item in items:
        exact = kind is not FieldType.FLOAT64
        edge = item.integer(minimum=-(2**bits), maximum=2**bits - 1) if exact else item.number()
        if edges and edge <= edges[-1]:
            raise item.error("the edges must rise")
        edges.append(edge)
    if not 1 <= len(edges) <= MAX_EDGES:
        raise node.error(f"give 1 to {MAX_EDGES} edges")
    return tuple(edges)


def _check_fit(node: Node, mask: MaskKind, kind: FieldType) -> None:
    if kind not in _FITS.get(mask, {FieldType.STRING}):
        raise node.error(f"the mask {mask.value!r} does not fit a column of type {kind.value}")


def describe(mask: Mask) -> str:
    """A mask in words, for ``lake policy explain``."""
    edges = ", ".join(map(str, mask.edges))
    return {
        MaskKind.NULL: "always NULL",
        MaskKind.CONSTANT: f"always {mask.text!r}",
        MaskKind.PSEUDONYM: "a pseudonym of this role and purpose",
        MaskKind.HASH: "a keyed hash of this role and purpose",
        MaskKind.TRUNCATE: f"the first {mask.number} characters",
        MaskKind.KEEP_LAST: f"the last {mask.number} characters",
        MaskKind.TRUNCATE_TIME: f"down to the {mask.text}",
        MaskKind.ROUND: f"down to a multiple of {mask.number}",
        MaskKind.BUCKET: f"the lower edge of its bucket: {edges}",
    }[mask.kind]
