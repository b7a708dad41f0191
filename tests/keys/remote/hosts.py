"""Hosts of a lake whose keys lie apart: identities, a lake in two halves, and ``lake serve broker`` as a process."""

from __future__ import annotations

import ipaddress
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from keys.remote.roles import Role
from lake.api import Connection, Lake
from lake.clock import Clock, utc_now
from lake.gateway.home import Home, open_keys
from lake.gateway.keyside import KeySide
from lake.settings import BrokerPlace, Secrets
from tests import forking
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
class BrokerProcess:
    """``lake serve broker`` in a process of its own, ready.

    Attributes:
        log: the file with its stderr.
    """

    process: subprocess.Popen[str]
    ready: Mapping[str, object]
    log: Path

    @property
    def address(self) -> str:
        """What ``--broker`` takes."""
        return str(self.ready["address"])

    def kill(self) -> None:
        """Kill it, as if the machine had gone."""
        self.process.kill()
        self.process.communicate(timeout=60)

    def killed(self) -> bool:
        """Wait for its end; whether it was killed."""
        self.process.communicate(timeout=60)
        return self.process.returncode == -signal.SIGKILL

    def stop(self) -> str:
        """Ask it to stop; what it has logged."""
        self.process.send_signal(signal.SIGTERM)
        out, _ = self.process.communicate(timeout=60)
        assert (self.process.returncode, out) == (0, ""), self.log.read_text()
        return self.log.read_text()


SERVE = """
from lake.cli.main import main
sys.addaudithook(hook)
sys.exit(main(sys.argv[5:]))
"""


class Brokers:
    """Starts brokers of one key store; ends them with the test."""

    def __init__(self, lake: Path, key: Path) -> None:
        self._lake = lake
        self._key = key
        # Short, as the path of a socket must be, and one that every user can enter.
        self._folder = tempfile.TemporaryDirectory(prefix="b-")
        self.folder = Path(self._folder.name)
        self.folder.chmod(0o755)
        self._started: list[subprocess.Popen[str]] = []

    def start(
        self,
        peers: str | None = None,
        *place: object,
        name: str = "broker",
        step: str = "",
        turn: int = 1,
        interpreter: bool = False,
    ) -> BrokerProcess:
        """One that is ready; by default the test's own user is a gateway of it, over a Unix socket.

        Args:
            step: where it kills itself, the ``turn``-th time that it gets there.
            interpreter: as ``python -m lake.cli.main`` instead of a fork, which kills itself nowhere.
        """
        file, log = self.folder / f"{name}.yaml", self.folder / f"{name}.log"
        file.write_text(peers or by_uid(Role.GATEWAY))
        where = place or ("--socket", self.folder / f"{name}.sock")
        command = ("serve", "broker", "--lake", self._lake, "--key-file", self._key, "--peers", file, "--json", *where)
        with log.open("a") as stderr:
            streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": stderr, "text": True}
            if interpreter:
                run = [sys.executable, "-m", "lake.cli.main", *map(str, command)]
                process = subprocess.Popen(run, env=environment(), **streams)
            else:
                armed = (w.PRELUDE + SERVE, self._lake, self._key, step, turn)
                process = forking.python(*armed, *command, env=environment(), **streams)
        self._started.append(process)
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line, log.read_text()
        return BrokerProcess(process, json.loads(line), log)

    def close(self) -> None:
        """End them."""
        for process in self._started:
            if process.poll() is None:
                process.kill()
            process.communicate()
        self._folder.cleanup()


def by_uid(role: Role, uid: int | None = None, limits: str = "{}") -> str:
    """A peers file: the test's own user, or another one, in a role."""
    return f"uids: {{{os.getuid() if uid is None else uid}: {role.value}}}\nlimits: {limits}\n"


def by_name(limits: str = "{}") -> str:
    """A peers file: the hosts of every role by the names of their certificates."""
    return f"certificates: {json.dumps({name: role.value for role, name in NAMES.items()})}\nlimits: {limits}\n"


def environment() -> dict[str, str]:
    """That of a child: nothing that opens a lake."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("LAKE_")}
    return kept | {"PYTHONPATH": str(w.ROOT), "PYTHONDONTWRITEBYTECODE": "1"}


def split(template: w.World, folder: Path) -> Apart:
    """A copy of the known lake in two halves."""
    copied = w.copy(template, folder)
    keys = folder / "keyside"
    keys.mkdir(mode=0o700)
    shutil.copy(copied.root / "lake.json", keys)
    (copied.root / "keys").rename(keys / "keys")
    return Apart(copied.root, keys, copied.key)
