"""``lake token``: a token that the lake's door accepts, recorded, and shown to nobody else."""

from __future__ import annotations

import stat
from datetime import timedelta
from pathlib import Path

import pytest

from lake.clock import parse_timestamp, utc_now
from lake.gateway.caller import Caller
from lake.gateway.identity.authenticator import Authenticator, BearerToken
from lake.gateway.identity.local_tokens import LocalTokens
from lake.gateway.identity.rules import IdentityRules
from tests.cli.conftest import Shell


def entered(shell: Shell, token: str, purpose: str | None = None) -> Caller:
    """The caller that the lake's door sees behind a token."""
    with shell.world.open() as lake:
        local = LocalTokens(lake.home.config.lake, lake.home.control.token_key())
    door = Authenticator(IdentityRules(local_tokens=True), local)
    return door.authenticate(BearerToken(token), purpose, None, utc_now())


def test_the_token_is_all_of_stdout(shell: Shell) -> None:
    """One line for a shell to take; stderr says until when it is whose."""
    ran = shell("token", "--user", "mira", "--purpose", "study")
    assert ran.code == 0
    assert ran.out.count("\n") == 1
    caller = entered(shell, ran.out.strip())
    assert (caller.identity.user, caller.purpose, caller.role) == ("mira", "study", None)
    assert "whoever has this token is mira to the gateway" in ran.err
    assert ran.out.strip() not in ran.err


def test_a_document_has_what_the_token_says(shell: Shell) -> None:
    """Purposes in order and once, the role, and the end, eight hours from now unless told otherwise."""
    ran = shell(
        "token", "--user", "mira", "--purpose", "study", "--purposes", "incident", "study", "--role", "all", "--json"
    )
    assert (ran.document["purposes"], ran.document["role"]) == (["study", "incident"], "all")
    expires = parse_timestamp(ran.document["expires"])
    assert timedelta(hours=7) < expires - utc_now() <= timedelta(hours=8)
    caller = entered(shell, ran.document["token"], "incident")
    assert caller.role == "all"
    assert caller.expires == expires + timedelta(seconds=60)
    month = shell("token", "--user", "mira", "--purpose", "study", "--for", "30d", "--json").document
    assert parse_timestamp(month["expires"]) - utc_now() > timedelta(days=29)


def test_a_token_can_go_to_a_private_file(shell: Shell, tmp_path: Path) -> None:
    """Mode 0600, and not on stdout as well."""
    path = tmp_path / "token"
    ran = shell("token", "--user", "mira", "--purpose", "study", "--output", str(path))
    assert (ran.code, ran.out) == (0, "")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert entered(shell, path.read_text()).identity.user == "mira"
    ran = shell("token", "--user", "mira", "--purpose", "study", "--output", str(path), "--json")
    assert "token" not in ran.document
    assert ran.document["output"] == str(path)


def test_every_token_is_in_the_audit_log_and_none_is_anywhere(shell: Shell) -> None:
    """Who made it for whom, by details; its id in clear; its text in no file of the lake."""
    made = shell("token", "--user", "mira-canary", "--purpose", "study", "--json").document
    (row,) = shell("audit", "show", "--type", "token.issue", "--details", "--json").document
    assert made["id"] in str(row)
    assert "mira-canary" in str(row)
    signature = made["token"].rpartition(".")[2].encode()
    files = [path for path in shell.world.root.rglob("*") if path.is_file()]
    assert files
    assert not any(signature in path.read_bytes() or b"mira-canary" in path.read_bytes() for path in files)


@pytest.mark.parametrize(
    "arguments",
    [
        ("--user", "mira"),
        ("--purpose", "study"),
        ("--user", "m ira", "--purpose", "study"),
        ("--user", "mira", "--purpose", "Study"),
        ("--user", "mira", "--purpose", "study", "--role", "A"),
        ("--user", "mira", "--purpose", "study", "--for", "31d"),
        ("--user", "mira", "--purpose", "study", "--for", "soon"),
        ("--user", "mira", "--purpose", "study", "--for", "0h"),
    ],
)
def test_a_wrong_wish_makes_no_token_and_no_entry(shell: Shell, arguments: tuple[str, ...]) -> None:
    """It is a usage error."""
    ran = shell("token", *arguments)
    assert (ran.code, ran.out) == (2, "")
    assert shell.world.entries("token.issue") == []


def test_without_the_lakes_key_there_is_no_token(shell: Shell, tmp_path: Path) -> None:
    """Neither without one nor with another's."""
    words = ("token", "--user", "mira", "--purpose", "study", "--lake", str(shell.world.root))
    assert shell.bare(*words).code == 2
    other = tmp_path / "other.key"
    other.write_bytes(bytes(len(shell.world.key.read_bytes())))
    other.chmod(0o600)
    ran = shell.bare(*words, "--key-file", str(other))
    assert ran.code != 0
    assert ran.out == ""


def test_joserfc_is_named_where_it_is_missing(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    """A lake without the gateway's dependencies says what to install."""
    import sys

    for name in [name for name in sys.modules if name.startswith("lake.gateway.identity.local_tokens")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "joserfc", None)
    ran = shell("token", "--user", "mira", "--purpose", "study")
    assert ran.code == 2
    assert "telemetry-lake[gateway]" in ran.err
