"""Frozen reads: from the next query on no key of those levels opens, a running one stops, and two people end it."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from keys.errors import KeyOperationError, KeyStateError
from keys.operations.journal import exclusive
from lake.api import Lake
from lake.errors import DeniedError, UsageError
from lake.gateway.collection.freezing import Freezing
from lake.gateway.keykeeping import KeyKeeping
from lake.gateway.keyplans import KeyScope
from tests import world as w
from tests.gateway.collection.fleet import REASON
from tests.gateway.served import caller, serving
from tests.world import World

LOW = "SELECT n FROM events WHERE sensitivity <= 2"


@pytest.fixture
def lake(world: World) -> Iterator[Lake]:
    """The known lake, in an operator's hands."""
    with world.open() as opened:
        yield opened


def freezing(lake: Lake, **options: float) -> Freezing:
    """As another process would do it."""
    return Freezing(lake.home, lake.actor, **options)


def readable(world: World) -> list[int]:
    """The levels that a query reads now."""
    found = []
    for level in (1, 2, 3, 4):
        try:
            world.rows(f"SELECT n FROM events WHERE sensitivity = {level}")  # noqa: S608 - a number of this test
        except KeyStateError:
            continue
        found.append(level)
    return found


def test_44_levels_are_frozen_at_once_and_two_people_end_it(world: World, lake: Lake) -> None:
    """From the level up; another order keeps what it is about; nobody else's command opens it."""
    with world.connect() as connection:
        assert connection.sql(LOW).arrow().num_rows > 0
        started = time.monotonic()
        high = freezing(lake).freeze("olga", 3, REASON)
        with pytest.raises(KeyStateError):
            connection.sql("SELECT * FROM events").arrow()
        assert time.monotonic() - started < 30  # far less than a second on a quiet machine
    assert readable(world) == [1, 2]
    assert freezing(lake).freeze("stu", 3, REASON).id == high.id
    low = freezing(lake).freeze("olga", 2, REASON)
    assert readable(world) == [1]
    for level in (2, 4):
        with pytest.raises(DeniedError, match="frozen"):
            KeyKeeping(lake.home, lake.actor).change_state(
                KeyScope(sensitivities=frozenset({level})), disabled=False, whole_level=True
            )
    assert freezing(lake).unfreeze("olga", low.id, REASON).ended is None
    assert freezing(lake).unfreeze("olga", low.id).ended is None
    assert readable(world) == [1]
    assert freezing(lake).unfreeze("stu", low.id).ended is not None
    assert readable(world) == [1, 2]
    freezing(lake).unfreeze("olga", high.id, REASON)
    freezing(lake).unfreeze("stu", high.id)
    assert readable(world) == [1, 2, 3, 4]
    found = [entry["type"] for entry in world.entries() if entry["type"].startswith("reads.")]
    assert found == [*["reads.freeze"] * 2, *["reads.unfreeze"] * 4]


def test_44_a_running_stream_stops_at_its_next_part(world: World, lake: Lake) -> None:
    """What has left has left; of the rest nothing comes."""
    with serving(world, release_bytes=200_000) as service:
        stream = service.run(caller(), "SELECT a.n, b.ts FROM events a, events b, range(25)")
        batches = iter(stream)
        next(batches)
        freezing(lake).freeze("olga", 3, REASON)
        with pytest.raises(KeyStateError):
            list(batches)
        stream.close()


def test_it_does_not_wait_for_an_operation_on_keys(world: World, lake: Lake) -> None:
    """Frozen meanwhile already, and again once that is over; if it lasts, the order stands and says so."""
    entered, leave = threading.Event(), threading.Event()

    def operate() -> None:
        with exclusive(KeyKeeping(lake.home, lake.actor).folder):
            entered.set()
            leave.wait(60)

    other = threading.Thread(target=operate)
    other.start()
    entered.wait(60)
    with pytest.raises(KeyOperationError, match="frozen now"):
        freezing(lake, patience=0.1).freeze("olga", 1, REASON)
    assert readable(world) == []
    leave.set()
    other.join()
    freezing(lake).freeze("olga", 1, REASON)
    assert readable(world) == []


def test_orders_of_reads_and_of_collection_are_not_mixed_up(world: World, lake: Lake) -> None:
    """Each is ended by its own command; a level that is none is refused."""
    order = freezing(lake)
    halt = order.freeze("olga", 4, REASON)
    from lake.gateway.collection.devices import Devices
    from lake.gateway.collection.halts import Halts

    with pytest.raises(UsageError, match="no such order"):
        Halts(lake.home, Devices(lake.home)).resume("stu", halt.id, REASON)
    for level in (0, 5):
        with pytest.raises(UsageError):
            order.freeze("olga", level, REASON)
    assert lake.ingest("events", w.table([w.row(w.ADA, w.datetime(2026, 9, 15), "focus", app="x")])).rows == 1
    with pytest.raises(KeyStateError):  # a key that opens nothing wraps nothing either
        lake.ingest("events", w.table([w.row(w.ADA, w.datetime(2026, 9, 15), "judge", note="x")]))
    assert readable(world) == [1, 2, 3]
