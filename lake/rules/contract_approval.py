"""Versions of contracts: proposed, approved by a second person, rejected, withdrawn.

What happened are events; which versions are in force is computed from them. Nothing here acts.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from types import MappingProxyType

LONGEST_REASON = 500
"""Characters of a reason."""


class EventKind(StrEnum):
    """What happened. ``SINGLE`` is how a lake was made: only the first event of all can be one."""

    SINGLE = "single-approver"
    PROPOSE = "propose"
    APPROVE = "approve"
    REJECT = "reject"
    WITHDRAW = "withdraw"


class Alone(StrEnum):
    """Why no second person was needed."""

    NO = ""
    NARROWER = "narrower"
    SINGLE = "single-approver"


class State(StrEnum):
    """Where a proposal stands. One is overtaken when another of its version, or a later one, came into force."""

    WAITING = "waiting"
    IN_FORCE = "in force"
    REJECTED = "rejected"
    WITHDRAWN = "withdrawn"
    OVERTAKEN = "overtaken"


@dataclass(frozen=True, slots=True)
class Proposed:
    """A version as it was proposed: ``text`` and its ``digest``; ``changes`` in words, of what came before."""

    dataset: str
    version: int
    digest: str
    text: str = field(repr=False)
    changes: tuple[str, ...] = ()
    alone: Alone = Alone.NO


@dataclass(frozen=True, slots=True)
class Event:
    """One event; ``at`` is naive UTC, ``note`` the signed note of what puts a version in force, or a reason."""

    id: str
    kind: EventKind
    at: datetime
    by: str
    proposed: Proposed | None = None
    note: str = ""


@dataclass(frozen=True, slots=True)
class Proposal:
    """What became of one proposal."""

    what: Proposed
    proposed: Event
    approved: Event | None = None
    ended: Event | None = None

    @property
    def id(self) -> str:
        """32 hexadecimal digits."""
        return self.proposed.id

    @property
    def note(self) -> str:
        """The signed note of a version that came into force; empty for others."""
        return self.approved.note if self.approved else ""

    @property
    def in_force(self) -> bool:
        """Whether batches may name it."""
        return self.approved is not None and self.ended is None


@dataclass(frozen=True, slots=True)
class Standing:
    """Every proposal as of an event, by id, and whether the lake was made for a single approver."""

    number: int = 0
    single: bool = False
    proposals: Mapping[str, Proposal] = field(default_factory=dict)

    def in_force(self, dataset: str) -> dict[int, Proposal]:
        """Versions in force of a dataset, oldest first."""
        found = [one for one in self.proposals.values() if one.what.dataset == dataset and one.in_force]
        return {one.what.version: one for one in sorted(found, key=lambda one: one.what.version)}

    def version(self, dataset: str, version: int) -> Proposal | None:
        """The proposal that became a version."""
        found = (one for one in self.proposals.values() if one.approved is not None)
        return next((one for one in found if (one.what.dataset, one.what.version) == (dataset, version)), None)

    def state(self, one: Proposal) -> State:
        """Where a proposal stands."""
        if one.ended is not None:
            return State.WITHDRAWN if one.ended.kind is EventKind.WITHDRAW else State.REJECTED
        if one.approved is not None:
            return State.IN_FORCE
        taken = (other.what for other in self.proposals.values() if other.approved is not None)
        past = any(other.dataset == one.what.dataset and other.version >= one.what.version for other in taken)
        return State.OVERTAKEN if past else State.WAITING


def fold(events: Iterable[Event], number: int = 0) -> Standing:
    """The standing after events in order. Nobody approves their own, and what has ended stays so."""
    single = False
    found: dict[str, Proposal] = {}
    for index, event in enumerate(events):
        if event.kind is EventKind.SINGLE:
            single = index == 0
            continue
        known = found.get(event.id)
        if event.kind is EventKind.PROPOSE:
            if known is None and event.proposed is not None:
                allowed = event.proposed.alone is Alone.NARROWER or (single and event.proposed.alone is Alone.SINGLE)
                found[event.id] = Proposal(event.proposed, event, event if allowed else None)
        elif known is None or known.ended is not None:
            continue
        elif event.kind is EventKind.APPROVE:
            if known.approved is None and event.by != known.proposed.by:
                found[event.id] = replace(known, approved=event)
        elif (event.kind is EventKind.WITHDRAW) == (known.approved is not None):
            found[event.id] = replace(known, ended=event)
    return Standing(number, single, MappingProxyType(found))
