"""``lake pause``, ``resume``, ``halt-status``, ``opt-out``, ``device``, ``freeze-reads``: as operators type them."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from lake.cli import collection, freezing
from lake.cli.main import build_parser
from lake.clock import utc_now
from lake.errors import LakeError
from lake.gateway.collection.service import Collection
from lake.person import person
from tests.cli.conftest import Ran, Shell
from tests.world import ADA

OWN = person()
REASON = "works council, ticket 4711"
RUNS = {
    "pause": collection.pause,
    "resume": collection.resume,
    "opt-out": collection.opt_out,
    "freeze-reads": freezing.freeze,
    "unfreeze-reads": freezing.unfreeze,
}


def as_person(shell: Shell, by: str, *words: str) -> Ran:
    """A command as somebody else would give it."""
    arguments = build_parser(extended=False).parse_args([*words, "--json", *shell.place()])
    shell.capture.readouterr()
    code, error = 0, ""
    try:
        code = RUNS[words[0]](arguments, by)
    except LakeError as raised:
        code, error = raised.exit_code, raised.message
    return Ran(code, shell.capture.readouterr().out, error)


@pytest.fixture(name="desk")
def _desk(shell: Shell) -> Shell:
    """A lake with one device."""
    enrolled = shell("device", "enrol", "laptop-7", "--employee", ADA, "--region", "eu", "--team", "sales")
    assert (enrolled.code, enrolled.out) == (0, "laptop-7 may collect\n")
    return shell


def test_from_pause_to_resumption(desk: Shell) -> None:
    """Who it is, is the operating system's user; one person asks, and the second ends it."""
    assert desk("halt-status").out == "nothing is paused\n"
    given = ("--scope", "team:sales", "--types", "focus,say", "--reason", REASON)
    ran = desk("pause", *given, "--json")
    assert (ran.code, ran.document["ordered_by"], ran.document["types"]) == (0, OWN, ["focus", "say"])
    name = ran.document["id"]
    shown = desk("halt-status", "--json")
    assert (shown.code, shown.document[0]["provably_halted"]) == (0, True)
    assert shown.document[0]["halted_at"] == shown.document[0]["since"]
    assert desk("halt-status").out.splitlines()[1].startswith("provably halted at 2")
    assert desk("resume", name).code == 2
    ran = desk("resume", name, "--reason", "ticket 4711 is solved", "--json")
    assert (ran.code, ran.document["resume_asked_by"], ran.document["ended_by"]) == (0, OWN, None)
    assert desk("resume", name, "--json").document["ended_by"] is None
    assert as_person(desk, "olga", "resume", name).document["ended_by"] == "olga"
    assert desk("halt-status", "--json").document == []


def test_a_monitor_sees_who_has_not_stopped(desk: Shell) -> None:
    """Exit code 1, and the name of the device whose lease runs."""
    with desk.world.open(clock=utc_now) as lake:
        serving = Collection(lake.home, lake.contracts)
        serving.grant(serving.devices.find(serving.devices.tag("laptop-7")), "events", None, frozenset({"focus"}))
    assert desk("pause", "--scope", "global", "--reason", REASON).code == 0
    shown = desk("halt-status", "--json")
    (status,) = shown.document
    assert (shown.code, status["provably_halted"], status["lease_runs"]) == (1, False, 1)
    assert [(one["device"], one["state"]) for one in status["devices"]] == [("laptop-7", "lease runs")]
    assert "not halted yet: laptop-7 (lease runs)" in desk("halt-status").out


@pytest.mark.parametrize(
    "words",
    [
        ("pause", "--scope", "everyone", "--reason", REASON),
        ("pause", "--scope", "team:nobody", "--reason", REASON),
        ("pause", "--scope", "programme:nothing", "--reason", REASON),
        ("pause", "--scope", "global", "--types", "a,b", "--reason", REASON),
        ("pause", "--scope", "global", "--reason", "short"),
        ("resume", "0" * 32, "--reason", REASON),
        ("unfreeze-reads", "0" * 32, "--reason", REASON),
        ("device", "retire", "laptop-8"),
        ("device", "token", "laptop-7", "--for", "soon"),
        ("device", "token", "laptop-7", "--for", "500d"),
    ],
    ids=lambda words: " ".join(words)[:40],
)
def test_what_makes_no_sense_changes_nothing(desk: Shell, words: tuple[str, ...]) -> None:
    """Exit code 2 and one line."""
    ran = desk(*words)
    assert (ran.code, ran.out) == (2, "")
    assert desk("halt-status", "--json").document == []


def test_an_opt_out(desk: Shell) -> None:
    """Listed like a pause of one employee."""
    ran = desk("opt-out", "--employee", ADA, "--json")
    assert (ran.code, ran.document["kind"], ran.document["scope"]) == (0, "opt-out", f"employee:{ADA}")
    assert "a purge is requested" in desk("opt-out", "--employee", ADA).out
    assert [one["id"] for one in desk("halt-status", "--json").document] == [ran.document["id"]]


def test_devices_and_their_tokens(desk: Shell, tmp_path: Path) -> None:
    """Listed with their places; a token goes to a file that is its owner's alone."""
    (one,) = desk("device", "list", "--json").document
    assert (one["device"], one["employee"], one["region"], one["team"]) == ("laptop-7", ADA, "eu", "sales")
    path = tmp_path / "laptop-7.token"
    ran = desk("device", "token", "laptop-7", "--output", str(path), "--json")
    assert (ran.code, ran.document["device"], "token" in ran.document) == (0, "laptop-7", False)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    printed = desk("device", "token", "laptop-7").out.strip()
    for token in (path.read_text(), printed):
        assert token.count(".") == 2
    assert desk("device", "token", "laptop-8").code == 3
    assert desk("device", "retire", "laptop-7").out == "laptop-7 may not collect any more\n"
    assert desk("device", "list").out == "(none)\n"
    assert desk("device", "token", "laptop-7").code == 3


def test_a_certificate_must_be_one(desk: Shell, tmp_path: Path) -> None:
    """Anything else in its place is refused."""
    path = tmp_path / "no.pem"
    path.write_text("no certificate")
    place = ("--employee", ADA, "--region", "eu", "--team", "sales")
    assert desk("device", "enrol", "laptop-8", *place, "--certificate", str(path)).code == 2


def test_frozen_reads(desk: Shell) -> None:
    """Shown beside the pauses; one person's command does not open them, two people's does."""
    ran = desk("freeze-reads", "--dss", "3", "--reason", REASON, "--json")
    assert (ran.code, ran.document["scope"]) == (0, "reads:3")
    name = ran.document["id"]
    assert f"{name}: reads of sensitivity 3 and above are frozen since" in desk("halt-status").out
    assert desk("keys", "enable", "--level", "3", "--whole-level").code == 3
    assert desk("resume", name, "--reason", REASON).code == 2
    assert desk("unfreeze-reads", name, "--reason", REASON).code == 0
    assert as_person(desk, "olga", "unfreeze-reads", name).document["ended_by"] == "olga"
    assert desk("halt-status").out == "nothing is paused\n"
