"""The real ingest server over TLS, and collectors whose clocks a test moves."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.collector.lab import Lab
from tests.gateway.receiving.site import site_of
from tests.keys.remote.hosts import Authority, Identity
from tests.world import World, copy, make


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """The CA of the server and of devices."""
    return Authority(tmp_path_factory.mktemp("ca"), "ingest-ca")


@pytest.fixture(scope="session")
def identity(authority: Authority) -> Identity:
    """The server's certificate."""
    return authority.issue("localhost", server=True)


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> World:
    """The known lake, made once."""
    return make(tmp_path_factory.mktemp("template"))


@pytest.fixture
def world(template: World, tmp_path: Path) -> World:
    """A copy of it."""
    return copy(template, tmp_path)


@pytest.fixture
def lab(world: World, authority: Authority, identity: Identity, tmp_path: Path) -> Iterator[Lab]:
    """A server, and collectors that send to it."""
    with site_of(world, authority, identity) as site:
        yield Lab(site, authority, tmp_path / "laptops")
