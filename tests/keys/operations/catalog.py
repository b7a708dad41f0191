"""The caller's part in a rotation of KEKs: a file of rows with wrapped DEKs, and a fence. The broker is real."""

from __future__ import annotations

import hashlib
import json
import os
from datetime import datetime
from typing import Any

from keys.broker import Broker
from keys.operations import rotate_keks
from keys.operations.journal import exclusive
from keys.refs import DekRequest, FileBinding, PartitionRef, WrappedDek
from keys.rows import KekScope
from tests.keys.operations.keyside import ORIGIN, Keys, now


class Files:
    """Rows by file id: partition, KEK (id, version), wrap. Written as a whole: a kill leaves one or the other."""

    def __init__(self, keys: Keys) -> None:
        self.path = keys.place / "catalog.json"
        self.broker = Broker(keys.hierarchy, keys.store, origin=ORIGIN, notes=keys.notes(), clock=now)
        self.state: dict[str, Any] = {"fence": 0, "rows": {}}
        if self.path.exists():
            self.state = json.loads(self.path.read_text())

    def fence(self, epoch: int) -> None:
        self.state["fence"] = max(self.state["fence"], epoch)
        self.save()

    def save(self) -> None:
        temporary = self.path.with_suffix(".new")
        temporary.write_text(json.dumps(self.state))
        os.replace(temporary, self.path)  # noqa: PTH105

    def land(self, keys: Keys) -> None:
        """A file for every partition that has a KEK."""
        partitions = [PartitionRef("desktop", row.subject, row.sensitivity, row.month) for row in keys.rows()]
        landing = self.broker.landing_keys(partitions)
        for partition in partitions:
            key = landing(partition)
            wrap = landing.wrap(binding(partition, key.file_id))
            self._put(partition, key.file_id, wrap)
        self.save()

    def _put(self, partition: PartitionRef, file_id: str, wrap: WrappedDek) -> None:
        place = [partition.dataset, partition.subject, partition.sensitivity, partition.month]
        self.state["rows"][file_id] = [place, wrap.kek_id, wrap.kek_version, wrap.blob.hex()]

    def requests(self) -> dict[str, DekRequest]:
        return {
            file_id: DekRequest(
                binding(PartitionRef(*place), file_id), WrappedDek(kek_id, version, bytes.fromhex(blob))
            )
            for file_id, (place, kek_id, version, blob) in self.state["rows"].items()
        }

    def deks(self) -> dict[str, bytes]:
        """Every file's DEK."""
        requests = self.requests()
        return dict(zip(requests, self.broker.open_deks(list(requests.values()), compromised=True), strict=True))

    def sweep(self, old: list[tuple[str, int]]) -> None:
        """Wrap what is under these KEKs anew."""
        under = {name: r for name, r in self.requests().items() if (r.wrapped.kek_id, r.wrapped.kek_version) in old}
        fresh = self.broker.rewrap_deks(list(under.values()))
        for (file_id, request), wrap in zip(under.items(), fresh, strict=True):
            self._put(request.binding.partition, file_id, wrap)
        self.save()


def binding(partition: PartitionRef, file_id: str) -> FileBinding:
    """A finished file."""
    digest = hashlib.sha256(file_id.encode()).digest()
    seen = datetime(2026, 1, 1)  # noqa: DTZ001 - capture times are naive UTC
    return FileBinding(partition, file_id, f"data/{file_id}", "pme", 1, 1, 4096, digest, 17, seen, seen)


def rotate(keys: Keys, *, compromised: bool = False) -> None:
    """Every KEK anew, from wherever a run before was cut off."""
    files = Files(keys)
    keys.fenced.clear()
    with exclusive(keys.keeper.folder):
        operation = keys.keeper.journal.begin(rotate_keks.VERB, {"compromised": compromised}, "start")
        while left := keys.changes.superseded_keks():
            files.fence(keys.store.epoch())
            files.sweep(left)
            rotate_keks.retire(keys.keeper, left)
        after = ""
        while True:
            old, after = rotate_keks.next_page(
                keys.keeper, KekScope(), operation.started_at, after, compromised=compromised, limit=20
            )
            if not old:
                break
            files.fence(keys.fenced[-1])
            files.sweep(old)
            rotate_keks.retire(keys.keeper, old)
        keys.keeper.journal.save(operation, "done", done=True)
