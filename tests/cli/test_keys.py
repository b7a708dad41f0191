"""``lake keys``: one document on stdout, exit codes, nothing changed without confirmation, no key in any output."""

from __future__ import annotations

import json
import os
import pty
import select
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from lake.rules import layout
from tests.cli.conftest import Shell
from tests.gateway.keylakes import key_folder, state_of
from tests.world import ADA

ROWS = "SELECT * FROM events ORDER BY ts, n"


def backups(shell: Shell) -> str:
    return str(shell.world.root.parent / "backups")


def csv(shell: Shell) -> str:
    ran = shell.query(ROWS, "--format", "csv")
    assert ran.code == 0, ran.err
    return ran.out


ROTATIONS: dict[str, tuple[list[str], dict[str, Any]]] = {
    "root": (["root", "--all"], {"changed": True, "trimmed": False}),
    "one root": (
        ["root", "--level", "4", "--control"],
        {"changed": True, "roots": {"root-control": 2, "root-dss4": 2}},
    ),
    "bucket": (["bucket", "--all"], {"changed": True, "keks": 32}),
    "bucket of one": (["bucket", "--employee", ADA], {"changed": True, "bucket_keys": 3}),
    "kek": (["kek", "--all"], {"changed": True, "keks": 32, "deks": 32}),
    "kek of a month": (["kek", "--month", "2026-07", "--level", "4"], {"changed": True}),
    "compromised": (["kek", "--employee", ADA, "--compromised"], {"changed": True, "keks": 9, "deks": 9}),
}


@pytest.mark.parametrize("name", ROTATIONS)
def test_rotation(shell: Shell, name: str) -> None:
    """Says what it did, as JSON and in words; every row is as before."""
    arguments, expected = ROTATIONS[name]
    before = csv(shell)
    ran = shell("keys", "rotate", *arguments, "--json")
    assert ran.code == 0, ran.err
    assert {key: ran.document[key] for key in expected} == expected
    assert len(ran.document["operation"]) == 32
    assert shell("keys", "rotate", *arguments).out.strip()
    assert csv(shell) == before
    assert shell("doctor").code == 0


CHANGING: dict[str, list[str]] = {
    "root": ["rotate", "root", "--all"],
    "root-trim": ["rotate", "root", "--all", "--trim", "BACKUPS"],
    "bucket": ["rotate", "bucket", "--all"],
    "kek": ["rotate", "kek", "--all"],
    "compromised": ["rotate", "kek", "--all", "--compromised"],
    "disable": ["disable", "--employee", ADA],
    "disable-level": ["disable", "--level", "4", "--whole-level"],
    "disable-scope": ["disable", "--level", "4", "--month", "2026-07"],
    "enable": ["enable", "--employee", ADA],
    "shred": ["shred", "--employee", ADA, "--backup", "BACKUPS", "--certificate", "BACKUPS.note"],
    "move": ["move", "--to", "local"],
}
NEEDS_YES = ("root-trim", "shred", "move")


@pytest.mark.parametrize("name", CHANGING)
def test_a_dry_run_changes_nothing(shell: Shell, name: str) -> None:
    """Not even with --yes; every row of the key store, the provider's files and the catalog are the same bytes."""
    arguments = [part.replace("BACKUPS", backups(shell)) for part in CHANGING[name]]
    before = state_of(shell.world)
    for confirmation in ([], ["--yes"]) if name in NEEDS_YES else ([],):
        ran = shell("keys", *arguments, "--dry-run", *confirmation, "--json")
        assert (ran.code, ran.document["changed"]) == (0, False), ran.err
        assert shell("keys", *arguments, "--dry-run", *confirmation).out.strip()
    assert state_of(shell.world) == before
    assert sorted(path.name for path in shell.world.root.parent.iterdir()) == ["lake", "lake.key"]


@pytest.mark.parametrize("name", NEEDS_YES)
def test_what_destroys_needs_a_yes(shell: Shell, name: str) -> None:
    """Without it the plan is shown, and nothing is changed."""
    arguments = [part.replace("BACKUPS", backups(shell)) for part in CHANGING[name]]
    before = state_of(shell.world)
    ran = shell("keys", *arguments, "--json")
    assert (ran.code, ran.document["changed"]) == (0, False)
    assert "--yes does it" in shell("keys", *arguments).out
    assert state_of(shell.world) == before


def test_a_rotation_says_which_keys_it_left_out(shell: Shell) -> None:
    """Disabled KEKs stay as they are, which matters after a leak; enabled, they are rotated with the rest."""
    scope = ["--level", "4", "--month", "2026-07"]
    left = shell("keys", "disable", *scope, "--json").document["keks"]
    ran = shell("keys", "rotate", "kek", "--all", "--compromised", "--json")
    assert (ran.code, ran.document["keks"], ran.document["disabled"]) == (0, 32 - left, left)
    assert f"{left} KEKs are disabled and stay as they are" in shell("keys", "rotate", "kek", "--all").out
    assert shell("keys", "enable", *scope).code == 0
    ran = shell("keys", "rotate", "kek", *scope, "--compromised", "--json")
    assert (ran.document["keks"], ran.document["disabled"]) == (left, 0)
    assert shell("doctor").code == 0


def test_disable_and_enable(shell: Shell) -> None:
    """A query that needs the keys says so and exits with 1; enabled again, the rows are there."""
    before = csv(shell)
    for scope in (["--employee", ADA], ["--level", "4", "--whole-level"], ["--month", "2026-08"]):
        ran = shell("keys", "disable", *scope, "--json")
        assert (ran.code, ran.document["verb"]) == (0, "disabled")
        failed = shell.query(ROWS, "--json")
        assert (failed.code, failed.document["error"]) == (1, "key_state")
        assert shell("doctor").code == 0
        assert shell("keys", "enable", *scope).code == 0
        assert csv(shell) == before


@pytest.mark.parametrize(
    "arguments",
    [
        ["rotate", "root"],
        ["rotate", "root", "--all", "--level", "1"],
        ["rotate", "root", "--level", "5"],
        ["rotate", "bucket"],
        ["rotate", "bucket", "--all", "--level", "1"],
        ["rotate", "bucket", "--bucket", "256"],
        ["rotate", "bucket", "--bucket", "-1"],
        ["rotate", "kek"],
        ["rotate", "kek", "--month", "2026-13"],
        ["rotate", "kek", "--month", "2026-1"],
        ["rotate", "kek", "--employee", "stranger"],
        ["disable"],
        ["disable", "--whole-level"],
        ["disable", "--level", "4", "--whole-level", "--employee", ADA],
        ["enable", "--employee", "stranger"],
        ["shred", "--backup", "x", "--yes"],
        ["shred", "--employee", ADA, "--yes"],
        ["shred", "--employee", "stranger", "--backup", "x", "--yes"],
        ["shred", "--employee", ADA, "--backup", "x", "--copies-kept", "-1", "--yes"],
        ["backup"],
        ["restore-test", "missing"],
        ["restore", "missing", "--to", "there"],
        ["move", "--yes"],
        ["move", "--to", "missing.yaml", "--yes"],
        ["verify-certificate", "missing"],
        ["status", "--roots-days", "many"],
    ],
    ids=" ".join,
)
def test_what_makes_no_sense_is_refused(
    shell: Shell, arguments: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Exit code 2, one line and a hint or the usage; nothing is changed and nothing is written."""
    monkeypatch.chdir(tmp_path)
    before = state_of(shell.world)
    ran = shell("keys", *arguments)
    assert ran.code == 2, ran.out + ran.err
    assert ran.out == ""
    assert state_of(shell.world) == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["lake", "lake.key"]


def test_a_wrap_that_was_changed_is_integrity(shell: Shell) -> None:
    """``verify`` names the key and exits with 4; with --deks a changed row of the catalog too."""
    assert shell("keys", "verify", "--deks", "--json").document["deks"] == 32
    damage(key_folder(shell.world) / layout.KEY_STORE, "keks", "wrapped")
    ran = shell("keys", "verify", "--json")
    assert (ran.code, ran.document["error"]) == (4, "key_integrity")


def test_a_wrap_of_the_catalog_that_was_changed_is_integrity(shell: Shell) -> None:
    """Found with --deks only."""
    damage(shell.world.root / layout.CATALOG, "files", "wrapped_dek")
    assert shell("keys", "verify").code == 0
    ran = shell("keys", "verify", "--deks", "--json")
    assert (ran.code, ran.document["error"]) == (4, "key_integrity")


def damage(path: Path, table: str, column: str) -> None:
    """A bit of the first value of a column is turned, behind the lake's back."""
    engine = sa.create_engine(f"sqlite:///{path}")
    with engine.begin() as connection:
        found = connection.execute(sa.text(f"SELECT rowid, {column} FROM {table} LIMIT 1")).one()  # noqa: S608
        changed = found[1][:-1] + bytes([found[1][-1] ^ 1])
        statement = sa.text(f"UPDATE {table} SET {column} = :blob WHERE rowid = :id")  # noqa: S608
        connection.execute(statement, {"blob": changed, "id": found[0]})
    engine.dispose()


def test_status_says_what_is_overdue(shell: Shell) -> None:
    """With --check it exits with 1 while something is; a tested backup and young keys are in order."""
    assert shell("keys", "status", "--check").code == 1
    assert any("backup" in line for line in shell("keys", "status", "--json").document["overdue"])
    assert shell("keys", "backup", "--to", backups(shell)).code == 0
    young = ("--buckets-days", "10000", "--roots-days", "10000")
    assert shell("keys", "status", "--check", *young).code == 0
    ran = shell("keys", "status", "--roots-days", "0", "--json")
    assert sum("rotate root" in line for line in ran.document["overdue"]) == 5
    text = shell("keys", "status").out
    assert "provider local" in text
    assert "4 living, 0 erased, 0 disabled" in text


KILL = """
import os, signal
def end(event, given):
    if event == "lake.step" and given[0] == "{step}":
        os.kill(os.getpid(), signal.SIGKILL)
sys.addaudithook(end)
"""


def test_an_operation_that_was_cut_off_is_resumed(shell: Shell) -> None:
    """Another one waits for it, and says how to finish it; then there is nothing to resume."""
    before = csv(shell)
    process = shell.start("keys", "rotate", "kek", "--all", source=KILL.format(step="keys.deks-swapped"))
    process.communicate()
    assert process.returncode == -9
    refused = shell("keys", "rotate", "root", "--all", "--json")
    assert (refused.code, refused.document["error"]) == (1, "key_operation")
    assert "lake keys resume" in refused.document["hint"]
    assert csv(shell) == before
    ran = shell("keys", "resume", "--json")
    assert (ran.code, ran.document["verb"]) == (0, "rotate kek")
    assert shell("keys", "resume", "--json").document == {"resumed": None}
    assert "nothing to finish" in shell("keys", "resume").out
    assert csv(shell) == before


@pytest.mark.parametrize("name", ["root", "bucket", "kek", "shred"])
def test_progress_stays_off_stdout(shell: Shell, name: str) -> None:
    """With a terminal for stderr there is a bar on it, and stdout is one document all the same."""
    arguments = [part.replace("BACKUPS", backups(shell)) for part in CHANGING[name]]
    confirmed = ["--yes"] if name in NEEDS_YES else []
    terminal, its_end = pty.openpty()
    source = f"import os\nos.dup2(os.open({os.ttyname(its_end)!r}, os.O_WRONLY | os.O_NOCTTY), 2)"
    process = shell.start("keys", *arguments, *confirmed, "--json", source=source)
    seen = b""
    while process.poll() is None:
        if select.select([terminal], [], [], 0.05)[0]:
            seen += os.read(terminal, 65_536)
    out, _ = process.communicate()
    os.close(terminal)
    os.close(its_end)
    assert process.returncode == 0
    assert json.loads(out)["changed"] is True
    assert b"\x1b[" in seen
