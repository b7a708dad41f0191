"""A whole key side on disk with a log of its own: a plain RFC 6962 tree, written from the definition and slow."""

# ruff: noqa: DTZ001 - capture times are naive UTC
from __future__ import annotations

import base64
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pyroaring import BitMap

from keys import keystore, unlock
from keys.broker import Broker
from keys.hierarchy import ROOT_NAMES, Hierarchy
from keys.keystore import KeyStore
from keys.providers import local
from keys.receipts import INTENT, Receipt
from keys.refs import DekRequest, FileBinding, PartitionRef, SubjectRef
from keys.signing import NoteSigner, NoteVerifier
from lake.sealed.catalog.database import Database

LAKE = "lake-one"
ORIGIN = "telemetry-lake/lake-one"
SEED = bytes(range(32))
_REPOSITORY = Path(__file__).resolve().parents[2]


class Tree:
    """The Merkle tree of RFC 6962 section 2.1 and its proofs, by their recursive definitions."""

    def __init__(self, entries: Sequence[bytes]) -> None:
        self._leaves = [hashlib.sha256(b"\x00" + entry).digest() for entry in entries]

    def root(self, stop: int, start: int = 0) -> bytes:
        if stop == start:
            return hashlib.sha256(b"").digest()
        if stop - start == 1:
            return self._leaves[start]
        middle = start + self._split(stop - start)
        return hashlib.sha256(b"\x01" + self.root(middle, start) + self.root(stop, middle)).digest()

    def inclusion(self, index: int, stop: int, start: int = 0) -> list[bytes]:
        if stop - start == 1:
            return []
        middle = start + self._split(stop - start)
        if index < middle:
            return [*self.inclusion(index, middle, start), self.root(stop, middle)]
        return [*self.inclusion(index, stop, middle), self.root(middle, start)]

    def consistency(self, old: int, stop: int, start: int = 0, *, whole: bool = True) -> list[bytes]:
        if old == stop:
            return [] if whole else [self.root(stop, start)]
        middle = start + self._split(stop - start)
        if old <= middle:
            return [*self.consistency(old, middle, start, whole=whole), self.root(stop, middle)]
        return [*self.consistency(old, stop, middle, whole=False), self.root(middle, start)]

    @staticmethod
    def _split(size: int) -> int:
        return 1 << ((size - 1).bit_length() - 1)


@dataclass
class World:
    """One lake's keys, a log that its tests write as they please, and a clock that stands."""

    folder: Path
    secret: unlock.UnlockSecret
    database: Database
    provider: local.LocalProvider
    store: KeyStore
    hierarchy: Hierarchy
    broker: Broker
    signer: NoteSigner
    now: datetime = datetime(2026, 3, 14, 12, tzinfo=UTC)
    entries: list[bytes] = field(default_factory=list)

    def reopened(self) -> Broker:
        """The broker of another process on the same files."""
        provider = local.LocalProvider(self.folder, self.secret)
        store = KeyStore(self.database)
        hierarchy = Hierarchy(LAKE, store, provider)
        notes = NoteVerifier([self.signer.verifier_key])
        return Broker(hierarchy, store, origin=ORIGIN, notes=notes, clock=lambda: self.now)

    def fresh_hierarchy(self) -> Hierarchy:
        """A hierarchy that has cached nothing."""
        return Hierarchy(LAKE, self.store, self.provider)

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
        entry = {"ts": self.now.isoformat(), "type": INTENT, "scope": scope} | changes
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
    return subprocess.Popen(
        [sys.executable, "-c", source, *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": str(_REPOSITORY), "PYTHONDONTWRITEBYTECODE": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


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
def world(tmp_path: Path, secret: unlock.UnlockSecret) -> Iterator[World]:
    """A new lake's key side."""
    folder = tmp_path / "keys"
    local.initialise(folder, secret, LAKE)
    provider = local.LocalProvider(folder, secret)
    provider.create(ROOT_NAMES)
    database = Database.sqlite(tmp_path / "keystore.db", "key store", create=True)
    keystore.metadata.create_all(database.engine)
    store = KeyStore(database)
    hierarchy = Hierarchy(LAKE, store, provider)
    signer = NoteSigner(ORIGIN, SEED)
    made: list[World] = []
    notes = NoteVerifier([signer.verifier_key])
    broker = Broker(hierarchy, store, origin=ORIGIN, notes=notes, clock=lambda: made[0].now)
    made.append(World(folder, secret, database, provider, store, hierarchy, broker, signer))
    yield made[0]
    database.close()


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
