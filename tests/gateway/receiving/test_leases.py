"""Leases over HTTP: granted, renewed, refused in a pause, expired; and acknowledgements of pauses."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from typing import Any

import pytest

from keys.errors import KeyIntegrityError
from keys.signing import NoteVerifier
from lake.gateway.receiving.receipts import lease_text, receipt_text
from lake.rules.halt import Backlog, Order, Scope, ScopeKind
from lake.rules.lease import TTL, Held
from tests.gateway.receiving.site import Site, asking, heard, later, ndjson, wait_for
from tests.world import ADA

GLOBAL = Scope(ScopeKind.GLOBAL)


def pause(site: Site, backlog: Backlog = Backlog.DROP) -> str:
    """From now on."""
    return site.collection.halts.order("olga", Order(GLOBAL, "ticket 4711", None, backlog)).id


def left(lease: dict[str, Any]) -> float:
    """Seconds from now on."""
    return (datetime.fromisoformat(lease["expires"]) - datetime.fromisoformat(lease["now"])).total_seconds()


def test_a_lease_says_what_it_is_for_and_how_long(own: Site) -> None:
    """What a collector counts from is the lake's time and what is left of the lease, also of one it has already."""
    device = own.device()
    first = device.renew("focus", "say").document["lease"]
    assert (first["types"], left(first), first["renewed"]) == (["focus", "say"], TTL.total_seconds(), False)
    assert (first["device"], first["employee"], first["epochs"]) == ("ada-1", ADA, [0] * len(first["epochs"]))
    assert first["contract"] == own.lake.contracts.get("events").digest
    later(own, 100)
    again = device.renew("focus", "say").document["lease"]
    assert (again["id"], left(again), again["renewed"]) == (first["id"], TTL.total_seconds() - 100, True)
    now = datetime.fromisoformat(again["now"]).replace(tzinfo=None)
    held = Held(now, left(again), 5_000.0)
    assert held.stamp(5_010.0) == own.now.replace(tzinfo=None) + timedelta(seconds=10)
    assert not held.live(5_000.0 + TTL.total_seconds() - 100)
    later(own, 60)
    renewed = device.renew("focus", "say").document["lease"]
    assert (renewed["id"] != first["id"], renewed["renewed"]) == (True, True)
    assert [one["actor"]["p"] for one in own.entries("lease.grant")] == [own.collection.devices.tag("ada-1")]


def test_a_lease_is_signed_for_one_request(site: Site) -> None:
    """With the key of receipts, and under a first line of its own: neither passes for the other."""
    device = site.device()
    nonce = "0123456789abcdef" * 2
    found = site.ask("POST", "/v1/leases", asking(nonce=nonce), **device.headers).document
    lease, line = found["lease"], found["signature"]
    verifier = NoteVerifier([site.ask("GET", "/v1/verifier", **device.headers).document["verifier"]])
    assert verifier.open(f"{lease_text(lease)}\n{line}") == lease_text(lease)
    assert lease["nonce"] == nonce
    assert lease["token"].count(".") == 2
    for text in (lease_text(lease | {"nonce": "0" * 32}), receipt_text(lease)):
        with pytest.raises(KeyIntegrityError):
            verifier.open(f"{text}\n{line}")


@pytest.mark.parametrize(
    ("document", "code"),
    [
        ({"dataset": "events"}, "usage"),
        ({"dataset": "events", "types": []}, "usage"),
        ({"dataset": "events", "types": ["focus"], "version": "1"}, "usage"),
        ({"dataset": "events", "types": ["focus"], "more": 1}, "usage"),
        ({"dataset": "events", "types": ["focus"], "nonce": None}, "usage"),
        ({"dataset": "events", "types": ["focus"], "nonce": "A" * 32}, "usage"),
        ([], "usage"),
        ({"dataset": "nowhere", "types": ["focus"]}, "contract_breach"),
        ({"dataset": "events", "types": ["keystroke"]}, "contract_breach"),
        ({"dataset": "events", "types": ["focus"], "version": 9}, "contract_breach"),
    ],
)
def test_what_is_not_granted(site: Site, document: Any, code: str) -> None:
    """A typed error."""
    asked = {"nonce": "0" * 32, **document} if isinstance(document, dict) else document
    answer = site.ask("POST", "/v1/leases", json.dumps(asked).encode(), **site.device().headers)
    assert (answer.status, answer.document["code"]) == (400 if code == "usage" else 422, code)


def test_a_document_has_a_limit(site: Site) -> None:
    """Leases are small."""
    answer = site.ask("POST", "/v1/leases", b" " * 70_000, **site.device().headers)
    assert answer.status == 413


def test_a_pause_stops_leases_and_what_was_recorded_under_them(own: Site) -> None:
    """And is acknowledged with the mark of the refusal; then nothing is outstanding."""
    device = own.device()
    device.renew()
    body = ndjson(device.rows(1))
    pause(own)
    refused = device.send(body)
    asked = device.renew()
    for answer in (refused, asked):
        assert (answer.status, answer.document["code"], answer.document["retryable"]) == (403, "paused", False)
    mark = refused.document["mark"]
    told = own.ask("POST", "/v1/acknowledgements", json.dumps({"mark": mark}).encode(), **device.headers)
    assert (told.status, told.content) == (204, b"")
    assert own.entries("lease.acknowledge")[-1]["mark"] == mark
    assert own.numbers() == []
    for bad in ({"mark": -1}, {"mark": "1"}, {"mark": 1, "x": 1}, {}):
        assert own.ask("POST", "/v1/acknowledgements", json.dumps(bad).encode(), **device.headers).status == 400


def test_a_pause_while_a_body_comes_stops_the_batch(own: Site) -> None:
    """It was judged before, and is judged again in its own commit; sent again it gets the whole answer."""
    device = own.device()
    device.renew()
    body = ndjson(device.rows(1))
    request = device.raw(body)
    with own.socket() as connection:
        connection.sendall(request[:-5])
        wait_for(lambda: own.receiving.budget.uploads == 1)
        pause(own)
        connection.sendall(request[-5:])
        answer = heard(connection)
    assert (answer.status, answer.document["code"]) == (403, "paused")
    assert own.numbers() == []
    again = device.send(body)
    assert (again.status, again.document["retryable"], "mark" in again.document) == (403, False, True)


def test_an_expired_lease_still_lands_what_was_recorded_under_it(own: Site) -> None:
    """A backlog; but nothing that was captured later."""
    device = own.device()
    device.renew()
    inside = device.rows(1)
    later(own, TTL.total_seconds() + 120)
    outside = device.rows(2)
    answer = device.send(ndjson([*inside, *outside]))
    assert answer.status == 200, answer.content
    receipt = answer.document["receipt"]
    assert (receipt["rows"], receipt["dropped"]) == (1, {"outside_lease": 1})
    assert own.numbers() == [1]


def test_contracts_are_there_for_devices(site: Site) -> None:
    """With the digest that a batch has to name."""
    headers = site.device().headers
    found = site.ask("GET", "/v1/contracts/events", **headers).document
    contract = site.lake.contracts.get("events")
    assert found == {"dataset": "events", "version": 1, "contract": contract.digest, "text": contract.text}
    assert site.ask("GET", "/v1/contracts/events?version=1", **headers).document == found
    for path, status in (("events?version=2", 422), ("Nowhere", 422), ("events?version=x", 400)):
        assert site.ask("GET", f"/v1/contracts/{path}", **headers).status == status
    assert site.ask("GET", "/v1/contracts/events").status == 401
