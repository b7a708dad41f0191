"""A gateway over the known lake, and connections to it."""

# ruff: noqa: S106 - made up
from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from lake.client.remote import RemoteConnection, connect_remote
from lake.gateway.service import GatewayService
from tests.client.door import Door, opened
from tests.gateway.served import serving
from tests.world import World, make


@pytest.fixture(scope="package")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """The known lake; only to be read."""
    return make(tmp_path_factory.mktemp("client"))


@pytest.fixture(scope="package")
def service(world: World) -> Iterator[GatewayService]:
    """The service that every door here leads to."""
    with serving(world, sandboxes_most=8, sandbox_patience=120.0) as running:
        yield running


@pytest.fixture
def door(service: GatewayService) -> Iterator[Door]:
    """A door of the test's own."""
    with opened(service) as found:
        yield found


@pytest.fixture
def token_file(tmp_path: Path) -> Path:
    """A file with the token of the user who sees everything."""
    file = tmp_path / "token"
    file.write_text("token-vera\n")
    return file


@pytest.fixture
def connection(door: Door) -> Iterator[RemoteConnection]:
    """The user who sees everything, connected."""
    with connect_remote(door.url, token="token-vera") as found:
        yield found
