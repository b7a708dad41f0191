"""Batches over TLS: forms and compressions, exactly once, and what the signed receipt says."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from keys.signing import NoteVerifier
from lake.gateway.flight.door import Address
from lake.gateway.receiving.limits import ReceivingLimits
from lake.gateway.receiving.process import Receiving
from lake.gateway.receiving.receipts import receipt_text
from lake.sealed.catalog import tables
from tests.gateway.receiving.site import ARROW, NDJSON, Site, arrow, later, ndjson, pack, packed, plain
from tests.keys.remote.hosts import Identity


@pytest.mark.parametrize(
    ("kind", "encoding"), [(NDJSON, ""), (NDJSON, "gzip"), (NDJSON, "zstd"), (NDJSON, "identity"), (ARROW, "")]
)
def test_every_form_lands_the_same_rows(site: Site, kind: str, encoding: str) -> None:
    """What was sent is there, once, whatever it came as."""
    device, before = site.device(), site.numbers()
    rows = device.rows(101, 102)
    body = arrow(rows) if kind == ARROW else ndjson(rows)
    if encoding in {"gzip", "zstd"}:
        body = packed(body, encoding)
    found = device.send(body, kind, encoding)
    assert found.status == 200, found.content
    receipt = found.document["receipt"]
    assert (receipt["status"], receipt["rows"], receipt["dropped"]) == ("landed", 2, {})
    assert receipt["levels"] == {"1": {"rows": 2, "files": 1}}
    assert site.numbers() == sorted([*before, 101, 102])


def test_a_batch_lands_once(site: Site) -> None:
    """The same again is acknowledged and lands nothing; other content under its id is a conflict."""
    device, before = site.device(), site.numbers()
    body = ndjson(device.rows(111))
    first = device.send(body, batch="once")
    again = device.send(body, batch="once")
    other = device.send(ndjson(device.rows(112)), batch="once")
    assert [answer.status for answer in (first, again, other)] == [200, 200, 409]
    assert other.document["code"] == "batch_conflict"
    assert [answer.document["repeated"] for answer in (first, again)] == [False, True]
    assert site.numbers() == sorted([*before, 111])


def test_a_repeated_batch_has_the_receipt_of_the_first_time(own: Site) -> None:
    """To the byte, signature too, whenever it is asked for again; with what was masked, dropped and landed."""
    device = own.device()
    rows = [plain(row) for row in device.rows(113)]
    rows += [plain(row) | {"said": "write to ada@example.com"} for row in device.rows(114, kind="say")]
    rows += [rows[0] | {"type": "transcript"}]
    body = b"".join(json.dumps(row).encode() + b"\n" for row in rows)
    header = device.header(body)
    first = device.send(body, raw=pack(header))
    assert first.status == 200, first.content
    receipt = first.document["receipt"]
    assert (receipt["masked"], receipt["dropped"]) == ({"EMAIL": 1}, {"unknown_event_type": 1})
    assert receipt["levels"] == {"1": {"rows": 1, "files": 1}, "3": {"rows": 1, "files": 1}}
    assert receipt["files"] == 2
    device.send(ndjson(device.rows(115)))
    later(own, 100)
    device.renew()
    for values in (header, header | {"lease": device.lease}):
        again = device.send(body, raw=pack(values))
        assert again.content == first.content.replace(b'"repeated":false', b'"repeated":true')
        assert again.content != first.content
    assert [entry["status"] for entry in own.entries("ingest.upload")] == [
        *("landed", "landed", "already_landed", "already_landed")
    ]


def test_a_batch_from_before_outcomes_were_kept_says_what_is_known(own: Site) -> None:
    """No count that would be made up."""
    device = own.device()
    body = ndjson(device.rows(116))
    first = device.send(body, batch="older").document["receipt"]
    with own.lake.home.catalog.database.writing() as connection:
        connection.execute(tables.outcomes.delete())
    again = device.send(body, batch="older").document
    unknown = dict.fromkeys(("levels", "masked", "files", "rules", "entry", "lease"))
    assert again["receipt"] == first | unknown
    assert again["repeated"]


def test_a_batch_that_has_landed_is_acknowledged_though_it_is_too_large_by_now(own: Site, identity: Identity) -> None:
    """Else a collector whose receipt was lost would send its rows once more, in smaller batches."""
    device = own.device()
    body = ndjson(device.rows(117, 118))
    first = device.send(body, raw=(header := pack(device.header(body, batch="large"))))
    assert first.status == 200
    address = Address("127.0.0.1", 0, identity.certificate, identity.key)
    small = Receiving(own.lake.home, "ingest-host", [address], (), ReceivingLimits(body=64))
    device.site = replace(own, receiving=small)
    again = device.send(body, raw=header)
    assert again.document == first.document | {"repeated": True}
    assert again.headers["connection"] == "close"
    other = device.send(ndjson(device.rows(118, 119)), batch="large")
    assert (other.status, other.document["code"]) == (409, "batch_conflict")
    new = device.send(body, batch="new")
    assert (new.status, new.document["code"]) == (413, "too_large")
    assert [entry["reason"] for entry in own.entries("ingest.refused")] == ["batch_conflict", "too_large"]
    assert small.close()
    assert own.numbers() == [117, 118]


def test_ids_are_each_devices_own(site: Site) -> None:
    """Another device's batch of the same id is another batch."""
    for name in ("ada-1", "ben-1"):
        device = site.device(name)
        answer = device.send(ndjson(device.rows(121)), batch="shared-id")
        assert (answer.status, answer.document["receipt"]["status"]) == (200, "landed")


def test_receipts_are_signed(site: Site) -> None:
    """With the key that the server names; a changed receipt does not verify, and no checkpoint's verifier takes it."""
    device = site.device()
    found = device.send(ndjson(device.rows(131))).document
    verifier = site.ask("GET", "/v1/verifier", **device.headers).document["verifier"]
    note = receipt_text(found["receipt"]) + "\n" + found["signature"]
    assert NoteVerifier([verifier]).open(note) == receipt_text(found["receipt"])
    forged = receipt_text(found["receipt"] | {"rows": 7}) + "\n" + found["signature"]
    for key, text in ((verifier, forged), (site.lake.home.config.audit_key, note)):
        with pytest.raises(Exception, match="sign"):
            NoteVerifier([key]).open(text)


def test_the_audit_log_has_every_batch_and_its_receipts_entry(site: Site) -> None:
    """With the collector's own words, the lease, and the device as who acts; without names."""
    device = site.device()
    said = {"rules": "sha256:" + "ab" * 32, "dropped": {"context.unlisted": 41}}
    answer = device.send(ndjson(device.rows(141)), filter=said, seq=[7, 9])
    receipt = answer.document["receipt"]
    (entry,) = site.entries("ingest.upload", receipt["entry"])
    assert entry["actor"] == {"p": receipt["device"], "roles": []}
    assert (entry["lease"], entry["seq"], entry["rules"]) == (receipt["lease"], [7, 9], said["rules"])
    assert (entry["filtered"], entry["door"], entry["status"]) == ({"context.unlisted": 41}, "http", "landed")
    landed = [one for one in site.entries("ingest.batch") if one["batch"] == entry["batch"]]
    assert [one["step"] for one in landed] == ["commit", "landed"]
    assert json.loads(site.lake.home.log.entry(receipt["entry"])) == landed[0]
    assert {one["actor"]["p"] for one in landed} == {receipt["device"]}
    assert device.employee.encode() not in answer.content
    assert device.name not in json.dumps(entry)


def test_levels_are_counted_apart_and_only_rise(site: Site) -> None:
    """A sender that rates its rows lower than the contract does is not believed."""
    device = site.device()
    rows = [plain(row) for row in device.rows(151)]
    rows += [plain(row) | {"said": "a word", "sensitivity": 1} for row in device.rows(152, kind="say")]
    answer = device.send(b"".join(json.dumps(row).encode() + b"\n" for row in rows))
    assert answer.status == 200, answer.content
    assert answer.document["receipt"]["levels"] == {"1": {"rows": 1, "files": 1}, "3": {"rows": 1, "files": 1}}


def test_unknown_fields_and_types_do_not_land_and_are_counted(site: Site) -> None:
    """Only their number is told, and the log has the breach."""
    device = site.device()
    row = plain(device.rows(161)[0])
    lines = [row | {"screenshot": "canary-pixels"}, row | {"type": "transcript"}]
    answer = device.send(b"".join(json.dumps(line).encode() + b"\n" for line in lines))
    receipt = answer.document["receipt"]
    assert receipt["rows"] == 1
    assert receipt["dropped"] == {"unknown_field": 1, "unknown_event_type": 1}
    assert b"canary-pixels" not in answer.content
    breach = site.entries("contract.breach")[-1]
    assert breach["breaches"] == {"unknown_field": 1, "unknown_event_type": 1}
