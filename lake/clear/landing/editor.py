"""Typing as an editor would see it: what stands in a field after a run of keys."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lake.clear.landing.strokes import Edit, Stroke

FAR = 4096
"""Characters between two carets beyond which what lies between is not counted any more."""
SELECT_ALL = "\0all"
"""In the place of a stroke: everything is selected."""


@dataclass(frozen=True, slots=True)
class Typed:
    """A text and how many keys took something out of it. What stood there before the run is shown as a space."""

    text: str
    edits: int


def typed(
    strokes: Sequence[Stroke], carets: Sequence[int | None] | None = None, selected: Sequence[int | None] | None = None
) -> Typed:
    """The text that the keys of one run leave behind.

    Args:
        carets: the caret in the field before each key, in characters; where there is none it follows from the keys.
        selected: how many characters from the caret each key replaces.
    """
    if carets is None and selected is None and not any(isinstance(key, Edit) or key == SELECT_ALL for key in strokes):
        return Typed("".join(map(str, strokes)), 0)
    field = _Field()
    for index, key in enumerate(strokes):
        position = carets[index] if carets is not None else None
        if position is not None:
            field.go(position)
        field.press(key, (selected[index] or 0) if selected is not None and position is not None else 0)
    return Typed(field.text(), field.edits)


class _Field:
    """The part of a field that a run has touched: one cell a character, None for one that was there before."""

    def __init__(self) -> None:
        self._cells: list[str | None] = []
        self._at = 0
        self._start: int | None = None
        """Where in the field the first cell is, once a position was given."""
        self._all = False
        self.edits = 0

    def go(self, position: int) -> None:
        """Move the caret to a position in the field."""
        if self._start is None:
            self._start = position - self._at
        at = position - self._start
        if at < 0:
            before = min(-at, FAR)
            self._cells[:0] = [None] * before
            self._start, at = position, 0
        elif at > len(self._cells):
            self._cells += [None] * min(at - len(self._cells), FAR)
            if at > len(self._cells):
                self._start, at = position - len(self._cells), len(self._cells)
        self._at = at

    def press(self, key: Stroke, selected: int) -> None:
        """One key."""
        if key == SELECT_ALL:
            self._all = True
            return
        if isinstance(key, Edit):
            self._edit(key, selected)
        else:
            self._replace(selected)
            self._cells[self._at : self._at] = key
            self._at += len(key)
        self._all = False

    def _replace(self, selected: int) -> bool:
        """Take out what is selected; False if nothing is."""
        if self._all:
            self._cells.clear()
            self._at, self._start = 0, 0 if self._start is not None else None
        elif selected > 0:
            del self._cells[self._at : self._at + selected]
        else:
            return False
        self.edits += 1
        return True

    def _edit(self, key: Edit, selected: int) -> None:
        match key:
            case Edit.BACKSPACE | Edit.DELETE:
                if not self._replace(selected):
                    self.edits += 1
                    self._remove(self._at - 1 if key is Edit.BACKSPACE else self._at)
            case Edit.LEFT:
                self._at = max(self._at - 1, 0)
            case Edit.RIGHT:
                self._at = min(self._at + 1, len(self._cells))
            case Edit.HOME:
                self._at = 0
            case Edit.END:
                self._at = len(self._cells)
            case _:
                pass

    def _remove(self, index: int) -> None:
        if index < 0:
            if self._start is not None:  # a character from before the run; what was typed moves up by one
                self._start = max(self._start - 1, 0)
        elif index < len(self._cells):
            del self._cells[index]
            self._at = index

    def text(self) -> str:
        """What was typed, with a space for what was not."""
        shown: list[str] = []
        for cell in self._cells:
            if cell is not None:
                shown.append(cell)
            elif shown and shown[-1] != " ":
                shown.append(" ")
        return "".join(shown)
