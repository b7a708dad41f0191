"""Whatever a server answers: a batch is kept until the lake has signed for it, or has refused it for good itself."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from keys.signing import NoteSigner
from lake.collector import Collector
from lake.collector.backoff import Backoff
from lake.collector.client import Client
from lake.gateway.receiving.receipts import receipt_signer, signed
from tests.collector.lab import Lab, focus, upload
from tests.collector.scripted import Reply, Script, answering, problem
from tests.gateway.receiving.site import site_of
from tests.keys.remote.hosts import Authority, Identity
from tests.world import World, copy

TRANSIENT = [
    problem(429, "busy", retryable=True),
    problem(503, "unavailable", retryable=True),
    problem(408, "too_slow", retryable=True),
    problem(500, "internal"),
    problem(401, "unauthenticated"),
    Reply(403, b"<html>a hotel's portal</html>"),
    Reply(404),
    Reply(200, b"<html>not json"),
    Reply(200, b"{}"),
    Reply(200, b'{"receipt": {}', length=100),
    Reply(302, headers={"Location": "https://elsewhere.example/"}),
    Reply(200, silent=True),
    Reply(200, drip=True),
]
FINAL = [
    problem(400, "usage"),
    problem(409, "batch_conflict"),
    problem(410, "gone"),
    problem(413, "too_large"),
    problem(415, "unsupported"),
    problem(422, "contract_breach"),
]


def through(collector: Collector, script: Script, timeout: float = 0.5) -> None:
    """From now on batches go to another server."""
    collector.sender.client = Client(replace(collector.settings, server=script.url, timeout=timeout))


@pytest.fixture(scope="module")
def lab(
    template: World, authority: Authority, identity: Identity, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Lab]:
    """One for all: nothing here stops or pauses anything."""
    folder = tmp_path_factory.mktemp("answers")
    with site_of(copy(template, folder), authority, identity) as site:
        yield Lab(site, authority, folder / "laptops")


def ready(lab: Lab) -> Collector:
    """A new one with one batch to send, whose number is how many there are."""
    collector = lab.collector(folder=lab.folder / f"spool-{len(lab.opened)}")
    collector.keeper.step()
    assert collector.record(focus(len(lab.opened)))
    collector.spool.close_batch()
    return collector


@pytest.mark.parametrize("reply", TRANSIENT, ids=lambda reply: f"{reply.status}-{reply.body[:30]!r}")
def test_what_may_pass_keeps_the_batch(lab: Lab, identity: Identity, reply: Reply) -> None:
    collector = ready(lab)
    own = collector.sender.client
    with answering(identity, reply) as script:
        through(collector, script)
        begun = time.monotonic()
        assert collector.sender.step() > 0
        assert time.monotonic() - begun < 5
        assert collector.sender.problem
        first = script.requests[0]
        lab.pass_(60)
        collector.sender.step()
        # The very same once more.
        assert script.requests[1][2] == first[2]
        assert script.requests[1][1]["Lake-Batch"] == first[1]["Lake-Batch"]
    assert collector.spool.waiting == 1
    collector.sender.client = own
    lab.pass_(60)
    upload(collector)
    assert lab.site.numbers().count(len(lab.opened)) == 1


@pytest.mark.parametrize("reply", FINAL, ids=lambda reply: str(reply.status))
def test_what_the_lake_refuses_for_good_is_counted_and_not_kept(lab: Lab, identity: Identity, reply: Reply) -> None:
    collector = ready(lab)
    before = collector.spool.state.spool
    with answering(identity, reply) as script:
        through(collector, script)
        collector.sender.step()
    assert collector.spool.waiting == 0
    assert not list((collector.settings.folder / "batches").iterdir())
    code = json.loads(reply.body)["code"]
    assert collector.counts[f"refused.{code}"] == 1
    assert (collector.spool.state.spool != before) == (code == "batch_conflict")
    assert collector.recording


@pytest.mark.parametrize("status", [429, 503])
def test_it_waits_as_long_as_it_is_asked_to(lab: Lab, identity: Identity, status: int) -> None:
    collector = ready(lab)
    reply = replace(problem(status, "busy", retryable=True), headers={"Retry-After": "77"})
    with answering(identity, reply) as script:
        through(collector, script)
        assert collector.sender.step() == pytest.approx(77)
        lab.pass_(76)
        collector.sender.step()
        assert len(script.requests) == 1
        lab.pass_(2)
        collector.sender.step()
        assert len(script.requests) == 2


def test_only_the_lakes_own_signature_counts(lab: Lab, identity: Identity) -> None:
    """A server with a good certificate and without the lake's key cannot make a batch disappear."""
    collector = ready(lab)
    batch = collector.spool.first()
    assert batch is not None
    with answering(identity, Reply(200)) as script:
        through(collector, script)
        collector.sender.step()
        header = json.loads(_unpacked(script.requests[0][1]["Lake-Batch"]))
        receipt = {name: header[name] for name in ("batch", "content", "dataset", "contract", "version")}
        receipt |= {"status": "landed", "rows": 1}
        good = receipt_signer(lab.site.lake.home)
        forger = NoteSigner(good.name, bytes(32))
        for document in (
            signed(receipt, forger),
            signed(receipt | {"batch": "other"}, good),
            signed(receipt | {"content": "sha256:" + "0" * 64}, good),
            signed(receipt | {"status": "perhaps"}, good),
            signed(receipt, good) | {"receipt": receipt | {"rows": 2}},
            {"receipt": receipt, "signature": ""},
            {"receipt": receipt},
        ):
            script.replies[:] = [Reply(200, json.dumps(document).encode())]
            lab.pass_(30)
            collector.sender.step()
            assert collector.spool.waiting == 1
        assert collector.counts["receipt.refused"] == 8
        script.replies[:] = [Reply(200, json.dumps(signed(receipt, good)).encode())]
        lab.pass_(30)
        collector.sender.step()
    assert collector.spool.waiting == 0


def test_a_server_of_another_ca_hears_nothing(lab: Lab, tmp_path: Path) -> None:
    collector = ready(lab)
    other = Authority(tmp_path, "other-ca").issue("localhost", server=True)
    with answering(other, Reply(200)) as script:
        through(collector, script)
        collector.sender.step()
        assert script.requests == []
    assert "not trusted" in collector.sender.problem


def test_backing_off_is_longer_each_time_and_never_at_once() -> None:
    waits = Backoff(1.0, 60.0, chance=lambda: 1.0)
    assert [waits.wait() for _ in range(8)] == [1, 2, 4, 8, 16, 32, 60, 60]
    waits.reset()
    assert waits.wait() == 1
    least = Backoff(1.0, 60.0, chance=lambda: 0.0)
    assert [least.wait() for _ in range(3)] == [0.5] * 3
    assert 10 <= Backoff().wait(10.0) <= 11
    spread = {Backoff().wait() for _ in range(20)}
    assert len(spread) > 1


def _unpacked(text: str) -> bytes:
    import base64

    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
