"""Texts as detectors read them: one way of writing each digit, dash and space, nothing invisible.

Full-width and mathematical digits, soft hyphens between digits, non-breaking spaces or ``%40`` for ``@`` do not hide a
value. Every byte of the folded text knows which characters of the original it stands for, so that these can be
replaced.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from lake.clear.landing.content.detector import FILLER
from lake.clear.landing.content.tokens import TOKEN

_DASHES = frozenset("‐‑‒–—―−﹘﹣－⁃")
_QUOTES = {
    "‘": "'",
    "’": "'",
    "‚": "'",
    "‛": "'",
    "“": '"',
    "”": '"',
    "„": '"',
    "«": '"',
    "»": '"',
    "＂": '"',
    "`": "'",
}
_MARKS = ((0x300, 0x36F), (0x20D0, 0x20FF), (0xFE00, 0xFE0F), (0xFE20, 0xFE2F), (0xE0000, 0xE01EF))
_ESCAPED = r"%(?:2[0-9A-Fa-f]|[3-6][0-9A-Fa-f]|7[0-9A-Ea-e])"
_PIECES = re.compile(rf"{TOKEN.pattern}|{_ESCAPED}", re.ASCII)
UNUSUAL = rf"{TOKEN.pattern}|{_ESCAPED}|[\x01-\x08\x0b\x0c\x0e-\x1f`\x7f]"
"""ASCII texts that are read otherwise than they are written, as an expression for RE2."""


_SPACES = {"Zs": " ", "Zl": "\n", "Zp": "\n"}


def _char(char: str) -> str:
    """What one character is read as; "" for one that nobody sees."""
    number = ord(char)
    kind = unicodedata.category(char)
    marks = any(first <= number <= last for first, last in _MARKS)
    if marks or kind == "Cf" or (kind == "Cc" and char not in "\t\n\r\0"):
        return ""
    if char in _DASHES:
        return "-"
    if kind == "Nd":
        return str(unicodedata.decimal(char))
    return _QUOTES.get(char) or _SPACES.get(kind) or unicodedata.normalize("NFKC", char)


class _Table(dict[int, str]):
    """What each character becomes, worked out when first met."""

    def __missing__(self, number: int) -> str:
        if len(self) > 1 << 16:
            self.clear()
        folded = self[number] = chr(number) if 32 <= number < 127 and number != 96 else _char(chr(number))
        return folded


_TABLE = _Table()


def fold(text: str) -> str:
    """The text as detectors read it."""
    if "%" in text or "[" in text:
        text = _PIECES.sub(_piece, text)
    return text.translate(_TABLE)


def _piece(match: re.Match[str]) -> str:
    found = match.group()
    return chr(int(found[1:], 16)) if found[0] == "%" else chr(FILLER)


class Places(Protocol):
    """Where the bytes of a folded text come from."""

    def of(self, start: int, end: int) -> tuple[int, int]:
        """Characters of the original that bytes ``start`` to ``end`` of the folded text stand for."""


@dataclass(frozen=True, slots=True)
class _Same:
    """Each character is folded to one, so that the same places are meant."""

    folded: bytes

    def of(self, start: int, end: int) -> tuple[int, int]:
        first = len(self.folded[:start].decode())
        return first, first + len(self.folded[start:end].decode())


@dataclass(frozen=True, slots=True)
class _Mapped:
    """By byte: the first character of the original that it stands for, and the one after the last."""

    starts: Sequence[int]
    ends: Sequence[int]

    def of(self, start: int, end: int) -> tuple[int, int]:
        return self.starts[start], self.ends[end - 1]


def places(text: str, folded: bytes) -> Places:
    """Where the bytes of ``folded``, which is ``fold(text)``, come from."""
    if _PIECES.search(text) is None and all(len(_TABLE[ord(char)]) == 1 for char in set(text)):
        return _Same(folded)
    return _mapped(text)


def _mapped(text: str) -> _Mapped:
    starts: list[int] = []
    ends: list[int] = []
    position = 0

    def add(folded: str, first: int, last: int) -> None:
        size = len(folded.encode())
        starts.extend([first] * size)
        ends.extend([last] * size)

    def plain(upto: int) -> None:
        for index in range(position, upto):
            add(_TABLE[ord(text[index])], index, index + 1)

    for match in _PIECES.finditer(text):
        plain(match.start())
        add(_piece(match).translate(_TABLE), match.start(), match.end())
        position = match.end()
    plain(len(text))
    return _Mapped(starts, ends)
