"""A known lake whose policy holds a door, at a clock that a test moves."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from lake.api import Lake
from lake.gateway.elevations import Elevations
from lake.rules.elevation import Active, Elevation, Wish
from lake.rules.policy import Policy
from tests.world import NOW, POLICY, World

DOOR = """
break_glass:
  open_all: {role: all, purposes: [incident], request: [stu, coco, wim], approve: [olga, coco, wim], at_most: 4h}
"""
DOORS = POLICY + DOOR
START = NOW.replace(tzinfo=None)
REASON = "ticket 4711: find the leak"


def wish(
    door: str = "open_all",
    purpose: str = "incident",
    reason: str = REASON,
    hours: float = 2,
    user: str | None = None,
) -> Wish:
    """What someone asks for."""
    return Wish(door, purpose, reason, timedelta(hours=hours), user)


@dataclass
class Desk:
    """Break-glass on an opened lake; ``now`` is the lake's clock, naive UTC."""

    world: World
    lake: Lake = field(init=False)
    now: datetime = START

    def clock(self) -> datetime:
        """For the lake."""
        return self.now.replace(tzinfo=UTC)

    @property
    def policy(self) -> Policy | None:
        """The policy in force."""
        return self.lake.policies.current()

    @property
    def elevations(self) -> Elevations:
        """As another process would see them: with nothing in memory."""
        return Elevations(self.lake.home)

    def ask(self, by: str = "stu", **values: object) -> Elevation:
        """A request."""
        make: Callable[..., Wish] = wish
        return self.elevations.request(self.policy, by, make(**values))

    def approve(self, one: Elevation, by: str = "olga") -> Elevation:
        """An approval."""
        return self.elevations.approve(self.policy, by, one.id)

    def opened(self, by: str = "stu", **values: object) -> Elevation:
        """One that was asked for and approved."""
        return self.approve(self.ask(by, **values))

    def revoke(self, one: Elevation, by: str, *, operator: bool = False) -> Elevation:
        """A revocation."""
        return self.elevations.revoke(self.policy, by, one.id, operator=operator)

    def active(self, user: str = "stu", purpose: str = "incident") -> tuple[Active, ...]:
        """What is in force for a user now."""
        policy = self.policy
        return self.elevations.active(policy, user, purpose, self.now) if policy else ()

    def ids(self, user: str = "stu", purpose: str = "incident") -> list[str]:
        """Ids of what is in force for a user now."""
        return [one.id for one in self.active(user, purpose)]

    def change(self, old: str, new: str) -> None:
        """Apply a changed policy."""
        assert old in DOORS
        self.lake.apply_policy(DOORS.replace(old, new))


@contextmanager
def desk_of(world: World) -> Iterator[Desk]:
    """A desk on a lake, under the policy with the door."""
    desk = Desk(world)
    with world.open(clock=desk.clock) as lake:
        desk.lake = lake
        lake.apply_policy(DOORS)
        yield desk


def kinds(desk: Desk) -> list[str]:
    """Types of the entries about break-glass, in order."""
    return [entry["type"] for entry in desk.world.entries() if entry["type"].startswith("break_glass.")]
