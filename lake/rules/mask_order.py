"""Which of two masks shows more. What cannot be compared is said to be neither."""

from __future__ import annotations

from lake.rules.masks import TIME_UNITS, Mask, MaskKind

_KEYED = {MaskKind.PSEUDONYM, MaskKind.HASH}


def shows_no_more(one: Mask | None, other: Mask | None) -> bool:
    """Whether what a mask leaves can be computed from what another leaves; None is no mask."""
    if other is None:
        return True
    if one is None or other.kind is MaskKind.NULL:
        return one is not None and one.kind is MaskKind.NULL
    if one.kind in {MaskKind.NULL, MaskKind.CONSTANT} or {one.kind, other.kind} <= _KEYED:
        return True
    return one.kind is other.kind and _same_kind(one, other)


def _same_kind(one: Mask, other: Mask) -> bool:
    match one.kind:
        case MaskKind.TRUNCATE | MaskKind.KEEP_LAST:
            return one.number <= other.number
        case MaskKind.TRUNCATE_TIME:
            return TIME_UNITS.index(one.text) >= TIME_UNITS.index(other.text)
        case MaskKind.ROUND:
            return one.number % other.number == 0
        case _:
            return set(one.edges) <= set(other.edges)
