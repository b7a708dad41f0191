"""Every call by every role: what is not granted is refused, and a stolen ingest identity opens nothing."""

# ruff: noqa: DTZ001 - capture times are naive UTC
from __future__ import annotations

import hashlib
from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest

from keys.broker import Broker
from keys.control import NAMES
from keys.errors import (
    BrokerMessageError,
    BrokerRefusedError,
    EmployeeErasedError,
    KeyIntegrityError,
    KeysError,
    KeyStateError,
    ReceiptRefusedError,
    StaleKeyError,
)
from keys.receipts import Receipt
from keys.refs import DekRequest, FileBinding, KeyState, PartitionRef, WrappedDek
from keys.remote import messages as m
from keys.remote import proxies
from keys.remote.client import REPEATABLE, BrokerClient
from keys.remote.peers import Peer
from keys.remote.roles import CALLS, SECRETS, Role
from tests import world as w

from .conftest import Served

MONTH = "2026-03"
RECEIPT = Receipt("no proof", b"{}", None, ())
ALL = sorted(set().union(*CALLS.values()))

GRANTED = {
    "control_secrets": {"gateway", "ingest", "operator"},
    "anchor": {"gateway", "ingest", "operator"},
    "advance_anchor": {"gateway", "ingest", "operator"},
    "release": {"gateway"},
    "releases": {"gateway"},
    "counts": {"gateway", "operator"},
    "announce": {"ingest"},
    "wrap": {"ingest"},
    "new_subjects": {"ingest"},
    "take_events": {"ingest"},
    "check_wrap": {"operator"},
    "verify": {"operator"},
}


def binding(partition: PartitionRef, file_id: str = "f" * 32) -> FileBinding:
    """A finished file."""
    digest = hashlib.sha256(file_id.encode()).digest()
    first = datetime(2026, 3, 1)
    return FileBinding(partition, file_id, f"data/{file_id}", "pme", 1, 1, 4096, digest, 17, first, first)


def given(call: str) -> dict[str, Any]:
    """Well-formed arguments of a call."""
    file = binding(PartitionRef("events", "a" * 26, 3, MONTH))
    request = m.request_fields(DekRequest(file, WrappedDek("k" * 32, 1, b"blob")))
    return {
        "anchor": {"name": "audit"},
        "advance_anchor": {"name": "audit", "seq": 0, "value": b""},
        "release": {"receipt": m.receipt_fields(RECEIPT), "requests": [request]},
        "releases": {"after": -1},
        "announce": {"partitions": []},
        "wrap": {"dek": bytes(32), "binding": m.binding_fields(file), "kek_id": "k", "version": 1, "epoch": 1},
        "new_subjects": {"count": 1},
        "check_wrap": {"request": request},
    }.get(call, {})


@pytest.mark.parametrize("role", Role)
@pytest.mark.parametrize("call", [*ALL, "open_deks", "rewrap_deks", "__init__", "answer", ""])
def test_a_role_may_ask_what_the_table_grants_and_nothing_else(served: Served, role: Role, call: str) -> None:
    """Over TLS, under the certificate of the role."""
    client = served.client(role)
    refused = False
    try:
        client.call(call, given(call))
    except BrokerRefusedError:
        refused = True
    except KeysError:
        pass  # it was let in, and what it asked makes no sense
    client.close()
    assert refused == (role.value not in GRANTED.get(call, set()))


def test_the_table_of_this_test_is_whole() -> None:
    """A new call must be thought about here too."""
    assert set(GRANTED) == set(ALL)
    assert set(ALL) - REPEATABLE == {"release", "new_subjects", "take_events"}


@pytest.mark.parametrize("call", ALL)
def test_wrong_arguments_are_a_typed_error(served: Served, call: str) -> None:
    """Whatever stands in place of the arguments: no crash, and the next call is answered."""
    service = served.server._service
    for role in Role:
        if call not in CALLS[role]:
            continue
        for wrong in (None, [], "text", {"x": 1}, {**given(call), "x": 1}, {name: [{}] for name in given(call)}):
            if wrong == given(call):
                continue
            with pytest.raises(KeysError):
                service.answer(Peer("test", role), call, wrong)


def test_each_role_gets_the_secrets_that_it_needs(served: Served) -> None:
    """An ingest host learns neither policies nor pseudonyms nor details of the audit log."""
    found = {role: set(served.client(role).call("control_secrets", {})) for role in Role}
    assert found[Role.GATEWAY] == set(NAMES)
    assert found[Role.INGEST] == {"catalog", "audit-signing", "audit-tags", "directory"}
    assert found[Role.OPERATOR] == found[Role.INGEST] | {"policy"}
    assert found == SECRETS


def test_what_needs_a_secret_that_was_not_shared_is_refused(served: Served) -> None:
    """A typed error, not a missing key."""
    control = proxies.control_keys(served.client(Role.INGEST))
    for attempt in (
        lambda: control.pseudonym_key("role", "purpose"),
        lambda: control.seal_document("policy", "name", b"text"),
        lambda: control.open_document("audit-detail", "name", b"text"),
    ):
        with pytest.raises(BrokerRefusedError):
            attempt()


class Landed:
    """Files that an ingest host has landed over the socket."""

    def __init__(self, client: BrokerClient) -> None:
        self.broker = proxies.RemoteBroker(client)
        (self.subject,) = self.broker.new_subjects(1)
        self.partition = PartitionRef("events", self.subject.subject, 3, MONTH)
        self.keys = self.broker.landing_keys([self.partition])
        self.landing = self.keys(self.partition)
        self.file = binding(self.partition, self.landing.file_id)
        self.wrapped = self.landing.wrap(self.file)
        self.request = DekRequest(self.file, self.wrapped)

    def arguments(self, **changes: Any) -> dict[str, Any]:
        """What was sent to wrap it, with changes."""
        return {
            "dek": self.landing.dek,
            "binding": m.binding_fields(self.file),
            "kek_id": self.wrapped.kek_id,
            "version": self.wrapped.kek_version,
            "epoch": self.keys.epoch,
        } | changes


def local(served: Served) -> Broker:
    """The broker itself."""
    return served.keys.broker


def test_a_dek_that_a_host_made_is_wrapped_for_its_file(served: Served) -> None:
    """The broker opens it to the same DEK, for that file only, and an operator's check says so."""
    landed = Landed(served.client(Role.INGEST))
    assert local(served).open_deks([landed.request]) == [landed.landing.dek]
    assert landed.landing.aad_prefix == local(served).aad_prefix(landed.partition, landed.landing.file_id)
    operator = proxies.RemoteBroker(served.client(Role.OPERATOR))
    operator.check_wrap(landed.request)
    with pytest.raises(KeyIntegrityError):
        operator.check_wrap(DekRequest(replace(landed.file, rows=18), landed.wrapped))


def test_keys_that_were_made_are_told_to_the_host_they_were_made_for_once(served: Served) -> None:
    """Events of one host are not another's, and are not told twice."""
    ingest = served.client(Role.INGEST)
    landed = Landed(ingest)
    events = landed.broker.take_events()
    assert {(event.action, event.kind) for event in events} == {("create", "kek"), ("create", "bucket")} or {
        (event.action, event.kind) for event in events
    } == {("create", "kek")}
    assert [event.key_id for event in events if event.kind == "kek"] == [landed.wrapped.kek_id]
    assert landed.broker.take_events() == []
    landed.keys.renew()
    assert landed.broker.take_events() == []


def test_a_stolen_ingest_identity_cannot_release_or_open(served: Served) -> None:
    """Not what others landed, and not what it landed itself."""
    client = served.client(Role.INGEST)
    landed = Landed(client)
    broker = proxies.RemoteBroker(client)
    for attempt in (
        lambda: broker.release(RECEIPT, [landed.request]),
        lambda: broker.check_wrap(landed.request),
        lambda: proxies.RemoteKeyStore(client).releases(),
        lambda: proxies.verify(client),
    ):
        with pytest.raises(BrokerRefusedError):
            attempt()
    answer = client.call("announce", {"partitions": [[landed.subject.subject, 3, MONTH]]})
    assert answer == {"epoch": landed.keys.epoch, "keks": [[landed.wrapped.kek_id, landed.wrapped.kek_version]]}


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"dek": bytes(31)}, BrokerMessageError),
        ({"dek": bytes(33)}, BrokerMessageError),
        ({"dek": b""}, BrokerMessageError),
        ({"dek": "A" * 32}, BrokerMessageError),
        ({"kek_id": "f" * 32}, KeyIntegrityError),
        ({"version": 2}, KeyIntegrityError),
        ({"epoch": -1}, BrokerMessageError),
    ],
)
def test_a_wrap_is_refused_if_anything_does_not_fit(
    served: Served, changes: dict[str, Any], error: type[KeysError]
) -> None:
    """A DEK of another length, a KEK that does not exist."""
    client = served.client(Role.INGEST)
    landed = Landed(client)
    with pytest.raises(error):
        client.call("wrap", landed.arguments(**changes))


def test_a_kek_wraps_only_for_its_own_partition(served: Served) -> None:
    """Another employee's, another level's, another month's file is refused."""
    client = served.client(Role.INGEST)
    landed, other = Landed(client), Landed(client)
    for partition in (
        other.partition,
        replace(landed.partition, sensitivity=1),
        replace(landed.partition, month="2026-04"),
    ):
        file = m.binding_fields(replace(landed.file, partition=partition))
        with pytest.raises(KeyIntegrityError):
            client.call("wrap", landed.arguments(binding=file))


def test_a_retired_kek_does_not_wrap(served: Served) -> None:
    """Known at its epoch it is a lie; overtaken by a change it is stale, and trying again helps."""
    client = served.client(Role.INGEST)
    landed = Landed(client)
    assert served.keys.local is not None
    changes = served.keys.local.changes
    changes.change_keks(
        [(landed.wrapped.kek_id, landed.wrapped.kek_version)], {KeyState.ENABLED}, KeyState.DECRYPT_ONLY
    )
    with pytest.raises(StaleKeyError):
        client.call("wrap", landed.arguments())
    with pytest.raises(KeyStateError) as caught:
        client.call("wrap", landed.arguments(epoch=served.keys.store.epoch()))
    assert not isinstance(caught.value, StaleKeyError)


def test_no_key_is_made_or_used_for_who_was_erased_or_disabled(served: Served) -> None:
    """Neither a new KEK nor a wrap under the old one."""
    client = served.client(Role.INGEST)
    landed = Landed(client)
    assert served.keys.local is not None
    changes = served.keys.local.changes
    changes.suspend_subjects([landed.subject.subject], disabled=True)
    for call in (landed.keys.renew, lambda: landed.landing.wrap(landed.file)):
        with pytest.raises(KeyStateError):
            call()
    changes.suspend_subjects([landed.subject.subject], disabled=False)
    landed.keys.renew()
    changes.tombstone([landed.subject.subject])
    for call in (landed.keys.renew, lambda: landed.landing.wrap(landed.file)):
        with pytest.raises(EmployeeErasedError):
            call()


def test_a_landing_key_is_wrapped_for_the_file_it_was_made_for(served: Served) -> None:
    """The host's own side checks too."""
    landed = Landed(served.client(Role.INGEST))
    with pytest.raises(KeyIntegrityError):
        landed.landing.wrap(replace(landed.file, file_id="0" * 32))
    with pytest.raises(KeyStateError):
        landed.keys(replace(landed.partition, month="2026-04"))


def test_a_gateway_gets_no_dek_without_a_receipt(served: Served) -> None:
    """A forged one is refused, and nothing is written to the book."""
    landed = Landed(served.client(Role.INGEST))
    client = served.client(Role.GATEWAY)
    before = proxies.RemoteKeyStore(client).releases()
    with pytest.raises(ReceiptRefusedError):
        proxies.RemoteBroker(client).release(RECEIPT, [landed.request])
    assert proxies.RemoteKeyStore(client).releases() == before


def test_anchors_are_the_two_that_there_are_and_only_grow(served: Served) -> None:
    """Read back as written; another name is refused, another state at the same place too."""
    store = proxies.RemoteKeyStore(served.client(Role.GATEWAY))
    seq, value = store.anchor("catalog")
    assert (seq, value) == served.keys.store.anchor("catalog")
    store.advance_anchor("catalog", seq - 1, b"older")
    assert store.anchor("catalog") == (seq, value)
    with pytest.raises(KeyIntegrityError):
        store.advance_anchor("catalog", seq, bytes(32))
    with pytest.raises(BrokerRefusedError):
        store.anchor("key-epoch")


def test_counts_and_the_book_are_those_of_the_key_store(served: Served) -> None:
    """The same types as at home."""
    served.keys.store.record_release(7, "u:x", {1: 2, 4: 1}, at=1, anchor=served.keys.store.anchor("audit"))
    store = proxies.RemoteKeyStore(served.client(Role.GATEWAY))
    assert store.counts() == served.keys.store.counts()
    assert store.releases() == served.keys.store.releases()
    assert store.releases()[7] == ("u:x", {1: 2, 4: 1})


def test_the_book_comes_in_pages(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """However long it is."""
    monkeypatch.setattr("keys.remote.service.PAGE", 2)
    for receipt in (3, 5, 7, 9, 11):
        served.keys.store.record_release(receipt, "u:x", {1: 1}, at=1, anchor=served.keys.store.anchor("audit"))
    assert proxies.RemoteKeyStore(served.client(Role.GATEWAY)).releases() == served.keys.store.releases()


def test_an_operator_lets_every_wrap_be_opened(served: Served) -> None:
    """The counts are those of the key store itself."""
    assert proxies.verify(served.client(Role.OPERATOR)) == served.keys.verify()
    assert served.keys.verify()["keks"] > 0


def test_nothing_here_is_pickled_or_printed(served: Served, template: w.World) -> None:
    """No repr shows a key."""
    client = served.client(Role.INGEST)
    landed = Landed(client)
    control = proxies.control_keys(client)
    secrets = [landed.landing.dek, *client.call("control_secrets", {}).values()]
    shown = "".join(map(repr, (client, landed.keys, landed.landing, control, landed.broker, served.server)))
    for secret in secrets:
        assert repr(secret)[2:-1] not in shown
        assert secret.hex() not in shown
    for thing in (client, landed.keys, control):
        with pytest.raises(TypeError):
            thing.__reduce__()
