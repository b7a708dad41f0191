"""A detector: an expression that finds candidates in linear time, and a check that keeps those that hold.

Texts are UTF-8 bytes and spans are positions in them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from enum import Enum
from typing import NamedTuple

import re2

Bounds = tuple[int, int]
Check = Callable[[bytes, int, int], Iterable[Bounds]]
FILLER = 0
"""Stands where a mask token stood; no detector takes it for a character of a value."""


class Gate(Enum):
    """What a text has to have before this detector looks at it: see ``screen``."""

    SHAPE = "shape"
    NUMBER = "number"
    WORD = "word"
    SECRET = "secret"  # noqa: S105 - a word
    ALONE = "alone"


MEMORY = 64 << 20
"""What one expression may use for its automaton, in bytes; beyond it, it is slower and still linear."""


def compiled(pattern: str, *, captures: bool = True, longest: bool = False, memory: int = MEMORY) -> re2._Regexp:
    """An expression over UTF-8 bytes; without captures it is faster, and says no more than where it matched."""
    options = re2.Options()
    options.log_errors = False
    options.max_mem = memory
    options.never_capture = not captures
    options.longest_match = longest
    return re2.compile(pattern.encode(), options)


class Span(NamedTuple):
    """A find: where, what, and the value by which its mask token is made."""

    start: int
    end: int
    category: str
    value: bytes


@dataclass(frozen=True)
class Detector:
    """Finds one kind of value; its value is the first group of ``pattern``, if there is one."""

    category: str
    gate: Gate
    pattern: str
    check: Check | None = None
    examples: tuple[str, ...] = ()
    """Texts in which it finds something, kept by its tests. Made up."""
    compiled: re2._Regexp = field(init=False, repr=False, compare=False)
    group: int = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "compiled", compiled(self.pattern))
        object.__setattr__(self, "group", min(self.compiled.groups, 1))

    def find(self, text: bytes) -> Iterator[Span]:
        """Finds in the order of their place."""
        for match in self.compiled.finditer(text):
            start, end = match.span(self.group)
            for first, last in ((start, end),) if self.check is None else self.check(text, start, end):
                yield Span(first, last, self.category, text[first:last])


def holds(test: Callable[[str], bool]) -> Check:
    """A check of the value alone."""

    def check(text: bytes, start: int, end: int) -> Iterable[Bounds]:
        return ((start, end),) if test(text[start:end].decode(errors="replace")) else ()

    return check


_NO_DIGITS = bytes(set(range(256)) - set(b"0123456789"))


def digits_of(text: str) -> str:
    """Its ASCII digits."""
    return text.encode().translate(None, _NO_DIGITS).decode()


def compact(text: str) -> str:
    """Letters and digits only, large."""
    return "".join(filter(str.isalnum, text)).upper()


_DATE = compiled(
    r"(?:19|20)\d\d[-./]\d\d?[-./]\d\d?|\d\d?[-./]\d\d?[-./](?:19|20)?\d\d|(?:19|20)\d\d[-/](?:19|20)?\d\d"
)


def number(least: int, most: int = 30) -> Check:
    """A check for values known by the words before them: so many digits, or fewer among letters, and no date."""

    def sound(value: str) -> bool:
        digits = len(digits_of(value))
        mixed = digits >= 3 and least + 2 <= len(compact(value)) <= most
        return (least <= digits <= most or mixed) and _DATE.fullmatch(value.encode()) is None

    return holds(sound)


VALUE = r"\b(?:[A-Z]{1,10}[-_]?){0,3}\d[A-Z0-9]*(?:[-_./ ]?[A-Z0-9]*\d[A-Z0-9]*){0,6}(?:[-_][A-Z]{1,6})?(?:\b|_)"
"""A number as it is written: digits, letters among them, in groups that each have a digit, behind a prefix."""


def keyed(category: str, words: str, check: Check, *examples: str, value: str = VALUE, gap: int = 40) -> Detector:
    """Values that stand after a word that says what they are, and those that follow in the same list."""
    pattern = rf"(?i){words}[^\d\n\x00]{{0,{gap}}}?(?:\n[ \t]{{0,8}})?[*#]{{0,4}}({value})"
    following = compiled(rf"(?i)[*#]{{0,4}} ?(?:,|;|/|&|and|or|und|et|y) ?[*#]{{0,4}}({value})")

    def listed(text: bytes, start: int, end: int) -> Iterator[Bounds]:
        found = tuple(check(text, start, end))
        while found:
            yield from found
            after = following.match(text, end)
            if after is None:
                return
            start, end = after.span(1)
            found = tuple(check(text, start, end))

    return Detector(category, Gate.NUMBER, pattern, listed, examples)
