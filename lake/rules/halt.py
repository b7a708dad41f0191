"""Pauses of collection: who and what they stop, and since when. Nothing here acts.

What happened are events, each with a number that only grows; what is stopped now is computed from them. A pause counts
for good: what a lease from before it still brings later is judged by it, ended or not.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

SHORTEST_REASON, LONGEST_REASON = 10, 500
"""Characters of a reason."""
WAITS = timedelta(hours=24)
"""Asking to resume that nobody has approved by then lapses."""


class ScopeKind(StrEnum):
    """What a pause may be about; ``reads`` is of what was collected already, and stops no collection."""

    GLOBAL = "global"
    PROGRAMME = "programme"
    REGION = "region"
    TEAM = "team"
    EMPLOYEE = "employee"
    READS = "reads"


LEVELS = (ScopeKind.GLOBAL, ScopeKind.PROGRAMME, ScopeKind.REGION, ScopeKind.TEAM, ScopeKind.EMPLOYEE)
"""Of which every place has one scope each, in the order of a lease's epochs."""


@dataclass(frozen=True, slots=True)
class Scope:
    """A kind and a name: a dataset, a region, a team, an employee; of ``reads`` the lowest sensitivity."""

    kind: ScopeKind
    name: str = ""

    def __str__(self) -> str:
        """As it is given: ``global``, ``team:sales``."""
        return f"{self.kind}:{self.name}" if self.name else str(self.kind)


def parse_scope(text: str) -> Scope | None:
    """A scope of collection as it is given; None if it is none."""
    kind, colon, name = text.partition(":")
    if kind not in LEVELS or (kind == ScopeKind.GLOBAL) == bool(colon) or bool(colon) != bool(name):
        return None
    return Scope(ScopeKind(kind), name)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a device collects, and of whom; ``programme`` is the dataset."""

    programme: str
    region: str
    team: str
    employee: str

    def scopes(self) -> tuple[Scope, ...]:
        """Its scope of each of the ``LEVELS``."""
        names = ("", self.programme, self.region, self.team, self.employee)
        return tuple(Scope(kind, name) for kind, name in zip(LEVELS, names, strict=True))


class Backlog(StrEnum):
    """What becomes of what was captured before a pause and comes after it."""

    DROP = "drop"
    ACCEPT = "accept-before-pause"


class EventKind(StrEnum):
    """What happened. The first three begin something, and the approval ends it."""

    PAUSE = "pause"
    OPT_OUT = "opt-out"
    FREEZE = "freeze"
    REQUEST = "resume-request"
    APPROVE = "resume-approve"


BEGINNINGS = frozenset({EventKind.PAUSE, EventKind.OPT_OUT, EventKind.FREEZE})


@dataclass(frozen=True, slots=True)
class Order:
    """What is to stop; ``types`` are event types, None for all."""

    scope: Scope
    reason: str
    types: frozenset[str] | None = None
    backlog: Backlog = Backlog.DROP

    def same(self, other: Order) -> bool:
        """Whether the two stop the same, whyever."""
        return replace(self, reason="") == replace(other, reason="")


@dataclass(frozen=True, slots=True)
class Event:
    """One event; ``at`` is naive UTC, ``by`` who did it, ``order`` there for a beginning alone."""

    id: str
    kind: EventKind
    at: datetime
    by: str
    number: int
    reason: str = ""
    order: Order | None = None


@dataclass(frozen=True, slots=True)
class Halt:
    """What became of one pause.

    Attributes:
        begun: its beginning, whose number tells leases from before it.
        asked: who asked last to resume.
        ended: the second person's approval.
    """

    order: Order
    begun: Event
    asked: Event | None = None
    ended: Event | None = None

    @property
    def id(self) -> str:
        """32 hexadecimal digits."""
        return self.begun.id

    @property
    def number(self) -> int:
        """Grows from pause to pause."""
        return self.begun.number

    @property
    def since(self) -> datetime:
        """From when on nothing may be captured; naive UTC."""
        # If the clock was set back in between, all that may have been meant is closed.
        return self.begun.at if self.ended is None else min(self.begun.at, self.ended.at)

    @property
    def until(self) -> datetime | None:
        """Until when; None while it lasts."""
        return None if self.ended is None else max(self.begun.at, self.ended.at)

    def covers(self, place: Place) -> bool:
        """Whether a place lies in its scope."""
        return self.order.scope in place.scopes()

    def touches(self, types: frozenset[str]) -> bool:
        """Whether it stops one of these event types."""
        return self.order.types is None or not self.order.types.isdisjoint(types)

    def waiting(self, now: datetime) -> Event | None:
        """Who has asked to resume and waits for a second person."""
        if self.ended is not None or self.asked is None or not self.asked.at <= now < self.asked.at + WAITS:
            return None
        return self.asked


def fold(events: Iterable[Event]) -> dict[str, Halt]:
    """Halts by id, from events in order. Who asks to resume does not approve; what comes after the end is nothing."""
    found: dict[str, Halt] = {}
    for event in events:
        known = found.get(event.id)
        if known is None:
            if event.order is not None and event.kind in BEGINNINGS:
                found[event.id] = Halt(event.order, event)
        elif known.ended is not None or event.order is not None:
            continue
        elif event.kind is EventKind.REQUEST:
            found[event.id] = replace(known, asked=event)
        elif event.kind is EventKind.APPROVE and (asked := known.waiting(event.at)) and asked.by != event.by:
            found[event.id] = replace(known, ended=event)
    return found


def epochs(place: Place, newest: Mapping[Scope, int]) -> tuple[int, ...]:
    """The number of the newest event on each scope of a place, in the order of ``LEVELS``; 0 where there is none."""
    return tuple(newest.get(scope, 0) for scope in place.scopes())


def newest_by_scope(halts: Iterable[Halt]) -> dict[Scope, int]:
    """The number of the newest event on each scope."""
    found: dict[Scope, int] = {}
    for halt in halts:
        last = max(event.number for event in (halt.begun, halt.asked, halt.ended) if event is not None)
        found[halt.order.scope] = max(found.get(halt.order.scope, 0), last)
    return found


@dataclass(frozen=True, slots=True)
class Closed:
    """A time in which nothing may have been captured.

    Attributes:
        since, until: naive UTC, the end left out; None for one that lasts.
        types: event types, None for all.
        employees: of whom, None for everybody.
    """

    since: datetime
    until: datetime | None
    types: frozenset[str] | None = None
    employees: frozenset[str] | None = None

    def holds(self, employee: str, kind: str, ts: datetime) -> bool:
        """Whether an event lies in it."""
        return (
            self.since <= ts
            and (self.until is None or ts < self.until)
            and (self.types is None or kind in self.types)
            and (self.employees is None or employee in self.employees)
        )


def closed(halts: Iterable[Halt], programme: str, members: Mapping[Scope, frozenset[str]]) -> tuple[Closed, ...]:
    """When nothing may have been captured for a dataset, and of whom.

    Args:
        members: employees of regions and teams, as far as they are known.
    """
    found: list[Closed] = []
    for halt in halts:
        scope = halt.order.scope
        employees: frozenset[str] | None = None
        match scope.kind:
            case ScopeKind.READS:
                continue
            case ScopeKind.PROGRAMME if scope.name != programme:
                continue
            case ScopeKind.REGION | ScopeKind.TEAM:
                employees = members.get(scope, frozenset())
            case ScopeKind.EMPLOYEE:
                employees = frozenset({scope.name})
            case _:
                pass
        if employees is None or employees:
            found.append(Closed(halt.since, halt.until, halt.order.types, employees))
    return tuple(found)
