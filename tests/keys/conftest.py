"""A whole key side on disk with a log of its own, which a test writes as it pleases."""

# ruff: noqa: DTZ001 - capture times are naive UTC
from __future__ import annotations

import base64
import hashlib
import json
import os
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pyroaring import BitMap

from keys import tables, unlock
from keys.broker import Broker
from keys.changes import Changes
from keys.control import new_control_secrets
from keys.hierarchy import Hierarchy
from keys.keystore import KeyStore
from keys.levels import PAGE
from keys.limits import BrokerLimits
from keys.names import ROOT_NAMES, root_name
from keys.operations.sweeps import next_bucket_versions, next_root_version, retire, rewrap_under_root
from keys.operations.verify import verify_keys
from keys.providers import KeyProvider, local
from keys.receipts import INTENT, Receipt
from keys.refs import DekRequest, FileBinding, KeyState, PartitionRef, SubjectRef
from keys.rows import BucketPlace, KekName, KekRow, RootRow
from keys.signing import NoteSigner, NoteVerifier
from lake.sealed.catalog import migrate
from lake.sealed.catalog.database import Database
from lake.sealed.catalog.draft import Draft
from lake.sealed.catalog.postgresql import parse_address
from tests import forking
from tests.keys.tree import Tree

LAKE = "lake-one"
ORIGIN = "telemetry-lake/lake-one"
SEED = bytes(range(32))
ACTOR = "u:" + "0f" * 16


@dataclass
class World:
    """One lake's keys, a log that its tests write as they please, and a clock that stands."""

    folder: Path
    secret: unlock.UnlockSecret
    database: Database
    provider: local.LocalProvider
    store: KeyStore
    changes: Changes
    hierarchy: Hierarchy
    broker: Broker
    signer: NoteSigner
    now: datetime = datetime(2026, 3, 14, 12, tzinfo=UTC)
    entries: list[bytes] = field(default_factory=list)

    def clock(self) -> datetime:
        """The time of this world."""
        return self.now

    def reopened(self, provider: KeyProvider | None = None, limits: BrokerLimits | None = None) -> Broker:
        """The broker of another process on the same files."""
        provider = provider or local.LocalProvider(self.folder, self.secret)
        store = KeyStore(self.database)
        hierarchy = Hierarchy(LAKE, store, provider, clock=self.clock)
        notes = NoteVerifier([self.signer.verifier_key])
        return Broker(hierarchy, store, origin=ORIGIN, notes=notes, clock=self.clock, limits=limits)

    def fresh_hierarchy(self, provider: KeyProvider | None = None) -> Hierarchy:
        """A hierarchy that has cached nothing."""
        return Hierarchy(LAKE, KeyStore(self.database), provider or self.provider, clock=self.clock)

    def keks(self) -> list[KekRow]:
        """Every KEK as it stands."""
        return [row for page in self.changes.pages_of_keks() for row in page]

    def open_kek(self, row: KekRow, hierarchy: Hierarchy | None = None, *, compromised: bool = False) -> bytes:
        """The bytes of a KEK as the row says, under the bucket keys and roots as they stand."""
        view = self.store.view_of_keks([row.subject], [(row.kek_id, row.version)])
        buckets = {(each.sensitivity, each.bucket, each.version): each for each in self.changes.buckets()}
        view = replace(view, buckets=buckets)
        return (hierarchy or self.hierarchy).open_keks(view, [row], compromised=compromised)[row.kek_id, row.version]

    def landed_kek(self, name: KekName) -> KekRow:
        """The KEK that wraps new DEKs of a partition, made if there is none."""
        return self.hierarchy.landing_view([name]).wrapping_kek(name)

    def verify(self) -> dict[str, int]:
        """Every wrap opened by a process that has cached nothing."""
        return verify_keys(self.fresh_hierarchy(), self.changes)

    def next_bucket(self, place: BucketPlace) -> None:
        """A new version of a bucket key, its KEKs under it, the former one destroyed."""
        (former,) = [row.version for row in self.changes.buckets() if row.place == place and row.state.wraps]
        (root,) = [row.version for row in self.changes.roots() if row.name == root_name(place[0]) and row.state.wraps]
        next_bucket_versions(self.hierarchy, self.changes, {place: former + 1}, {place[0]: root})
        retire(self.hierarchy, self.changes, [(*place, former)], lambda _: None, PAGE)

    def next_root(self, level: int) -> None:
        """A new version of a level's root, its bucket keys under it, the former one destroyed."""
        name = root_name(level)
        version = next_root_version(self.hierarchy, name, self.provider.describe(name).current)
        rewrap_under_root(self.hierarchy, self.changes, name, version)
        self.provider.trim(name, version)
        self.changes.retire_roots(name, version, KeyState.DESTROYED)

    def partition(self, subject: SubjectRef, *, level: int = 3, month: str = "2026-03") -> PartitionRef:
        """A partition of an employee."""
        return PartitionRef("desktop", subject.subject, level, month)

    def landed(self, partition: PartitionRef) -> tuple[DekRequest, bytes]:
        """What the catalog would keep of a file that has just been landed, and its DEK."""
        key = self.broker.landing_keys([partition])(partition)
        file = binding(partition, key.file_id)
        return DekRequest(file, key.wrap(file)), key.dek

    def intent(self, scope: dict[str, Any], **changes: Any) -> bytes:
        """An INTENT entry, as canonical JSON."""
        entry = {"ts": self.now.isoformat(), "type": INTENT, "actor": {"p": ACTOR}, "scope": scope} | changes
        return json.dumps(entry, sort_keys=True, separators=(",", ":")).encode()

    def receipt(self, entry: bytes, *, scope: bytes | None = None, signer: NoteSigner | None = None) -> Receipt:
        """Append an entry and show that it is there."""
        self.entries.append(entry)
        return self.proof(len(self.entries) - 1, scope=scope, signer=signer)

    def proof(self, index: int, *, scope: bytes | None = None, signer: NoteSigner | None = None) -> Receipt:
        """The receipt of an entry in the log as it is now."""
        tree, size = Tree(self.entries), len(self.entries)
        root = base64.b64encode(tree.root(size)).decode()
        note = (signer or self.signer).sign(f"{(signer or self.signer).name}\n{size}\n{root}\n")
        hashes = "".join(base64.b64encode(each).decode() + "\n" for each in tree.inclusion(index, size))
        seen = self.broker.anchor_size()
        consistency = tuple(tree.consistency(seen, size)) if 0 < seen < size else ()
        text = f"c2sp.org/tlog-proof@v1\nindex {index}\n{hashes}\n{note}"
        return Receipt(text, self.entries[index], scope, consistency)


def binding(partition: PartitionRef, file_id: str) -> FileBinding:
    """A finished file of a partition."""
    return FileBinding(
        partition=partition,
        file_id=file_id,
        object_key=f"data/{partition.dataset}/{file_id}.parquet",
        format="pme",
        format_version=1,
        schema_version=2,
        length=4096,
        sha256=hashlib.sha256(file_id.encode()).digest(),
        rows=17,
        first_ts=datetime(2026, 3, 1),
        last_ts=datetime(2026, 3, 2, 3, 4, 5, 678),
    )


def scope_of(*named: tuple[PartitionRef, int]) -> dict[str, Any]:
    """The scope that names partitions with their employees' numbers."""
    partitions: dict[str, dict[str, dict[str, str]]] = {}
    members: dict[tuple[str, int, str], BitMap] = {}
    for partition, number in named:
        members.setdefault((partition.dataset, partition.sensitivity, partition.month), BitMap()).add(number)
    for (dataset, level, month), numbers in members.items():
        text = base64.b64encode(numbers.serialize()).decode()
        partitions.setdefault(dataset, {}).setdefault(str(level), {})[month] = text
    return {"partitions": partitions}


def shows(text: str, *secrets: bytes) -> bool:
    """Whether a text contains one of these secrets raw, escaped, in hexadecimal or in base64."""
    for secret in secrets:
        forms = (secret.decode("latin-1"), repr(secret)[2:-1], secret.hex(), base64.b64encode(secret).decode()[:40])
        if any(form in text or form.upper() in text for form in forms):
            return True
    return False


def run_child(source: str, *arguments: object) -> subprocess.Popen[str]:
    """Start Python source in a process of its own that can import the project."""
    return forking.python(source, *arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.fixture
def secret() -> unlock.UnlockSecret:
    """A key file's content: quick to open with."""
    return unlock.UnlockSecret(unlock.KEY_FILE, os.urandom(32).hex().encode())


@pytest.fixture
def folder(tmp_path: Path, secret: unlock.UnlockSecret) -> Path:
    """The folder of a key store with one root key, ``root``."""
    path = tmp_path / "keys"
    local.initialise(path, secret, LAKE)
    local.LocalProvider(path, secret).create(["root"])
    return path


@pytest.fixture
def kind() -> str:
    """The database of the key store; a module may name others."""
    return "sqlite"


@pytest.fixture
def key_database(kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Database]:
    """An empty key store."""
    if kind == "sqlite":
        database = Database.sqlite(tmp_path / "keystore.db", "key store", create=True)
        tables.metadata.create_all(database.engine)
        yield database
        database.close()
        return
    server = request.getfixturevalue("postgres")
    name = server.copy_of("keys", lambda empty: _fill_template(server.url(empty)))
    database = Database.postgresql(parse_address(server.url(name), "lake_keys"), "key store")
    yield database
    database.close()
    server.drop(name)


def _fill_template(url: str) -> None:
    address = parse_address(url, "lake_keys")
    made = Draft(Database.postgresql(address, "key store"), migrate.KEY_STORE_MIGRATIONS, address)
    made.finish()
    made.close()


@pytest.fixture
def world(tmp_path: Path, secret: unlock.UnlockSecret, key_database: Database) -> World:
    """A new lake's key side."""
    folder = tmp_path / "keys"
    local.initialise(folder, secret, LAKE)
    provider = local.LocalProvider(folder, secret)
    provider.create(ROOT_NAMES)
    database = key_database
    store = KeyStore(database)
    made: list[World] = []
    rows = [RootRow(name, 1, KeyState.ENABLED, 0) for name in ROOT_NAMES]
    store.create(provider.kind, rows, new_control_secrets(LAKE, provider))
    hierarchy = Hierarchy(LAKE, store, provider, clock=lambda: made[0].now)
    signer = NoteSigner(ORIGIN, SEED)
    notes = NoteVerifier([signer.verifier_key])
    broker = Broker(hierarchy, store, origin=ORIGIN, notes=notes, clock=lambda: made[0].now)
    made.append(World(folder, secret, database, provider, store, Changes(database), hierarchy, broker, signer))
    return made[0]


@pytest.fixture
def tree() -> type[Tree]:
    """The naive tree."""
    return Tree


@pytest.fixture
def scope() -> Callable[..., dict[str, Any]]:
    """Makes scopes: `scope_of`."""
    return scope_of


@pytest.fixture
def leaks() -> Callable[..., bool]:
    """Finds secrets in a text: `shows`."""
    return shows


@pytest.fixture
def child() -> Callable[..., subprocess.Popen[str]]:
    """Starts a process: `run_child`."""
    return run_child


@pytest.fixture
def changed_bindings() -> Callable[[FileBinding], dict[str, FileBinding]]:
    """Every binding that differs from the given one in one field, by the field's name."""

    def build(file: FileBinding) -> dict[str, FileBinding]:
        partition = file.partition
        return {
            "dataset": replace(file, partition=replace(partition, dataset="laptop")),
            "sensitivity": replace(file, partition=replace(partition, sensitivity=1)),
            "subject": replace(file, partition=replace(partition, subject="a" * 26)),
            "month": replace(file, partition=replace(partition, month="2026-04")),
            "file_id": replace(file, file_id="f" * 32),
            "object_key": replace(file, object_key="data/desktop/other.parquet"),
            "format": replace(file, format="plain"),
            "format_version": replace(file, format_version=file.format_version + 1),
            "schema_version": replace(file, schema_version=file.schema_version + 1),
            "length": replace(file, length=file.length + 1),
            "sha256": replace(file, sha256=bytes(32)),
            "rows": replace(file, rows=file.rows + 1),
            "first_ts": replace(file, first_ts=file.first_ts + timedelta(microseconds=1)),
            "last_ts": replace(file, last_ts=file.last_ts + timedelta(microseconds=1)),
        }

    return build
