"""Keys of an issuer: rotation, floods, outages and everything that a provider can answer instead of keys."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from joserfc.jwk import ECKey, OctKey, RSAKey

from lake.errors import UnauthenticatedError, UsageError
from lake.gateway.identity import issuer_keys
from lake.gateway.identity.authenticator import Authenticator
from lake.gateway.identity.https import split_url
from lake.gateway.identity.issuer_keys import REFETCH_AFTER, RETRY_AFTER
from lake.gateway.identity.reasons import Reason
from lake.gateway.identity.rules import KEYS_MAX_AGE, KEYS_OUTAGE, ClaimRules, IdentityRules, IssuerRules
from tests.gateway.identity.conftest import Door
from tests.gateway.identity.provider import AUDIENCE, DISCOVERY, JWKS, SECONDS, Provider, at, minted, new_key
from tests.keys.remote.hosts import Authority

MakeDoor = Callable[..., Door]
MAX_AGE, OUTAGE = KEYS_MAX_AGE.total_seconds(), KEYS_OUTAGE.total_seconds()
REFETCH, RETRY = REFETCH_AFTER.total_seconds(), RETRY_AFTER.total_seconds()


def lasting(provider: Provider, key_id: str = "first") -> str:
    """A token for the whole of an outage."""
    return provider.token(key_id=key_id, exp=SECONDS + 20 * 24 * 3600)


@pytest.fixture
def door(make_door: MakeDoor) -> Door:
    """A door that accepts long tokens and does not wait for long."""
    return make_door(max_lifetime=timedelta(days=30), patience=0.2)


def test_keys_are_fetched_once_and_again_when_they_are_old(provider: Provider, door: Door) -> None:
    """Two requests for an hour of tokens."""
    for second in (0, 1, MAX_AGE - 1):
        door.enter(lasting(provider), now=at(second))
    assert provider.asked == {DISCOVERY: 1, JWKS: 1}
    door.enter(lasting(provider), now=at(MAX_AGE))
    assert provider.asked == {DISCOVERY: 2, JWKS: 2}


def test_a_new_key_counts_at_once_and_an_old_one_until_the_next_fetch(provider: Provider, door: Door) -> None:
    """An unknown key id asks the issuer; a key that it has withdrawn is gone then."""
    door.enter(lasting(provider))
    provider.publish(new_key("ES256", "second"))
    assert door.enter(lasting(provider), now=at(REFETCH))
    assert door.enter(lasting(provider, "second"), now=at(REFETCH))
    assert door.refusal(lasting(provider), now=at(REFETCH)) == Reason.KEY
    assert provider.asked[JWKS] == 2


def test_a_flood_of_made_up_keys_fetches_nothing(provider: Provider, door: Door) -> None:
    """A thousand ids in half a minute: one fetch; the next one only after that time. Known keys go on counting."""
    door.enter(lasting(provider))
    for number in range(1000):
        assert door.refusal(flood(provider, number), now=at(REFETCH - 1 + number / 1001)) == Reason.KEY
    assert provider.asked[JWKS] == 1
    for number in range(200):
        assert door.refusal(flood(provider, number), now=at(REFETCH + number / 10)) == Reason.KEY
    assert provider.asked[JWKS] == 2
    assert door.enter(lasting(provider), now=at(REFETCH + 20))


def flood(provider: Provider, number: int) -> str:
    """A token of a key that nobody has."""
    header = {"alg": "ES256", "kid": f"made-up-{number}"}
    return minted(header, provider.claims(), new_key("ES256", "first"), "ES256")


def test_a_flood_from_many_threads_fetches_once(provider: Provider, door: Door) -> None:
    """Also before the first fetch, and with clocks that disagree a little."""
    with ThreadPoolExecutor(16) as pool:
        times = [at(number % 7 / 1000) for number in range(200)]
        reasons = set(pool.map(lambda n: door.refusal(flood(provider, n), now=times[n]), range(200)))
    assert reasons == {Reason.KEY}
    assert provider.asked == {DISCOVERY: 1, JWKS: 1}


@pytest.mark.parametrize("mode", ["down", "moved", "silent", "dripping", "endless", "html", "cut", "twice"])
def test_last_good_keys_serve_through_an_outage_of_bounded_length(provider: Provider, door: Door, mode: str) -> None:
    """Whatever the provider answers instead; new keys are not had, and after the bound nobody is authenticated."""
    door.enter(lasting(provider))
    provider.mode = mode
    assert door.enter(lasting(provider), now=at(MAX_AGE))
    assert door.refusal(lasting(provider, "second"), now=at(MAX_AGE + 1)) == Reason.KEY
    (status,) = door.authenticator.status()
    assert (status.keys, status.fetched) == (1, at(0))
    assert status.problem
    provider.mode = "down"
    assert door.enter(lasting(provider), now=at(MAX_AGE + OUTAGE - 1))
    assert door.refusal(lasting(provider), now=at(MAX_AGE + OUTAGE)) == Reason.PROVIDER
    provider.mode = "well"
    assert door.refusal(lasting(provider), now=at(MAX_AGE + OUTAGE)) == Reason.PROVIDER
    assert door.enter(lasting(provider), now=at(MAX_AGE + OUTAGE + RETRY))
    (status,) = door.authenticator.status()
    assert (status.problem, status.fetched) == ("", at(MAX_AGE + OUTAGE + RETRY))
    assert provider.asked["/elsewhere" + DISCOVERY] == 0


@pytest.mark.parametrize("mode", ["down", "moved", "silent", "dripping", "endless", "html", "cut", "twice"])
def test_without_keys_nobody_is_authenticated(provider: Provider, door: Door, mode: str) -> None:
    """And the provider is asked again at most every five seconds."""
    provider.mode = mode
    for second in (0, 1, RETRY - 0.001):
        assert door.refusal(lasting(provider), now=at(second)) == Reason.PROVIDER
    assert provider.asked[DISCOVERY] == 1
    provider.mode = "well"
    assert door.enter(lasting(provider), now=at(RETRY))


def test_the_others_do_not_wait_while_one_fetches(provider: Provider, make_door: MakeDoor) -> None:
    """With keys that will do, only the thread that fetches meets the provider's silence."""
    door = make_door(max_lifetime=timedelta(days=30), patience=30.0)
    token = lasting(provider)
    door.enter(token)
    provider.mode = "silent"
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(door.enter, token, now=at(MAX_AGE))
        assert provider.reached.wait(30)
        assert [door.enter(token, now=at(MAX_AGE + 1)).purpose for _ in range(20)] == ["study"] * 20
        assert not waiting.done()
        provider.released.set()
        assert waiting.result().purpose == "study"
    assert provider.asked[DISCOVERY] == 2


def test_a_clock_that_was_set_back_keeps_no_key_for_longer(provider: Provider, door: Door) -> None:
    """A little back is two threads that read it at odds, and fetches nothing; far back, the keys are fetched again."""
    door.enter(lasting(provider), now=at(10 * MAX_AGE))
    assert door.refusal(flood(provider, 0), now=at(10 * MAX_AGE - 1)) == Reason.KEY
    assert door.enter(lasting(provider), now=at(10 * MAX_AGE - 1))
    assert provider.asked[JWKS] == 1
    assert door.enter(lasting(provider), now=at(0))
    assert provider.asked[JWKS] == 2


@pytest.mark.parametrize(
    ("mode", "word"),
    [
        ("down", "503"),
        ("moved", "302"),
        ("silent", "in time"),
        ("endless", "longer"),
        ("html", "JSON"),
        ("twice", "JSON"),
    ],
)
def test_the_status_says_what_is_wrong_with_a_provider(provider: Provider, door: Door, mode: str, word: str) -> None:
    """In the lake's own words."""
    provider.mode = mode
    assert door.refusal(lasting(provider)) == Reason.PROVIDER
    assert word in door.authenticator.status()[0].problem


def test_a_flood_does_not_hold_every_thread(
    provider: Provider, make_door: MakeDoor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the provider is silent so many wait for it, and no more; the next one is refused before it speaks."""
    monkeypatch.setattr(issuer_keys, "MAX_WAITING", 0)
    door = make_door(patience=30.0)
    provider.mode = "silent"
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(door.refusal, provider.token())
        assert provider.reached.wait(30)
        assert door.refusal(provider.token()) == Reason.PROVIDER
        assert not waiting.done()
        provider.released.set()
        assert waiting.result() == Reason.PROVIDER


def test_keys_can_be_fetched_before_anybody_comes(provider: Provider, door: Door) -> None:
    """Then the first caller asks nobody; a provider that is down at the start does not keep the door from opening."""
    provider.mode = "down"
    door.authenticator.refresh(at(0))
    assert "503" in door.authenticator.status()[0].problem
    provider.mode = "well"
    door.authenticator.refresh(at(RETRY))
    assert provider.asked[JWKS] == 1
    provider.mode = "down"
    assert door.enter(provider.token(), now=at(RETRY + 1))
    assert provider.asked[JWKS] == 1


@pytest.mark.parametrize(
    "discovery",
    [
        {"issuer": "https://other.example"},
        {"issuer": None},
        {"issuer": ["{issuer}"]},
        {"issuer": "{issuer}/"},
        {"jwks_uri": None},
        {"jwks_uri": ["{issuer}/keys"]},
        {"jwks_uri": "http://192.0.2.1/keys"},
        {"jwks_uri": "http://127.0.0.1.example.org/keys"},
        {"jwks_uri": "file:///etc/passwd"},
        {"jwks_uri": "http://user@127.0.0.1/keys"},
        {"jwks_uri": "http://127.0.0.1:0/keys"},
        {"jwks_uri": "http://127.0.0.1:99999/keys"},
        {"jwks_uri": "http://127.0.0.1/ke\nys"},
        {"jwks_uri": "//127.0.0.1/keys"},
        {"jwks_uri": ""},
    ],
)
def test_a_wrong_discovery_document_gives_no_keys(provider: Provider, door: Door, discovery: dict[str, Any]) -> None:
    """Another issuer's, or keys at a place that is not asked."""
    words = {name: str(value).replace("{issuer}", provider.issuer) for name, value in discovery.items()}
    provider.discovery = {name: words[name] if isinstance(value, str) else value for name, value in discovery.items()}
    assert door.refusal(lasting(provider)) == Reason.PROVIDER
    assert provider.asked == {DISCOVERY: 1}


def test_only_keys_that_check_signatures_are_taken(provider: Provider, door: Door) -> None:
    """Shared, private, weak, encrypting, broken and unnamed keys are left out; the good one beside them counts."""
    weak = new_key("RS256", "weak").as_dict(private=False)
    public = new_key("ES256", "x").as_dict(private=False)
    good = new_key("ES256", "first").as_dict(private=False)
    wrong: list[Any] = [
        OctKey.generate_key(256, {"kid": "shared"}).as_dict(private=True),
        new_key("ES256", "private").as_dict(private=True),
        weak | {"n": "AQAB" * 40},
        weak | {"e": "AQ"},
        weak | {"e": "AQAB" * 60},
        weak | {"n": 7},
        public | {"use": "enc"},
        public | {"key_ops": ["encrypt"]},
        public | {"crv": "P-521"},
        public | {"x": good["y"]},
        public | {"kid": 7},
        public | {"kid": ""},
        {name: value for name, value in public.items() if name != "kid"},
        {"kty": "AKP", "kid": "new"},
        {"kty": ["EC"]},
        {},
        [],
        None,
        "key",
    ]
    provider.keys = wrong
    assert door.refusal(lasting(provider)) == Reason.PROVIDER
    provider.keys = [*wrong, good]
    assert door.enter(lasting(provider), now=at(RETRY))
    (status,) = door.authenticator.status()
    assert status.keys == 1


def test_two_keys_of_one_name_are_told_apart_by_kind_or_not_at_all(provider: Provider, door: Door) -> None:
    """An id that stands for two keys of one algorithm stands for none."""
    provider.publish(new_key("ES256", "first"), new_key("RS256", "first"))
    assert door.enter(provider.token())
    assert door.enter(provider.token("RS256"))
    provider.keys = [
        new_key("ES256", "first").as_dict(private=False),
        new_key("ES256", "x").as_dict(private=False, kid="first"),
    ]
    assert door.refusal(lasting(provider), now=at(MAX_AGE)) == Reason.KEY


def test_sixteen_threads_while_keys_rotate(provider: Provider, make_door: MakeDoor) -> None:
    """A good token is accepted as long as its key is published; a forged one never is."""
    door = make_door(max_lifetime=timedelta(days=30))
    names = [f"key-{number}" for number in range(13)]
    keys = [new_key("ES256", name) for name in names]
    tokens = [lasting(provider, name) for name in names]
    provider.publish(*keys[:2])
    current, stop, knocks = [0], threading.Event(), threading.Semaphore(0)

    def outcome(token: str, number: int) -> str:
        try:
            return door.enter(token, now=at(number * REFETCH)).identity.user
        except UnauthenticatedError as error:
            return error.reason

    def knock() -> set[str]:
        seen: set[str] = set()
        while not stop.is_set():
            number = current[0]
            forged = tokens[number].rpartition(".")[0] + "." + tokens[number - 1].rpartition(".")[2]
            good, bad = outcome(tokens[number], number), outcome(forged, number)
            knocks.release()
            if current[0] == number:  # otherwise the key may have been withdrawn meanwhile
                seen |= {f"good {good}", f"forged {bad}"}
        return seen

    with ThreadPoolExecutor(16) as pool:
        knocking = [pool.submit(knock) for _ in range(16)]
        for number in range(1, len(keys) - 1):
            # Published ahead of its use, as providers do.
            provider.publish(*keys[number - 1 : number + 2])
            door.enter(tokens[number], now=at(number * REFETCH))
            current[0] = number
            for _ in range(100):
                knocks.acquire()
        stop.set()
        seen = set().union(*(done.result() for done in knocking))
    assert seen == {"good mira-canary", f"forged {Reason.SIGNATURE}"}
    assert provider.asked[JWKS] > 1


def test_over_tls_the_host_proves_itself(tmp_path: Path) -> None:
    """With the configured CA it is asked; with another, with the system's, or under another name it is not."""
    own, other = Authority(tmp_path, "own"), Authority(tmp_path, "other")
    files = own.issue("login.lake.example", server=True)
    provider = Provider((files.certificate, files.key))
    try:
        for ca, reason in ((own.file, ""), (other.file, Reason.PROVIDER), (None, Reason.PROVIDER)):
            rules = IssuerRules(provider.issuer, ClaimRules(frozenset({AUDIENCE})), ca_file=ca)
            door = Door(Authenticator(IdentityRules((rules,))))
            if reason:
                assert door.refusal(provider.token()) == reason
                assert "certificate" in door.authenticator.status()[0].problem
            else:
                assert door.enter(provider.token()).identity.user == "mira-canary"
        # From an issuer over TLS, keys are not fetched without it, not even on this machine.
        provider.discovery = {"jwks_uri": provider.issuer.replace("https", "http") + JWKS}
        door = Door(Authenticator(IdentityRules((IssuerRules(provider.issuer, rules.claims, ca_file=own.file),))))
        assert door.refusal(provider.token()) == Reason.PROVIDER
        assert "not asked" in door.authenticator.status()[0].problem
    finally:
        provider.close()


def test_an_unreadable_ca_file_is_said_at_once(tmp_path: Path) -> None:
    """Not at the first caller."""
    (tmp_path / "empty.pem").touch()
    for name in ("missing.pem", "empty.pem"):
        rules = IssuerRules("https://login.example", ClaimRules(frozenset({"x"})), ca_file=tmp_path / name)
        with pytest.raises(UsageError, match=name):
            Authenticator(IdentityRules((rules,)))


@pytest.mark.parametrize(
    ("url", "plain", "allowed"),
    [
        ("https://login.example/a?b=c", False, True),
        ("http://127.0.0.1:80/", True, True),
        ("http://[::1]/", True, True),
        ("http://localhost/", True, True),
        ("http://127.0.0.1/", False, False),
        ("http://127.0.0.2/", True, False),
        ("http://localhost.example/", True, False),
        ("http://login.example/", True, False),
        ("https://user:word@login.example/", False, False),
        ("https://login.example/#x", False, False),
        ("https:///keys", False, False),
        ("https://login.example/\r\nHost: x", False, False),
        ("https://login.example/a b", False, False),
        ("https://l\u043egin.example/", False, False),
        ("ftp://login.example/", True, False),
        ("https://[::1/", False, False),
    ],
)
def test_which_addresses_are_asked(url: str, plain: bool, allowed: bool) -> None:
    """HTTPS, or plain http on this machine where that is allowed."""
    assert (split_url(url, plain=plain) is not None) is allowed


def test_a_short_rsa_key_warns_nobody_and_counts_for_nothing(provider: Provider, door: Door) -> None:
    """1,024 bits are too few, however they are padded."""
    with pytest.warns(Warning, match="2048"):
        short = RSAKey.generate_key(1024, {"kid": "first"}).as_dict(private=False)
    provider.keys = [short, ECKey.generate_key("P-256", {"kid": "x"}).as_dict(private=False)]
    assert door.refusal(provider.token("RS256")) == Reason.KEY
