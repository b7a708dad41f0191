"""Places, pauses and leases for tests, and a gate read row by row."""

# ruff: noqa: DTZ001 - capture times are naive UTC
from __future__ import annotations

from datetime import datetime, timedelta

from lake.rules.halt import Backlog, Event, EventKind, Halt, Order, Place, Scope, ScopeKind, fold
from lake.rules.lease import TTL, Gate, Lease, lease_epochs

START = datetime(2026, 11, 2, 9)
TYPES = frozenset({"key", "window", "click"})
ADA = Place("desktop", "eu", "sales", "ada")
BEN = Place("desktop", "eu", "legal", "ben")
CLEO = Place("browser", "us", "sales", "cleo")
PLACES = (ADA, BEN, CLEO)


def at(seconds: float) -> datetime:
    """A time that many seconds after the start."""
    return START + timedelta(seconds=seconds)


def pause(
    number: int,
    seconds: float,
    scope: Scope | None = None,
    types: frozenset[str] | None = None,
    backlog: Backlog = Backlog.DROP,
) -> Event:
    """A beginning whose id is its number."""
    order = Order(scope or Scope(ScopeKind.GLOBAL), "a reason for it", types, backlog)
    return Event(str(number), EventKind.PAUSE, at(seconds), "ann", number, order=order)


def resumed(of: Event, number: int, seconds: float) -> list[Event]:
    """The two events that end a pause."""
    return [
        Event(of.id, EventKind.REQUEST, at(seconds), "ann", number, "a reason for it"),
        Event(of.id, EventKind.APPROVE, at(seconds), "bob", number + 1),
    ]


def halts(*events: Event) -> list[Halt]:
    """What became of events."""
    return list(fold(events).values())


def lease(place: Place, seconds: float, known: list[Halt], types: frozenset[str] = TYPES) -> Lease:
    """A lease issued at a time, when these pauses were known."""
    issued = at(seconds)
    epochs = lease_epochs(place, known)
    return Lease("l", "d", 1, place.programme, "sha256:c", types, issued, issued + TTL, epochs)


def passes(gate: Gate, employee: str, kind: str, ts: datetime) -> bool:
    """Whether a gate lets one event through."""
    return (
        gate.employee in {None, employee}
        and (gate.types is None or kind in gate.types)
        and (gate.first is None or gate.first <= ts)
        and (gate.last is None or ts <= gate.last)
        and not any(closed.holds(employee, kind, ts) for closed in gate.closed)
    )
