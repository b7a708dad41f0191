"""The identity file: read whole or not at all, with line and column, and only if nobody else can write it."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path

import pytest

from lake.errors import DocumentError, UsageError
from lake.gateway.identity.authenticator import Authenticator
from lake.gateway.identity.document import load_identity, read_identity
from lake.gateway.identity.durations import parse_duration
from lake.gateway.identity.rules import ClaimRules, IdentityRules, IssuerRules, ServiceRules
from lake.gateway.identity.signatures import ASYMMETRIC
from tests.world import ROOT

ISSUER = "issuers: [{issuer: 'https://login.example', audience: lake"
PAGE = ROOT / "docs" / "operations" / "identity.md"


def read(text: str) -> IdentityRules:
    """Rules from a text."""
    return read_identity(text, "identity.yaml", Path("/etc/lake"))


def test_the_example_of_the_page_is_read_as_it_says() -> None:
    """Every key of the format is in it."""
    (text,) = re.findall(r"^```yaml identity\n(.*?)^```$", PAGE.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    rules = read(text)
    people, machines = rules.issuers
    assert people == IssuerRules(
        "https://login.example.org/realms/staff",
        ClaimRules(
            audiences=frozenset({"lake-gateway"}),
            user_claim="preferred_username",
            foreign_prefixes=("ci.",),
            groups_claim="groups",
            employee_claim="employee_number",
            attributes=(("site", "office"),),
            purpose_claim="purpose",
            scope_prefix="lake.purpose:",
            token_type="at+jwt",  # noqa: S106 - a type, no password
            required=(("azp", frozenset({"lake-cli", "lake-notebook"})),),
            max_lifetime=timedelta(hours=12),
        ),
        frozenset({"RS256", "ES256"}),
        Path("/etc/lake/login-ca.pem"),
        timedelta(hours=1),
        timedelta(hours=24),
    )
    assert (machines.claims.user_prefix, machines.claims.foreign_prefixes) == ("ci.", ())
    assert rules.certificates == {"nightly.example.org": ServiceRules("nightly-report", ("study",))}
    assert (rules.local_tokens, rules.clock_skew) == (False, timedelta(seconds=60))


def test_what_is_left_out_is_refused_or_safe() -> None:
    """No local tokens, all five algorithms, no claims beyond user and purpose."""
    rules = read(ISSUER + "}]")
    assert rules == IdentityRules((IssuerRules("https://login.example", ClaimRules(frozenset({"lake"}))),))
    assert rules.issuers[0].algorithms == ASYMMETRIC
    assert read("local_tokens: true") == IdentityRules(local_tokens=True)
    assert read(ISSUER.replace("audience: lake", "audience: [a, b]") + "}]").issuers[0].claims.audiences == {"a", "b"}
    assert Authenticator(rules).status()[0].fetched is None


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("local_tokens: false", "local_tokens"),
        ("clock_skew: 60s", "clock_skew"),
        ("local_token: true", "local_token"),
        ("local_tokens: 1", "1"),
        ("local_tokens: true\nclock_skew: 60", "60"),
        ("local_tokens: true\nclock_skew: 6m", "6m"),
        ("local_tokens: true\nclock_skew: -1s", "-1s"),
        ("issuers: {}", "{}"),
        ("issuers: [{issuer: 'https://x.example'}]", "{issuer"),
        ("issuers: [{issuer: 'http://x.example', audience: a}]", "'http:"),
        ("issuers: [{issuer: 'https://x.example?p=1', audience: a}]", "'https:"),
        ("issuers: [{issuer: 'lake:abc', audience: a}]", "'lake:"),
        ("issuers: [{issuer: 'https://x.example', audience: []}]", "[]"),
        ("issuers: [{issuer: 'https://x.example', audience: 7}]", "7"),
        (ISSUER + ", algorithms: [HS256]}]", "HS256"),
        (ISSUER + ", algorithms: [none]}]", "none"),
        (ISSUER + ", algorithms: []}]", "[]"),
        (ISSUER + ", user_prefix: 'a b'}]", "'a b'"),
        (ISSUER + ", attributes: {Site: word}}]", "word"),
        (ISSUER + ", require: {tid: []}}]", "[]"),
        (ISSUER + ", max_lifetime: 31d}]", "31d"),
        (ISSUER + ", keys_outage: 8d}]", "8d"),
        (ISSUER + ", keys_max_age: 1s}]", "1s"),
        (ISSUER + ", jwks_uri: x}]", "jwks_uri"),
        (ISSUER + "}, {issuer: 'https://login.example', audience: x, user_prefix: b.}]", "'https://"),
        (ISSUER + "}, {issuer: 'https://y.example', audience: x}]", "{issuer: 'https://login"),
        (
            ISSUER + ", user_prefix: a.}, {issuer: 'https://y.example', audience: x, user_prefix: a.b}]",
            "{issuer: 'https://login",
        ),
        ("certificates: {a b: {user: u, purposes: [study]}}", "{user"),
        ("certificates: {a: {user: u, purposes: []}}", "[]"),
        ("certificates: {a: {user: u, purposes: [Study]}}", "Study"),
        ("certificates: {a: {user: 'u v', purposes: [study]}}", "'u v'"),
        ("certificates: {a: {user: u}}", "{user"),
        ("certificates: {a: {user: u, purposes: [study]}, a: {user: v, purposes: [study]}}", "a: {user: v"),
    ],
)
def test_a_mistake_is_named_by_line_and_column(text: str, wrong: str) -> None:
    """Nothing of the file counts then."""
    with pytest.raises(DocumentError) as caught:
        read(text)
    before = text[: text.rindex(wrong)]
    place = (before.count("\n") + 1, len(before.rpartition("\n")[2]) + 1)
    assert (caught.value.line, caught.value.column) == place, str(caught.value)


def test_who_can_write_it_says_who_they_are(tmp_path: Path) -> None:
    """So nobody else may; a file that is not there, or is no text, is refused too."""
    path = tmp_path / "identity.yaml"
    with pytest.raises(UsageError, match="does not exist"):
        load_identity(path)
    path.write_text("local_tokens: true\n")
    for mode in (0o620, 0o602, 0o666):
        path.chmod(mode)
        with pytest.raises(UsageError, match="others can write"):
            load_identity(path)
    for mode in (0o600, 0o644):
        path.chmod(mode)
        assert load_identity(path).local_tokens
    path.write_bytes(b"local_tokens: \xff")
    with pytest.raises(UsageError, match="UTF-8"):
        load_identity(path)
    with pytest.raises(UsageError, match="cannot be read"):
        load_identity(tmp_path)
    path.write_text("#" * 1_000_001)
    with pytest.raises(DocumentError, match="longer"):
        load_identity(path)


def test_the_ca_file_lies_beside_the_identity_file(tmp_path: Path) -> None:
    """If its name is relative."""
    path = tmp_path / "identity.yaml"
    path.write_text(ISSUER + ", ca_file: ca.pem}]")
    assert load_identity(path).issuers[0].ca_file == tmp_path / "ca.pem"


@pytest.mark.parametrize(
    "text", ["", "8", "h", "0h", "08h", "-8h", "8 h", "8h30m", "1.5h", "8H", "8w", "9" * 9 + "s", "\u0668h"]
)
def test_a_length_of_time_has_one_number_and_one_unit(text: str) -> None:
    """Anything else is none."""
    assert parse_duration(text) is None
    assert parse_duration("90s") == timedelta(seconds=90)
    assert parse_duration("30d") == timedelta(days=30)
