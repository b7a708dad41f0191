"""The OpenBao provider when the way to the service is not right: typed errors, bounded attempts, nothing twice."""

from __future__ import annotations

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace

import pytest

from keys.errors import (
    KeyStateError,
    ProviderAnswerError,
    ProviderSealedError,
    ProviderThrottledError,
    ProviderTimeoutError,
    ProviderUnavailableError,
)
from keys.providers.openbao import OpenBaoProvider
from keys.providers.openbao_calls import LONGEST_PAUSE, MAX_ANSWER, TOTAL_TIMEOUTS
from keys.refs import KeyState
from tests.keys.providers.case_openbao import StillClock
from tests.keys.providers.conformance import NAME, relabelled, silent_about, to_wrap, wrapped
from tests.keys.providers.fault_proxy import Fault
from tests.keys.providers.openbao_server import free_port, wait_until

SEALED = json.dumps({"errors": ["Vault is sealed"]}).encode()
ERROR = json.dumps({"errors": ["some internal text"]}).encode()


@pytest.fixture
def provider(openbao_behind_proxy):
    """A provider behind the proxy, with two keys in version 1."""
    return openbao_behind_proxy


@pytest.fixture
def made(provider):
    """Three keys, wrapped before anything went wrong."""
    return wrapped(provider, 3)


@pytest.mark.parametrize(
    "failure",
    [
        (503, SEALED, ProviderSealedError, 1),
        (503, ERROR, ProviderUnavailableError, 4),
        (503, b"<html>busy</html>", ProviderUnavailableError, 4),
        (501, ERROR, ProviderUnavailableError, 1),
        (500, ERROR, ProviderUnavailableError, 4),
        (502, b"", ProviderUnavailableError, 4),
        (412, ERROR, ProviderUnavailableError, 4),
        (429, ERROR, ProviderThrottledError, 4),
        (400, ERROR, ProviderAnswerError, 1),
        (405, ERROR, ProviderAnswerError, 1),
        (418, b"{}", ProviderAnswerError, 1),
        (404, b"<html>no such page</html>", ProviderAnswerError, 1),
        (307, b"", ProviderAnswerError, 1),
        (200, b"", ProviderAnswerError, 1),
        (200, b"[]", ProviderAnswerError, 1),
        (200, b"{}", ProviderAnswerError, 1),
        (200, b'{"data": []}', ProviderAnswerError, 1),
        (200, b'{"data": {"batch_results": 7}}', ProviderAnswerError, 1),
        (200, b"no json", ProviderAnswerError, 1),
        (200, b"\xff\xfe", ProviderAnswerError, 1),
        (200, b"[" * 100_000, ProviderAnswerError, 1),
        (200, b" " * (MAX_ANSWER + 1), ProviderAnswerError, 1),
    ],
    ids=lambda failure: f"{failure[0]}-{failure[1][:12]!r}",
)
def test_each_failure_has_its_class(provider, fault_proxy, made, caplog, failure):
    """And is tried again only where that may help; the service's own words and keys are in no error and no log."""
    status, body, error, attempts = failure
    fault_proxy.faults = [Fault("/decrypt/", reply=(status, body))]
    with pytest.raises(error) as caught, silent_about(made.keys, caplog):
        provider.unwrap(NAME, made.items)
    assert type(caught.value) is error
    assert "some internal text" not in str(caught.value)
    assert caught.value.__context__ is None
    assert fault_proxy.count("/decrypt/") == attempts
    assert fault_proxy.count("elsewhere") == 0


def test_pauses_are_random_and_bounded(proxied, provider, fault_proxy, made):
    """Many attempts: each pause below the longest, all together within a few timeouts."""
    clock = StillClock()
    patient = OpenBaoProvider(replace(proxied, attempts=1_000, timeout=10.0), pause=clock.pause, clock=clock)
    fault_proxy.faults = [Fault("/decrypt/", reply=(429, ERROR))]
    with pytest.raises(ProviderThrottledError):
        patient.unwrap(NAME, made.items)
    assert len(set(clock.pauses)) == len(clock.pauses) > 5
    assert max(clock.pauses) <= LONGEST_PAUSE
    assert sum(clock.pauses) < TOTAL_TIMEOUTS * 10.0
    patient.close()


@pytest.mark.parametrize("fault", [{"reply": (429, ERROR)}, {"reply": (500, ERROR)}, {}, {"forward": True}])
def test_what_passes_is_waited_for(provider, fault_proxy, made, fault):
    """Two failures and then an answer is an answer."""
    fault_proxy.faults = [Fault("/decrypt/", times=2, **fault)]
    assert provider.unwrap(NAME, made.items) == made.keys
    assert fault_proxy.count("/decrypt/") == 3


def test_nobody_there(provider, proxied, still_clock, made, caplog):
    """A refused connection, and connections that are closed without an answer."""
    away = replace(proxied, address=f"http://127.0.0.1:{free_port()}")
    with pytest.raises(ProviderUnavailableError), silent_about(made.keys, caplog):
        OpenBaoProvider(away, pause=still_clock.pause).unwrap(NAME, made.items)
    assert len(still_clock.pauses) == 3


@pytest.mark.parametrize("forward", [False, True])
def test_a_connection_that_breaks(provider, fault_proxy, made, caplog, forward):
    """Before or after the service saw the request: unavailable, after all attempts."""
    keys = to_wrap(2)
    fault_proxy.faults = [Fault("/encrypt/", forward=forward)]
    before = fault_proxy.count("/encrypt/")
    with pytest.raises(ProviderUnavailableError), silent_about([key.key for key in keys], caplog):
        provider.wrap(NAME, 1, keys)
    assert fault_proxy.count("/encrypt/") - before == 4


def test_an_answer_that_breaks_off(provider, fault_proxy, made, caplog):
    """Fewer bytes than announced is no answer, however well it reads so far."""
    raw = b'HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n{"data": {"batch_results": []}}'
    fault_proxy.faults = [Fault("/decrypt/", raw=raw)]
    with pytest.raises(ProviderUnavailableError), silent_about(made.keys, caplog):
        provider.unwrap(NAME, made.items)
    fault_proxy.faults = [Fault("/decrypt/", raw=b"\x00 this is not HTTP \r\n\r\n")]
    with pytest.raises(ProviderUnavailableError), silent_about(made.keys, caplog):
        provider.unwrap(NAME, made.items)


def test_a_service_that_does_not_answer(proxied, provider, fault_proxy, made, caplog):
    """Slow is told from dead."""
    impatient = OpenBaoProvider(replace(proxied, timeout=0.2, attempts=2), pause=lambda _: None)
    fault_proxy.faults = [Fault("/decrypt/", waits_for=threading.Event())]
    with pytest.raises(ProviderTimeoutError), silent_about(made.keys, caplog):
        impatient.unwrap(NAME, made.items)
    assert fault_proxy.count("/decrypt/") == 2
    impatient.close()


@pytest.mark.parametrize(("forward", "requests"), [(True, 1), (False, 2)], ids=["answer lost", "request lost"])
@pytest.mark.parametrize("reply", [None, (500, ERROR), (429, ERROR)], ids=["dropped", "500", "429"])
def test_a_rotation_whose_answer_was_lost_is_made_once(provider, fault_proxy, forward, requests, reply):
    """Before asking again it is looked up whether the version is there."""
    fault_proxy.faults = [Fault("/rotate", times=1, forward=forward, reply=reply)]
    assert provider.new_version(NAME, 1) == 2
    assert fault_proxy.count("/rotate") == requests
    assert dict(provider.describe(NAME).versions) == {1: KeyState.DECRYPT_ONLY, 2: KeyState.ENABLED}


def test_a_rotation_that_nobody_confirms_is_finished_by_the_next(proxied, provider, fault_proxy, made):
    """The service makes the version and is not heard of again; the same call later makes no second one."""
    impatient = OpenBaoProvider(replace(proxied, attempts=1), pause=lambda _: None)
    fault_proxy.faults = [Fault("/rotate", times=1, forward=True)]
    with pytest.raises(ProviderUnavailableError):
        impatient.new_version(NAME, 1)
    assert impatient.new_version(NAME, 1) == 2
    assert provider.describe(NAME).current == 2
    impatient.close()


@pytest.mark.parametrize("on", ["/config", "/trim"])
@pytest.mark.parametrize("forward", [False, True])
def test_a_trim_whose_answer_was_lost(provider, fault_proxy, made, on, forward):
    """Each of its requests may be made twice."""
    provider.new_version(NAME, 1)
    again = relabelled(made.items, provider.rewrap(NAME, 2, made.items), 2)
    fault_proxy.faults = [Fault(f"{NAME}{on}", times=1, forward=forward)]
    provider.trim(NAME, 2)
    assert provider.describe(NAME).versions[1] is KeyState.DESTROYED
    assert provider.unwrap(NAME, again) == made.keys


@pytest.mark.parametrize("forward", [False, True])
def test_creating_survives_a_lost_answer(provider, fault_proxy, forward):
    """Making a key that is there already gives that key."""
    fault_proxy.faults = [Fault("-fresh", times=2, forward=forward)]
    provider.create(["fresh"])
    assert dict(provider.describe("fresh").versions) == {1: KeyState.ENABLED}
    with pytest.raises(KeyStateError):
        provider.create(["fresh"])


def test_a_second_rotation_waits_for_the_first(provider, proxied, fault_proxy):
    """The first is held up on its way: another one of this machine makes no version meanwhile."""
    gate = threading.Event()
    fault_proxy.faults = [Fault("/rotate", times=1, change=lambda answer: answer, waits_for=gate)]
    other = OpenBaoProvider(proxied)
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(provider.new_version, NAME, 1)
        wait_until(lambda: fault_proxy.count("/rotate") == 1)
        second = pool.submit(other.new_version, NAME, 1)
        with suppress(TimeoutError):  # it shall not come: time enough for it to come wrongly
            wait_until(lambda: fault_proxy.count("/rotate") == 2, seconds=0.5)
        gate.set()
        assert [first.result(), second.result()] == [2, 2]
    assert provider.describe(NAME).current == 2
    other.close()
