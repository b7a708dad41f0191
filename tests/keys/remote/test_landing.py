"""An ingest host: fresh keys of its own, wrapped for the file that each was made for, and nothing that opens."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from keys.errors import (
    BrokerMessageError,
    EmployeeErasedError,
    KeyIntegrityError,
    KeysError,
    KeyStateError,
    StaleKeyError,
)
from keys.refs import DekRequest, KeyState
from keys.remote import messages as m
from keys.remote import proxies
from keys.remote.roles import Role
from tests.keys.remote.conftest import Served
from tests.keys.remote.landed import Landed, local, rotate


def test_a_dek_that_a_host_made_is_wrapped_for_its_file(served: Served) -> None:
    """The broker opens it to the same DEK, for that file only, and an operator's check says so."""
    landed = Landed(served.client(Role.INGEST))
    assert local(served).open_deks([landed.request]) == [landed.landing.dek]
    assert landed.landing.aad_prefix == local(served).aad_prefix(landed.partition, landed.landing.file_id)
    operator = proxies.RemoteBroker(served.client(Role.OPERATOR))
    operator.check_wrap(landed.request)
    operator.check_wraps([landed.request] * 600)
    operator.check_wraps([])
    wrong = DekRequest(replace(landed.file, rows=18), landed.wrapped)
    for attempt in (lambda: operator.check_wrap(wrong), lambda: operator.check_wraps([landed.request] * 599 + [wrong])):
        with pytest.raises(KeyIntegrityError):
            attempt()


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


def test_a_key_that_was_replaced_meanwhile_is_read_again(served: Served) -> None:
    """After a rotation the files of a batch are wrapped under the newer key, and the batch stays of the older epoch."""
    landed = Landed(served.client(Role.INGEST))
    epoch = landed.keys.epoch
    rotate(served, landed)
    again = landed.landing.wrap(landed.file)
    assert (again.kek_version, landed.keys.epoch) == (2, epoch)
    assert local(served).open_deks([DekRequest(landed.file, again)]) == [landed.landing.dek]
    assert landed.keys.files() == [landed.landing.file_id]
    landed.keys.renew()
    assert landed.keys.epoch == served.keys.store.epoch() > epoch


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
