"""One server over TLS for all tests that only send, and one of a test's own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.gateway.receiving.site import Site, site_of
from tests.keys.remote.hosts import Authority, Identity
from tests.world import World, make


@pytest.fixture(scope="package")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """The CA of the server and of devices."""
    return Authority(tmp_path_factory.mktemp("ca"), "ingest-ca")


@pytest.fixture(scope="package")
def identity(authority: Authority) -> Identity:
    """The server's certificate."""
    return authority.issue("localhost", server=True)


@pytest.fixture(scope="package")
def site(tmp_path_factory: pytest.TempPathFactory, authority: Authority, identity: Identity) -> Iterator[Site]:
    """A server that tests may send to as they like; its clock stands."""
    with site_of(make(tmp_path_factory.mktemp("ingest")), authority, identity, bulk=True) as opened:
        yield opened


@pytest.fixture
def own(world: World, authority: Authority, identity: Identity) -> Iterator[Site]:
    """A server of the test's own."""
    with site_of(world, authority, identity) as opened:
        yield opened
