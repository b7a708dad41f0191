"""Break-glass: a role lent in an emergency, for a purpose and a time, when a second person has said yes.

What happened are events; what holds now is computed from them and from the policy in force, and is stored nowhere.
Nothing here acts.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

from lake.rules.model import Principal

SHORTEST_REASON, LONGEST_REASON = 10, 500
"""Characters of a reason."""
WAITS = timedelta(hours=24)
"""A request that nobody has approved by then lapses."""


class EventKind(StrEnum):
    """What happened to an elevation. It ends by a revocation, or when it was seen to have run out."""

    REQUEST = "request"
    APPROVE = "approve"
    REVOKE = "revoke"
    EXPIRE = "expire"


ENDINGS = frozenset({EventKind.REVOKE, EventKind.EXPIRE})


class State(StrEnum):
    """Where an elevation stands at a moment."""

    REQUESTED = "requested"
    ACTIVE = "active"
    REVOKED = "revoked"
    EXPIRED = "expired"


@dataclass(frozen=True, slots=True)
class Wish:
    """What someone asks for; ``user`` is who is to get it, None for the one who asks."""

    door: str
    purpose: str
    reason: str
    lasting: timedelta
    user: str | None = None


@dataclass(frozen=True, slots=True)
class Asked:
    """What was asked for: a door for a user, the role that it lent then, and for how long from the approval on."""

    user: str
    door: str
    role: str
    purpose: str
    reason: str
    lasting: timedelta


@dataclass(frozen=True, slots=True)
class Event:
    """One event; ``at`` is naive UTC, ``by`` who did it, ``asked`` there for a request alone."""

    id: str
    kind: EventKind
    at: datetime
    by: str
    asked: Asked | None = None


@dataclass(frozen=True, slots=True)
class Door:
    """A way in that the policy holds ready. ``request`` and ``approve`` are users; nobody approves their own."""

    name: str
    role: str
    purposes: frozenset[str]
    request: frozenset[str]
    approve: frozenset[str]
    at_most: timedelta

    def admits(self, asked: Asked, by: str) -> bool:
        """Whether this, asked for by someone, may be approved at all."""
        return (
            asked.door == self.name
            and asked.role == self.role
            and asked.purpose in self.purposes
            and {asked.user, by} <= self.request
            and timedelta() < asked.lasting <= self.at_most
        )


@dataclass(frozen=True, slots=True)
class Elevation:
    """What became of one request."""

    asked: Asked
    requested: Event
    approved: Event | None = None
    ended: Event | None = None

    @property
    def id(self) -> str:
        """32 hexadecimal digits."""
        return self.requested.id

    @property
    def expires(self) -> datetime:
        """When it runs out, naive UTC; before the approval, when the request lapses."""
        return self.requested.at + WAITS if self.approved is None else self.approved.at + self.asked.lasting

    def involves(self, user: str) -> bool:
        """Whether a user asked for it or gets it: neither may approve it."""
        return user in {self.asked.user, self.requested.by}

    def state(self, now: datetime) -> State:
        """Where it stands by the events alone; the policy may still close it."""
        if self.ended is not None:
            return State.REVOKED if self.ended.kind is EventKind.REVOKE else State.EXPIRED
        if now >= self.expires:
            return State.EXPIRED
        # Approved in the future: the clock was set back, and how much of the time has passed is not known.
        return State.REQUESTED if self.approved is None or now < self.approved.at else State.ACTIVE

    def allowed(self, doors: Mapping[str, Door]) -> bool:
        """Whether doors (of the policy in force) still let it in, asked for and approved by whom it was."""
        door = doors.get(self.asked.door)
        if door is None or self.approved is None or not door.admits(self.asked, self.requested.by):
            return False
        return may_approve(self, door, self.approved.by)


@dataclass(frozen=True, slots=True)
class Active:
    """An elevation in force; ``expires`` is naive UTC. Names nobody."""

    id: str
    door: str
    role: str
    purpose: str
    expires: datetime


def may_approve(elevation: Elevation, door: Door, by: str) -> bool:
    """Whether someone is the second person whom a door asks for."""
    return by in door.approve and not elevation.involves(by)


def fold(events: Iterable[Event]) -> dict[str, Elevation]:
    """Elevations by id, from events in order. What comes after an end, or a second time, changes nothing."""
    found: dict[str, Elevation] = {}
    for event in events:
        known = found.get(event.id)
        if known is None:
            if event.asked is not None:
                found[event.id] = Elevation(event.asked, event)
        elif known.ended is not None:
            continue
        elif event.kind in ENDINGS:
            found[event.id] = replace(known, ended=event)
        elif event.kind is EventKind.APPROVE and known.approved is None and not known.involves(event.by):
            found[event.id] = replace(known, approved=event)
    return found


def active(
    elevations: Iterable[Elevation], doors: Mapping[str, Door], user: str, purpose: str, now: datetime
) -> tuple[Active, ...]:
    """The elevations of a user for a purpose that are in force, in order of their ids; ``now`` is naive UTC."""
    found = [
        Active(one.id, one.asked.door, one.asked.role, one.asked.purpose, one.expires)
        for one in elevations
        if (one.asked.user, one.asked.purpose) == (user, purpose)
        and one.state(now) is State.ACTIVE
        and one.allowed(doors)
    ]
    return tuple(sorted(found, key=lambda one: one.id))


def elevate(principal: Principal, lent: Sequence[Active]) -> Principal:
    """The same principal with the lent roles added, for the purpose that they were lent for."""
    return replace(principal, roles=tuple(dict.fromkeys([*principal.roles, *(one.role for one in lent)])))
