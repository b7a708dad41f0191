"""Collection over PostgreSQL: the same leases, pauses and refusals as over a file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from lake.errors import PausedError
from tests.gateway import pglakes
from tests.gateway.collection.fleet import START, Agent, Fleet, fleet_of, sent
from tests.gateway.collection.test_races import at_step
from tests.servers.postgres import PostgresServer
from tests.world import ADA


@pytest.fixture(name="fleet")
def _fleet(tmp_path: Path, postgres: PostgresServer) -> Iterator[Fleet]:
    """Three devices on a lake whose catalog and key store are databases."""
    world, names = pglakes.make(tmp_path, postgres)
    with fleet_of(world) as fleet:
        yield fleet
    for name in names:
        postgres.drop(name)


def test_a_pause_from_lease_to_resumption(fleet: Fleet) -> None:
    """Granted, landed, paused under a commit, refused, counted, acknowledged, resumed; and the chain holds."""
    agent = Agent(fleet, "ada-1")
    assert agent.renew()
    agent.capture(1)
    assert agent.flush() == 1
    judgement = fleet.serving.judge(agent.granted.token, fleet.device("ada-1"), fleet.header("ada-1"))
    with at_step("ingest.announced", fleet.pause), pytest.raises(PausedError):
        fleet.land([sent(ADA, START, 2)], judgement=judgement)
    agent.capture(3)
    agent.flush()
    (one,) = fleet.status().devices
    assert (one.refused, one.state(fleet.now)) == (2, "acknowledged")
    fleet.wait(60)
    fleet.resume(fleet.status().halt)
    assert fleet.land([sent(ADA, START, 4)]).dropped == {"paused": 1}
    assert agent.renew()
    agent.capture(5)
    assert agent.flush() == 1
    assert fleet.rows() == [1, 5]
    assert fleet.lake.home.catalog.verify() == fleet.lake.home.catalog.head()
