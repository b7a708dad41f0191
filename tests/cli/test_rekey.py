"""``lake keys rekey``: plans, acts on confirmation, resumes, and says what it cannot reach."""

from __future__ import annotations

import pytest

from tests.cli.conftest import Shell
from tests.world import ADA, BEN

ALL = {"files": 32, "employees": 4}


def objects(shell: Shell) -> int:
    return len(shell.world.objects())


@pytest.mark.parametrize("confirmation", [(), ("--dry-run",), ("--dry-run", "--yes")])
def test_without_confirmation_nothing_is_changed(shell: Shell, confirmation: tuple[str, ...]) -> None:
    """The plan in words and as JSON, and no object more than before."""
    ran = shell("keys", "rekey", "--all", *confirmation, "--json")
    assert ran.code == 0
    assert ran.document["changed"] is False
    assert {name: ran.document[name] for name in ALL} == ALL
    assert "nothing was changed" in shell("keys", "rekey", "--all", *confirmation).out
    assert objects(shell) == 32


def test_a_scope_is_written_anew(shell: Shell) -> None:
    """One employee's highest level; every row is still there."""
    before = shell.query("SELECT * FROM events ORDER BY ts, n", "--format", "csv").out
    ran = shell("keys", "rekey", "--employee", ADA, "--level", "4", "--yes", "--json")
    assert (ran.code, ran.document["changed"]) == (0, True)
    assert 0 < ran.document["files"] < 32
    assert ran.document["rows"] >= ran.document["files"]
    assert objects(shell) == 32 + ran.document["files"]
    assert shell.query("SELECT * FROM events ORDER BY ts, n", "--format", "csv").out == before
    text = shell("keys", "rekey", "--month", "2026-07", "--yes").out
    assert "lake jobs sweep" in text
    assert "not reached" in text


def test_what_was_released_to_a_user(shell: Shell) -> None:
    """Only what the user's queries were given keys for."""
    assert shell.query("SELECT * FROM events WHERE sensitivity = 4", user="olga", purpose="own_data").code == 0
    ran = shell("keys", "rekey", "--released-to", "olga", "--from", "2026-09-01", "--json")
    assert (ran.document["employees"], ran.document["changed"]) == (1, False)
    assert shell("keys", "rekey", "--released-to", "nobody", "--yes").code == 2


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("--all", "--employee", BEN),
        ("--all", "--released-to", "olga"),
        ("--resume", "--all"),
        ("--from", "2026-09-01", "--all"),
        ("--month", "2026-13"),
        ("--employee", "stranger"),
        ("--level", "5"),
    ],
)
def test_an_unclear_scope_is_refused(shell: Shell, arguments: tuple[str, ...]) -> None:
    """Exit code 2, and nothing is changed."""
    assert shell("keys", "rekey", *arguments, "--yes").code == 2
    assert objects(shell) == 32


def test_a_run_that_was_cut_off_is_resumed(shell: Shell) -> None:
    """SIGKILL after the first page; the rest with --resume; then there is nothing to resume."""
    kill = """
import os, signal
from jobs.clear import rekey
rekey.PAGE_FILES = 5
sys.addaudithook(lambda event, given: os.kill(os.getpid(), signal.SIGKILL) if given == ("rekey.replaced",) else None)
"""
    process = shell.start("keys", "rekey", "--all", "--yes", source=kill)
    process.communicate()
    assert process.returncode == -9
    assert shell("keys", "rekey", "--level", "1", "--yes").code == 1
    status = shell("keys", "status", "--json").document
    assert any("rekey" in line and "--resume" in line for line in status["overdue"])
    ran = shell("keys", "rekey", "--resume", "--json")
    assert (ran.code, ran.document["files"]) == (0, 27)
    assert shell("keys", "rekey", "--resume", "--json").document == {"resumed": None}
    assert objects(shell) == 64
