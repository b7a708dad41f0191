"""The known lake with devices, at a clock that a test moves; and collectors, honest and otherwise."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from lake.api import Lake
from lake.errors import PausedError
from lake.gateway.collection.halts import Halts
from lake.gateway.collection.interface import Device, Granted, Header
from lake.gateway.collection.service import Collection
from lake.gateway.collection.status import HaltStatus, Statuses
from lake.gateway.ingest import BatchReport, Delivery, HashedBatches, Ingest
from lake.rules.halt import Backlog, Halt, Order, Scope, ScopeKind
from lake.rules.lease import Held
from tests import world as w
from tests.world import ADA, BEN, CLEO, World

START = w.NOW.replace(tzinfo=None)
TYPES = frozenset({"focus", "say", "judge"})
REASON = "works council, ticket 4711"
GLOBAL = Scope(ScopeKind.GLOBAL)
DEVICES = {"ada-1": (ADA, "eu", "sales"), "ben-1": (BEN, "eu", "legal"), "cleo-1": (CLEO, "us", "sales")}


@dataclass
class Fleet:
    """Collection on an opened lake; ``now`` is the lake's clock, naive UTC."""

    world: World
    lake: Lake = field(init=False)
    serving: Collection = field(init=False)
    now: datetime = START
    reached: bool = True
    _sent: int = 0

    def clock(self) -> datetime:
        """For the lake."""
        return self.now.replace(tzinfo=UTC)

    def wait(self, seconds: float) -> None:
        """Let time pass."""
        self.now += timedelta(seconds=seconds)

    @property
    def collection(self) -> Collection:
        """As another process would see it: with nothing in memory."""
        return Collection(self.lake.home, self.lake.contracts)

    @property
    def halts(self) -> Halts:
        """The same."""
        return self.collection.halts

    def device(self, name: str) -> Device:
        """A device as it authenticates."""
        return self.serving.devices.find(self.serving.devices.tag(name))

    def enrol(self, name: str, employee: str, region: str, team: str) -> Device:
        """One device more."""
        return self.collection.devices.enrol(self.lake.actor, name, employee=employee, region=region, team=team)

    def pause(
        self,
        scope: Scope = GLOBAL,
        types: frozenset[str] | None = None,
        backlog: Backlog = Backlog.DROP,
        by: str = "olga",
    ) -> Halt:
        """A pause from now on."""
        return self.halts.order(by, Order(scope, REASON, types, backlog))

    def resume(self, halt: Halt, *people: str) -> Halt:
        """Ask and approve."""
        for person in people or ("olga", "stu"):
            halt = self.halts.resume(person, halt.id, REASON)
        return halt

    def status(self) -> HaltStatus:
        """Of the only pause."""
        (status,) = self.statuses()
        return status

    def statuses(self) -> list[HaltStatus]:
        """Of every pause that lasts."""
        halts = self.halts
        return Statuses(self.lake.home, halts, halts.devices).all()

    def grant(self, name: str, types: frozenset[str] = TYPES) -> Granted:
        """A lease."""
        return self.serving.grant(self.device(name), "events", None, types)

    def header(self, name: str, **values: Any) -> Header:
        """What an honest batch of a device says of itself."""
        contract = self.lake.contracts.get("events")
        return Header(
            **{"employee": self.device(name).employee, "dataset": "events", "contract": contract.digest} | values
        )

    def upload(self, name: str, token: str, rows: list[dict[str, Any]], **header: Any) -> BatchReport:
        """Send rows under a lease."""
        device = self.device(name)
        judgement = self.serving.judge(token, device, self.header(name, **header))
        return self.land(rows, judgement=judgement)

    def land(self, rows: list[dict[str, Any]], **delivery: Any) -> BatchReport:
        """Land rows, under a judgement or as an operator."""
        table = w.table(rows)
        hashed = HashedBatches(table.schema, iter(table.to_batches()))
        self._sent += 1
        found = Delivery("events", hashed, hashed, f"batch-{self._sent}", **delivery)
        return Ingest(self.lake.home, self.lake.contracts, self.lake.actor).land(found)

    def rows(self, employee: str | None = None) -> list[int]:
        """Numbers of the rows that tests sent and that are there."""
        where = "" if employee is None else f" AND employee = '{employee}'"
        sql = f"SELECT n FROM events WHERE app = 'Sent-QX'{where}"  # noqa: S608 - a test's own name
        return sorted(row["n"] for row in self.world.rows(sql))


def sent(employee: str, ts: datetime, number: int, kind: str = "focus") -> dict[str, Any]:
    """One row with a number of its own."""
    values = {"said": "words", "n": number} if kind == "say" else {"n": number}
    return w.row(employee, ts, kind, app="Sent-QX", **values)


@dataclass
class Agent:
    """A collector. What it does with leases, clocks and the server's word is what tests vary.

    Attributes:
        skew: how far its wall clock is off; with ``wall`` it stamps by that, else as it should.
        obeys: whether it records only while its lease lives by its own clock.
    """

    fleet: Fleet
    name: str
    obeys: bool = True
    wall: bool = False
    skew: timedelta = timedelta()
    spool: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    employee: str = ADA
    granted: Granted | None = None
    held: Held | None = None
    captured: list[tuple[datetime, int]] = field(default_factory=list)
    refused: int = 0

    @property
    def monotonic(self) -> float:
        """Seconds on a clock that nobody sets."""
        return (self.fleet.now - START).total_seconds() + 1_000

    def renew(self) -> bool:
        """Ask for a lease, as far as the server can be reached."""
        before = self.monotonic
        if not self.fleet.reached:
            return False
        try:
            self.granted = self.fleet.grant(self.name)
        except PausedError as error:
            self._paused(error)
            return False
        lease = self.granted.lease
        self.held = Held(lease.issued, (lease.expires - lease.issued).total_seconds(), before)
        return True

    def capture(self, number: int) -> bool:
        """Record one event, if this agent does now."""
        if self.granted is None or self.held is None or (self.obeys and not self.held.live(self.monotonic)):
            return False
        stamp = self.fleet.now + self.skew if self.wall else self.held.stamp(self.monotonic)
        self.spool.append((self.granted.token, sent(self.employee, stamp, number)))
        self.captured.append((self.fleet.now, number))
        return True

    def flush(self) -> int:
        """Send the spool, a batch for each lease; gives how many rows landed."""
        landed = 0
        for token in dict.fromkeys(token for token, _ in self.spool):
            rows = [row for of, row in self.spool if of == token]
            try:
                landed += self.fleet.upload(self.name, token, rows).rows
            except PausedError as error:
                self.refused += 1
                self._paused(error)
        self.spool.clear()
        return landed

    def _paused(self, error: PausedError) -> None:
        """An honest collector stops, drops what it must not send, and says so."""
        if self.obeys:
            self.granted = self.held = None
            self.fleet.serving.acknowledge(self.fleet.device(self.name), int(error.details["mark"]))


@contextmanager
def fleet_of(world: World) -> Iterator[Fleet]:
    """Collection on a lake with three devices."""
    fleet = Fleet(world)
    with world.open(clock=fleet.clock) as lake:
        fleet.lake = lake
        fleet.serving = fleet.collection
        for name, place in DEVICES.items():
            fleet.enrol(name, *place)
        yield fleet


def kinds(fleet: Fleet, *beginnings: str) -> list[str]:
    """Types of the entries about collection, in order."""
    wanted = beginnings or ("collection.", "lease.", "device.", "reads.", "ingest.refused")
    return [entry["type"] for entry in fleet.world.entries() if entry["type"].startswith(wanted)]
