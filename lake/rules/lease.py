"""Leases: a collector records only while it holds one, and what it sends is judged by the lease's own times.

The collector's wall clock counts for nothing. It stamps an event with the time at which the lease was issued plus what
its monotonic clock has counted since it sent the request (:class:`Held`), and the lake drops what lies outside.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from lake.rules import halt as halts
from lake.rules.halt import LEVELS, Backlog, Closed, Halt, Place, Scope

TTL = timedelta(seconds=300)
"""How long a lease lasts; it is renewed at half of that."""
SHORTEST_TTL, LONGEST_TTL = timedelta(seconds=5), timedelta(hours=1)
SKEW = timedelta(seconds=30)
"""How far clocks may differ: capture times may lie outside of their lease by this, and a bound counts it in."""
_EVER = datetime(1, 1, 1)  # noqa: DTZ001 - capture times are naive UTC


@dataclass(frozen=True, slots=True)
class Lease:
    """What may be recorded, of whom, until when. Times are naive UTC of the lake.

    Attributes:
        device: tag of the device, and ``enrolment`` the number under which it was enrolled.
        contract: digest of the contract's text.
        epochs: of its place when it was issued, in the order of ``LEVELS``.
    """

    id: str
    device: str
    enrolment: int
    dataset: str
    contract: str
    types: frozenset[str]
    issued: datetime
    expires: datetime
    epochs: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Batch:
    """What a delivery says of itself; ``types`` are event types, None if it does not say."""

    device: str
    enrolment: int
    employee: str
    dataset: str
    contract: str
    types: frozenset[str] | None = None


@dataclass(frozen=True, slots=True)
class Gate:
    """Which rows of a delivery may land; what may not is dropped and counted.

    Attributes:
        first, last: bounds of the capture time, both included; None without a lease.
        employee, types: whose and which rows the lease is for; None without a lease.
    """

    first: datetime | None = None
    last: datetime | None = None
    employee: str | None = None
    types: frozenset[str] | None = None
    closed: tuple[Closed, ...] = ()


def recordable(place: Place, types: frozenset[str], known: Collection[Halt]) -> frozenset[str]:
    """Of some event types those that may be recorded now. Every pause counts: what one forbids, none allows."""
    left = types
    for halt in known:
        if halt.ended is None and halt.covers(place):
            left = frozenset() if halt.order.types is None else left - halt.order.types
    return left


def mismatch(lease: Lease, batch: Batch, place: Place) -> str | None:
    """What of a delivery is not what the lease is for, as a word; None if all is.

    Args:
        place: of the lease's enrolment.
    """
    pairs = (
        ("device", lease.device, batch.device),
        ("enrolment", lease.enrolment, batch.enrolment),
        ("employee", place.employee, batch.employee),
        ("dataset", lease.dataset, batch.dataset),
        ("contract", lease.contract, batch.contract),
    )
    for name, of_lease, of_batch in pairs:
        if of_lease != of_batch:
            return name
    return None if batch.types is None or batch.types <= lease.types else "types"


def newer(lease: Lease, place: Place, known: Collection[Halt]) -> list[Halt]:
    """Pauses of a lease's place and types that began after it was issued, whether or not they have ended."""
    levels = dict(zip(LEVELS, lease.epochs, strict=True))
    return [
        halt
        for halt in known
        if halt.covers(place) and halt.number > levels[halt.order.scope.kind] and halt.touches(lease.types)
    ]


def forbids(halt: Halt, lease: Lease) -> bool:
    """Whether a pause that is newer than a lease forbids what was captured under it.

    Not if the backlog is accepted and every time that the lease admits was over when the pause began.
    """
    return halt.order.backlog is Backlog.DROP or lease.expires + SKEW > halt.since


def judge(lease: Lease, place: Place, known: Collection[Halt]) -> tuple[Gate, list[Halt]]:
    """Which rows of a delivery under a lease may land now, and the pauses that forbid some or all of them.

    The gate's ``types`` are empty if none may.
    """
    forbidding = [halt for halt in newer(lease, place, known) if forbids(halt, lease)]
    left = lease.types
    for halt in forbidding:
        left = frozenset() if halt.order.types is None else left - halt.order.types
    whole = [Closed(_EVER, None, halt.order.types) for halt in forbidding]
    times = [
        Closed(halt.since, halt.until, halt.order.types)
        for halt in known
        if halt not in forbidding and halt.covers(place) and halt.touches(lease.types)
    ]
    types = lease.types if left else left
    return Gate(lease.issued - SKEW, lease.expires + SKEW, place.employee, types, (*whole, *times)), forbidding


def outstanding(halt: Halt, lease: Lease, place: Place) -> bool:
    """Whether a collector may have recorded under a lease, when a pause began, what that forbids."""
    return bool(newer(lease, place, [halt])) and lease.expires + SKEW > halt.since


def lease_epochs(place: Place, known: Collection[Halt]) -> tuple[int, ...]:
    """The epochs of a lease that is issued now."""
    newest: Mapping[Scope, int] = halts.newest_by_scope(known)
    return halts.epochs(place, newest)


@dataclass(frozen=True, slots=True)
class Held:
    """A lease in a collector's hands, measured on a clock of seconds that is never set and counts while asleep.

    Attributes:
        issued: as the lease says, naive UTC.
        seconds: how long it lasts.
        sent: the clock before the request was sent, so that the answer's way shortens the lease.
    """

    issued: datetime
    seconds: float
    sent: float

    def live(self, clock: float) -> bool:
        """Whether recording is allowed now; without, no hook is installed at all."""
        return 0 <= clock - self.sent < self.seconds

    def due(self, clock: float) -> bool:
        """Whether it is time to renew it."""
        return clock - self.sent >= self.seconds / 2

    def stamp(self, clock: float) -> datetime:
        """The capture time of an event that happens now."""
        return self.issued + timedelta(seconds=clock - self.sent)
