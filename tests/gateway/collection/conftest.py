"""A fleet of collectors on a copy of the known lake."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.gateway.collection.fleet import Fleet, fleet_of
from tests.world import World


@pytest.fixture
def fleet(world: World) -> Iterator[Fleet]:
    """Three devices, nothing paused."""
    with fleet_of(world) as opened:
        yield opened
