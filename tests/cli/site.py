"""A lake whose key store lies elsewhere, and hosts that reach it through brokers: all of them processes."""

from __future__ import annotations

import json
import subprocess
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from keys.control import NAMES as SECRETS
from keys.remote.roles import Role
from lake.clock import utc_now
from lake.gateway.home import open_keys
from lake.gateway.kek_rotation import dek_request
from lake.rules import layout
from lake.sealed.catalog.catalog import Catalog, Selection
from lake.sealed.catalog.database import Database
from lake.settings import Secrets
from tests import forking
from tests.cli.conftest import Ran
from tests.keys.remote.hosts import NAMES, Authority, BrokerProcess, Brokers, Identity, by_name, by_uid, environment
from tests.world import CONTRACT

GRANT = "{dataset: events, purposes: [incident], sensitivity: 4, employee_id: real}"
POLICY = f"""
purposes: {{incident: Incidents}}
roles: {{all: {{grants: [{GRANT}]}}}}
users: {{vera: {{roles: [all]}}, eve: {{roles: [all]}}}}
"""
EVENTS = [
    {
        "employee": f"EMP-{n}",
        "ts": "2026-09-01T10:00:00Z",
        "type": "say",
        "app": "Mail-QX",
        "said": f"spoken-{n}",
        "n": n,
    }
    for n in range(3)
]
SELECT = "SELECT employee, said FROM events ORDER BY said"
SAID = [{"employee": f"EMP-{n}", "said": f"spoken-{n}"} for n in range(3)]


def start(arguments: list[str], source: str = "") -> subprocess.CompletedProcess[bytes]:
    """``lake`` in a process of its own, which has nothing but its arguments; ``source`` runs before it."""
    run = f"import sys\n{source}\nfrom lake.cli.main import run\nrun(sys.argv[1:])"
    return forking.run(run, *arguments, env=environment())


@dataclass(frozen=True, slots=True)
class Site:
    """A lake whose key store lies elsewhere, and its hosts.

    Attributes:
        root: the lake, as the hosts have it: its ``lake.json`` does not say where the key store is.
        vault: the broker's side: key file, key store, and a copy of ``lake.json`` that says so.
    """

    root: Path
    vault: Path
    brokers: Brokers
    authority: Authority | None
    running: dict[str, BrokerProcess] = field(default_factory=dict)

    def serve(self, role: Role = Role.GATEWAY, limits: str = "{}", **options: Any) -> BrokerProcess:
        """A broker for hosts of this role, in place of the one before; over TLS it is for all of them."""
        name = "all" if self.authority else role.value
        if name in self.running:
            self.running[name].kill()
        if self.authority is None:
            found = self.brokers.start(by_uid(role, limits=limits), name=name, **options)
        else:
            place = ("--listen", "127.0.0.1:0", *tls_files(self.authority))
            found = self.brokers.start(by_name(limits), *place, name=name, **options)
        self.running[name] = found
        return found

    def options(self, role: Role, identity: Identity | None = None) -> list[str]:
        """What a host of this role adds to a command."""
        name = "all" if self.authority else role.value
        broker = self.running.get(name) or self.serve(role)
        found = ["--lake", str(self.root), "--broker", broker.address]
        if self.authority is not None:
            own = identity or self.authority.issue(NAMES[role])
            found += ["--broker-ca", str(self.authority.file)]
            found += ["--broker-cert", str(own.certificate), "--broker-key", str(own.key)]
        return found

    def run(self, role: Role, *arguments: str, source: str = "", identity: Identity | None = None) -> Ran:
        """A command on a host of this role."""
        done = start([*arguments, *self.options(role, identity)], source)
        ran = Ran(done.returncode, done.stdout, done.stderr.decode())
        assert "Traceback" not in ran.err
        return ran

    def ingest(self, role: Role = Role.INGEST, **options: Any) -> Ran:
        """The events into the lake."""
        file = self.root.parent / "events.ndjson"
        file.write_text("".join(json.dumps(event) + "\n" for event in EVENTS))
        return self.run(role, "ingest", str(file), "--dataset", "events", "--json", **options)

    def query(self, role: Role = Role.GATEWAY, user: str = "vera", **options: Any) -> Ran:
        """What was said."""
        return self.run(role, "query", SELECT, "--user", user, "--purpose", "incident", "--json", **options)

    def prepare(self) -> None:
        """A contract and a policy, put in force by an operator; the events, landed by an ingest host."""
        for kind, text, command in (
            ("contract", CONTRACT, ("dataset", "add")),
            ("policy", POLICY, ("policy", "apply")),
        ):
            file = self.root.parent / f"{kind}.yaml"
            file.write_text(text)
            ran = self.run(Role.OPERATOR, *command, str(file))
            assert ran.code == 0, ran.err
        ran = self.ingest()
        assert (ran.code, ran.document["rows"]) == (0, 3), ran.err


def tls_files(authority: Authority, server: Identity | None = None) -> tuple[object, ...]:
    """What a broker over TLS shows, and whom it believes."""
    own = server or authority.issue("localhost", server=True)
    return ("--tls-cert", own.certificate, "--tls-key", own.key, "--tls-client-ca", authority.file)


def check(ran: Ran, code: int, name: str) -> None:
    """The error, as exit code and in the document."""
    assert (ran.code, ran.document["error"]) == (code, name), ran.err


def secrets_of(site: Site) -> list[bytes]:
    """The control secrets and every DEK, from the key store and the catalog themselves."""
    with closing(open_keys(site.vault, Secrets(key_file=site.vault / "key"))) as keys:
        found = list(keys.control.share(SECRETS).values())
        catalog = Catalog(Database.sqlite(site.root / layout.CATALOG, "catalog"), keys.control.catalog_mac, utc_now)
        files = catalog.select(Selection("events", frozenset({1, 2, 3, 4})))
        found += keys.broker.open_deks([dek_request(file) for file, _ in files])
        catalog.database.close()
    assert len(found) == 7 + 3
    return [*found, (site.vault / "key").read_bytes().strip()]
