"""Hostile tokens: no key that comes along, no other algorithm, no changed byte, nothing that reads in two ways."""

from __future__ import annotations

import json
from typing import Any

import pytest
from joserfc.jwk import OctKey, OKPKey

from lake.gateway.identity.reasons import Reason
from lake.gateway.identity.signatures import ASYMMETRIC
from lake.gateway.identity.tokens import MAX_TOKEN, parse_token
from tests.gateway.identity.conftest import LAKE, LOCAL, Door
from tests.gateway.identity.provider import Provider, encoded, minted, new_key
from tests.world import NOW


@pytest.mark.parametrize("algorithm", sorted(ASYMMETRIC))
def test_every_listed_algorithm_counts(provider: Provider, door: Door, algorithm: str) -> None:
    """A token signed with it by a published key opens the door; one of a key that is not published does not."""
    provider.publish(new_key(algorithm, "first"))
    caller = door.enter(provider.token(algorithm))
    assert (caller.identity.user, caller.purpose, caller.role) == ("mira-canary", "study", None)
    forged = minted({"alg": algorithm, "kid": "first"}, provider.claims(), new_key(algorithm, "other"), algorithm)
    assert door.refusal(forged) == Reason.SIGNATURE


@pytest.mark.parametrize(
    "algorithm", ["none", "None", "nOnE", "", "HS384", "RS512", "ES512", "Ed25519", "ES256K", "\u0130"]
)
@pytest.mark.parametrize("signature", ["", "AAAA"])
def test_other_algorithms_do_not_count(provider: Provider, door: Door, algorithm: str, signature: str) -> None:
    """Neither no signature nor an algorithm that is not listed, however it is written."""
    token = f"{encoded({'alg': algorithm, 'kid': 'first'}).decode()}.{encoded(provider.claims()).decode()}.{signature}"
    assert door.refusal(token) == Reason.ALGORITHM
    assert not provider.asked


@pytest.mark.parametrize("form", ["PEM", "DER", "JWK"])
@pytest.mark.parametrize("issuer", ["provider", "lake"])
def test_a_public_key_is_no_shared_secret(provider: Provider, door: Door, form: str, issuer: str) -> None:
    """HS256 with an issuer's public key as its secret is refused before any key is looked at."""
    key = new_key("RS256", "first")
    provider.publish(key)
    secret = json.dumps(key.as_dict(private=False)).encode()
    if form != "JWK":
        secret = key.as_bytes(form, private=False)  # type: ignore[union-attr, arg-type]
    named = provider.issuer if issuer == "provider" else LOCAL.issuer
    claims = provider.claims(iss=named, aud=[LAKE, "lake-gateway"])
    token = minted({"alg": "HS256", "kid": "first", "typ": "lake+jwt"}, claims, OctKey(secret, secret), "HS256")
    assert door.refusal(token) == (Reason.ISSUER if issuer == "provider" else Reason.SIGNATURE)
    assert not provider.asked


def test_an_issuers_key_signs_no_token_of_the_lake(provider: Provider, door: Door) -> None:
    """The lake's issuer with an asymmetric algorithm is nobody, and so is an issuer that is not configured."""
    door.enter(provider.token())
    for issuer in (LOCAL.issuer, provider.issuer + "/", provider.issuer.upper(), "https://other.example", "", None):
        assert door.refusal(provider.token(iss=issuer, aud=[LAKE, "lake-gateway"])) == Reason.ISSUER
    for issuer in ([provider.issuer], {"": provider.issuer}, 7, True):
        assert door.refusal(provider.token(iss=issuer)) == Reason.ISSUER


def test_an_algorithm_is_held_against_the_key_and_the_issuer(provider: Provider, make_door: Any) -> None:
    """A key for one algorithm or curve checks no other's signatures; an issuer may be held to fewer algorithms."""
    signing = new_key("RS256", "first")
    provider.keys = [signing.as_dict(private=False, alg="RS256")]
    door = make_door()
    door.enter(provider.token("RS256"))
    header = {"alg": "PS256", "kid": "first"}
    assert door.refusal(minted(header, provider.claims(), signing, "PS256")) == Reason.KEY
    wrong = minted({"alg": "ES384", "kid": "first"}, provider.claims(), new_key("ES384", "first"), "ES384")
    assert door.refusal(wrong) == Reason.KEY
    provider.publish(OKPKey.generate_key("Ed448", {"kid": "first"}), OKPKey.generate_key("X25519", {"kid": "x"}))
    for key_id in ("first", "x"):
        assert make_door().refusal(provider.token("EdDSA", key_id)) == Reason.KEY
    provider.publish(signing)
    fewer = make_door(issuer={"algorithms": frozenset({"ES256"})})
    assert fewer.refusal(provider.token("RS256")) == Reason.ALGORITHM


@pytest.mark.parametrize("name", ["jwk", "jku", "x5u", "x5c", "crit", "b64", "zip", "enc"])
def test_a_token_brings_no_key_and_no_extension(provider: Provider, door: Door, name: str) -> None:
    """Even a rightly signed token is refused, and what it points to is not fetched."""
    own = new_key("ES256", "mine")
    values: dict[str, Any] = {
        "jwk": own.as_dict(private=False),
        "jku": provider.issuer + "/mine",
        "x5u": provider.issuer + "/mine",
        "x5c": ["AAAA"],
        "crit": ["exp"],
        "b64": False,
    }
    for key in (own, new_key("ES256", "first")):
        header = {"alg": "ES256", "kid": "first", name: values.get(name, "DEF")}
        assert door.refusal(minted(header, provider.claims(), key, "ES256")) == Reason.HEADER
    assert not provider.asked


@pytest.mark.parametrize("kind", ["issuer", "lake"])
def test_no_changed_byte_passes(provider: Provider, door: Door, kind: str) -> None:
    """Any character flipped, left out or doubled, any end cut off: refused."""
    token = provider.token() if kind == "issuer" else signed_here()
    assert door.enter(token).identity.user == "mira-canary"
    for at in range(len(token)):
        swapped = "A" if token[at] != "A" else "B"
        lowest = chr(ord(token[at]) ^ 1)
        for other in (swapped, lowest, "", token[at] * 2, "=", " ", "\u00e9"):
            door.refusal(token[:at] + other + token[at + 1 :])
        door.refusal(token[:at])
    for other in (token + ".", token + "=", token + "\n", " " + token, "." + token, token + ".AA", f"Bearer {token}"):
        assert door.refusal(other) == Reason.MALFORMED


def signed_here() -> str:
    """A token of the lake's own."""
    from lake.gateway.identity.local_tokens import Wanted

    return LOCAL.sign(Wanted("mira-canary", ("study",)), "1" * 32, NOW).text


def test_parts_of_two_tokens_make_none(provider: Provider, door: Door) -> None:
    """Header, claims and signature hold only together."""
    one, two = provider.token().split("."), provider.token(sub="vera-canary").split(".")
    for parts in ((one[0], two[1], one[2]), (one[0], one[1], two[2])):
        assert door.refusal(".".join(parts)) == Reason.SIGNATURE


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"[]",
        b'"text"',
        b"7",
        b"null",
        b"{}{}",
        b"{",
        b'{"a": NaN}',
        b'{"a": Infinity}',
        b'{"a": -Infinity}',
        b"\xef\xbb\xbf{}",
        b'{"a": "\xff"}',
        b"[" * 5000,
        b'{"a":' * 1000 + b"[" * 500,
        b'{"a": ' + b"9" * 4500 + b"}",
        b"\x00",
    ],
)
def test_what_is_not_one_clear_object_is_no_token(provider: Provider, door: Door, payload: bytes) -> None:
    """Rightly signed or not, as claims and as header."""
    key = new_key("ES256", "first")
    assert door.refusal(minted({"alg": "ES256", "kid": "first"}, payload, key, "ES256")) == Reason.MALFORMED
    assert door.refusal(minted(payload, provider.claims(), key, "ES256")) == Reason.MALFORMED


def test_names_stand_once(provider: Provider, door: Door) -> None:
    """A name that comes twice is refused at any depth, even with one value, so that no two readers differ."""
    key, good = new_key("ES256", "first"), json.dumps(provider.claims())
    for text in ('{"sub": "vera-canary", ', f'{{"iss": "{provider.issuer}", ', '{"x": {"a": 1, "a": 1}, '):
        claims = good.replace("{", text, 1).encode()
        assert door.refusal(minted({"alg": "ES256", "kid": "first"}, claims, key, "ES256")) == Reason.MALFORMED
    header = b'{"alg": "none", "alg": "ES256", "kid": "first"}'
    assert door.refusal(minted(header, provider.claims(), key, "ES256")) == Reason.MALFORMED


@pytest.mark.parametrize(
    "header",
    [
        {"kid": "first"},
        {"alg": None, "kid": "first"},
        {"alg": ["ES256"], "kid": "first"},
        {"alg": "ES256", "kid": ["first"]},
        {"alg": "ES256", "kid": 1},
        {"alg": "ES256", "kid": "k" * 300},
        {"alg": "ES256", "kid": "first", "typ": 5},
    ],
)
def test_a_header_has_texts(provider: Provider, door: Door, header: dict[str, Any]) -> None:
    """What should be a text and is not makes no token."""
    assert door.refusal(minted(header, provider.claims(), new_key("ES256", "first"), "ES256")) == Reason.MALFORMED


def test_a_key_must_be_named(provider: Provider, door: Door) -> None:
    """Without a key id no key is guessed, even where there is only one."""
    assert door.refusal(minted({"alg": "ES256"}, provider.claims(), new_key("ES256", "first"), "ES256")) == Reason.KEY


def test_a_huge_token_is_not_looked_at(provider: Provider, door: Door) -> None:
    """One character beyond the limit is too long; within it a token counts."""
    short = provider.token(filler="")
    room = (MAX_TOKEN - len(short)) * 3 // 4
    longest = max(
        (provider.token(filler="x" * n) for n in range(room - 4, room + 4)),
        key=lambda t: (len(t) <= MAX_TOKEN) * len(t),
    )
    assert MAX_TOKEN - 4 <= len(longest) <= MAX_TOKEN
    assert door.enter(longest).identity.user == "mira-canary"
    assert door.refusal(provider.token(filler="x" * (room + 4))) == Reason.SIZE
    assert door.refusal("A" * MAX_TOKEN) == Reason.MALFORMED
    for text in ("A" * (MAX_TOKEN + 1), "a" * 10_000_000, "." * 9000, "\u00e9" * 9000):
        assert door.refusal(text) == Reason.SIZE


@pytest.mark.parametrize(
    "text", ["", ".", "..", "a.b", "a.b.c.d", "a.b.c.d.e", "\x00", "a.b.c", "Bearer x", "é.é.é", "A.A.A"]
)
def test_other_texts_are_no_tokens(door: Door, text: str) -> None:
    """Including an encrypted token's five parts."""
    assert door.refusal(text) == Reason.MALFORMED


def test_a_token_taken_apart_shows_nothing(provider: Provider) -> None:
    """Its ``repr`` has no part of it."""
    assert repr(parse_token(provider.token())) == "UnverifiedToken()"
