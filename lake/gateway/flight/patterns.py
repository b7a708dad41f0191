"""LIKE patterns of metadata requests: ``%`` any text, ``_`` one character, ``\\`` takes the next one as it is."""

from __future__ import annotations

ESCAPE = "\\"


def matches(pattern: str, text: str) -> bool:
    """Whether the whole text fits; case counts. Takes at most as many steps as pattern times text has characters.

    An escape at the end of a pattern stands for itself.
    """
    parts = list(_parts(pattern))
    place = seen = 0
    star = mark = -1
    while seen < len(text):
        if place < len(parts) and parts[place] == ("%", True):
            star, mark = place, seen
            place += 1
        elif place < len(parts) and (parts[place] == ("_", True) or parts[place] == (text[seen], False)):
            place, seen = place + 1, seen + 1
        elif star >= 0:
            # The last % takes one character more.
            mark += 1
            place, seen = star + 1, mark
        else:
            return False
    return all(part == ("%", True) for part in parts[place:])


def _parts(pattern: str) -> list[tuple[str, bool]]:
    """Characters, and whether each has its special meaning."""
    found: list[tuple[str, bool]] = []
    characters = iter(pattern)
    for character in characters:
        if character == ESCAPE:
            found.append((next(characters, ESCAPE), False))
        else:
            found.append((character, character in "%_"))
    return found
