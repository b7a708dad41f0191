"""Mask tokens: ``[CARD:nkkcolghjfimdpea]`` stands for a value without giving it away.

Equal values have equal tokens in one lake, so that rows can be counted and joined by them. A token has no digit and
none of the letters after p: nothing that a detector looks for can be written as one.
"""

from __future__ import annotations

import hashlib
import hmac
import re

from lake.clear.landing.content.categories import CATEGORIES

_LETTERS = bytes.maketrans(b"0123456789abcdef", b"abcdefghijklmnop")
TAG_BYTES = 8
TOKEN = re.compile(
    r"\[(?:" + "|".join(name for name, kind in CATEGORIES.items() if kind.masked) + rf"):[a-p]{{{2 * TAG_BYTES}}}\]"
)


class Tokens:
    """Makes mask tokens under one key."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def of(self, category: str, value: str) -> str:
        """The token of a value, in which spaces and case count only where they make another value."""
        kind = CATEGORIES[category]
        said = "".join(filter(str.isalnum, value)).upper() if kind.compact else value.strip()
        if category == "EMAIL":
            said = said.casefold()
        tag = hmac.digest(self._key, f"{category}\0{said}".encode(), hashlib.sha256)[:TAG_BYTES]
        return f"[{category}:{tag.hex().encode().translate(_LETTERS).decode()}]"

    def __repr__(self) -> str:
        return "Tokens(...)"
