"""From claims to a caller: every claim of the wrong type or beyond a bound refuses the token; nothing is guessed."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lake.errors import UnauthenticatedError
from lake.gateway.identity.claims import MAX_LISTED, read_claims
from lake.gateway.identity.reasons import Reason
from lake.gateway.identity.rules import ClaimRules
from lake.gateway.identity.signatures import read_keys
from lake.rules.policy_document import USER
from tests.gateway.identity.conftest import Door
from tests.gateway.identity.provider import AUDIENCE, HOUR, SECONDS, Provider, at, minted, new_key
from tests.world import NOW

MakeDoor = Callable[..., Door]
NOT_TEXTS: list[Any] = [
    7,
    7.5,
    True,
    False,
    {},
    {"a": "b"},
    [],
    ["a", 7],
    ["a", None],
    [["a"]],
    "",
    [""],
    "a\nb",
    "\x00",
]
SKEW = 60


def test_times_count_to_the_second_with_the_tolerated_skew(provider: Provider, door: Door) -> None:
    """Accepted up to a minute after expiry and from a minute before the start, and not a moment longer."""
    token = provider.token()
    assert door.enter(token, now=at(HOUR + SKEW - 0.001)).expires == at(HOUR + SKEW)
    assert door.refusal(token, now=at(HOUR + SKEW)) == Reason.EXPIRED
    assert door.refusal(token, now=at(10 * HOUR)) == Reason.EXPIRED
    assert door.enter(token, now=at(-SKEW))
    assert door.refusal(token, now=at(-SKEW - 0.001)) == Reason.EARLY
    later = provider.token(nbf=SECONDS + 600)
    assert door.enter(later, now=at(600 - SKEW))
    assert door.refusal(later, now=at(600 - SKEW - 0.001)) == Reason.EARLY
    assert door.refusal(provider.token(iat=SECONDS + 600, nbf=SECONDS), now=at(0)) == Reason.EARLY
    assert door.enter(provider.token(exp=SECONDS + 0.5)).expires == at(SKEW + 0.5)


def test_a_token_lives_no_longer_than_the_issuer_may_say(provider: Provider, make_door: MakeDoor) -> None:
    """From issue to expiry, whatever is left of it; and none that ends before it begins."""
    door = make_door(max_lifetime=timedelta(hours=2))
    assert door.enter(provider.token(exp=SECONDS + 2 * HOUR))
    assert door.refusal(provider.token(exp=SECONDS + 2 * HOUR + 1)) == Reason.LIFETIME
    assert door.refusal(provider.token(iat=SECONDS - 2 * HOUR)) == Reason.LIFETIME
    assert door.refusal(provider.token(iat=SECONDS + 30, exp=SECONDS + 20)) == Reason.LIFETIME
    assert door.refusal(provider.token(iat=SECONDS + 30, exp=SECONDS + 30)) == Reason.LIFETIME
    assert make_door().refusal(provider.token(exp=SECONDS + 24 * HOUR + 1)) == Reason.LIFETIME


@pytest.mark.parametrize("name", ["exp", "iat", "nbf"])
@pytest.mark.parametrize("value", [str(SECONDS), True, [], {}, [SECONDS], -1, 1e300, 10**400, SECONDS * 1000])
def test_a_time_is_a_number_of_seconds(provider: Provider, door: Door, name: str, value: Any) -> None:
    """Texts, booleans, lists, milliseconds and what no clock shows are no times."""
    assert door.refusal(provider.token(**{name: value})) == Reason.CLAIMS


def test_a_time_that_json_cannot_hold_is_none(provider: Provider, door: Door) -> None:
    """``null`` is no time either, and a number beyond all bounds is not one that never comes."""
    key, header = new_key("ES256", "first"), {"alg": "ES256", "kid": "first"}
    for name in ("exp", "iat", "nbf"):
        for value in (b"null", b"1e999"):
            claims = str(provider.claims(**{name: 4711})).replace("'", '"').encode().replace(b"4711", value)
            assert door.refusal(minted(header, claims, key, "ES256")) == Reason.CLAIMS
    for name in ("exp", "iat"):
        assert door.refusal(provider.token(**{name: None})) == Reason.CLAIMS


def test_a_token_is_for_this_lake(provider: Provider, make_door: MakeDoor) -> None:
    """The audience is the lake's or a list with it, to the letter."""
    door = make_door()
    for good in (AUDIENCE, [AUDIENCE], ["other", AUDIENCE]):
        assert door.enter(provider.token(aud=good))
    for bad in (
        None,
        "other",
        ["other"],
        AUDIENCE.upper(),
        AUDIENCE + " ",
        AUDIENCE[:-1],
        f"other {AUDIENCE}",
        *NOT_TEXTS,
    ):
        assert door.refusal(provider.token(aud=bad)) == Reason.AUDIENCE
    assert door.refusal(provider.token(aud=[AUDIENCE, 7])) == Reason.AUDIENCE
    assert door.refusal(provider.token(aud=[f"a{n}" for n in range(MAX_LISTED)] + [AUDIENCE])) == Reason.AUDIENCE


@pytest.mark.parametrize(
    "name",
    [
        None,
        *NOT_TEXTS,
        ["mira-canary"],
        "mira canary",
        "mira\u2010canary",  # a hyphen that is none
        "m\u0456ra-canary",  # Cyrillic
        "\uff4dira-canary",  # full width
        "mira-canary\u200b",
        "\u202emira-canary",
        "mira-canary\n",
        "-mira",
        "auth0|mira",
        "../mira",
        "m" * 129,
        "mira\ud800",
    ],
)
def test_a_user_has_a_name_that_a_policy_can_name(provider: Provider, door: Door, name: Any) -> None:
    """Look-alikes, controls, lists and numbers are nobody; nothing is folded or trimmed."""
    assert door.refusal(provider.token(sub=name)) == Reason.USER


def test_an_email_counts_when_it_is_verified(provider: Provider, make_door: MakeDoor) -> None:
    """Only ``true`` says so; another claim needs no such word."""
    door = make_door(user_claim="email")
    token = provider.token(email="mira@example.org", email_verified=True)
    assert door.enter(token).identity.user == "mira@example.org"
    for word in (None, False, "true", 1, "yes", [True]):
        assert door.refusal(provider.token(email="mira@example.org", email_verified=word)) == Reason.USER
    named = make_door(user_claim="preferred_username")
    assert named.enter(provider.token(preferred_username="mira")).identity.user == "mira"
    assert named.refusal(provider.token()) == Reason.USER


def test_an_issuer_gives_its_own_names_only(provider: Provider, make_door: MakeDoor) -> None:
    """A prefix stands before each name; names that begin as another issuer's are not given."""
    assert make_door(user_prefix="ci.").enter(provider.token(sub="mira")).identity.user == "ci.mira"
    door = make_door(foreign_prefixes=("ci.", "hr."))
    assert door.enter(provider.token(sub="ci")).identity.user == "ci"
    for name in ("ci.mira", "hr.", "hr.x"):
        assert door.refusal(provider.token(sub=name)) == Reason.USER


def test_groups_employee_and_attributes_are_read_where_named(provider: Provider, make_door: MakeDoor) -> None:
    """By the rules' claims only; what a token does not have is not there."""
    claims = {"groups": ["data", "ml", "data"], "number": "E00001", "office": "Berlin Süd", "unread": "x"}
    assert make_door().enter(provider.token(**claims)).identity.groups == ()
    named = {"groups_claim": "groups", "employee_claim": "number", "attributes": (("site", "office"), ("team", "team"))}
    identity = make_door(**named).enter(provider.token(**claims)).identity
    assert (identity.groups, identity.employee) == (("data", "ml"), "E00001")
    assert identity.attributes == (("site", "Berlin Süd"),)
    bare = make_door(**named).enter(provider.token()).identity
    assert (bare.groups, bare.employee, bare.attributes) == ((), None, ())
    assert make_door(**named).enter(provider.token(groups="data")).identity.groups == ("data",)


@pytest.mark.parametrize("value", [*NOT_TEXTS, "x" * 300, ["x" * 300], "a\u202eb", "a\ud800", ["E1"], "x" * 201])
def test_a_wrong_claim_refuses_the_token(provider: Provider, make_door: MakeDoor, value: Any) -> None:
    """It is not passed over, as a claim that is missing is: a list where one text is expected, controls, too long."""
    listed = isinstance(value, list) and value == ["E1"]
    for name, claim in (("groups_claim", "g"), ("employee_claim", "e"), ("attributes", (("site", "a"),))):
        door = make_door(**{name: claim})
        short = claim if isinstance(claim, str) else "a"
        if short == "g" and (listed or value in ([], "x" * 201)):
            assert door.enter(provider.token(**{short: value}))
        else:
            assert door.refusal(provider.token(**{short: value})) == Reason.CLAIMS


def test_required_claims_are_as_they_must_be(provider: Provider, make_door: MakeDoor) -> None:
    """Each has an accepted text, or a list with one."""
    door = make_door(required=(("tid", frozenset({"t1", "t2"})), ("azp", frozenset({"app"}))))
    assert door.enter(provider.token(tid="t2", azp="app"))
    assert door.enter(provider.token(tid=["t0", "t1"], azp="app"))
    for claims in (
        {},
        {"tid": "t1"},
        {"tid": "t3", "azp": "app"},
        {"tid": "T1", "azp": "app"},
        {"tid": 1, "azp": "app"},
    ):
        assert door.refusal(provider.token(**claims)) == Reason.CLAIMS


def test_a_token_type_is_held_to(provider: Provider, make_door: MakeDoor) -> None:
    """Where one is configured, an id token does not pass for an access token."""
    key, claims = new_key("ES256", "first"), provider.claims()
    door = make_door(token_type="at+jwt")  # noqa: S106 - a type, no password
    for kind in ("at+jwt", "AT+JWT", "application/at+jwt"):
        assert door.enter(minted({"alg": "ES256", "kid": "first", "typ": kind}, claims, key, "ES256"))
    for kind in ("JWT", "", "xat+jwt", "text/at+jwt"):
        assert door.refusal(minted({"alg": "ES256", "kid": "first", "typ": kind}, claims, key, "ES256")) == Reason.TYPE
    assert door.refusal(provider.token()) == Reason.TYPE


def test_a_purpose_is_one_of_the_tokens(provider: Provider, door: Door) -> None:
    """With one it need not be chosen; with several it must; another one is never given."""
    assert door.enter(provider.token()).purpose == "study"
    assert door.enter(provider.token(), "study").purpose == "study"
    two = provider.token(purpose=["study", "incident", "study"])
    assert door.enter(two, "incident").purpose == "incident"
    assert door.enter(provider.token(purpose=["study", "study"])).purpose == "study"
    assert door.refusal(two) == Reason.PURPOSE
    for chosen in ("", "own_data", "Study", "study ", "study,incident", "s\u0442udy", "study\x00"):
        assert door.refusal(two, chosen) == Reason.PURPOSE
        assert door.refusal(provider.token(), chosen) == Reason.PURPOSE


@pytest.mark.parametrize(
    "value", [None, *NOT_TEXTS, "two words", "Study", ["study", "Study"], "study,incident", "*", "s" * 64]
)
def test_a_token_without_a_clear_purpose_is_refused(provider: Provider, door: Door, value: Any) -> None:
    """None, an empty list, or one word that is no purpose's name: refused, whatever is chosen."""
    for chosen in (None, "study"):
        assert door.refusal(provider.token(purpose=value), chosen) == Reason.PURPOSE


def test_a_token_is_read_with_a_purpose_or_not_at_all() -> None:
    """An empty list, and scopes without one, are refused where they are read, before one is chosen."""
    rules = ClaimRules(frozenset({AUDIENCE}), scope_prefix="p:")
    for purposes in ({"purpose": []}, {"scope": "openid"}, {}):
        claims = {name: value for name, value in GOOD.items() if name != "purpose"} | purposes
        with pytest.raises(UnauthenticatedError) as caught:
            read_claims(claims, None, rules, NOW, timedelta(seconds=SKEW))
        assert caught.value.reason == Reason.PURPOSE


def test_scopes_name_purposes_where_configured(provider: Provider, make_door: MakeDoor) -> None:
    """Those with the prefix, next to the claim; without the configuration scopes say nothing."""
    scope = "openid lake.purpose:study lake.purpose:incident xlake.purpose:own_data"
    token = provider.token(purpose=None, scope=scope)
    assert make_door().refusal(token, "study") == Reason.PURPOSE
    door = make_door(scope_prefix="lake.purpose:")
    assert door.enter(token, "incident").purpose == "incident"
    assert door.refusal(token, "own_data") == Reason.PURPOSE
    assert door.enter(provider.token(purpose=None, scope=["openid", "lake.purpose:study"])).purpose == "study"
    assert door.enter(provider.token(purpose="own_data", scope=scope), "own_data").purpose == "own_data"
    for bad in ("openid", "lake.purpose:", "lake.purpose:Study", 7, {}, ["lake.purpose:study", 7]):
        assert door.refusal(provider.token(purpose=None, scope=bad)) == Reason.PURPOSE
    other = make_door(purpose_claim="https://lake.example/purpose")
    assert other.enter(provider.token(purpose=None, **{"https://lake.example/purpose": "study"})).purpose == "study"
    assert other.refusal(provider.token()) == Reason.PURPOSE


def test_a_role_is_chosen_by_its_name(provider: Provider, door: Door) -> None:
    """What is no role's name is refused; a claim of an issuer binds to none."""
    assert door.enter(provider.token(role="all"), role="student").role == "student"
    assert door.enter(provider.token(role="all")).role is None
    for role in ("", "Student", "a b", "x" * 64, "\u0430ll"):
        assert door.refusal(provider.token(), role=role) == Reason.ROLE


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)
GOOD = {"aud": AUDIENCE, "sub": "mira", "purpose": "study", "iat": SECONDS, "exp": SECONDS + HOUR, "nbf": SECONDS}
READ = {"g": ["a"], "e": "E1", "a": "x", "scope": "p:study", "tid": "t1"}


@given(name=st.sampled_from(sorted(GOOD | READ)), value=JSON)
def test_whatever_a_claim_is_it_is_read_or_refused(name: str, value: Any) -> None:
    """No value breaks the reader; what comes out is always well-formed."""
    rules = ClaimRules(
        frozenset({AUDIENCE}),
        groups_claim="g",
        employee_claim="e",
        attributes=(("site", "a"),),
        scope_prefix="p:",
        required=(("tid", frozenset({"t1"})),),
    )
    try:
        found = read_claims(GOOD | READ | {name: value}, None, rules, NOW, timedelta(seconds=SKEW))
    except UnauthenticatedError:
        return
    assert USER.fullmatch(found.identity.user)
    assert found.purposes[0] == "study" or name == "purpose"
    texts = [*found.identity.groups, found.identity.employee or "-", *(text for _, text in found.identity.attributes)]
    assert all(isinstance(text, str) and text.isprintable() and text for text in texts)


KEY = st.fixed_dictionaries(
    {"kty": st.sampled_from(["RSA", "EC", "OKP"]) | JSON, "kid": st.just("k") | JSON},
    optional={
        name: JSON
        | st.sampled_from(["AQAB", "P-256", "Ed25519", "X25519", "sig", "verify", "A" * 43, "A" * 342, "B" * 344])
        for name in ("n", "e", "crv", "x", "y", "use", "alg", "key_ops", "x5c", "x5u", "oth")
    },
)


@given(st.fixed_dictionaries({"keys": JSON | st.lists(JSON | KEY, max_size=4)}))
def test_whatever_a_provider_publishes_it_is_read_or_left_out(document: dict[str, Any]) -> None:
    """No document breaks the reader."""
    assert all(key.kid == key_id and not key.is_private for key_id, keys in read_keys(document).items() for key in keys)
