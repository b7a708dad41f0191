"""``lake break-glass``: two people at one lake, and a list that a monitor can watch."""

from __future__ import annotations

import os
import pwd
from collections.abc import Callable
from pathlib import Path

import pytest

from lake.cli import break_glass
from lake.cli.main import build_parser
from lake.errors import LakeError
from tests.cli.conftest import Ran, Shell
from tests.world import POLICY

OWN = break_glass.person()
REASON = "ticket 4711: find the leak"
DOOR = """
  {own}: {{roles: []}}
break_glass:
  open_all: {{role: all, purposes: [incident], request: [stu, {own}], approve: [olga, {own}], at_most: 4h}}
"""
ASKING = ("request", "open_all", "--purpose", "incident", "--for", "2h", "--reason", REASON)


@pytest.fixture(name="desk")
def _desk(shell: Shell, write: Callable[[str, str], str]) -> Shell:
    """A lake whose policy holds a door for the user of this process."""
    path = write("p.yaml", POLICY.rstrip() + DOOR.format(own=OWN))
    assert shell("policy", "apply", path).code == 0
    return shell


def as_person(desk: Shell, by: str, *words: str) -> Ran:
    """A command as somebody else would give it."""
    arguments = build_parser(extended=False).parse_args(["break-glass", *words, "--json", *desk.place()])
    desk.capture.readouterr()
    code, error = 0, ""
    try:
        code = {"request": break_glass.request, "approve": break_glass.approve, "revoke": break_glass.revoke}[words[0]](
            arguments, by
        )
    except LakeError as raised:
        code, error = raised.exit_code, raised.message
    return Ran(code, desk.capture.readouterr().out, error)


def test_from_request_to_revocation(desk: Shell) -> None:
    """Each command says what holds then; the list exits with 1 while something is in force."""
    ran = as_person(desk, "stu", *ASKING)
    assert (ran.code, ran.document["state"], ran.document["reason"]) == (0, "requested", REASON)
    name = ran.document["id"]
    assert desk("break-glass", "list", "--active").code == 0
    ran = desk("break-glass", "approve", name, "--json")
    assert (ran.code, ran.document["state"], ran.document["approved_by"]) == (0, "active", OWN)
    ran = desk("break-glass", "list", "--active", "--json")
    assert (ran.code, [row["id"] for row in ran.document]) == (1, [name])
    assert (ran.document[0]["seconds"], ran.document[0]["role"], ran.document[0]["user"]) == (7200, "all", "stu")
    assert desk("break-glass", "list", "--json").code == 0
    ran = desk("break-glass", "revoke", name, "--json")
    assert (ran.code, ran.document["state"], ran.document["ended_by"]) == (0, "revoked", OWN)
    ran = desk("break-glass", "list", "--active", "--json")
    assert (ran.code, ran.document) == (0, [])
    shown = desk("audit", "show", "--details", "--json").document
    assert [row["type"] for row in shown if row["type"].startswith("break_glass.")] == [
        "break_glass.request",
        "break_glass.approve",
        "break_glass.revoke",
    ]


def test_what_people_read(desk: Shell) -> None:
    """One line each, with the id and the end; the list shows what is in force first."""
    asked = desk("break-glass", *ASKING)
    name = asked.out.partition(":")[0]
    assert "waits for an approval until" in asked.out
    as_person(desk, "olga", "approve", name)
    second = as_person(desk, "stu", *ASKING).document["id"]
    lines = desk("break-glass", "list").out.splitlines()
    assert (lines[2].split()[:3], lines[3].split()[:3]) == ([name, "active", OWN], [second, "requested", "stu"])
    assert f"{second}: stu holds all until" in desk("break-glass", "approve", second).out
    assert desk("break-glass", "revoke", name).out == f"{name}: ended\n"


def test_a_door_that_the_policy_closed_is_not_in_force(desk: Shell, write: Callable[[str, str], str]) -> None:
    """The list says so, and a monitor is quiet."""
    name = as_person(desk, "stu", *ASKING).document["id"]
    assert desk("break-glass", "approve", name).code == 0
    assert desk("policy", "apply", write("p.yaml", POLICY)).code == 0
    assert desk("break-glass", "list", "--active").code == 0
    (row,) = desk("break-glass", "list", "--json").document
    assert row["state"] == "closed by the policy"


def test_nobody_is_two_people(desk: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    """The user of this process cannot approve their own request by calling themselves otherwise."""
    name = desk("break-glass", *ASKING, "--json").document["id"]
    for variable in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.setenv(variable, "olga")
    ran = desk("break-glass", "approve", name, "--json")
    assert (ran.code, ran.document["error"]) == (3, "denied")
    assert "second person" in ran.err
    assert desk("break-glass", "list", "--active").code == 0


def test_the_person_is_the_user_of_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """By number; a number without a name is shown as one."""
    assert break_glass.person() == pwd.getpwuid(os.getuid()).pw_name
    monkeypatch.setattr(os, "getuid", lambda: 3_999_999_999)
    assert break_glass.person() == "uid-3999999999"


@pytest.mark.parametrize(
    ("words", "code"),
    [
        ((*ASKING[:5], "2 days", *ASKING[6:]), 2),
        ((*ASKING[:5], "5h", *ASKING[6:]), 2),
        ((*ASKING[:-1], "short"), 2),
        ((*ASKING[:-1], "not a text \udcff at all"), 2),
        (("request", "other", *ASKING[2:]), 3),
        (("request", "\udcff", *ASKING[2:]), 3),
        ((*ASKING, "--user", "vera-canary"), 3),
        ((*ASKING[:3], "study", *ASKING[4:]), 2),
        (("approve", "0" * 32), 2),
        (("approve", "\udcff"), 2),
        (("revoke", "nothing"), 2),
    ],
)
def test_what_is_refused(desk: Shell, words: tuple[str, ...], code: int) -> None:
    """With the exit code of its kind; nothing is asked for."""
    assert desk("break-glass", *words).code == code
    assert desk("break-glass", "list", "--json").document == []


def test_without_a_policy_there_is_no_door(shell: Shell, tmp_path: Path) -> None:
    """Neither in a new lake nor under a policy that holds none."""
    assert shell("break-glass", *ASKING).code == 3
    new = ["--lake", str(tmp_path / "new"), "--key-file", str(tmp_path / "new.key")]
    assert shell.bare("init", *new).code == 0
    assert shell.bare("break-glass", *ASKING, *new).code == 3
    assert shell.bare("break-glass", "list", *new).out.strip() == "(none)"
