"""The leases that a collector holds and has held: whether it may record now, and whether it could a while ago.

All is measured on the clock that counts while asleep. Leases outlast the process (sealed, with the spool) but not the
machine's start, with which that clock begins anew.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from lake.collector.answers import Lease
from lake.rules.lease import Held

REMEMBERED = 600
"""Leases; at the usual length and renewal a day of them."""


class Leases:
    """In order of when they were asked for, the newest last."""

    def __init__(self, leases: Sequence[Lease] = ()) -> None:
        self._all = list(leases)

    @property
    def newest(self) -> Lease | None:
        """The last one, live or not; None once recording was ended."""
        return self._all[-1] if self._all else None

    def live(self, clock: float) -> Lease | None:
        """The lease under which an event may be recorded now."""
        newest = self.newest
        return newest if newest is not None and newest.held.live(clock) else None

    def holds(self, lease: str) -> bool:
        """Whether recording under a lease was not ended."""
        return any(one.id == lease for one in self._all)

    def add(self, lease: Lease) -> None:
        """One more. Earlier ones stay while there is no gap between them."""
        newest = self.newest
        if newest is not None and lease.held.sent > newest.held.sent + newest.held.seconds:
            self._all = []
        self._all = [*self._all, lease][-REMEMBERED:]

    def end(self) -> None:
        """Nothing may be recorded any more, nor anything of before that was not taken yet."""
        self._all = []

    def under(self, kind: str, moment: datetime) -> Lease | None:
        """The lease under which an event of a type could be recorded at a time (naive UTC of the lake)."""
        for lease in reversed(self._covering(kind)):
            if start(lease) <= moment < start(lease) + timedelta(seconds=lease.held.seconds):
                return lease
        return None

    def since(self, kind: str) -> datetime | None:
        """From when on events of a type could be recorded without a gap until now."""
        covering = self._covering(kind)
        return start(covering[0]) if covering else None

    def encode(self) -> list[dict[str, Any]]:
        """For the spool's state."""
        return [
            {
                "token": lease.token,
                "id": lease.id,
                "version": lease.version,
                "contract": lease.contract,
                "types": sorted(lease.types),
                "mark": lease.mark,
                "issued": lease.held.issued.isoformat(),
                "seconds": lease.held.seconds,
                "sent": lease.held.sent,
            }
            for lease in self._all
        ]

    def _covering(self, kind: str) -> list[Lease]:
        found: list[Lease] = []
        for lease in reversed(self._all):
            if kind not in lease.types:
                break
            found.append(lease)
        return found[::-1]


def start(lease: Lease) -> datetime:
    """The first capture time under it; naive UTC of the lake."""
    return lease.held.issued


def decode(saved: Sequence[Mapping[str, Any]]) -> Leases:
    """Leases as a spool has kept them."""
    return Leases(
        [
            Lease(
                one["token"],
                one["id"],
                one["version"],
                one["contract"],
                frozenset(one["types"]),
                one["mark"],
                Held(datetime.fromisoformat(one["issued"]), one["seconds"], one["sent"]),
            )
            for one in saved
        ]
    )
