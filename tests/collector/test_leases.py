"""Leases count only as the lake has signed them: for this device, this person and this very request."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from keys.signing import NoteSigner, NoteVerifier
from lake.collector import Collector
from lake.collector.answers import Answer, Asked, check_lease
from lake.collector.keeper import AFTER_REFUSAL, REFUSED, UNTRUSTED
from lake.errors import IntegrityError, UnavailableError
from lake.gateway.receiving.receipts import receipt_signer, signed, signed_lease
from tests.collector.lab import TYPES, Lab, Listener, focus

SIGNER = NoteSigner("telemetry-lake/test/ingest", bytes(range(32)))
VERIFIER = NoteVerifier([SIGNER.verifier_key])
ASKED = Asked("laptop-7", "E00001", "events", TYPES, None, 5.0, "0" * 32)
GOOD: dict[str, Any] = {
    "v": 1,
    "nonce": "0" * 32,
    "token": "t.o.k",
    "id": "a" * 32,
    "device": "laptop-7",
    "employee": "E00001",
    "dataset": "events",
    "version": 1,
    "contract": "sha256:" + "0" * 64,
    "types": ["focus"],
    "epochs": [0, 0, 4, 0, 0],
    "issued": "2026-11-27T08:59:00.123456Z",
    "expires": "2026-11-27T09:04:00.123456Z",
    "now": "2026-11-27T09:00:00.123456Z",
    "mark": 4,
    "renewed": True,
}
ALTERED: dict[str, Any] = {
    "v": 2,
    "nonce": "1" * 32,
    "token": "t.o.l",
    "id": "b" * 32,
    "device": "laptop-8",
    "employee": "E00002",
    "dataset": "others",
    "version": 2,
    "contract": "sha256:" + "1" * 64,
    "types": ["focus", "say"],
    "epochs": [0, 0, 3, 0, 0],
    "issued": "2026-11-27T08:59:30.123456Z",
    "expires": "2026-11-27T09:05:00.123456Z",
    "now": "2026-11-27T08:59:59.123456Z",
    "mark": 3,
    "renewed": False,
}
Answers = Callable[[dict[str, Any]], dict[str, Any]]


def test_a_signed_lease_is_one() -> None:
    lease = check_lease(signed_lease(GOOD, SIGNER), VERIFIER, ASKED)
    assert (lease.token, lease.id, lease.mark, lease.types) == ("t.o.k", "a" * 32, 4, TYPES)
    assert (lease.held.sent, lease.held.seconds, lease.held.issued.hour) == (5.0, 240.0, 9)


@pytest.mark.parametrize("name", GOOD)
def test_no_field_can_be_altered_added_or_left_out(name: str) -> None:
    assert GOOD.keys() == ALTERED.keys()
    assert ALTERED[name] != GOOD[name]
    answer = signed_lease(GOOD, SIGNER)
    less = {key: value for key, value in GOOD.items() if key != name}
    for lease in (GOOD | {name: ALTERED[name]}, less, GOOD | {f"{name}_2": 1}):
        with pytest.raises(IntegrityError, match="not signed with the lake's key"):
            check_lease(answer | {"lease": lease}, VERIFIER, ASKED)


@pytest.mark.parametrize(
    "answer",
    [
        GOOD,
        {"lease": GOOD},
        {"lease": GOOD, "signature": ""},
        {"lease": GOOD, "signature": None},
        {"lease": GOOD, "signature": "\ud800"},
        {"lease": [], "signature": signed_lease(GOOD, SIGNER)["signature"]},
        signed_lease(GOOD, NoteSigner(SIGNER.name, bytes(32))),
        signed_lease(GOOD, NoteSigner("telemetry-lake/test", bytes(range(32)))),
        {"lease": GOOD, "signature": signed(GOOD, SIGNER)["signature"]},
    ],
    ids=["bare", "unsigned", "empty", "null", "no-text", "no-lease", "other-key", "other-name", "receipt"],
)
def test_without_the_lakes_signature_it_is_none(answer: dict[str, Any]) -> None:
    with pytest.raises(IntegrityError):
        check_lease(answer, VERIFIER, ASKED)


@pytest.mark.parametrize("name", ["v", "nonce", "device", "employee", "dataset"])
def test_what_was_signed_for_another_is_none(name: str) -> None:
    with pytest.raises(IntegrityError, match="another"):
        check_lease(signed_lease(GOOD | {name: ALTERED[name]}, SIGNER), VERIFIER, ASKED)


@pytest.mark.parametrize(
    "wrong",
    [
        {"token": "a b"},
        {"token": 5},
        {"id": "../../x"},
        {"id": None},
        {"version": True},
        {"version": "1"},
        {"contract": "md5:1"},
        {"types": []},
        {"types": ["focus", "say"]},
        {"types": 3},
        {"epochs": [-1]},
        {"epochs": "12"},
        {"now": "yesterday"},
        {"now": 5},
        {"now": "2026-11-27T08:58:59Z"},
        {"now": "2026-11-27T09:04:01Z"},
        {"expires": "2026-11-27T09:59:01Z"},
        {"mark": -1},
        {"mark": 1.5},
    ],
    ids=str,
)
def test_a_signed_lease_that_is_none_is_none(wrong: dict[str, Any]) -> None:
    without = [{key: value for key, value in GOOD.items() if key != name} for name in wrong]
    for lease in (GOOD | wrong, *without):
        with pytest.raises(IntegrityError, match="none, or is for more"):
            check_lease(signed_lease(lease, SIGNER), VERIFIER, ASKED)


def test_a_version_that_was_not_asked_for_is_not_taken() -> None:
    asked = Asked("laptop-7", "E00001", "events", TYPES, 2, 5.0, "0" * 32)
    with pytest.raises(IntegrityError):
        check_lease(signed_lease(GOOD, SIGNER), VERIFIER, asked)


def test_what_is_no_answer_of_the_server_may_pass() -> None:
    with pytest.raises(UnavailableError):
        check_lease({}, VERIFIER, ASKED)


def test_every_request_has_a_nonce_of_its_own() -> None:
    assert len({Asked("d", "e", "f", TYPES, None, 0.0).nonce for _ in range(50)}) == 50


def between(collector: Collector, change: Answers, monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on somebody who holds the server's certificate changes what it answers."""
    ask = collector.keeper._client.lease

    def changed(asked: Asked, *, within: float | None = None) -> Answer:
        answer = ask(asked, within=within)
        return Answer(200, json.loads(json.dumps(change(dict(answer.document)))))

    monkeypatch.setattr(collector.keeper._client, "lease", changed)


def longer(document: dict[str, Any]) -> dict[str, Any]:
    """A lease that a pause would not reach for another half an hour."""
    return document | {"lease": document["lease"] | {"expires": "2026-11-27T09:30:00.000000Z"}}


def test_no_recording_begins_with_a_lease_that_is_not_the_lakes(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    listener = Listener()
    collector = lab.collector(hooks=[listener])
    between(collector, longer, monkeypatch)
    assert collector.keeper.step() == pytest.approx(AFTER_REFUSAL)
    assert not collector.recording
    assert not collector.record(focus(1))
    assert (listener.times, collector.counts) == (0, {UNTRUSTED: 1, "no_lease": 1})
    assert "not signed with the lake's key" in collector.keeper.problem
    monkeypatch.undo()
    lab.pass_(AFTER_REFUSAL)
    collector.keeper.step()
    assert collector.record(focus(2))


def test_a_forged_renewal_ends_recording_at_once(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    listener = Listener()
    collector = lab.collector(hooks=[listener])
    collector.keeper.step()
    assert collector.record(focus(1))
    lab.pass_(160)
    between(collector, longer, monkeypatch)
    collector.keeper.step()
    assert not listener.installed
    assert not collector.recording
    assert not collector.record(focus(2))
    assert (collector.counts[UNTRUSTED], collector.counts[REFUSED], collector.spool.waiting) == (1, 1, 0)


def test_an_answer_of_before_keeps_nobody_recording(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else who records the answers could hand out a lease from before a pause for ever."""
    collector = lab.collector()
    kept: list[dict[str, Any]] = []

    def replayed(document: dict[str, Any]) -> dict[str, Any]:
        kept.append(document)
        return kept[0]

    between(collector, replayed, monkeypatch)
    collector.keeper.step()
    assert collector.recording
    lab.pass_(160)
    lab.pause()
    collector.keeper.step()
    assert not collector.recording


def test_a_lease_of_another_device_is_refused(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """Though the lake has signed it, and for the same nonce."""
    other, collector = lab.collector("ben-1"), lab.collector("ada-1")
    own = collector.keeper._client
    monkeypatch.setattr(collector.keeper, "_client", other.keeper._client)
    monkeypatch.setattr(other.keeper._client, "contract", own.contract)
    collector.keeper.step()
    assert not collector.recording
    assert collector.counts == {UNTRUSTED: 1}


def test_a_wrong_verifier_means_no_lease(lab: Lab) -> None:
    good = receipt_signer(lab.site.lake.home)
    collector = lab.collector(verifier=NoteSigner(good.name, bytes(32)).verifier_key)
    collector.keeper.step()
    assert not collector.recording
    assert collector.counts == {UNTRUSTED: 1}
