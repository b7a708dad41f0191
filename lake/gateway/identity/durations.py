"""Lengths of time as people write them: ``90s``, ``15m``, ``8h``, ``30d``."""

from __future__ import annotations

import re
from datetime import timedelta

from lake.rules.document import Node

_FORM = re.compile(r"([1-9][0-9]{0,6})([smhd])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


def parse_duration(text: str) -> timedelta | None:
    """The length that ``text`` names, at least a second; None if it names none."""
    match = _FORM.fullmatch(text)
    return timedelta(**{_UNITS[match[2]]: int(match[1])}) if match else None


def read_duration(node: Node, *, minimum: timedelta, maximum: timedelta) -> timedelta:
    """A length of time in a document.

    Raises:
        DocumentError: it is none, or outside the bounds.
    """
    found = parse_duration(node.scalar())
    if found is None:
        raise node.error("a length of time is expected here", hint="such as 90s, 15m, 8h or 30d")
    if not minimum <= found <= maximum:
        raise node.error(f"this length of time is outside {minimum} .. {maximum}")
    return found
