"""Batches that are too large for a server: halved until they fit, each event lands once, or is counted."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from random import Random

import pytest

from lake.collector import Collector
from lake.errors import UnavailableError
from tests.collector.lab import Lab, focus, upload
from tests.collector.scripted import Reply, answering, problem
from tests.collector.test_answers import through
from tests.gateway.receiving.site import later, site_of
from tests.keys.remote.hosts import Authority, Identity
from tests.world import World

LIMIT = 250
DICE = Random(4711)


@pytest.fixture
def lab(world: World, authority: Authority, identity: Identity, tmp_path: Path) -> Iterator[Lab]:
    """A server that takes small bodies only."""
    with site_of(world, authority, identity, body=LIMIT) as site:
        yield Lab(site, authority, tmp_path / "laptops")


def words(length: int) -> str:
    """Letters by chance."""
    return "".join(chr(DICE.randrange(0x4E00, 0x9FA5)) for _ in range(length))


def recorded(lab: Lab, count: int) -> Collector:
    """A collector with one batch of some events, which is too large."""
    collector = lab.collector(types=frozenset({"focus", "say"}))
    collector.keeper.step()
    for number in range(count):
        assert collector.record(focus(number, title=words(20)))
    collector.spool.close_batch()
    batch = collector.spool.first()
    assert batch is not None
    assert len(batch.body) > LIMIT
    return collector


def test_a_batch_is_halved_until_it_fits(lab: Lab) -> None:
    collector = recorded(lab, 21)
    collector.spool.count("field.password", 8)
    upload(collector)
    assert lab.site.numbers() == list(range(21))
    assert collector.counts["sent"] == collector.counts["landed"] == 21
    assert not [name for name in collector.counts if name.startswith("refused")]
    found = lab.site.entries("ingest.upload")
    assert len(found) == collector.counts["batches"] > 2
    assert [number for entry in found for number in entry["seq"]] == sorted(n for e in found for n in e["seq"])
    assert (found[0]["seq"][0], found[-1]["seq"][1]) == (1, 21)
    reasons = {entry["reason"] for entry in lab.site.entries("ingest.refused")}
    assert reasons == {"too_large"}


def test_one_event_that_is_too_large_is_counted_and_the_others_land(lab: Lab) -> None:
    collector = recorded(lab, 4)
    assert collector.record({"type": "say", "app": "Sent-QX", "n": 4, "said": words(80)})
    for number in (5, 6):
        assert collector.record(focus(number))
    upload(collector)
    assert collector.spool.waiting == 0
    assert lab.site.numbers() == [0, 1, 2, 3, 5, 6]
    assert collector.counts["refused.too_large"] == 1
    collector.record(focus(7))
    upload(collector)
    assert lab.site.entries("ingest.upload")[-1]["filtered"] == {"refused.too_large": 1}


def test_half_of_a_batch_whose_receipt_was_lost_does_not_land_again(lab: Lab) -> None:
    """The half that has landed is acknowledged under its own id."""
    collector = recorded(lab, 2)
    batch = collector.spool.first()
    assert batch is not None
    assert collector.spool.split(batch.name)
    half = collector.spool.first()
    assert half is not None
    assert collector.sender.client.send(half.header, half.body)[1].status == 200
    later(lab.site, 1)
    upload(collector)
    assert lab.site.numbers() == [0, 1]


def test_what_is_before_the_server_may_say_it_too(lab: Lab, identity: Identity) -> None:
    """A proxy's 413 halves; but a single event waits, as only the lake itself refuses for good."""
    collector = recorded(lab, 2)
    with answering(identity, Reply(413, b"<html>too large")) as script:
        through(collector, script)
        assert collector.sender.step() == 0
        assert collector.sender.step() > 0
        assert len(script.requests) == 2
    assert collector.spool.waiting == 2
    with answering(identity, problem(413, "too_large")) as script:
        through(collector, script)
        lab.pass_(60)
        collector.sender.step()
    assert (collector.spool.waiting, collector.counts["refused.too_large"]) == (1, 1)


def test_a_server_that_stops_listening_is_heard(lab: Lab) -> None:
    """It answers while a large body is still on its way, and closes; at the latest when it is sent again."""
    collector = recorded(lab, 2)
    batch = collector.spool.first()
    assert batch is not None
    statuses: list[int] = []
    for _ in range(20):
        with suppress(UnavailableError):
            statuses.append(collector.sender.client.send(batch.header, bytes(12_000_000))[1].status)
            break
    assert statuses == [413]


def test_an_answer_that_was_cut_off_is_heard_too(lab: Lab, identity: Identity) -> None:
    """Of 413 the status alone is enough."""
    collector = recorded(lab, 2)
    with answering(identity, Reply(413, b"{", length=100)) as script:
        through(collector, script)
        assert collector.sender.step() == 0
    half = collector.spool.first()
    assert half is not None
    assert half.rows == 1


def test_a_code_that_no_header_may_have_is_not_repeated(lab: Lab, identity: Identity) -> None:
    """What a server calls its refusal does not spoil the headers of later batches."""
    collector = lab.collector()
    collector.keeper.step()
    collector.record(focus(1))
    collector.spool.close_batch()
    own = collector.sender.client
    with answering(identity, Reply(422, json.dumps({"code": "Not a Code" * 9, "retryable": False}).encode())) as script:
        through(collector, script)
        collector.sender.step()
    collector.sender.client = own
    collector.record(focus(2))
    upload(collector)
    assert lab.site.numbers() == [2]
    assert lab.site.entries("ingest.upload")[-1]["filtered"] == {"refused.other": 1}
