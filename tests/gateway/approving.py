"""Contracts on a lake that asks for two people, for tests."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import lake as package
from lake.api import Lake
from lake.gateway.contract_approval import Approvals
from lake.gateway.contracts import Contracts
from lake.gateway.ingest import BatchReport
from lake.rules.contract_approval import Proposal
from tests.world import NOW, World, clock, row, table

REASON = "agreed with the council, ticket 4711"
ANN, BOB, CAT = "ann-canary", "bob-canary", "cat-canary"
FIRST = """
dataset: events
version: 1
title: Known events
notice: Made up for tests.
purposes: [study]
retention: {"1": 365d, "2": 180d, "3": 90d, "4": 30d}
fields:
  n: {type: int32, sensitivity: 1, minimum: -500, maximum: 500, notice: A number.}
events:
  judge: {sensitivity: 4, notice: A note., fields: [n]}
"""


def version(number: int, maximum: str) -> str:
    """A later version, in which ``n`` may be as large as this."""
    return FIRST.replace("version: 1", f"version: {number}").replace("maximum: 500", f"maximum: {maximum}")


NARROWER, WIDER = version(2, maximum="400"), version(2, maximum="600")


@dataclass
class Council:
    """Contracts of an opened lake."""

    world: World
    lake: Lake = field(init=False)

    @property
    def approvals(self) -> Approvals:
        """As another process would see them: with nothing in memory."""
        return Approvals(self.lake.home)

    def forget(self) -> None:
        """Keep nothing in memory of what was read."""
        self.lake.contracts = Contracts(self.lake.home)

    def propose(self, text: str = FIRST, by: str = ANN) -> Proposal:
        """A proposal."""
        return self.approvals.propose(text, "test", by)

    def approve(self, one: Proposal, by: str = BOB) -> Proposal:
        """An approval."""
        return self.approvals.approve(by, one.id)

    def in_force(self) -> list[int]:
        """Versions in force."""
        return list(self.approvals.standing().in_force("events"))

    def states(self) -> list[str]:
        """What became of each proposal."""
        standing = self.approvals.standing()
        return [str(standing.state(one)) for one in standing.proposals.values()]

    def land(self, number: int | None = None, batch: str = "b", n: int = 1) -> BatchReport:
        """A row, by a version of the contract."""
        rows = table([row("EMP-1", NOW.replace(tzinfo=None), "judge", n=n)]).select(["employee", "ts", "type", "n"])
        return self.lake.ingest("events", rows, batch_id=batch, contract_version=number)

    def kinds(self) -> list[str]:
        """Types of the entries about contracts, in order."""
        return [entry["type"] for entry in self.world.entries() if entry["type"].startswith("contract.")]


@contextmanager
def council_of(world: World) -> Iterator[Council]:
    """A council on a lake."""
    council = Council(world)
    with world.open(clock=clock) as lake:
        council.lake = lake
        yield council


def make_strict(folder: Path) -> World:
    """A new lake as ``lake init`` makes it, without contracts."""
    world = World(folder / "lake", folder / "lake.key")
    package.create(world.root, key_file=world.key)
    return world
