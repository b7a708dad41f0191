"""Legal holds: what may not be purged, by whom and why, and until two people release it. Nothing here acts.

A hold stops a purge and not its planning. It never ends by itself: a review that is overdue is shown, and no more.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from enum import StrEnum
from types import MappingProxyType

SHORTEST_REASON, LONGEST_REASON = 10, 500
"""Characters of a reason."""
LONGEST_REVIEW = timedelta(days=366)
"""The time after which a hold is to be looked at again."""


class HoldKind(StrEnum):
    """What happened to a hold. Releasing takes one person who asks and another who agrees."""

    PLACE = "place"
    ASK = "ask"
    RELEASE = "release"


@dataclass(frozen=True, slots=True)
class HoldScope:
    """What is held; None for all. Rows captured from ``first`` on and before ``last``, naive UTC."""

    employee: str | None = None
    dataset: str | None = None
    first: datetime | None = None
    last: datetime | None = None


@dataclass(frozen=True, slots=True)
class HoldEvent:
    """One event: ``at`` naive UTC, ``note`` what the lake signed of it."""

    id: str
    kind: HoldKind
    at: datetime
    by: str
    reason: str
    scope: HoldScope | None = None
    review: date | None = None
    note: str = ""


@dataclass(frozen=True, slots=True)
class Hold:
    """A hold as events have made it."""

    id: str
    scope: HoldScope
    review: date
    placed: HoldEvent
    asked: HoldEvent | None = None
    released: HoldEvent | None = None

    @property
    def active(self) -> bool:
        """Whether it holds."""
        return self.released is None

    def overdue(self, today: date) -> bool:
        """Whether somebody should have looked at it again."""
        return self.active and self.review < today


@dataclass(frozen=True, slots=True)
class Holds:
    """Every hold as of an event, by id."""

    number: int = 0
    holds: Mapping[str, Hold] = field(default_factory=dict)

    def active(self) -> list[Hold]:
        """Those that hold."""
        return [hold for hold in self.holds.values() if hold.active]


def fold(events: Iterable[HoldEvent], number: int = 0) -> Holds:
    """The holds after events in order. Who asked for a release does not agree to it."""
    found: dict[str, Hold] = {}
    for event in events:
        known = found.get(event.id)
        if event.kind is HoldKind.PLACE:
            if known is None and event.scope is not None and event.review is not None:
                found[event.id] = Hold(event.id, event.scope, event.review, event)
        elif known is None or not known.active:
            continue
        elif event.kind is HoldKind.ASK:
            found[event.id] = replace(known, asked=known.asked or event)
        elif known.asked is not None and known.asked.by != event.by:
            found[event.id] = replace(known, released=event)
    return Holds(number, MappingProxyType(found))


@dataclass(frozen=True, slots=True)
class Spared:
    """A hold where it matters: ``number`` is the employee's, None for all."""

    hold: str
    number: int | None
    dataset: str | None
    first: datetime | None
    last: datetime | None

    def about(self, number: int, dataset: str) -> bool:
        """Whether rows of an employee in a dataset may be held."""
        return self.number in {None, number} and self.dataset in {None, dataset}

    def touches(self, first: datetime, last: datetime) -> bool:
        """Whether rows between two times, both inclusive, may be."""
        return (self.first is None or last >= self.first) and (self.last is None or first < self.last)

    def covers(self, first: datetime, last: datetime) -> bool:
        """Whether all of them are."""
        return (self.first is None or first >= self.first) and (self.last is None or last < self.last)


def touching(spared: Sequence[Spared], number: int, dataset: str, first: datetime, last: datetime) -> list[Spared]:
    """The holds that may spare rows of a file."""
    return [one for one in spared if one.about(number, dataset) and one.touches(first, last)]
