"""The header of a batch, and who sends it: read strictly, and refused before anything of the body is looked at."""

from __future__ import annotations

import contextlib
import json
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lake.errors import UsageError
from lake.gateway.receiving.header import BatchHeader, decode_header, parse_header
from tests.gateway.receiving.site import Site, later, ndjson, pack

GOOD: dict[str, Any] = {
    "batch": "b-1",
    "device": "ada-1",
    "employee": "E1",
    "dataset": "events",
    "version": 1,
    "contract": "sha256:" + "0" * 64,
    "lease": "a.b.c",
    "content": "sha256:" + "1" * 64,
    "captured": ["2026-09-15T12:00:00Z", "2026-09-15T14:00:01+02:00"],
    "seq": [0, 9],
    "collector": "0.1.0",
    "filter": {"rules": "", "dropped": {"context.unlisted": 3}},
}
WRONG: list[tuple[str, Any]] = [
    ("batch", "has:colon"),
    ("batch", "a" * 64),
    ("batch", 1),
    ("device", ""),
    ("employee", "a\nb"),
    ("employee", "x" * 129),
    ("dataset", "Events"),
    ("version", 0),
    ("version", True),
    ("version", 1.0),
    ("version", 2**53),
    ("contract", "sha256:" + "A" * 64),
    ("lease", ""),
    ("lease", "a b"),
    ("content", "0" * 64),
    ("captured", ["2026-09-15T12:00:00", "2026-09-15T12:00:00Z"]),
    ("captured", ["2026-09-15T12:00:01Z", "2026-09-15T12:00:00Z"]),
    ("captured", ["2026-09-15T12:00:01Z"]),
    ("captured", "2026-09-15T12:00:01Z"),
    ("captured", ["0001-01-01T00:00:00+23:59", "2026-09-15T12:00:00Z"]),
    ("seq", [2, 1]),
    ("seq", [-1, 1]),
    ("seq", [0, 1.0]),
    ("seq", [0, 1, 2]),
    ("collector", "a b"),
    ("filter", {}),
    ("filter", {"rules": "x", "dropped": {}}),
    ("filter", {"rules": "", "dropped": {"Bad Reason": 1}}),
    ("filter", {"rules": "", "dropped": {"reason": -1}}),
    ("filter", {"rules": "", "dropped": {f"r{number}": 1 for number in range(65)}}),
    ("filter", {"rules": "", "dropped": {}, "more": 1}),
    ("types", []),
    ("types", ["Bad Name"]),
    ("types", None),
    ("surprise", 1),
]


def test_a_good_header_is_read() -> None:
    """Times become naive UTC, whatever offset they have."""
    found = decode_header(pack(GOOD), 12_288)
    assert (found.name, found.seq, found.filtered, found.types) == ("ada-1:b-1", (0, 9), {"context.unlisted": 3}, None)
    assert found.captured is not None
    assert [moment.isoformat() for moment in found.captured] == ["2026-09-15T12:00:00", "2026-09-15T12:00:01"]
    assert "E1" not in repr(found)
    assert "a.b.c" not in repr(found)


@pytest.mark.parametrize(("key", "value"), WRONG, ids=lambda value: str(value)[:24])
def test_each_key_has_its_form(key: str, value: Any) -> None:
    """The error names a known key, and never the value."""
    with pytest.raises(UsageError) as caught:
        decode_header(pack(GOOD | {key: value}), 12_288)
    assert isinstance(value, (bool, int)) or not str(value) or str(value) not in str(caught.value)


@pytest.mark.parametrize("key", sorted(GOOD))
def test_every_key_is_needed(key: str) -> None:
    """Also those that can be null."""
    with pytest.raises(UsageError, match=key):
        parse_header(json.dumps({name: value for name, value in GOOD.items() if name != key}).encode())


@pytest.mark.parametrize(
    "text",
    ["", "=", "ab+/", pack(GOOD) + "=", "{}", "e30", "W10", pack(b'{"a":1,"a":1}'), pack(b"\xff"), "a" * 20_000,
     pack(b'{"version":NaN}'), pack(b"[" * 4000)],
)  # fmt: skip
def test_what_is_no_header(text: str) -> None:
    """It is refused as such."""
    with pytest.raises(UsageError):
        decode_header(text, 12_288)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from(sorted([*GOOD, "types", "x"])), JSON, max_size=4))
def test_no_header_breaks_the_reader(changes: dict[str, Any]) -> None:
    """It is read as its keys say, or refused as what it is."""
    found: BatchHeader | None = None
    with contextlib.suppress(UsageError):
        found = parse_header(json.dumps(GOOD | changes).encode())
    assert found is None or "x" not in changes


@given(st.binary(max_size=300))
def test_no_bytes_break_the_reader(content: bytes) -> None:
    """Random bytes are no header."""
    with pytest.raises(UsageError):
        parse_header(content)


def test_who_sends_must_be_known(site: Site) -> None:
    """No token, a broken one, one of a retired device, one of another kind: one answer for all."""
    device = site.device()
    device.renew()
    answers = [
        site.ask("POST", "/v1/batches", b"x", **headers)
        for headers in (
            {},
            {"authorization": ""},
            {"authorization": "Bearer "},
            {"authorization": "Basic YTpi"},
            {"authorization": "Bearer x.y.z"},
            {"authorization": f"Bearer {device.lease}"},
            {"authorization": f"Bearer {device.token[:-3]}AAA"},
        )
    ]
    assert {answer.status for answer in answers} == {401}
    assert len({json.dumps(answer.document | {"id": ""}) for answer in answers}) == 1
    assert {answer.headers["www-authenticate"] for answer in answers} == {"Bearer"}


def test_a_token_ends_with_its_time_and_its_device(own: Site) -> None:
    """Retired, or expired."""
    device = own.device()
    assert device.renew().status == 200
    own.collection.devices.retire(own.lake.actor, device.name)
    assert device.renew().status == 401
    device = own.device("ben-1")
    later(own, timedelta(days=91).total_seconds())
    assert device.renew().status == 401


@pytest.mark.parametrize(
    ("change", "status", "code", "reason"),
    [
        ({"lease": "a.b.c"}, 403, "lease_refused", "malformed"),
        ({"device": "ben-1"}, 403, "lease_refused", "device"),
        ({"employee": "EMP-BEN-7742"}, 403, "lease_refused", "employee"),
        ({"types": ["unknown"]}, 403, "lease_refused", "types"),
        ({"contract": "sha256:" + "0" * 64}, 422, "contract_breach", None),
        ({"version": 7}, 422, "contract_breach", None),
        ({"dataset": "nowhere"}, 422, "contract_breach", None),
        ({"content": "sha256:" + "0" * 64}, 422, "malformed_input", None),
        ({"batch": "no good"}, 400, "usage", None),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_what_does_not_fit_is_refused_and_recorded(
    site: Site, change: dict[str, Any], status: int, code: str, reason: str | None
) -> None:
    """Nothing lands, and the log says what was refused of which device."""
    device, before, start = site.device(), site.batches(), site.size()
    answer = device.send(ndjson(device.rows(1)), **change)
    assert (answer.status, answer.document["code"], answer.document.get("reason")) == (status, code, reason)
    recorded = site.entries("ingest.refused", start)
    assert [one["reason"] for one in recorded] == [code]
    assert recorded[0]["actor"]["p"].startswith("hmac:")
    assert site.batches() == before


def test_a_lease_is_of_one_device(site: Site) -> None:
    """Another's is refused, also with everything else right."""
    ada, ben = site.device("ada-1"), site.device("ben-1")
    assert ada.renew().status == 200
    answer = ben.send(ndjson(ben.rows(1)), lease=ada.lease)
    assert (answer.status, answer.document["reason"]) == (403, "device")


def test_a_body_is_not_asked_for_before_its_header_is_judged(site: Site) -> None:
    """``Expect: 100-continue`` is answered with the refusal."""
    device = site.device()
    request = device.raw(b"x" * 1000, lease="a.b.c")
    head = request.partition(b"\r\n\r\n")[0] + b"\r\nExpect: 100-continue\r\n\r\n"
    with site.socket() as connection:
        connection.sendall(head)
        received = b""
        while piece := connection.recv(4096):
            received += piece
    assert received.startswith(b"HTTP/1.1 403 ")
    assert b"100 Continue" not in received


def test_headers_that_come_twice(site: Site) -> None:
    """They could be read in two ways."""
    device = site.device()
    request = device.raw(ndjson(device.rows(1)))
    head, _, body = request.partition(b"\r\n\r\n")
    for line, status in ((b"Content-Type: application/x-ndjson", b"400"), (b"authorization: Bearer x", b"401")):
        with site.socket() as connection:
            connection.sendall(head + b"\r\n" + line + b"\r\n\r\n" + body)
            assert connection.recv(4096).split(b" ", 2)[1] == status


def test_paths_and_methods_that_are_not_there(site: Site) -> None:
    """They are problems as well."""
    for method, path in (("GET", "/"), ("GET", "/v1/batches"), ("DELETE", "/v1/leases"), ("POST", "/v2/batches")):
        answer = site.ask(method, path)
        assert answer.status in {404, 405}
        assert answer.document["code"] == "usage"
