"""An ingest server over real sockets on a known lake, and devices that send to it."""

from __future__ import annotations

import base64
import gzip
import hashlib
import http.client
import io
import json
import socket
import ssl
import threading
import time
import urllib.parse
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa

from lake.api import Lake
from lake.gateway.collection.service import Collection
from lake.gateway.flight.door import Address
from lake.gateway.receiving.limits import ReceivingLimits
from lake.gateway.receiving.process import Receiving
from tests import world as w
from tests.keys.remote.hosts import Authority, Identity
from tests.world import ADA, BEN, World

TYPES = ("focus", "say", "judge")
NDJSON, ARROW = "application/x-ndjson", "application/vnd.apache.arrow.stream"
DEVICES = {"ada-1": ADA, "ben-1": BEN}
SMALL = {"header_s": 1.0, "idle_s": 1.0, "handshake_s": 1.0, "body_s": 5.0, "rate": 512}


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back."""

    status: int
    headers: Mapping[str, str]
    content: bytes

    @property
    def document(self) -> dict[str, Any]:
        """As JSON."""
        found: dict[str, Any] = json.loads(self.content)
        return found


@dataclass
class Site:
    """A server, its lake, and what devices need."""

    world: World
    lake: Lake
    receiving: Receiving
    collection: Collection
    context: ssl.SSLContext | None
    now: datetime = w.NOW
    sent: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def place(self) -> tuple[str, int]:
        """Where the server listens."""
        parts = urllib.parse.urlsplit(self.receiving.addresses[0])
        return str(parts.hostname), int(parts.port or 0)

    def connection(self, context: ssl.SSLContext | None = None, index: int = 0) -> http.client.HTTPConnection:
        """A new one."""
        parts = urllib.parse.urlsplit(self.receiving.addresses[index])
        if self.context is None:
            return http.client.HTTPConnection(str(parts.hostname), parts.port, timeout=60)
        shown = context or self.context
        return http.client.HTTPSConnection(str(parts.hostname), parts.port, timeout=60, context=shown)

    def socket(self) -> socket.socket:
        """A connection below HTTP."""
        plain = socket.create_connection(self.place, timeout=60)
        return plain if self.context is None else self.context.wrap_socket(plain, server_hostname="127.0.0.1")

    def ask(self, method: str, path: str, body: bytes | None = None, **headers: str) -> Answer:
        """One request on a connection of its own."""
        connection = self.connection()
        try:
            connection.request(method, path, body, {name.replace("_", "-"): text for name, text in headers.items()})
            return read(connection)
        finally:
            connection.close()

    def device(self, name: str = "ada-1") -> Sender:
        """A device with a token."""
        token = self.collection.tokens.issue(self.lake.actor, name).text
        return Sender(self, name, DEVICES[name], token)

    def metric(self, name: str) -> float:
        """One of the metrics, by name and labels as Prometheus writes them; 0 if it is not there."""
        for line in self.receiving.metrics.text().decode().splitlines():
            if line.startswith(f"{name} "):
                return float(line.rpartition(" ")[2])
        return 0.0

    def numbers(self) -> list[int]:
        """Of the rows that devices have sent and that landed."""
        return sorted(row["n"] for row in self.world.rows("SELECT n FROM events WHERE app = 'Sent-QX'"))

    def batches(self) -> int:
        """How many batches have landed."""
        return len(self.lake.home.catalog.batch_ids())

    def size(self) -> int:
        """Entries of the audit log."""
        return self.lake.home.log.size

    def entries(self, kind: str, start: int = 0) -> list[dict[str, Any]]:
        """Entries of a type from an index on."""
        found = [json.loads(content) for _, content in self.lake.home.log.entries(start)]
        return [entry for entry in found if entry["type"] == kind]

    def next(self) -> int:
        """A number that no other batch has."""
        with self.lock:
            self.sent += 1
            return self.sent


@dataclass
class Sender:
    """A collector's sending side."""

    site: Site
    name: str
    employee: str
    token: str
    lease: str = ""

    @property
    def headers(self) -> dict[str, str]:
        """Who it is."""
        return {"authorization": f"Bearer {self.token}"}

    def renew(self, *types: str) -> Answer:
        """Ask for a lease."""
        found = self.site.ask("POST", "/v1/leases", asking(*types), **self.headers)
        if found.status == 200:
            self.lease = found.document["lease"]["token"]
        return found

    def rows(self, *numbers: int, kind: str = "focus") -> list[dict[str, Any]]:
        """Rows of now, with numbers to know them by."""
        ts = self.site.now.replace(tzinfo=None)
        return [w.row(self.employee, ts, kind, app="Sent-QX", n=number) for number in numbers]

    def header(self, body: bytes, **values: Any) -> dict[str, Any]:
        """What an honest batch says of itself."""
        if not self.lease:
            assert self.renew().status == 200
        contract = self.site.lake.contracts.get("events")
        return {
            "batch": f"b-{self.site.next()}",
            "device": self.name,
            "employee": self.employee,
            "dataset": "events",
            "version": 1,
            "contract": contract.digest,
            "lease": self.lease,
            "content": digest(body),
            "captured": None,
            "seq": None,
            "collector": "0.1.0",
            "filter": {"rules": "", "dropped": {}},
        } | values

    def request(
        self, body: bytes, kind: str = NDJSON, encoding: str = "", raw: str | None = None, **values: Any
    ) -> dict[str, str]:
        """Headers of a batch's request."""
        packed = pack(self.header(body, **values)) if raw is None else raw
        found = self.headers | {"Lake-Batch": packed, "Content-Type": kind}
        return found | ({"Content-Encoding": encoding} if encoding else {})

    def send(
        self, body: bytes, kind: str = NDJSON, encoding: str = "", raw: str | None = None, **values: Any
    ) -> Answer:
        """Send a batch."""
        return self.site.ask("POST", "/v1/batches", body, **self.request(body, kind, encoding, raw, **values))

    def raw(self, body: bytes, **values: Any) -> bytes:
        """A whole request as it goes over the wire."""
        headers = self.request(body, **values) | {"Host": "lake", "Content-Length": str(len(body))}
        lines = "".join(f"{name}: {text}\r\n" for name, text in headers.items())
        return f"POST /v1/batches HTTP/1.1\r\n{lines}\r\n".encode() + body


def read(connection: http.client.HTTPConnection) -> Answer:
    """The answer on a connection."""
    got = connection.getresponse()
    return Answer(got.status, {name.lower(): text for name, text in got.getheaders()}, got.read())


def heard(connection: socket.socket) -> Answer:
    """The answer on a connection below HTTP."""
    got = http.client.HTTPResponse(connection)
    got.begin()
    return Answer(got.status, {name.lower(): text for name, text in got.getheaders()}, got.read())


def asking(*types: str, nonce: str = "0" * 32) -> bytes:
    """A request for a lease."""
    return json.dumps({"dataset": "events", "types": types or TYPES, "nonce": nonce}).encode()


def digest(body: bytes) -> str:
    """As headers name content."""
    return "sha256:" + hashlib.sha256(body).hexdigest()


def pack(header: Mapping[str, Any] | bytes) -> str:
    """A header as it goes over HTTP."""
    content = header if isinstance(header, bytes) else json.dumps(header).encode()
    return base64.urlsafe_b64encode(content).decode().rstrip("=")


def ndjson(rows: Sequence[Mapping[str, Any]]) -> bytes:
    """Rows as lines."""
    return b"".join(json.dumps(plain(row)).encode() + b"\n" for row in rows)


def plain(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row as JSON has it, without what it does not say."""
    return {
        name: value.replace(tzinfo=UTC).isoformat() if isinstance(value, datetime) else value
        for name, value in row.items()
        if value is not None
    }


def arrow(rows: Sequence[Mapping[str, Any]] | pa.Table, **options: Any) -> bytes:
    """Rows as an Arrow stream."""
    table = rows if isinstance(rows, pa.Table) else w.table(rows)
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, table.schema, options=pa.ipc.IpcWriteOptions(**options)) as stream:
        stream.write_table(table)
    return sink.getvalue()


def packed(body: bytes, codec: str) -> bytes:
    """Compressed."""
    return gzip.compress(body, 6) if codec == "gzip" else pa.Codec("zstd").compress(body, asbytes=True)


@contextmanager
def site_of(
    world: World,
    authority: Authority | None,
    server: Identity | None,
    *,
    bulk: bool = False,
    **limits: Any,
) -> Iterator[Site]:
    """A server until the block ends, over TLS if there is an authority."""
    addresses, context = [Address("127.0.0.1", 0)], None
    if authority is not None and server is not None:
        addresses = [
            Address("127.0.0.1", 0, server.certificate, server.key),
            Address("127.0.0.1", 0, server.certificate, server.key, authority.file),
        ]
        context = trusting(authority)
    box: list[Site] = []

    def clock() -> datetime:
        return box[0].now if box else w.NOW

    with world.open(clock=clock, settings=w.small_settings()) as lake:
        collection = Collection(lake.home, lake.contracts)
        for name, employee in DEVICES.items():
            collection.devices.enrol(lake.actor, name, employee=employee, region="eu", team="sales")
        kept = replace(ReceivingLimits(), **limits)
        receiving = Receiving(lake.home, "ingest-host", addresses, addresses[:1] if bulk else (), kept)
        box.append(Site(world, lake, receiving, collection, context))
        try:
            yield box[0]
        finally:
            receiving.close()


def trusting(authority: Authority, own: Identity | None = None) -> ssl.SSLContext:
    """A client's side of TLS."""
    context = ssl.create_default_context(cafile=str(authority.file))
    if own is not None:
        context.load_cert_chain(own.certificate, own.key)
    return context


def later(site: Site, seconds: float) -> None:
    """Let the lake's time pass."""
    site.now += timedelta(seconds=seconds)


def wait_for(condition: Callable[[], bool]) -> None:
    """Until something happens that happens soon."""
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end
        threading.Event().wait(0.005)
