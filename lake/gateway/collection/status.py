"""How far a pause has got: which collectors could still have recorded, and from when on none of them can have."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

import sqlalchemy as sa

from lake.gateway.collection.devices import Devices, Known
from lake.gateway.collection.halts import Halts
from lake.gateway.collection.interface import Device
from lake.gateway.collection.leases import parse_claims
from lake.gateway.home import Home
from lake.rules import lease as rules
from lake.rules.halt import Halt, ScopeKind
from lake.rules.lease import SKEW
from lake.sealed.catalog import issued
from lake.sealed.catalog.issued import IssuedRow, Tally
from lake.sealed.catalog.rows import microseconds, moment


@dataclass(frozen=True, slots=True)
class DeviceStatus:
    """What is known of one device since a pause. Times are naive UTC.

    Attributes:
        leases: that ran at the pause and allowed what it stops.
        ends: when the last of them was over for certain; None if it had none.
        acknowledged: when it said that it had stopped.
        refused, last_refused: batches that came after the pause, and the last of them.
    """

    device: Device
    leases: int
    ends: datetime | None
    acknowledged: datetime | None
    refused: int = 0
    last_refused: datetime | None = None
    said_again: datetime | None = None

    @property
    def stopped(self) -> datetime | None:
        """From when on its own word, or the end of its lease, says that it does not record; None without a lease."""
        if self.ends is None or self.acknowledged is None:
            return self.ends
        return min(self.ends, self.acknowledged)

    def ignoring(self) -> bool:
        """Whether it has gone on sending after it should have stopped, and has not said since that it has."""
        if self.last_refused is None:
            return False
        sent_late = self.ends is None or self.last_refused > self.ends
        return sent_late and (self.said_again is None or self.said_again < self.last_refused)

    def state(self, now: datetime) -> str:
        """A word: ``still sending``, ``lease runs``, ``acknowledged``, ``expired`` or ``no lease``."""
        if self.ignoring():
            return "still sending"
        if self.stopped is not None and now < self.stopped:
            return "lease runs"
        if self.acknowledged is not None:
            return "acknowledged"
        return "no lease" if self.ends is None else "expired"


@dataclass(frozen=True, slots=True)
class HaltStatus:
    """One pause, at a moment."""

    halt: Halt
    devices: tuple[DeviceStatus, ...]
    now: datetime

    @property
    def bound(self) -> datetime:
        """From when on none can have recorded: each has said so, or its lease was over, the clocks' skew counted in."""
        return max([self.halt.since, *(one.stopped for one in self.devices if one.stopped is not None)])

    @property
    def exceptions(self) -> tuple[DeviceStatus, ...]:
        """Devices for which that is not so, or not yet."""
        return tuple(one for one in self.devices if one.state(self.now) in {"still sending", "lease runs"})

    @property
    def halted(self) -> bool:
        """Whether collection has provably stopped, since ``bound``."""
        return not self.exceptions and self.now >= self.bound


class Statuses:
    """Statuses of the pauses of one lake."""

    def __init__(self, home: Home, halts: Halts, devices: Devices) -> None:
        self._home = home
        self._halts = halts
        self._devices = devices

    def all(self) -> list[HaltStatus]:
        """Of every pause of collection that lasts, oldest first."""
        now = self._home.clock().astimezone(UTC).replace(tzinfo=None)
        with self._home.catalog.database.reading() as connection:
            known, devices = self._halts.known(connection), self._devices.known(connection)
            lasting = [halt for halt in known.lasting() if halt.order.scope.kind is not ScopeKind.READS]
            refused = issued.refused(connection, [halt.id for halt in lasting])
            return [
                HaltStatus(halt, tuple(_devices(connection, halt, devices, refused.get(halt.id, {}))), now)
                for halt in lasting
            ]


def _devices(connection: sa.Connection, halt: Halt, devices: Known, refused: Mapping[str, Tally]) -> list[DeviceStatus]:
    ran: dict[str, list[IssuedRow]] = {}
    latest = microseconds(halt.since - SKEW)
    for row in issued.running_at(connection, latest, halt.number):
        lease = parse_claims(json.loads(row.claims))
        enrolled = devices.enrolments.get((lease.device, lease.enrolment))
        if enrolled is not None and rules.outstanding(halt, lease, enrolled.place(lease.dataset)):
            ran.setdefault(row.device, []).append(row)
    said = issued.acknowledged(connection, halt.number)
    newest = {tag: device for (tag, _), device in devices.enrolments.items()}
    found = []
    for tag in sorted({*ran, *refused} & set(newest)):
        leases, tally, word = ran.get(tag, []), refused.get(tag), said.get(tag)
        found.append(
            DeviceStatus(
                device=newest[tag],
                leases=len(leases),
                ends=max(moment(row.expires_at) for row in leases) + SKEW if leases else None,
                acknowledged=moment(word.first_at) if word else None,
                refused=tally.count if tally else 0,
                last_refused=moment(tally.last_at) if tally else None,
                said_again=moment(word.last_at) if word else None,
            )
        )
    return found
