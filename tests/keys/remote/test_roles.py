"""Every call by every role: what is not granted is refused, and a stolen ingest identity opens nothing."""

from __future__ import annotations

import inspect
from dataclasses import replace
from typing import Any

import pytest

from keys.broker import Broker, LandingKeys
from keys.control import NAMES
from keys.errors import (
    BrokerRefusedError,
    KeyIntegrityError,
    KeysError,
    ReceiptRefusedError,
)
from keys.keystore import KeyStore
from keys.receipts import INTENT, JOB_INTENT, REKEY_INTENT, Receipt
from keys.refs import DekRequest, PartitionRef, WrappedDek
from keys.remote import messages as m
from keys.remote import proxies
from keys.remote.client import REPEATABLE
from keys.remote.peers import Peer
from keys.remote.roles import CALLS, SECRETS, Role
from lake.gateway.kek_rotation import dek_request
from lake.sealed.audit import entries
from lake.sealed.catalog.catalog import Selection
from tests import world as w
from tests.keys.remote.conftest import Served
from tests.keys.remote.landed import MONTH, Landed, binding, local

RECEIPT = Receipt("no proof", b"{}", None, ())
ALL = sorted(set().union(*CALLS.values()))

EVERYBODY = {"gateway", "ingest", "jobs", "operator"}
GRANTED = {
    "control_secrets": EVERYBODY,
    "anchor": EVERYBODY,
    "advance_anchor": EVERYBODY,
    "release": {"gateway", "jobs"},
    "releases": {"gateway", "operator"},
    "counts": {"gateway", "jobs", "operator"},
    "announce": {"ingest", "jobs"},
    "wrap": {"ingest", "jobs"},
    "new_subjects": {"ingest"},
    "take_events": {"ingest", "jobs"},
    "check_wraps": {"jobs", "operator"},
    "check_open": {"gateway"},
    "epoch": {"gateway"},
    "verify": {"operator"},
}


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
        "check_wraps": {"requests": [request]},
        "check_open": {"requests": [request]},
        "epoch": {},
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
    assert found[Role.JOBS] == found[Role.INGEST]
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


def test_a_gateway_gets_no_dek_without_a_receipt(served: Served) -> None:
    """A forged one is refused, and nothing is written to the book."""
    landed = Landed(served.client(Role.INGEST))
    client = served.client(Role.GATEWAY)
    before = proxies.RemoteKeyStore(client).releases()
    with pytest.raises(ReceiptRefusedError):
        proxies.RemoteBroker(client).release(RECEIPT, [landed.request])
    assert proxies.RemoteKeyStore(client).releases() == before


@pytest.mark.parametrize(
    ("role", "kind", "granted"),
    [
        (Role.GATEWAY, INTENT, True),
        (Role.GATEWAY, REKEY_INTENT, False),
        (Role.JOBS, REKEY_INTENT, True),
        (Role.JOBS, JOB_INTENT, True),
        (Role.GATEWAY, JOB_INTENT, False),
        (Role.JOBS, INTENT, False),
    ],
)
def test_each_role_shows_receipts_of_its_own_kind(served: Served, role: Role, kind: str, granted: bool) -> None:
    """Only a host for jobs gets keys to re-encrypt with, and it gets none to read with; no key is half released."""
    place = served.apart.place(served.server.address, served.authority, role)
    with served.apart.home(place, w.clock) as home:
        found = home.catalog.select(Selection("events", frozenset({1, 2, 3, 4})))
        months: dict[str, dict[str, set[int]]] = {}
        for file, number in found:
            level = months.setdefault(str(file.partition.sensitivity), {})
            level.setdefault(file.partition.month, set()).add(number)
        scope = {level: {month: entries.bitmap(of) for month, of in its.items()} for level, its in months.items()}
        intent = home.recorder.record(kind, home.actor("job"), {"scope": {"partitions": {"events": scope}}})
        requests = [dek_request(file) for file, _ in found]
        receipt = home.recorder.receipt(intent, home.broker.anchor_size())
        before = len(served.keys.store.releases())
        if granted:
            held = [replace(request, held=number % 2 == 0) for number, request in enumerate(requests)]
            expected = [b"" if number % 2 == 0 else dek for number, dek in enumerate(local(served).open_deks(requests))]
            assert home.broker.release(receipt, held) == expected
            with pytest.raises(ReceiptRefusedError):
                home.broker.release(receipt, requests)
        else:
            with pytest.raises(ReceiptRefusedError, match="of this kind"):
                home.broker.release(receipt, requests)
        assert len(served.keys.store.releases()) == before + granted


def test_the_far_side_has_the_calls_of_the_near_one() -> None:
    """What a lake's process is handed in place of the broker has the same methods with the same parameters."""
    for far, near in (
        (proxies.RemoteBroker, Broker),
        (proxies.RemoteLandingKeys, LandingKeys),
        (proxies.RemoteKeyStore, KeyStore),
    ):
        for name, method in inspect.getmembers(far, inspect.isfunction):
            if not name.startswith("_"):
                parameters = list(inspect.signature(method).parameters)
                assert parameters == list(inspect.signature(getattr(near, name)).parameters), name
    near_landing = {name for name in vars(LandingKeys) if not name.startswith("_")}
    assert near_landing <= set(vars(proxies.RemoteLandingKeys))
    inside = {"open_deks", "rewrap_deks", "wrap_dek"}
    assert {name for name in vars(Broker) if not name.startswith("_")} - inside <= set(vars(proxies.RemoteBroker))


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
    """However long it is, and so do events."""
    monkeypatch.setattr("keys.remote.service.PAGE", 2)
    for receipt in (3, 5, 7, 9, 11):
        served.keys.store.record_release(receipt, "u:x", {1: 1}, at=1, anchor=served.keys.store.anchor("audit"))
    store, near = proxies.RemoteKeyStore(served.client(Role.GATEWAY)), served.keys.store
    assert list(near.releases()) == [3, 5, 7, 9, 11]
    for after, most in ((-1, None), (4, None), (3, 3), (-1, 1), (11, None), (-1, 0)):
        assert list(store.releases(after, most).items()) == list(near.releases(after, most).items())
    assert list(near.releases(3, 3)) == [5, 7, 9]
    broker = proxies.RemoteBroker(served.client(Role.INGEST))
    people = [ref.subject for ref in broker.new_subjects(5)]
    broker.landing_keys([PartitionRef("events", subject, 2, MONTH) for subject in people])
    events = [event for event in broker.take_events() if event.kind == "kek"]
    assert len({event.key_id for event in events}) == len(events) == 5


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
