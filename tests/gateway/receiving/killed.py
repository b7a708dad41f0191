"""A batch that is ready to be sent to any server of a lake, as often as need be."""

from __future__ import annotations

import http.client
import json
import urllib.parse
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from lake.clock import Clock
from lake.gateway.collection.service import Collection
from tests import world as w
from tests.gateway.receiving.site import NDJSON, digest, ndjson, pack
from tests.world import ADA, World


@dataclass(frozen=True, slots=True)
class Ready:
    """The request, which is the same each time."""

    world: World
    body: bytes
    headers: dict[str, str]

    def send(self, address: str) -> dict[str, Any] | None:
        """The receipt; None if no answer came."""
        place = urllib.parse.urlsplit(address)
        connection = http.client.HTTPConnection(str(place.hostname), place.port, timeout=60)
        try:
            connection.request("POST", "/v1/batches", self.body, self.headers)
            got = connection.getresponse()
            content = got.read()
        except (ConnectionError, http.client.HTTPException):
            return None
        finally:
            connection.close()
        assert got.status == 200, content
        found: dict[str, Any] = json.loads(content)
        return found

    def numbers(self) -> list[int]:
        """Of its rows that are there."""
        return sorted(row["n"] for row in self.world.rows("SELECT n FROM events WHERE app = 'Sent-QX'"))


def upload(world: World, clock: Clock = w.clock) -> Ready:
    """A device, a lease, and two rows of different sensitivity under it."""
    now: datetime = clock().replace(tzinfo=None)
    rows = [
        w.row(ADA, now, "focus", app="Sent-QX", n=1),
        w.row(ADA, now, "say", app="Sent-QX", n=2, said="words"),
    ]
    body = ndjson(rows)
    with world.open(clock=clock) as lake:
        collection = Collection(lake.home, lake.contracts)
        device = collection.devices.enrol(lake.actor, "ada-1", employee=ADA, region="eu", team="sales")
        token = collection.tokens.issue(lake.actor, "ada-1").text
        lease = collection.grant(device, "events", None, frozenset({"focus", "say"}))
        header = {
            "batch": "killed",
            "device": "ada-1",
            "employee": ADA,
            "dataset": "events",
            "version": 1,
            "contract": lake.contracts.get("events").digest,
            "lease": lease.token,
            "content": digest(body),
            "captured": None,
            "seq": [1, 2],
            "collector": "0.1.0",
            "filter": {"rules": "", "dropped": {}},
        }
    headers = {"authorization": f"Bearer {token}", "Lake-Batch": pack(header), "Content-Type": NDJSON}
    return Ready(world, body, headers)
