"""``lake init``: what it makes, and what it refuses."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.conftest import Shell


def mode(path: Path) -> int:
    """Permission bits."""
    return path.stat().st_mode & 0o777


def test_it_makes_a_lake_and_a_key_file_that_only_their_owner_reads(shell: Shell, tmp_path: Path) -> None:
    """The folder is 0700 and the key file 0600, and the new lake opens."""
    place = ["--lake", str(tmp_path / "new"), "--key-file", str(tmp_path / "new.key")]
    ran = shell.bare("init", *place, "--json")
    assert (ran.code, ran.document["key_file_made"]) == (0, True)
    assert mode(tmp_path / "new") == 0o700
    assert mode(tmp_path / "new.key") == 0o600
    assert (tmp_path / "new.key").read_text().strip() not in ran.out + ran.err
    assert shell.bare("status", *place).code == 0


def test_an_existing_lake_is_refused_and_stays(shell: Shell) -> None:
    """Init never touches a lake that is there."""
    before = sorted(shell.world.root.rglob("*"))
    assert shell("init").code == 2
    assert sorted(shell.world.root.rglob("*")) == before
    assert shell("status").code == 0


def test_a_folder_with_files_and_a_file_are_refused(shell: Shell, tmp_path: Path) -> None:
    """Only an empty folder becomes a lake, and nothing is left of the try."""
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine")
    for name in ("full", "full/mine.txt"):
        ran = shell.bare("init", "--lake", str(tmp_path / name), "--key-file", str(tmp_path / "k"))
        assert ran.code == 2
        assert "not an empty folder" in ran.err
    assert not (tmp_path / "k").exists()
    assert [path.name for path in (tmp_path / "full").iterdir()] == ["mine.txt"]


def test_an_empty_folder_becomes_a_lake(shell: Shell, tmp_path: Path) -> None:
    """An empty folder is as good as none."""
    (tmp_path / "empty").mkdir()
    ran = shell.bare("init", "--lake", str(tmp_path / "empty"), "--key-file", str(shell.world.key), "--json")
    assert (ran.code, ran.document["key_file_made"]) == (0, False)


def test_a_key_file_that_others_read_is_refused(shell: Shell, tmp_path: Path) -> None:
    """Rights of the key file count, and nothing is made."""
    shell.world.key.chmod(0o644)
    ran = shell.bare("init", "--lake", str(tmp_path / "new"), "--key-file", str(shell.world.key))
    assert ran.code == 2
    assert "chmod 600" in ran.err
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("both", [False, True])
def test_one_secret_is_needed(shell: Shell, tmp_path: Path, both: bool) -> None:
    """No secret and two secrets are both refused: there is no default passphrase."""
    (tmp_path / "p").write_text("correct horse battery")
    (tmp_path / "p").chmod(0o600)
    secrets = ["--key-file", str(tmp_path / "k"), "--passphrase-file", str(tmp_path / "p")] if both else []
    ran = shell.bare("init", "--lake", str(tmp_path / "new"), *secrets)
    assert ran.code == 2
    assert "one secret is needed" in ran.err
    assert not (tmp_path / "new").exists()
    assert not (tmp_path / "k").exists()


def test_a_passphrase_opens_its_lake_and_no_other_does(shell: Shell, tmp_path: Path) -> None:
    """The right passphrase opens; a wrong one and a key file do not, and neither is shown."""
    for name, text in (("right", "correct horse battery"), ("wrong", "incorrect horse battery"), ("short", "short")):
        (tmp_path / name).write_text(text + "\n")
        (tmp_path / name).chmod(0o600)
    place = ["--lake", str(tmp_path / "new")]
    assert shell.bare("init", *place, "--passphrase-file", str(tmp_path / "short")).code == 2
    assert shell.bare("init", *place, "--passphrase-file", str(tmp_path / "right")).code == 0
    assert shell.bare("status", *place, "--passphrase-file", str(tmp_path / "right")).code == 0
    ran = shell.bare("status", *place, "--passphrase-file", str(tmp_path / "wrong"), "--json")
    assert ran.code == 1
    assert ran.document["error"] == "key_store_locked"
    assert "horse" not in ran.out + ran.err
    ran = shell.bare("status", *place, "--key-file", str(shell.world.key))
    assert ran.code == 1
    assert "--passphrase-file" in ran.err


def test_the_key_store_may_lie_apart(shell: Shell, tmp_path: Path) -> None:
    """With --key-store no key is in the lake's folder."""
    place = ["--lake", str(tmp_path / "new"), "--key-file", str(shell.world.key)]
    assert shell.bare("init", *place, "--key-store", str(tmp_path / "apart")).code == 0
    assert (tmp_path / "apart").is_dir()
    assert not (tmp_path / "new" / "keys").exists()
    assert shell.bare("doctor", *place).code == 0


def test_a_place_that_cannot_be_made_is_one_clear_line(shell: Shell, tmp_path: Path) -> None:
    """An error of the system names the path and not the program's inside."""
    (tmp_path / "file").write_text("")
    ran = shell.bare("init", "--lake", str(tmp_path / "file" / "new"), "--key-file", str(shell.world.key))
    assert ran.code == 1
    assert str(tmp_path / "file") in ran.err
    assert len(ran.err.splitlines()) == 1
