"""Two grants for the same asker, dataset and purpose, held against each other: what became wider, what narrower.

What cannot be judged, such as one row filter in place of another, is called changed.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from typing import Any

from lake.rules import words
from lake.rules.mask_order import shows_no_more
from lake.rules.masks import Mask, describe
from lake.rules.people import People, people_at
from lake.rules.policy import EmployeeForm, Grant, Window

_FORMS = (EmployeeForm.ABSENT, EmployeeForm.PSEUDONYM, EmployeeForm.REAL)
_NOTHING = "nothing"


class Effect(StrEnum):
    """What a change does."""

    WIDENED = "widened"
    NARROWED = "narrowed"
    CHANGED = "changed"

    def mirrored(self) -> Effect:
        """That of the change back."""
        return {Effect.WIDENED: Effect.NARROWED, Effect.NARROWED: Effect.WIDENED}.get(self, self)


@dataclass(frozen=True, slots=True)
class Change:
    """One part of a grant that differs, in words."""

    what: str
    effect: Effect
    before: str
    after: str

    def mirrored(self) -> Change:
        """The change back."""
        return Change(self.what, self.effect.mirrored(), self.after, self.before)


def compare(old: Grant | None, new: Grant | None) -> list[Change]:
    """Every difference of two grants that were decided on; None is no grant. Roles and lines are not looked at."""
    if old is None or new is None:
        if old is new:
            return []
        effect = Effect.NARROWED if new is None else Effect.WIDENED
        return [Change("grant", effect, _whole(old), _whole(new))]
    return [*_levels(old, new), *_columns(old, new), *_masks(old, new), *_rows(old, new), *_limits(old, new)]


def _whole(grant: Grant | None) -> str:
    if grant is None:
        return _NOTHING
    return f"sensitivity {grant.sensitivity}, {words.employees(grant)} as {grant.employee_form.value}"


def _ordered(what: str, old: float, new: float, before: object, after: object) -> Iterator[Change]:
    """A part of which more shows more."""
    if old != new:
        yield Change(what, Effect.WIDENED if new > old else Effect.NARROWED, str(before), str(after))


def _levels(old: Grant, new: Grant) -> Iterator[Change]:
    yield from _ordered("sensitivity", old.sensitivity, new.sensitivity, old.sensitivity, new.sensitivity)
    forms = old.employee_form, new.employee_form
    yield from _ordered("employee id", *map(_FORMS.index, forms), *(form.value for form in forms))
    # No smallest group shows single rows, which is more than any group.
    sizes = old.smallest_group, new.smallest_group
    yield from _ordered("smallest group", *(-(size or 0) for size in sizes), *(size or "none" for size in sizes))


def _columns(old: Grant, new: Grant) -> Iterator[Change]:
    gained = [name for name in new.columns if name not in old.columns]
    lost = [name for name in old.columns if name not in new.columns]
    if gained:
        yield Change("columns", Effect.WIDENED, _NOTHING, ", ".join(gained))
    if lost:
        yield Change("columns", Effect.NARROWED, ", ".join(lost), _NOTHING)


def _masks(old: Grant, new: Grant) -> Iterator[Change]:
    for name in sorted({*old.columns} & {*new.columns}):
        before, after = old.masks.get(name), new.masks.get(name)
        if before != after:
            yield Change(f"mask of {name}", _mask_effect(before, after), _mask(before), _mask(after))


def _mask(mask: Mask | None) -> str:
    return "none" if mask is None else describe(mask)


def _mask_effect(before: Mask | None, after: Mask | None) -> Effect:
    less, more = shows_no_more(after, before), shows_no_more(before, after)
    if less == more:
        return Effect.CHANGED
    return Effect.NARROWED if less else Effect.WIDENED


def _rows(old: Grant, new: Grant) -> Iterator[Change]:
    if old.row_filter != new.row_filter:
        one_is_none = old.row_filter is None or new.row_filter is None
        judged = Effect.WIDENED if new.row_filter is None else Effect.NARROWED
        texts = (grant.row_filter_text or "none" for grant in (old, new))
        yield Change("row filter", judged if one_is_none else Effect.CHANGED, *texts)
    if old.window != new.window:
        effect = _window_effect(old.window, new.window)
        yield Change("time window", effect, words.window(old.window), words.window(new.window))
    shared = sorted(old.sensitivities() & new.sensitivities())
    before, after = ([people_at(grant, level) for level in shared] for grant in (old, new))
    if before != after:
        yield Change("employees", _people_effect(before, after), words.employees(old), words.employees(new))


def _people_effect(before: list[People], after: list[People]) -> Effect:
    pairs = list(zip(before, after, strict=True))
    gained = any(not new.without(old).is_empty() for old, new in pairs)
    lost = any(not old.without(new).is_empty() for old, new in pairs)
    if gained and lost:
        return Effect.CHANGED
    return Effect.WIDENED if gained else Effect.NARROWED


def _window_effect(old: Window, new: Window) -> Effect:
    def reach(window: Window) -> tuple[float, float, float]:
        first = -(window.first or date.min).toordinal()
        return first, (window.last or date.max).toordinal(), window.last_days or math.inf

    moves = [after - before for before, after in zip(reach(old), reach(new), strict=True) if before != after]
    if any(move > 0 for move in moves) and any(move < 0 for move in moves):
        return Effect.CHANGED
    return Effect.WIDENED if any(move > 0 for move in moves) else Effect.NARROWED


def _limits(old: Grant, new: Grant) -> Iterator[Change]:
    for name in ("rows", "bytes", "seconds", "concurrent"):
        values: list[Any] = [getattr(grant.limits, name) for grant in (old, new)]
        bounds = (math.inf if value is None else value for value in values)
        yield from _ordered(f"limit of {name}", *bounds, *("none" if value is None else value for value in values))
