"""OpenBao as a case of the conformance suite: one real server for the session."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from keys.providers.openbao import OpenBaoConfig, OpenBaoProvider
from tests.keys.providers.cases import Case
from tests.keys.providers.conformance import NAME, OTHER
from tests.keys.providers.fault_proxy import FaultProxy
from tests.keys.providers.openbao_server import OpenBaoServer


@pytest.fixture(scope="session")
def openbao(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenBaoServer]:
    """A server for all tests; they keep apart by the prefixes of their keys."""
    server = OpenBaoServer(tmp_path_factory.mktemp("openbao"))
    yield server
    server.stop()


@pytest.fixture
def openbao_config(openbao: OpenBaoServer, tmp_path: Path) -> OpenBaoConfig:
    """A prefix of the test's own, and the root token in a file."""
    token_file = tmp_path / "token"
    token_file.touch(mode=0o600)
    token_file.write_text(openbao.root_token + "\n")
    return OpenBaoConfig(openbao.address, token_file, prefix=f"t{os.urandom(6).hex()}-", ca_file=openbao.ca_file)


@pytest.fixture
def fault_proxy(openbao: OpenBaoServer) -> Iterator[FaultProxy]:
    """A proxy before the server that does nothing wrong yet."""
    proxy = FaultProxy(openbao)
    yield proxy
    proxy.stop()


@pytest.fixture
def proxied(openbao_config: OpenBaoConfig, fault_proxy: FaultProxy) -> OpenBaoConfig:
    """The same keys through the proxy."""
    return replace(openbao_config, address=fault_proxy.address, ca_file=None)


class StillClock:
    """Stands still until it is moved; pausing moves it, so that no test waits."""

    def __init__(self) -> None:
        self.now = 0.0
        self.pauses: list[float] = []

    def __call__(self) -> float:
        return self.now

    def pause(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.now += seconds


@pytest.fixture
def still_clock() -> StillClock:
    """A clock for a provider."""
    return StillClock()


@pytest.fixture
def openbao_provider(openbao_config: OpenBaoConfig) -> Iterator[OpenBaoProvider]:
    """A provider with two keys in version 1."""
    provider = OpenBaoProvider(openbao_config)
    provider.create([NAME, OTHER])
    yield provider
    provider.close()


@pytest.fixture
def openbao_behind_proxy(proxied: OpenBaoConfig, still_clock: StillClock) -> Iterator[OpenBaoProvider]:
    """The same, through the proxy and without waiting."""
    provider = OpenBaoProvider(proxied, pause=still_clock.pause, clock=still_clock)
    provider.create([NAME, OTHER])
    yield provider
    provider.close()


class OpenBaoCase(Case):
    """Keys under a prefix of the test's own."""

    name = "openbao"
    every_byte = False

    def __init__(self, request: pytest.FixtureRequest, folder: Path) -> None:
        self._config: OpenBaoConfig = request.getfixturevalue("openbao_config")
        self._request = request

    def open(self) -> OpenBaoProvider:
        provider = OpenBaoProvider(self._config)
        self._request.addfinalizer(provider.close)
        return provider
