"""``lake backup`` and ``lake restore``: one document on stdout, exit codes, words that say what is lost."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from lake.rules import layout
from tests.cli.conftest import Shell
from tests.gateway.test_keykeeping_backup import flip
from tests.gateway.units import keep_roots, lose, units
from tests.world import ADA, World

ROWS = "SELECT * FROM events ORDER BY ts, n"


def back_up(shell: Shell) -> dict[str, object]:
    ran = shell("backup", "--to", str(units(shell.world)), "--json")
    assert ran.code == 0, ran.err
    document: dict[str, object] = ran.document
    return document


def restore(shell: Shell, new: World, *arguments: str) -> list[str]:
    """The command line that restores to the place where the objects lie."""
    place = ["--lake", str(new.root), "--key-file", str(new.key)]
    roots = ["--roots", str(new.root.parent / "safe")]
    return ["restore", "--from", str(units(new)), *place, *roots, *arguments]


def test_backup_list_verify_restore(shell: Shell) -> None:
    """The whole way, as documents; every row is there again."""
    before = shell.query(ROWS, "--format", "csv").out
    first = back_up(shell)
    second = back_up(shell)
    assert (first["objects"], first["written"]) == (32, first["parts"])
    assert int(str(second["written"])) < int(str(second["parts"]))
    listed = shell.bare("backup", "list", "--from", str(units(shell.world)), "--json")
    assert [one["unit"] for one in listed.document["units"]] == [second["unit"], first["unit"]]
    checked = shell("backup", "verify", "--from", str(units(shell.world)), "--id", str(first["unit"]), "--json")
    assert (checked.code, checked.document["unit"], checked.document["keks"]) == (0, first["unit"], 32)
    keep_roots(shell.world)
    new = lose(shell.world)
    ran = shell.bare(*restore(shell, new, "--json"))
    assert (ran.code, ran.document["unit"], ran.document["missing"]) == (0, second["unit"], 0), ran.err
    again = Shell(new, shell.capture)
    assert again.query(ROWS, "--format", "csv").out == before
    assert again("doctor").code == 0
    assert again("audit", "verify").code == 0
    assert again("audit", "reconcile").code == 0


def test_in_words(shell: Shell) -> None:
    """What was written, what a folder holds, and what a restoration found missing and lost."""
    ran = shell("backup", "--to", str(units(shell.world)))
    assert "32 objects" in ran.out
    assert "of them new" in ran.out
    assert "entries" in shell.bare("backup", "list", "--from", str(units(shell.world))).out
    assert "is whole" in shell("backup", "verify", "--from", str(units(shell.world))).out
    keep_roots(shell.world)
    gone = shell.world.objects()[0]
    stray = gone.with_name("0" * 32 + ".parquet")
    gone.rename(stray)
    new = lose(shell.world)
    ran = shell.bare(*restore(shell, new))
    assert ran.code == 0, ran.err
    for words in ("1 objects are missing", gone.name, "1 objects landed after the backup", "lake doctor"):
        assert words in ran.out


def test_exit_codes(shell: Shell, tmp_path: Path) -> None:
    """2 for what was asked wrongly, 4 for what is not what was written."""
    assert shell("backup").code == 2
    assert shell("backup", "verify", "--from", str(tmp_path / "nowhere")).code == 2
    assert shell.bare("backup", "list", "--from", str(tmp_path / "nowhere")).code == 2
    document = back_up(shell)
    assert shell("restore", "--from", str(units(shell.world))).code == 2  # the lake is there
    new = World(tmp_path / "new", shell.world.key)
    assert (
        shell.bare("restore", "--from", str(units(new)), "--lake", str(new.root), "--key-file", str(new.key)).code == 2
    )
    note = units(shell.world) / f"{document['unit']}.unit"
    flip(note)
    ran = shell.bare("backup", "list", "--from", str(units(shell.world)), "--json")
    assert (ran.code, ran.document["units"], len(ran.document["damaged"])) == (4, [], 1)
    ran = shell("backup", "verify", "--from", str(units(shell.world)), "--json")
    assert (ran.code, ran.document["error"]) == (4, "key_integrity")
    flip(note)
    for path in (units(shell.world) / "parts").iterdir():
        flip(path)
    keep_roots(shell.world)
    ran = shell.bare(*restore(shell, new, "--json"))
    assert (ran.code, ran.document["error"]) == (4, "key_integrity")
    assert not new.root.exists()


def test_an_older_unit_says_what_does_not_open(shell: Shell) -> None:
    """Unasked it is refused, and the hint names it; by name it tells in words and numbers what is gone."""
    unit = str(back_up(shell)["unit"])
    place = str(units(shell.world) / "keys")
    assert shell("keys", "shred", "--employee", ADA, "--backup", place, "--yes").code == 0
    keep_roots(shell.world, store=True)
    new = lose(shell.world)
    ran = shell.bare(*restore(shell, new, "--json"))
    assert (ran.code, ran.document["error"]) == (4, "key_integrity")
    assert f"--id {unit}" in ran.document["hint"]
    ran = shell.bare(*restore(shell, new, "--id", unit))
    assert ran.code == 0, ran.err
    assert "their files do not open" in ran.out
    assert "1 employees who were erased since" in ran.out


def test_a_surviving_log_is_named_on_the_command_line(shell: Shell) -> None:
    """Its later entries are kept, and counted."""
    back_up(shell)
    shell.query(ROWS)
    survivor = shell.world.root.parent / "survivor"
    shutil.copytree(shell.world.root / layout.AUDIT, survivor)
    keep_roots(shell.world)
    ran = shell.bare(*restore(shell, lose(shell.world), "--audit", str(survivor)))
    assert ran.code == 0, ran.err
    assert "later audit entries were kept" in ran.out


@pytest.mark.parametrize("command", [["backup"], ["backup", "list"], ["backup", "verify"], ["restore"]])
def test_help_has_an_example(shell: Shell, command: list[str]) -> None:
    """Each command shows how it is called."""
    ran = shell.bare(*command, "--help")
    assert ran.code == 0
    assert f"lake {' '.join(command)} " in ran.out.partition("example:")[2]
