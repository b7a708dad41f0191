"""A collector as a process of its own, on the machine's clocks: records and sends until it is told to end."""

from __future__ import annotations

import select
import sys
import time
from datetime import UTC, datetime

from lake.clock import utc_now
from lake.errors import PausedError, UnavailableError
from lake.gateway.collection.interface import Header
from lake.gateway.collection.service import Collection
from lake.gateway.ingest import Delivery, HashedBatches, Ingest
from lake.rules.lease import TTL, Held
from lake.sealed.catalog.rows import microseconds
from tests import world as w
from tests.world import World, small_settings

APPS = {"ada-1": "One-QX", "ben-1": "Two-QX"}
"""Where each collector's events come from."""
SENDS = 0.1
"""Seconds from batch to batch."""


def collect(world: World, name: str, *, obeys: bool) -> None:
    """Print ``sending`` after the first batch, and at the end what landed and what was refused."""
    with world.open(clock=utc_now, settings=small_settings(threads=1)) as lake:
        collection = Collection(lake.home, lake.contracts)
        device = collection.devices.find(collection.devices.tag(name))
        contract = lake.contracts.get("events")
        header = Header(device.employee, "events", contract.digest)
        ingest = Ingest(lake.home, lake.contracts, lake.actor)
        sent = time.monotonic()
        granted = collection.grant(device, "events", None, frozenset({"focus"}))
        held = Held(granted.lease.issued, TTL.total_seconds(), sent)
        landed = refused = number = 0
        recording = True
        while not select.select([sys.stdin], [], [], SENDS)[0]:
            if not (recording and (held.live(time.monotonic()) or not obeys)):
                continue
            captured = datetime.now(UTC).replace(tzinfo=None)
            # When it was captured in truth is part of the row; its capture time is what the collector makes of it.
            row = w.row(
                device.employee, held.stamp(time.monotonic()), "focus", app=APPS[name], big=microseconds(captured)
            )
            table = w.table([row])
            hashed = HashedBatches(table.schema, iter(table.to_batches()))
            number += 1
            try:
                judgement = collection.judge(granted.token, device, header)
                delivery = Delivery("events", hashed, hashed, f"{name}-{number}", judgement=judgement)
                landed += ingest.land(delivery).rows
            except PausedError as error:
                refused += 1
                if obeys:
                    recording = False
                    collection.acknowledge(device, int(error.details.get("mark", collection.mark())))
            except UnavailableError:  # others are writing: a collector tries again later
                continue
            if landed + refused == 1:
                print("sending", flush=True)
        print(landed, refused, flush=True)
