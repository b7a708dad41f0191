"""``lake report``: one page, for its owner alone."""

from __future__ import annotations

from pathlib import Path

from tests.cli.conftest import Shell
from tests.world import EMPLOYEES


def test_the_page_says_what_is_stored_and_who_read_it(shell: Shell, tmp_path: Path) -> None:
    """It names employees and users, holds no row's value, and has mode 0600 also over an older file."""
    path = tmp_path / "lake.html"
    path.write_text("older")
    path.chmod(0o644)
    assert shell.query("SELECT title FROM events WHERE title IS NOT NULL").code == 0
    assert shell.query("SELECT n FROM events", user="none").code == 3
    ran = shell("report", "--output", str(path), "--json")
    assert (ran.code, ran.document) == (0, {"output": str(path)})
    assert path.stat().st_mode & 0o777 == 0o600
    text = path.read_text("utf-8")
    assert text.lower().startswith("<!doctype html")
    for name in (*EMPLOYEES, "vera-canary", "none", "events"):
        assert name in text
    for value in ("Canaryfolio", "saidcanary", "notecanary", "SELECT"):
        assert value not in text
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".")] == []


def test_a_place_that_cannot_be_written_is_a_usage_error(shell: Shell, tmp_path: Path) -> None:
    """Missing folders are not made, and a folder is not replaced."""
    for place in (tmp_path, tmp_path / "missing" / "lake.html"):
        assert shell("report", "--output", str(place)).code == 2
    assert not (tmp_path / "missing").exists()
