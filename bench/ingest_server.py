"""Rows a second through the ingest server, over TLS from several connections, beside ``lake ingest`` of the same files.

Both sides land the same bytes in the same lake, in one process that is open already. Each batch is of one employee, as
a lease is.
"""

from __future__ import annotations

import base64
import datetime as dt
import hashlib
import http.client
import json
import shutil
import ssl
import urllib.parse
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import pyarrow as pa

from bench import world
from bench.measure import BenchError, Scale, check_equal, interleaved
from keys.certificates import issue
from lake.api import Lake
from lake.clear.landing.readers.source import ReadOptions
from lake.gateway.collection.service import Collection
from lake.gateway.files import file_delivery
from lake.gateway.flight.door import Address
from lake.gateway.ingest import Ingest
from lake.gateway.receiving.bodies import ARROW, NDJSON
from lake.gateway.receiving.process import Receiving

DEVICES = 4
BATCH_ROWS = 50_000
FORMS = {"ndjson": ("batch.ndjson", NDJSON, ""), "ndjson.zst": ("batch.ndjson.zst", NDJSON, "zstd"),
         "arrow": ("batch.arrow", ARROW, "")}  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Door:
    receiving: Receiving
    context: ssl.SSLContext


@dataclass(frozen=True, slots=True)
class _Batch:
    device: str
    employee: str
    lease: str
    token: str
    body: bytes
    path: Path


def measure(scale: Scale, folder: Path) -> dict[str, Any]:
    """For each form of a body the seconds of both sides, and how many rows a second that is."""
    place = folder / "lake"
    world.make_lake(place)
    certificates, context = _certificates(folder)
    found: dict[str, Any] = {}
    with world.open_lake(place, scale.threads) as db:
        receiving = Receiving(db.home, "bench", [Address("127.0.0.1", 0, *certificates)])
        try:
            for form in FORMS:
                batches = _batches(db, scale, form, folder)
                found[form] = _compare(db, _Door(receiving, context), batches, form, scale.repeat)
        finally:
            if not receiving.close(10.0):
                raise BenchError("the server did not end in order")
    shutil.rmtree(folder)
    return found


def _compare(db: Lake, door: _Door, batches: list[_Batch], form: str, repeat: int) -> dict[str, Any]:
    turn = count()
    contract = db.contracts.get(world.DATASET)
    counts: dict[str, int] = {}

    def files() -> None:
        ingest, name = Ingest(db.home, db.contracts, db.actor, db.open_runs), next(turn)
        landed = 0
        for number, batch in enumerate(batches):
            delivery = file_delivery(batch.path, None, contract, ReadOptions(), batch_id=f"{form}-{name}-{number}")
            landed += ingest.land(delivery).rows
        counts["lake ingest"] = landed

    def server() -> None:
        name = next(turn)
        with ThreadPoolExecutor(DEVICES) as pool:
            sent = pool.map(
                lambda pair: _send(door, pair[1], form, contract, f"{form}-{name}-{pair[0]}"),
                enumerate(batches),
            )
            counts["server"] = sum(sent)

    sides: dict[str, Callable[[], None]] = {"lake ingest": files, "server": server}
    seconds = interleaved(sides, repeat, warm=False)
    rows = counts["lake ingest"]
    check_equal(f"rows through the server as {form}", rows, counts["server"])
    rates = {name: rows / taken for name, taken in seconds.items()}
    return {
        "rows": rows,
        "batches": len(batches),
        "seconds": seconds,
        "rows_per_second": rates,
        "server_share": rates["server"] / rates["lake ingest"],
    }


def _send(door: _Door, batch: _Batch, form: str, contract: Any, name: str) -> int:
    header = {
        "batch": name, "device": batch.device, "employee": batch.employee, "dataset": contract.dataset,
        "version": contract.version, "contract": contract.digest, "lease": batch.lease,
        "content": "sha256:" + hashlib.sha256(batch.body).hexdigest(), "captured": None, "seq": None,
        "collector": "bench", "filter": {"rules": "", "dropped": {}},
    }  # fmt: skip
    _, kind, encoding = FORMS[form]
    headers = {
        "Authorization": f"Bearer {batch.token}",
        "Lake-Batch": base64.urlsafe_b64encode(json.dumps(header).encode()).decode().rstrip("="),
        "Content-Type": kind,
    }
    if encoding:
        headers["Content-Encoding"] = encoding
    place = urllib.parse.urlsplit(door.receiving.addresses[0])
    connection = http.client.HTTPSConnection(str(place.hostname), place.port, timeout=300, context=door.context)
    try:
        connection.request("POST", "/v1/batches", batch.body, headers)
        answer = connection.getresponse()
        document = json.loads(answer.read())
    finally:
        connection.close()
    if answer.status != 200 or document["repeated"]:
        raise BenchError(f"a batch was answered with {answer.status} {document.get('code')}")
    return int(document["receipt"]["rows"])


def _batches(db: Lake, scale: Scale, form: str, folder: Path) -> list[_Batch]:
    """Generated rows, captured now under a lease, in batches of one employee each."""
    collection = Collection(db.home, db.contracts)
    contract = db.contracts.get(world.DATASET)
    kinds = frozenset(contract.events)
    rows = world.rows_of(scale, scale.ingest_rows // 4).read_all()
    size = min(BATCH_ROWS, rows.num_rows // DEVICES)
    found = []
    for number, start in enumerate(range(0, rows.num_rows - size + 1, size)):
        device, employee = f"bench-{number % DEVICES}", f"BENCH-{number % DEVICES}"
        collection.devices.enrol(db.actor, device, employee=employee, region="eu", team="bench")
        found_device = collection.devices.find(collection.devices.tag(device))
        granted = collection.grant(found_device, world.DATASET, None, kinds)
        table = _captured(rows.slice(start, size), employee, granted.lease.issued)
        body = _body(table, form)
        path = folder / f"{number}-{FORMS[form][0]}"
        path.write_bytes(body)
        token = collection.tokens.issue(db.actor, device).text
        found.append(_Batch(device, employee, granted.token, token, body, path))
    return found


def _captured(rows: pa.Table, employee: str, first: dt.datetime) -> pa.Table:
    begin = int(first.replace(tzinfo=dt.UTC).timestamp() * 1_000_000)
    stamps = pa.array(range(begin, begin + rows.num_rows), pa.int64()).cast(pa.timestamp("us"))
    names = pa.array([employee] * rows.num_rows)
    for name, column in (("ts", stamps), ("employee", names)):
        rows = rows.set_column(rows.schema.get_field_index(name), name, column)
    return rows


def _body(rows: pa.Table, form: str) -> bytes:
    if form == "arrow":
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, rows.schema) as stream:
            stream.write_table(rows)
        return bytes(sink.getvalue())
    lines = []
    for row in rows.to_pylist():
        plain = {name: value for name, value in row.items() if value is not None}
        moments = {name: f"{value.isoformat()}Z" for name, value in plain.items() if isinstance(value, dt.datetime)}
        lines.append(json.dumps(plain | moments, ensure_ascii=False).encode())
    body = b"\n".join(lines) + b"\n"
    return pa.Codec("zstd").compress(body, asbytes=True) if form.endswith("zst") else body


def _certificates(folder: Path) -> tuple[tuple[Path, Path], ssl.SSLContext]:
    authority, issued = issue({"server": ("localhost", "127.0.0.1")}, (), dt.timedelta(days=1))
    certificate, key = folder / "server.pem", folder / "server.key"
    key.touch(mode=0o600)
    certificate.write_bytes(issued["server"].certificate)
    key.write_bytes(issued["server"].key)
    return (certificate, key), ssl.create_default_context(cadata=authority.decode())
