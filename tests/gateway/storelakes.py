"""The known lake with its objects on a real S3 server, behind a proxy that makes trouble when a test says so."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lake.api import Connection, Lake
from lake.gateway.doctor import Doctor
from lake.sealed.objects.s3 import S3Store
from lake.sealed.objects.s3_calls import Patience
from lake.sealed.objects.s3_place import S3Place
from tests import world as w
from tests.servers.buckets import Bucket
from tests.servers.fault_proxy import FaultProxy
from tests.world import World

PATIENT = Patience(first_pause=0.01, longest_pause=0.1)
KNOWN = 12
"""Rows of the known lake: few, as each test reads them over the wire."""
HASTY = Patience(connect=1.0, read=1.0, deadline=0.3, first_pause=0.02, longest_pause=0.05)
"""Gives up soon: for faults that do not pass."""


@dataclass(frozen=True)
class StoreWorld(World):
    """A lake whose objects are in ``store``; ``hasty`` sees the same ones and gives up soon."""

    proxy: FaultProxy
    store: S3Store
    hasty: S3Store

    def open(self, *, impatient: bool = False, **options: Any) -> Lake:
        """As an operator."""
        opened = World.open(self, **options)
        opened.home.objects = self.hasty if impatient else self.store
        return opened

    def connect(
        self, user: str = w.VERA, purpose: str = "incident", role: str | None = None, **options: Any
    ) -> Connection:
        """As a user."""
        impatient = options.pop("impatient", False)
        connection = World.connect(self, user, purpose, role, **options)
        connection._home.objects = self.hasty if impatient else self.store
        return connection

    def stored(self) -> set[str]:
        """Every object of the store, asked for when there is no trouble."""
        return {found.key for found in self.store.list()}

    def named(self) -> set[str]:
        """Every object that the catalog names."""
        with self.open() as lake:
            return lake.home.catalog.object_keys()

    def findings(self, *, impatient: bool = False) -> dict[str, list[str]]:
        """What the doctor says of the lake, by state."""
        found: dict[str, list[str]] = {}
        with self.open(impatient=impatient) as lake:
            for finding in Doctor(lake.home).examine_lake():
                found.setdefault(finding.state, []).append(f"{finding.check}: {finding.message}")
        return found


@contextmanager
def made(folder: Path, bucket: Bucket) -> Iterator[StoreWorld]:
    """A new lake with the first of the known rows."""
    proxy = FaultProxy(bucket.endpoint)
    place = S3Place.parse(bucket.url, proxy.endpoint)
    stores = S3Store(place, PATIENT), S3Store(place, HASTY)
    local = w.make(folder, rows=[])
    world = StoreWorld(local.root, local.key, proxy, *stores)
    with world.open() as lake:
        lake.ingest("events", w.table(w.known_rows()[:KNOWN]), batch_id="known")
    yield world
    proxy.close()
    for store in stores:
        store.close()
