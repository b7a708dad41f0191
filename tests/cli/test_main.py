"""What holds for every command: help, exit codes, where the lake and its secret come from, errors."""

from __future__ import annotations

import argparse
from collections.abc import Iterator

import pytest

from lake import __version__
from lake.cli.main import build_parser
from lake.cli.output import shown
from tests.cli.conftest import Shell


def commands(parser: argparse.ArgumentParser, *path: str) -> Iterator[tuple[tuple[str, ...], argparse.ArgumentParser]]:
    """Every command with its parser."""
    groups = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    if not groups:
        yield path, parser
    for group in groups:
        for name, inner in group.choices.items():
            yield from commands(inner, *path, name)


def test_every_command_has_an_example_and_the_shared_options() -> None:
    """Help of each command shows how it is called, and each opens a lake in the same way."""
    found = dict(commands(build_parser()))
    assert {("init",), ("query",), ("policy", "test"), ("audit", "blast-radius"), ("jobs", "sweep")} <= set(found)
    for path, parser in found.items():
        text = parser.format_help()
        assert f"example:\n  lake {' '.join(path)}" in text
        for option in ("--lake", "--key-file", "--passphrase-file", "--json"):
            assert option in text


def test_help_lists_the_commands_and_the_exit_codes(shell: Shell) -> None:
    """``lake --help`` is enough to begin."""
    ran = shell.bare("--help")
    assert ran.code == 0
    assert "4 integrity violated" in " ".join(ran.out.split())
    for name in ("init", "ingest", "query", "policy", "audit", "doctor", "jobs"):
        assert f"    {name}" in ran.out
    assert __version__ in shell.bare("--version").out


@pytest.mark.parametrize("given", [[], ["nonsense"], ["audit"], ["query", "SELECT 1"], ["status", "--nonsense"]])
def test_a_command_line_that_makes_no_sense_is_a_usage_error(shell: Shell, given: list[str]) -> None:
    """Unknown commands and options, and missing ones, exit with 2 and say so on stderr."""
    ran = shell.bare(*given)
    assert (ran.code, ran.raw) == (2, b"")
    assert "usage: lake" in ran.err


def test_options_win_over_the_environment(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    """LAKE_HOME and LAKE_KEY_FILE are enough; an option replaces them."""
    monkeypatch.setenv("LAKE_HOME", str(shell.world.root))
    monkeypatch.setenv("LAKE_KEY_FILE", str(shell.world.key))
    assert shell.bare("status").code == 0
    assert shell.bare("status", "--lake", "/nonexistent").code == 2
    monkeypatch.setenv("LAKE_KEY_FILE", "/nonexistent")
    assert shell.bare("status", "--key-file", str(shell.world.key)).code == 0
    monkeypatch.setenv("LAKE_PASSPHRASE_FILE", "/nonexistent")
    assert shell.bare("status").code == 2


def test_no_lake_and_a_lake_elsewhere_are_usage_errors(shell: Shell) -> None:
    """A lake has to be named, and must be a folder."""
    for place in ([], ["--lake", "s3://bucket/lake"], ["--lake", str(shell.world.root.parent)]):
        ran = shell.bare("status", "--key-file", str(shell.world.key), "--json", *place)
        assert (ran.code, ran.document["error"]) == (2, "usage")


def test_a_wrong_key_file_does_not_open_the_lake(shell: Shell) -> None:
    """Another key file is refused, and neither key is shown."""
    right = shell.world.key.read_text().strip()
    shell.world.key.write_text("ab" * 32 + "\n")
    for ran in (shell("status"), shell("status", "--json"), shell("doctor"), shell.query("SELECT n FROM events")):
        assert ran.code == 1
        assert "key store" in ran.err
        assert right not in ran.out + ran.err
        assert "ab" * 8 not in ran.out + ran.err


def test_a_missing_key_file_is_named(shell: Shell) -> None:
    """The message says which file is not there."""
    shell.world.key.unlink()
    ran = shell("status", "--json")
    assert ran.code == 4
    assert str(shell.world.key) in ran.document["message"]


def test_status_counts_what_is_there(shell: Shell) -> None:
    """Status shows datasets, rows and the policy in force, as text and as a document."""
    document = shell("status", "--json").document
    assert document["datasets"] == {"events": 1, "moods": 1}
    assert sum(part["rows"] for part in document["contents"]) == 144
    assert document["policy"]
    assert "policy in force" in shell("status").out


def test_upgrade_of_a_current_lake_changes_nothing(shell: Shell) -> None:
    """Upgrade needs no key, and the lake opens as before."""
    ran = shell.bare("upgrade", "--lake", str(shell.world.root), "--json")
    assert (ran.code, ran.document) == (0, {"upgraded": str(shell.world.root)})
    assert shell("doctor").code == 0


def test_a_damaged_configuration_is_an_integrity_error(shell: Shell) -> None:
    """A lake.json that is not one exits with 4."""
    (shell.world.root / "lake.json").write_text("{")
    assert shell("status").code == 4
    assert shell.bare("audit", "verify", "--lake", str(shell.world.root)).code == 4


def test_an_interruption_exits_with_130(shell: Shell) -> None:
    """Ctrl-C is one line and no crash."""
    source = (
        "def hook(event, arguments):\n"
        "    if event == 'lake.step' and arguments[0] == 'query.intended':\n"
        "        raise KeyboardInterrupt\n"
        "sys.addaudithook(hook)"
    )
    process = shell.start(
        "query", "SELECT n FROM events", "--user", "vera-canary", "--purpose", "incident", source=source
    )
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (130, b"")
    assert err.startswith(b"lake: interrupted")
    assert b"Traceback" not in err


def test_what_would_steer_a_terminal_is_not_shown() -> None:
    """Escape sequences, line ends and reordering marks lose their power."""
    assert shown("a\x1b[2Jb\nc\u202ed é") == "a\ufffd[2Jb c\ufffdd é"


def test_an_error_that_should_not_occur_names_its_place_only(shell: Shell) -> None:
    """Whatever breaks, its text stays inside: it could carry rows."""
    source = (
        "def hook(event, arguments):\n"
        "    if event == 'lake.step' and arguments[0] == 'query.computed':\n"
        "        raise RuntimeError('rowcanary')\n"
        "sys.addaudithook(hook)"
    )
    sql = ("query", "SELECT n FROM events", "--user", "vera-canary", "--purpose", "incident", "--json")
    process = shell.start(*sql, source=source)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert b'"error": "internal"' in out
    assert b"RuntimeError at" in err
    assert b"rowcanary" not in out + err
    assert b"Traceback" not in err


def test_a_command_leaves_no_core_and_no_look_at_its_memory(shell: Shell) -> None:
    """Core dumps are off and the process is not dumpable while it runs."""
    source = """
import atexit, ctypes, resource
def show():
    print(resource.getrlimit(resource.RLIMIT_CORE), ctypes.CDLL(None).prctl(3, 0, 0, 0, 0), file=sys.stderr)
atexit.register(show)
"""
    _, err = shell.start("status", source=source).communicate()
    assert err.decode().strip() == "(0, 0) 0"
