"""Brokers in threads of the test, over TLS and on a Unix socket, and the known lake in two halves."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from keys.remote import wire
from keys.remote.client import BrokerClient
from keys.remote.connect import Connect, tls, unix
from keys.remote.link import Link
from keys.remote.listen import UnixListener
from keys.remote.peers import PeerTable
from keys.remote.roles import Role
from keys.remote.server import Server, ServerLimits
from keys.remote.tls import client_context
from lake.gateway import broker_process
from lake.gateway.keyside import KeySide
from tests import world as w
from tests.keys.remote.hosts import NAMES, Apart, Authority, Identity, split

PEERS = PeerTable(uids={os.getuid(): Role.GATEWAY})


@dataclass(frozen=True, slots=True)
class Served:
    """A broker over TLS in a thread of the test."""

    apart: Apart
    keys: KeySide
    server: Server
    authority: Authority
    clients: list[BrokerClient] = field(default_factory=list)

    def connect(self, identity: Identity) -> Connect:
        """Connections as one host."""
        context = client_context(self.authority.file, identity.certificate, identity.key)
        return tls("127.0.0.1", int(self.server.address.rpartition(":")[2]), context)

    def client(self, role: Role) -> BrokerClient:
        """A client of a host of this role."""
        lake = self.keys.broker.hierarchy.lake
        self.clients.append(BrokerClient(self.connect(self.authority.issue(NAMES[role])), lake, seconds=20))
        return self.clients[-1]


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> w.World:
    """The known lake; only to be copied."""
    return w.make(tmp_path_factory.mktemp("template"))


@pytest.fixture
def apart(template: w.World, tmp_path: Path) -> Apart:
    """The known lake in two halves."""
    return split(template, tmp_path)


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """The CA of every host of the lake."""
    return Authority(tmp_path_factory.mktemp("ca"), "lake-ca")


@pytest.fixture
def serve(apart: Apart, authority: Authority) -> Iterator[Callable[..., Served]]:
    """Starts brokers over TLS in threads."""
    started: list[tuple[Served, threading.Thread]] = []

    def start(**limits: float) -> Served:
        keys = apart.own_keys()
        identity = authority.issue("localhost", server=True)
        table = PeerTable(certificates={name: role for role, name in NAMES.items()})
        files = (identity.certificate, identity.key, authority.file)
        server = broker_process.on_tls(keys, ("127.0.0.1", 0), files, table, ServerLimits(**{"grace": 5.0} | limits))
        thread = threading.Thread(target=server.serve)
        thread.start()
        started.append((Served(apart, keys, server, authority), thread))
        return started[-1][0]

    yield start
    for served, thread in started:
        for client in served.clients:
            client.close()
        served.server.stop()
        thread.join(30)
        assert not thread.is_alive()
        served.keys.close()


@pytest.fixture
def served(serve: Callable[..., Served]) -> Served:
    """A broker over TLS."""
    return serve()


class Running:
    """A broker on a Unix socket in a thread."""

    def __init__(self, keys: KeySide, path: Path, limits: ServerLimits) -> None:
        self.keys = keys
        self.path = path
        self.server = Server(broker_process.service(keys), UnixListener(path, PEERS), limits)
        self.thread = threading.Thread(target=self.server.serve)
        self.thread.start()
        self._opened: list[BrokerClient | socket.socket] = []

    def raw(self) -> socket.socket:
        """A connection whose greeting has been read."""
        connection = socket.socket(socket.AF_UNIX)
        self._opened.append(connection)
        connection.settimeout(20)
        connection.connect(str(self.path))
        Link(connection).receive(wire.MOST_BYTES, 20)
        return connection

    def client(self, seconds: float = 20) -> BrokerClient:
        """A client of the gateway."""
        client = BrokerClient(unix(self.path), self.keys.broker.hierarchy.lake, seconds=seconds)
        self._opened.append(client)
        return client

    def close(self) -> None:
        """Stop it, and whoever speaks to it."""
        for opened in self._opened:
            opened.close()
        self.server.stop()
        self.thread.join(30)
        assert not self.thread.is_alive()
        self.keys.close()

    def until(self, condition: Callable[[], bool]) -> None:
        """Wait for a state of the server."""
        deadline = time.monotonic() + 20
        while not condition():
            assert time.monotonic() < deadline
            self.thread.join(0.005)  # which is not over: a pause


@pytest.fixture
def run(apart: Apart, tmp_path: Path) -> Iterator[Callable[..., Running]]:
    """Starts brokers on a Unix socket."""
    started: list[Running] = []

    def start(**limits: float) -> Running:
        started.append(Running(apart.own_keys(), tmp_path / "s", ServerLimits(**{"grace": 5.0} | limits)))
        return started[-1]

    yield start
    for running in started:
        running.close()
