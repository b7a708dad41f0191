"""Files that an ingest host lands through a broker."""

# ruff: noqa: DTZ001 - capture times are naive UTC
from __future__ import annotations

import hashlib
from dataclasses import replace
from datetime import datetime
from typing import Any

from keys import envelope
from keys.broker import Broker
from keys.hierarchy import kek_context
from keys.refs import DekRequest, FileBinding, PartitionRef
from keys.remote import messages as m
from keys.remote import proxies
from keys.remote.client import BrokerClient
from tests.keys.remote.conftest import Served

MONTH = "2026-03"


def binding(partition: PartitionRef, file_id: str = "f" * 32) -> FileBinding:
    """A finished file."""
    digest = hashlib.sha256(file_id.encode()).digest()
    first = datetime(2026, 3, 1)
    return FileBinding(partition, file_id, f"data/{file_id}", "pme", 1, 1, 4096, digest, 17, first, first)


class Landed:
    """Files that an ingest host has landed over the socket."""

    def __init__(self, client: BrokerClient) -> None:
        self.broker = proxies.RemoteBroker(client)
        (self.subject,) = self.broker.new_subjects(1)
        self.partition = PartitionRef("events", self.subject.subject, 3, MONTH)
        self.keys = self.broker.landing_keys([self.partition])
        self.landing = self.keys(self.partition)
        self.file = binding(self.partition, self.landing.file_id)
        self.wrapped = self.landing.wrap(self.file)
        self.request = DekRequest(self.file, self.wrapped)

    def arguments(self, **changes: Any) -> dict[str, Any]:
        """What was sent to wrap it, with changes."""
        return {
            "dek": self.landing.dek,
            "binding": m.binding_fields(self.file),
            "kek_id": self.wrapped.kek_id,
            "version": self.wrapped.kek_version,
            "epoch": self.keys.epoch,
        } | changes


def rotate(served: Served, landed: Landed) -> None:
    """Give a KEK its next version; the one before opens and does not wrap."""
    assert served.keys.local is not None
    hierarchy, store = served.keys.local.hierarchy, served.keys.store
    name = (landed.wrapped.kek_id, landed.wrapped.kek_version)
    view = store.view_of_keks({landed.subject.subject}, {name})
    old = view.keks[name]
    fresh = replace(old, version=old.version + 1)
    (parent,) = hierarchy.open_buckets(view, view.buckets.values()).values()
    wrapped = envelope.seal(parent, envelope.new_key(), kek_context(hierarchy.lake, fresh))
    served.keys.local.changes.add_kek_versions([replace(fresh, wrapped=wrapped)])


def local(served: Served) -> Broker:
    """The broker itself."""
    return served.keys.broker
