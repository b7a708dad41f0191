"""One service over the known lake for all tests that change nothing, and a door to it."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow.flight as fl
import pytest

from lake.gateway.service import GatewayService
from tests.gateway.flight.doors import Opened, opened
from tests.gateway.served import serving
from tests.world import World, make


@pytest.fixture(scope="package")
def lake(tmp_path_factory: pytest.TempPathFactory) -> World:
    """The known lake; only to be read."""
    return make(tmp_path_factory.mktemp("flight"))


@pytest.fixture(scope="package")
def service(lake: World) -> Iterator[GatewayService]:
    """The service that every door here leads to; results leave in small parts."""
    with serving(lake, sandboxes_most=8, release_bytes=200_000, sandbox_patience=120.0) as running:
        yield running


@pytest.fixture
def door(service: GatewayService) -> Iterator[Opened]:
    """A door of the test's own."""
    with opened(service) as found:
        yield found


@pytest.fixture
def client(door: Opened) -> Iterator[fl.FlightClient]:
    """A plain Flight client."""
    with fl.connect(door.url) as found:
        yield found
