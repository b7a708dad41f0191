"""How the OpenBao provider keeps its token alive: renewed in time, on the side, and never at the caller's expense."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from keys.providers.openbao import OpenBaoProvider
from tests.keys.providers.conformance import NAME, wrapped
from tests.keys.providers.fault_proxy import Fault

ERROR = json.dumps({"errors": ["some internal text"]}).encode()


@pytest.fixture
def provider(openbao_behind_proxy):
    """A provider behind the proxy, with two keys in version 1."""
    return openbao_behind_proxy


@pytest.fixture
def made(provider):
    """Three keys, wrapped before anything went wrong."""
    return wrapped(provider, 3)


def life(ttl, whole, *, renewable=True):
    """Lets the token look as if its time were nearly over or not."""
    return lambda answer: {
        **answer,
        "data": {**answer["data"], "ttl": ttl, "creation_ttl": whole, "renewable": renewable},
    }


@pytest.fixture
def host(openbao, proxied, still_clock, tmp_path, provider):
    """A host with a renewable token of an hour's life."""
    policy = f'path "transit/+/{proxied.prefix}*" {{ capabilities = ["read", "update"] }}'
    token_file = tmp_path / "token-of-the-host"
    token_file.touch(mode=0o600)
    token_file.write_text(openbao.token(policy, ttl="1h", renewable=True))
    host = OpenBaoProvider(replace(proxied, token_file=token_file), pause=still_clock.pause, clock=still_clock)
    yield host
    host.close()


def test_a_young_token_is_not_renewed(host, fault_proxy, still_clock, made):
    """It is looked at once, and then when half of its time is over."""
    fault_proxy.seen.clear()
    for _ in range(3):
        assert host.unwrap(NAME, made.items) == made.keys
    assert (fault_proxy.count("lookup-self"), fault_proxy.count("renew-self")) == (1, 0)
    still_clock.now += 1_700
    host.describe(NAME)
    assert fault_proxy.count("lookup-self") == 1
    still_clock.now += 200
    host.describe(NAME)
    assert fault_proxy.count("lookup-self") == 2


def test_an_old_token_is_renewed(host, fault_proxy, still_clock, made):
    """Past half of its time, by the service itself; then not before half of the new time."""
    fault_proxy.faults = [Fault("lookup-self", change=life(1_000, 3_600))]
    for _ in range(3):
        assert host.unwrap(NAME, made.items) == made.keys
    assert fault_proxy.count("renew-self") == 1
    still_clock.now += 1_900
    host.describe(NAME)
    assert fault_proxy.count("renew-self") == 2


@pytest.mark.parametrize(
    "trouble",
    [
        (on, reply)
        for on in ("lookup-self", "renew-self")
        for reply in (None, (403, ERROR), (500, ERROR), (200, b"{}"), (200, b"garbage"))
    ],
    ids=str,
)
def test_a_token_that_cannot_be_renewed_is_used_while_it_is_valid(host, fault_proxy, still_clock, made, trouble):
    """Trouble with renewing is not the caller's; it is tried again, but not at every call."""
    on, reply = trouble
    fault_proxy.faults = [Fault(on, reply=reply), Fault("lookup-self", change=life(1_000, 3_600))]
    fault_proxy.seen.clear()
    for _ in range(3):
        assert host.unwrap(NAME, made.items) == made.keys
    assert fault_proxy.count(on) == 1
    still_clock.now += 20
    assert host.unwrap(NAME, made.items) == made.keys
    assert fault_proxy.count(on) == 2


def test_a_token_that_is_not_renewable_is_left_alone(host, fault_proxy, still_clock, made):
    """It is used until it ends."""
    fault_proxy.faults = [Fault("lookup-self", change=life(1_000, 3_600, renewable=False))]
    host.describe(NAME)
    still_clock.now += 100_000
    assert host.unwrap(NAME, made.items) == made.keys
    assert (fault_proxy.count("renew-self"), still_clock.pauses) == (0, [])
