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
    TRUNCATE = "truncate"  # the first n characters
    TRUNCATE_TIME = "truncate_time"  # down to the hour, day or month
    ROUND = "round"  # down to a multiple


TIME_UNITS = ("minute", "hour", "day", "month")
_TEXT = {FieldType.STRING}
_NUMBERS = {FieldType.INT32, FieldType.INT64, FieldType.FLOAT64}


@dataclass(frozen=True, slots=True)
class Mask:
    """A mask with its argument: text of a constant, characters, time unit or step."""

    kind: MaskKind
    text: str = ""
    number: int = 0


def parse_mask(node: Node, kind: FieldType) -> Mask:
    """Read a mask and check that it fits its column's type; ``null``, ``pseudonym`` or ``{truncate: 8}`` and the like.

    Raises:
        DocumentError: unknown, or not for this type.
    """
    if node.is_scalar():
        word = MaskKind(node.one_of([MaskKind.NULL.value, MaskKind.PSEUDONYM.value]))
        return _fitting(node, Mask(word), kind)
    pairs = list(node.items())
    if len(pairs) != 1:
        raise node.error("a mask has one name")
    name, argument = pairs[0]
    if name not in {"constant", "truncate", "truncate_time", "round"}:
        raise argument.error(f"unknown mask {name[:64]!r}", hint=f"one of: {', '.join(k.value for k in MaskKind)}")
    match MaskKind(name):
        case MaskKind.CONSTANT:
            mask = Mask(MaskKind.CONSTANT, text=argument.string(max_length=200))
        case MaskKind.TRUNCATE:
            mask = Mask(MaskKind.TRUNCATE, number=argument.integer(minimum=1, maximum=10_000))
        case MaskKind.TRUNCATE_TIME:
            mask = Mask(MaskKind.TRUNCATE_TIME, text=argument.one_of(TIME_UNITS))
        case _:
            mask = Mask(MaskKind.ROUND, number=argument.integer(minimum=2, maximum=1_000_000_000))
    return _fitting(node, mask, kind)


def _fitting(node: Node, mask: Mask, kind: FieldType) -> Mask:
    fits = {
        MaskKind.NULL: set(FieldType),
        MaskKind.CONSTANT: _TEXT,
        MaskKind.PSEUDONYM: _TEXT,
        MaskKind.TRUNCATE: _TEXT,
        MaskKind.TRUNCATE_TIME: {FieldType.TIMESTAMP},
        MaskKind.ROUND: _NUMBERS,
    }[mask.kind]
    if kind not in fits:
        raise node.error(f"the mask {mask.kind.value!r} does not fit a column of type {kind.value}")
    return mask


def describe(mask: Mask) -> str:
    """A mask in words, for ``lake policy explain``."""
    match mask.kind:
        case MaskKind.NULL:
            return "always NULL"
        case MaskKind.CONSTANT:
            return f"always {mask.text!r}"
        case MaskKind.PSEUDONYM:
            return "a pseudonym of this role and purpose"
        case MaskKind.TRUNCATE:
            return f"the first {mask.number} characters"
        case MaskKind.TRUNCATE_TIME:
            return f"down to the {mask.text}"
        case MaskKind.ROUND:
            return f"down to a multiple of {mask.number}"
