"""The door: certificates of services, the lake's own tokens, and nothing said about who was refused, or of whom."""

from __future__ import annotations

import json
import logging
import pickle  # noqa: TID251 - to see that it fails
import traceback
from collections.abc import Callable
from datetime import timedelta

import pytest

from lake.errors import UnauthenticatedError, UsageError
from lake.gateway.caller import Caller
from lake.gateway.identity.authenticator import Authenticator, BearerToken, PeerCertificate
from lake.gateway.identity.local_tokens import LocalTokens, Wanted, issue
from lake.gateway.identity.reasons import Reason
from lake.gateway.identity.rules import IdentityRules, ServiceRules
from lake.gateway.identity.signatures import LOCAL as HS256
from lake.rules.model import Identity
from tests.gateway.identity.conftest import LAKE, LOCAL, Door
from tests.gateway.identity.provider import HOUR, SECONDS, Provider, at, minted
from tests.world import NOW, World

CERTIFICATES = {
    "nightly.example.org": ServiceRules("nightly", ("study",)),
    "report.example.org": ServiceRules("report", ("study", "incident")),
}


def reason(
    door: Authenticator, certificate: PeerCertificate, purpose: str | None = None, role: str | None = None
) -> str:
    """Why a certificate is refused."""
    with pytest.raises(UnauthenticatedError) as caught:
        door.authenticate(certificate, purpose, role, NOW)
    return caught.value.reason


def test_a_certificate_stands_for_the_user_that_the_file_names() -> None:
    """By its name to the letter, for the purposes named there, until it expires."""
    door = Authenticator(IdentityRules(certificates=CERTIFICATES))
    caller = door.authenticate(PeerCertificate("nightly.example.org", at(9)), None, "student", NOW)
    assert caller == Caller(Identity("nightly"), "study", "student", at(9))
    assert door.authenticate(PeerCertificate("report.example.org"), "incident", None, NOW).purpose == "incident"
    for name in ("", "*", "nightly", "x.nightly.example.org", "NIGHTLY.example.org", "nightly.example.org.", "nightly"):
        assert reason(door, PeerCertificate(name), "study") == Reason.CERTIFICATE
    assert reason(door, PeerCertificate("report.example.org")) == Reason.PURPOSE
    assert reason(door, PeerCertificate("nightly.example.org"), "incident") == Reason.PURPOSE
    assert reason(door, PeerCertificate("nightly.example.org"), "study", "No Role") == Reason.ROLE
    assert reason(door, PeerCertificate("nightly.example.org", NOW)) == Reason.EXPIRED


def test_nothing_shown_is_nobody() -> None:
    """Also where everything else is allowed."""
    door = Authenticator(IdentityRules(certificates=CERTIFICATES, local_tokens=True), LOCAL)
    with pytest.raises(UnauthenticatedError) as caught:
        door.authenticate(None, "study", None, NOW)
    assert caught.value.reason == Reason.MISSING


def local(**changes: object) -> str:
    """A token of the lake's own, from these words."""
    words: dict[str, object] = {"user": "mira", "purposes": ("study",)} | changes
    return LOCAL.sign(Wanted(**words), "1" * 32, NOW).text  # type: ignore[arg-type]


def test_a_token_of_the_lakes_own(door: Door) -> None:
    """Who, what for, as which role, and until when are in it, and hold."""
    caller = door.enter(local(role="student", lifetime=timedelta(hours=1)))
    assert caller == Caller(Identity("mira"), "study", "student", at(HOUR + 60))
    assert door.enter(local(role="student"), role="student").role == "student"
    assert door.refusal(local(role="student"), role="all") == Reason.ROLE
    assert door.enter(local(purposes=("study", "incident")), "incident", "all").role == "all"
    assert door.refusal(local(purposes=("study", "incident"))) == Reason.PURPOSE
    assert door.refusal(local(), now=at(8 * HOUR + 60)) == Reason.EXPIRED
    assert door.enter(local(lifetime=timedelta(days=30)))


def test_the_lakes_own_tokens_can_be_switched_off(provider: Provider) -> None:
    """They are, unless the file says otherwise; then even the right key opens nothing."""
    for door in (
        Door(Authenticator(IdentityRules(), LOCAL)),
        Door(Authenticator(IdentityRules(certificates={}), LOCAL)),
    ):
        assert door.refusal(local()) == Reason.DISABLED
    assert Door(Authenticator(IdentityRules(local_tokens=True))).refusal(local()) == Reason.ISSUER


def test_another_lakes_tokens_open_nothing(door: Door) -> None:
    """Neither by name nor by key."""
    wanted = Wanted("mira", ("study",))
    other_key = LocalTokens(LAKE, bytes(32)).sign(wanted, "1" * 32, NOW).text
    other_lake = LocalTokens("f" * 32, bytes(range(32))).sign(wanted, "1" * 32, NOW).text
    assert (door.refusal(other_key), door.refusal(other_lake)) == (Reason.SIGNATURE, Reason.ISSUER)
    claims = {
        "iss": LOCAL.issuer,
        "aud": LAKE,
        "sub": "mira",
        "purpose": "study",
        "iat": SECONDS,
        "exp": SECONDS + HOUR,
    }
    header = {"alg": HS256, "typ": "lake+jwt"}
    for change, why in (
        ({}, ""),
        ({"aud": "f" * 32}, Reason.AUDIENCE),
        ({"exp": SECONDS + 31 * 24 * HOUR}, Reason.LIFETIME),
        ({"role": ["all"]}, Reason.ROLE),
        ({"role": None}, Reason.ROLE),
        ({"sub": "m ira"}, Reason.USER),
        ({"purpose": []}, Reason.PURPOSE),
    ):
        token = minted(header, claims | change, LOCAL.key, HS256)
        assert (door.refusal(token) if why else door.enter(token).identity.user) == (why or "mira")
    assert door.refusal(minted(header | {"typ": "JWT"}, claims, LOCAL.key, HS256)) == Reason.TYPE


@pytest.mark.parametrize(
    "changes",
    [
        {"user": "m ira"},
        {"user": ""},
        {"user": "m\u0456ra"},
        {"purposes": ()},
        {"purposes": ("Study",)},
        {"purposes": tuple(f"p{n}" for n in range(101))},
        {"purposes": tuple("p" * 59 + str(n) for n in range(1000, 1100))},
        {"role": ""},
        {"role": "a b"},
        {"lifetime": timedelta(days=30, seconds=1)},
        {"lifetime": timedelta(0)},
    ],
)
def test_no_token_is_made_that_no_door_accepts(changes: dict[str, object]) -> None:
    """It is a mistake of whoever asks for it."""
    with pytest.raises(UsageError):
        local(**changes)


def test_a_token_is_recorded_before_anybody_has_it(world: World) -> None:
    """Its id and end in clear, user and purposes sealed; itself nowhere."""
    with world.open() as lake:
        issued = issue(lake.home, lake.actor, Wanted("mira-canary", ("study",), "student"))
        door = Door(
            Authenticator(
                IdentityRules(local_tokens=True), LocalTokens(lake.home.config.lake, lake.home.control.token_key())
            )
        )
        assert door.enter(issued.text).identity.user == "mira-canary"
        (index, entry) = max((e["index"], e) for e in world.entries("token.issue"))
        assert index == lake.home.log.size - 1
        assert (entry["token"], entry["expires"]) == (issued.token_id, "2026-09-15T20:00:00.000Z")
        assert entry["user"] == lake.home.control.actor_tag("mira-canary")
        assert entry["actor"]["p"] == lake.actor.tag
        detail = lake.home.recorder.open_detail(entry)
    until = "2026-09-15T20:00:00.000Z"
    assert detail == {
        "token": issued.token_id,
        "user": "mira-canary",
        "purposes": ["study"],
        "role": "student",
        "expires": until,
    }
    shown = json.dumps(entry)
    assert "mira" not in shown
    assert issued.text.rpartition(".")[2] not in shown + json.dumps(detail)


def test_no_token_without_a_record(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the log cannot take the entry, nobody gets the token."""
    with world.open() as lake:

        def full(*_: object) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(lake.home.recorder.log, "append", full)
        with pytest.raises(OSError, match="No space"):
            issue(lake.home, lake.actor, Wanted("mira", ("study",)))


def test_nothing_tells_of_a_token(
    provider: Provider, make_door: Callable[..., Door], caplog: pytest.LogCaptureFixture
) -> None:
    """No part of a token, no claim and no key is in an error with its causes, in a log record or in a ``repr``."""
    caplog.set_level(logging.DEBUG)
    door = make_door(groups_claim="groups", patience=0.2)
    canary = "canary-claim-7741"
    bad = [
        provider.token(sub=f"{canary} x"),
        provider.token(groups=[canary, 7]),
        provider.token(purpose=f"{canary}!"),
        provider.token(aud=canary),
        provider.token(iss=canary),
        provider.token(exp=canary),
        provider.token(key_id=canary),
        provider.token(algorithm="ES384", key_id=canary),
        provider.token() + "x",
        minted({"alg": canary}, {canary: canary}, LOCAL.key, HS256),
        minted({"alg": "ES256", "kid": "first"}, f'{{"{canary}"'.encode(), LOCAL.key, HS256),
        local() + "AAAA",
    ]
    said: list[str] = []
    for mode in ("well", "html"):
        provider.mode = mode
        for token in bad:
            with pytest.raises(UnauthenticatedError) as caught:
                door.enter(token, now=at(2 * HOUR if mode == "html" else 0))
            error: BaseException | None = caught.value
            while error is not None:
                said += [str(error), repr(error), repr(vars(error)), "".join(traceback.format_exception(error))]
                error = error.__context__
    said += [record.getMessage() + repr(vars(record)) for record in caplog.records]
    said += [repr(item) for item in (BearerToken(bad[0]), PeerCertificate(canary), door.authenticator, LOCAL)]
    said += [repr(door.authenticator.status()), repr(LOCAL.sign(Wanted("mira", ("study",)), "1" * 32, NOW))]
    assert any("keys not fetched" in text for text in said)
    parts = {part for token in bad for part in token.split(".") if len(part) > 12}
    for text in said:
        assert canary not in text
        assert not any(part in text for part in parts), text
        assert LOCAL.key.raw_value.hex() not in text
        assert repr(LOCAL.key.raw_value) not in text


def test_keys_of_tokens_are_not_pickled() -> None:
    """They stay in the process."""
    with pytest.raises(TypeError, match="not pickled"):
        pickle.dumps(LOCAL)
