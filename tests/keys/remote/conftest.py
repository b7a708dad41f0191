"""A broker apart from its lake: one folder has the key store, the other the catalog and the data, none has both."""

from __future__ import annotations

import ipaddress
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from keys.remote.client import BrokerClient
from keys.remote.connect import Connect, tls
from keys.remote.peers import PeerTable
from keys.remote.roles import Role
from keys.remote.server import Server, ServerLimits
from keys.remote.tls import client_context
from lake.api import Connection, Lake
from lake.clock import Clock, utc_now
from lake.gateway import broker_process
from lake.gateway.home import Home, open_keys
from lake.gateway.keyside import KeySide
from lake.settings import BrokerPlace, Secrets
from tests import world as w

NAMES = {role: f"{role.value}.lake.example" for role in Role}
YEAR = timedelta(days=365)


@dataclass(frozen=True, slots=True)
class Identity:
    """PEM files of one host."""

    certificate: Path
    key: Path


class Authority:
    """A CA of a test's own."""

    def __init__(self, folder: Path, name: str) -> None:
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        certificate = (
            self._builder(self._name, self._key.public_key(), timedelta(0))
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .sign(self._key, hashes.SHA256())
        )
        self.file = folder / f"{name}.pem"
        self.file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))

    def _builder(self, subject: x509.Name, key: ec.EllipticCurvePublicKey, age: timedelta) -> x509.CertificateBuilder:
        now = datetime.now(UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - age - timedelta(days=1))
            .not_valid_after(now - age + YEAR)
        )

    def issue(self, name: str, *, age: timedelta = timedelta(0), server: bool = False) -> Identity:
        """A certificate for a DNS name; one that is older than a year has expired."""
        key = ec.generate_private_key(ec.SECP256R1())
        names: list[x509.GeneralName] = [x509.DNSName(name)]
        if server:
            names.append(x509.IPAddress(ipaddress.ip_address("127.0.0.1")))
        usage = ExtendedKeyUsageOID.SERVER_AUTH if server else ExtendedKeyUsageOID.CLIENT_AUTH
        certificate = (
            self._builder(x509.Name([]), key.public_key(), age)
            .add_extension(x509.SubjectAlternativeName(names), critical=True)
            .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        stem = self._folder / f"{self.file.stem}-{name}-{age.days}-{server}"
        found = Identity(stem.with_suffix(".crt"), stem.with_suffix(".key"))
        found.certificate.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        found.key.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        found.key.chmod(0o600)
        return found


@dataclass(frozen=True, slots=True)
class Apart:
    """A lake without its key store, and the key store without the lake."""

    root: Path
    keys: Path
    key: Path

    def place(self, address: str, authority: Authority | None = None, role: Role = Role.GATEWAY) -> BrokerPlace:
        """The broker as a host of this role reaches it."""
        if authority is None:
            return BrokerPlace(address)
        identity = authority.issue(NAMES[role])
        return BrokerPlace(address, authority.file, identity.certificate, identity.key)

    def home(self, place: BrokerPlace, clock: Clock = utc_now) -> Home:
        """The lake, opened through a broker: no key file is named, and there is no key store to open."""
        assert not (self.root / "keys").exists()
        return Home.open(self.root, Secrets(broker=place), settings=w.small_settings(), clock=clock)

    def connect(self, place: BrokerPlace, clock: Clock = utc_now) -> Connection:
        """As the user who may read everything."""
        return Connection(self.home(place, clock), w.VERA, "incident", None)

    def lake(self, place: BrokerPlace, clock: Clock = utc_now) -> Lake:
        """As its operator, or an ingest host."""
        return Lake(self.home(place, clock))

    def own_keys(self, clock: Clock = w.clock) -> KeySide:
        """The key store, on the broker's host."""
        return open_keys(self.keys, Secrets(key_file=self.key), clock=clock)

    def book(self) -> dict[int, tuple[str, dict[int, int]]]:
        """The broker's book, read from the key store itself."""
        keys = self.own_keys()
        try:
            return keys.store.releases()
        finally:
            keys.close()


@dataclass(frozen=True, slots=True)
class Served:
    """A broker over TLS in a thread of the test."""

    apart: Apart
    keys: KeySide
    server: Server
    authority: Authority

    def place(self, role: Role) -> BrokerPlace:
        """Its address, with the files of a host."""
        return self.apart.place(self.server.address, self.authority, role)

    def connect(self, identity: Identity) -> Connect:
        """Connections as one host."""
        context = client_context(self.authority.file, identity.certificate, identity.key)
        return tls("127.0.0.1", int(self.server.address.rpartition(":")[2]), context)

    def client(self, role: Role) -> BrokerClient:
        """A client of a host of this role."""
        lake = self.keys.broker.hierarchy.lake
        return BrokerClient(self.connect(self.authority.issue(NAMES[role])), lake, seconds=20)


@dataclass(frozen=True, slots=True)
class BrokerProcess:
    """``lake serve broker`` in a process of its own, ready."""

    process: subprocess.Popen[str]
    address: str
    ready: dict[str, object]

    def stop(self) -> str:
        """Ask it to stop; what it wrote to stderr."""
        self.process.send_signal(signal.SIGTERM)
        _, err = self.process.communicate(timeout=60)
        assert self.process.returncode == 0, err
        return err


SERVE = """
from lake.cli.main import main
sys.addaudithook(hook)
sys.exit(main(sys.argv[5:]))
"""


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> w.World:
    """The known lake; only to be copied."""
    return w.make(tmp_path_factory.mktemp("template"))


@pytest.fixture
def apart(template: w.World, tmp_path: Path) -> Apart:
    """The known lake in two halves."""
    copied = w.copy(template, tmp_path)
    keys = tmp_path / "broker"
    keys.mkdir(mode=0o700)
    shutil.copy(copied.root / "lake.json", keys)
    (copied.root / "keys").rename(keys / "keys")
    return Apart(copied.root, keys, copied.key)


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """The CA of every host of the lake."""
    return Authority(tmp_path_factory.mktemp("ca"), "lake-ca")


@pytest.fixture(scope="session")
def stranger_authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """A CA that the broker does not know."""
    return Authority(tmp_path_factory.mktemp("other-ca"), "other-ca")


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
        served.server.stop()
        thread.join(30)
        assert not thread.is_alive()
        served.keys.close()


@pytest.fixture
def served(serve: Callable[..., Served]) -> Served:
    """A broker over TLS."""
    return serve()


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that every user can enter."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.fixture
def start_broker(apart: Apart, open_folder: Path) -> Iterator[Callable[..., BrokerProcess]]:
    """Starts ``lake serve broker`` on a Unix socket; given a step, it kills itself there."""
    running: list[subprocess.Popen[str]] = []

    def start(
        *options: object, step: str = "", turn: int = 1, uids: str = f"{{{os.getuid()}: gateway}}"
    ) -> BrokerProcess:
        peers = open_folder / "peers.yaml"
        peers.write_text(
            f"uids: {uids}\ncertificates: {json.dumps({name: role.value for role, name in NAMES.items()})}\n"
        )
        place = options or ("--socket", open_folder / "broker.sock")
        command = ("serve", "broker", "--lake", apart.keys, "--key-file", apart.key, "--peers", peers, "--json", *place)
        process = w.child(w.World(apart.keys, apart.key), SERVE, step, turn, *command)
        running.append(process)
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line, process.communicate()[1]
        ready = json.loads(line)
        return BrokerProcess(process, ready["address"], ready)

    yield start
    for process in running:
        if process.poll() is None:
            process.kill()
        process.communicate()


@pytest.fixture
def run_as(apart: Apart) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs Python source as another user, once everything is imported."""
    if os.getuid() != 0:
        pytest.skip("only root can become other users")

    def run(uid: int, address: str, source: str) -> subprocess.CompletedProcess[str]:
        prelude = (
            "import os, sys\nfrom pathlib import Path\nfrom keys.errors import KeysError\n"
            "from keys.remote.client import BrokerClient\nfrom keys.remote.connect import unix\n"
            "os.setgroups([]); os.setgid(int(sys.argv[1])); os.setuid(int(sys.argv[1]))\n"
            "connect, lake = unix(Path(sys.argv[2])), sys.argv[3]\n"
        )
        lake = json.loads((apart.keys / "lake.json").read_text())["lake"]
        return subprocess.run(
            [sys.executable, "-c", prelude + source, str(uid), address.removeprefix("unix:"), lake],
            env={**os.environ, "PYTHONPATH": str(w.ROOT), "PYTHONDONTWRITEBYTECODE": "1"},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    return run
