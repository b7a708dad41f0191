"""Bodies that are not what they should be: refused with a typed error that quotes nothing; nothing of them lands."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pyarrow as pa
import pytest

from lake.gateway.receiving.limits import ReceivingLimits
from tests import world as w
from tests.gateway.receiving.site import (
    ARROW,
    NDJSON,
    Answer,
    Sender,
    Site,
    arrow,
    ndjson,
    packed,
    plain,
    read,
    site_of,
)
from tests.keys.remote.hosts import Authority, Identity
from tests.world import World

CANARY = "canary-value-QX"
"""Stands in every body that is refused here, and in no answer."""


def line(device: Sender, **values: Any) -> bytes:
    """One good line, changed."""
    return json.dumps(plain(device.rows(1)[0]) | {"app": CANARY} | values).encode()


def good(device: Sender) -> bytes:
    """As it would land."""
    return ndjson(device.rows(1))


def table(device: Sender, **columns: pa.Array) -> bytes:
    """One good row as Arrow, with a column more or another."""
    rows = w.table(device.rows(1))
    for name, column in columns.items():
        index = rows.schema.get_field_index(name)
        rows = rows.append_column(name, column) if index < 0 else rows.set_column(index, name, column)
    return arrow(rows)


def without_schema(stream: bytes) -> bytes:
    """From its second message on."""
    return stream[8 + int.from_bytes(stream[4:8], "little") :]


def without_kind(stream: bytes) -> bytes:
    """The schema's message with a type that no message has: where its table's second field stands."""
    root = 8 + int.from_bytes(stream[8:12], "little")
    fields = root - int.from_bytes(stream[root : root + 4], "little", signed=True)
    kind = root + int.from_bytes(stream[fields + 6 : fields + 8], "little")
    assert stream[kind] == 1
    return stream[:kind] + b"\x77" + stream[kind + 1 :]


def misled(stream: bytes) -> bytes:
    """The first text's end far beyond the buffer."""
    length = len(w.EMPLOYEES[0]).to_bytes(4, "little")
    place = stream.index(b"\0\0\0\0" + length)
    return stream[: place + 4] + b"\xf0\xff\xff\x7f" + stream[place + 8 :]


BODIES: dict[str, tuple[str, str, Callable[[Sender], bytes]]] = {
    "a key twice": (NDJSON, "", lambda d: line(d)[:-1] + b', "n": 2}\n'),
    "invalid UTF-8": (NDJSON, "", lambda d: line(d).replace(b"canary", b"\xff\xfe") + b"\n"),
    "NaN": (NDJSON, "", lambda d: line(d).replace(b'"n": 1', b'"n": NaN') + b"\n"),
    "an infinity": (NDJSON, "", lambda d: line(d).replace(b'"n": 1', b'"score": 1e999') + b"\n"),
    "nested too deeply": (NDJSON, "", lambda d: line(d)[:-1] + b', "x": ' + b"[" * 60_000 + b"]" * 60_000 + b"}\n"),
    "an array": (NDJSON, "", lambda d: b"[" + line(d) + b"]\n"),
    "two objects on a line": (NDJSON, "", lambda d: line(d) + line(d) + b"\n"),
    "text for a number": (NDJSON, "", lambda d: line(d, n=CANARY) + b"\n"),
    "a fraction for a whole number": (NDJSON, "", lambda d: line(d, n=1.5) + b"\n"),
    "a time without an offset": (NDJSON, "", lambda d: line(d, ts="2026-09-15T12:00:00") + b"\n"),
    "a time in seconds": (NDJSON, "", lambda d: line(d, ts=1_789_473_600) + b"\n"),
    "a line that is too long": (NDJSON, "", lambda d: line(d, title=CANARY * 20_000) + b"\n"),
    "cut off within a line": (NDJSON, "", lambda d: line(d)[:-9]),
    "nothing": (NDJSON, "", lambda d: b""),
    "blank lines": (NDJSON, "", lambda d: b"\n\n \n"),
    "gzip cut off": (NDJSON, "gzip", lambda d: packed(line(d) * 50, "gzip")[:-12]),
    "gzip with a wrong sum": (NDJSON, "gzip", lambda d: packed(line(d), "gzip")[:-8] + b"\0" * 8),
    "zstd cut off": (NDJSON, "zstd", lambda d: packed(line(d) * 50, "zstd")[:-5]),
    "not gzip": (NDJSON, "gzip", line),
    "a gzip bomb": (NDJSON, "gzip", lambda d: packed(line(d)[:-1] + b" " * 150_000_000 + b"}\n", "gzip")),
    "a zstd bomb": (NDJSON, "zstd", lambda d: packed(b"\n" * 300_000_000, "zstd")),
    "a bomb of many lines": (NDJSON, "zstd", lambda d: packed((line(d) + b"\n") * 400_000, "zstd")),
    "not Arrow": (ARROW, "", line),
    "Arrow cut off": (ARROW, "", lambda d: arrow(d.rows(1))[:-40]),
    "Arrow without its end": (ARROW, "", lambda d: arrow(d.rows(1))[:-8]),
    "Arrow whose first message is none": (ARROW, "", lambda d: without_kind(arrow(d.rows(1)))),
    "Arrow without a schema": (ARROW, "", lambda d: without_schema(arrow(d.rows(1)))),
    "Arrow with offsets that point anywhere": (ARROW, "", lambda d: misled(arrow(d.rows(1)))),
    "an Arrow file": (ARROW, "", lambda d: b"ARROW1\0\0" + arrow(d.rows(1))),
    "Arrow with compressed buffers": (ARROW, "", lambda d: arrow(d.rows(1) * 400, compression="zstd")),
    "Arrow with a dictionary": (ARROW, "", lambda d: table(d, app=pa.array([CANARY]).dictionary_encode())),
    "Arrow with a list": (ARROW, "", lambda d: table(d, x=pa.array([[CANARY]]))),
    "Arrow with a view": (ARROW, "", lambda d: table(d, x=pa.array([CANARY], pa.string_view()))),
    "Arrow with run ends": (ARROW, "", lambda d: table(d, x=pa.RunEndEncodedArray.from_arrays([1], [CANARY]))),
    "Arrow with bytes": (ARROW, "", lambda d: table(d, x=pa.array([CANARY.encode()]))),
    "Arrow with a column twice": (ARROW, "", lambda d: arrow(w.table(d.rows(1)).append_column("n", pa.array([2])))),
    "Arrow with a NaN": (ARROW, "", lambda d: table(d, score=pa.array([float("nan")]))),
    "Arrow with text for a number": (ARROW, "", lambda d: table(d, n=pa.array([CANARY]))),
}


def check(answer: Answer, *codes: str) -> None:
    """A typed refusal without a value of a row."""
    assert answer.headers["content-type"] == "application/problem+json", answer
    found = answer.document
    assert found["code"] in codes, found
    assert (found["status"], found["retryable"]) == (answer.status, False)
    assert CANARY.encode() not in answer.content
    assert b"Traceback" not in answer.content


@pytest.mark.parametrize("name", BODIES)
def test_a_body_that_is_not_what_it_should_be(site: Site, name: str) -> None:
    """It is refused as a whole, the refusal is in the log, and the same device can go on."""
    kind, encoding, make = BODIES[name]
    device, before, start = site.device(), site.batches(), site.size()
    answer = device.send(make(device), kind, encoding)
    check(answer, "malformed_input", "too_large", "contract_breach")
    assert answer.status in {413, 422}
    recorded = site.entries("ingest.refused", start)
    assert [(one["dataset"], one["reason"]) for one in recorded] == [("events", answer.document["code"])]
    assert recorded[0]["actor"]["p"].startswith("hmac:")
    assert site.batches() == before
    assert site.receiving.budget.buffered == 0


def test_nulls_without_end(site: Site) -> None:
    """A column of nulls can have any number of rows in no bytes."""
    schema = pa.schema([("employee", pa.null()), ("x", pa.null())])
    nulls = pa.Array.from_buffers(pa.null(), 2**31 - 1, [None])
    endless = pa.RecordBatch.from_arrays([nulls, nulls], schema=schema)
    answer = site.device().send(arrow(pa.Table.from_batches([endless])), ARROW)
    check(answer, "too_large")


@pytest.mark.parametrize(
    "values", [{"n": 501}, {"title": CANARY * 9}, {"sensitivity": 9}, {"ts": "1950-01-01T00:00:00Z"}]
)
def test_values_that_a_contract_does_not_allow(site: Site, values: dict[str, Any]) -> None:
    """Out of their bounds, or too long: none of them lands, and none of them is told."""
    device, before = site.device(), site.batches()
    answer = device.send(line(device, **{"app": "Sent-QX"} | values) + b"\n")
    if answer.status == 200:
        assert (answer.document["receipt"]["rows"], sum(answer.document["receipt"]["dropped"].values())) == (0, 1)
    else:
        check(answer, "contract_breach", "malformed_input")
        assert site.batches() == before
    assert CANARY.encode() not in answer.content


def test_rows_outside_of_what_the_header_says(site: Site) -> None:
    """Rows have to lie within the interval that their batch names."""
    device = site.device()
    first, last = site.now - timedelta(minutes=2), site.now - timedelta(minutes=1)
    captured = [moment.isoformat() for moment in (first, last)]
    check(device.send(good(device), captured=captured), "contract_breach")
    captured[1] = site.now.isoformat()
    assert device.send(good(device), captured=captured).status == 200


def test_rows_of_another_employee_do_not_land(site: Site) -> None:
    """The lease is for one employee; rows of another are dropped and counted."""
    device, before = site.device(), site.numbers()
    rows = [row | {"employee": "EMP-BEN-7742"} for row in device.rows(1, 2)]
    answer = device.send(ndjson(rows))
    assert answer.status == 200
    assert sum(answer.document["receipt"]["dropped"].values()) == 2
    assert site.numbers() == before


@pytest.mark.parametrize(
    ("kind", "encoding"),
    [("application/json", ""), ("", ""), (NDJSON, "br"), (NDJSON, "gzip, gzip"), (ARROW, "gzip"), ("text/csv", "")],
)
def test_types_and_encodings_that_are_not_taken(site: Site, kind: str, encoding: str) -> None:
    """They are refused by name."""
    device = site.device()
    answer = device.send(good(device), kind, encoding)
    assert answer.status == 415
    check(answer, "unsupported")


def test_limits_of_size(template: World, tmp_path: Any, authority: Authority, identity: Identity) -> None:
    """Bytes as sent, declared or not, bytes after decompression, rows, and the ratio between the two."""
    limits = {"body": 4096, "text": 30_000, "rows": 30, "ratio": 10, "ratio_free": 1000}
    with site_of(w.copy(template, tmp_path), authority, identity, **limits) as own:
        device = own.device()
        large = ndjson(device.rows(*range(40)))
        assert len(large) > limits["body"]
        check(device.send(large), "too_large")
        check(device.send(packed(ndjson(device.rows(*[1] * 300)), "zstd"), NDJSON, "zstd"), "malformed_input")
        check(device.send(ndjson(device.rows(*[1] * 31))), "too_large")
        connection = own.connection()
        connection.putrequest("POST", "/v1/batches")
        for name, text in device.request(large).items():
            connection.putheader(name, text)
        connection.putheader("Transfer-Encoding", "chunked")
        connection.endheaders()
        for start in range(0, len(large), 512):
            piece = large[start : start + 512]
            connection.send(b"%x\r\n%b\r\n" % (len(piece), piece))
        connection.send(b"0\r\n\r\n")
        answer = read(connection)
        connection.close()
        assert answer.status == 413
        check(answer, "too_large")
        assert own.numbers() == []
        assert device.send(packed(ndjson(device.rows(1)), "zstd"), NDJSON, "zstd").status == 200


def test_the_ratio_bounds_what_a_body_may_become() -> None:
    """Small bodies have some room, large ones the limit of text."""
    limits = ReceivingLimits()
    assert limits.decompressed(0) == limits.ratio_free
    assert limits.decompressed(1000) == limits.ratio_free + 1000 * limits.ratio
    assert limits.decompressed(limits.body) == limits.text
