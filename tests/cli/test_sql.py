"""``lake sql``: a shell in a pipe and at a terminal, what it runs, breaks off and keeps."""

from __future__ import annotations

import json
import os
import pty
import select
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from prompt_toolkit.completion import CompleteEvent
from prompt_toolkit.document import Document
from prompt_toolkit.input import create_pipe_input
from prompt_toolkit.output import DummyOutput

from lake.cli.sql_input import source, statements, toolkit
from lake.errors import UsageError
from tests.cli.conftest import Shell
from tests.client.door import Door, opened
from tests.gateway.served import serving
from tests.world import ROOT, World

ENDLESS = "SELECT count(*) FROM events a, events b, events c, events d, events e WHERE a.n * b.n + c.n > d.n * e.n;"
LAKE = [sys.executable, "-m", "lake.cli.main"]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1", "TERM": "dumb"}


@pytest.fixture(scope="module")
def door(template: World) -> Iterator[Door]:
    """A gateway over the known lake."""
    with serving(template) as service, opened(service) as found:
        yield found


@pytest.fixture
def remote(door: Door, tmp_path: Path) -> list[str]:
    """The options that name the gateway and the user who sees everything."""
    file = tmp_path / "token"
    file.write_text("token-vera\n")
    return ["--gateway", door.url, "--token-file", str(file)]


def embedded(shell: Shell, user: str = "vera-canary", purpose: str = "incident") -> list[str]:
    """The options that name the lake and a user."""
    return [*shell.place(), "--user", user, "--purpose", purpose]


def piped(options: list[str], script: str, **more: object) -> subprocess.CompletedProcess[str]:
    """A script on stdin of a shell."""
    command = [*LAKE, "sql", *options]
    environment = {**ENVIRONMENT, **more.pop("env", {})}  # type: ignore[dict-item]
    return subprocess.run(  # type: ignore[call-overload, no-any-return]
        command, input=script, env=environment, capture_output=True, text=True, timeout=120, check=False, **more
    )


def test_a_script_through_a_gateway(remote: list[str]) -> None:
    """Statements over several lines, commands between them, the last one without its semicolon."""
    script = "\\d\n\\d moods\n\\timing\nSELECT count(*) AS n,\n 'a;b' AS t -- c;\nFROM events; SELECT 2;\nSELECT 3"
    done = piped(remote, script)
    assert done.returncode == 0, done.stderr
    lines = [line.split() for line in done.stdout.splitlines()]
    for expected in (["events"], ["mood", "string"], ["144", "a;b"], ["2"], ["3"], ["(1", "rows)"]):
        assert expected in lines, done.stdout
    assert "timing is on" in done.stderr
    assert "lake>" not in done.stdout + done.stderr


def test_the_same_script_on_an_embedded_lake(shell: Shell, remote: list[str]) -> None:
    """Gives the same."""
    script = "SELECT employee, count(*) AS n FROM events GROUP BY ALL ORDER BY ALL;\n\\d events\n"
    ours, theirs = piped(embedded(shell), script), piped(remote, script)
    assert ours.returncode == theirs.returncode == 0
    assert ours.stdout == theirs.stdout
    assert "EMP-ADA-7741" in ours.stdout


@pytest.mark.parametrize(
    ("script", "code", "said"),
    [
        ("SELECT 1; DROP TABLE events; SELECT 4711;", 2, "error: only SELECT statements"),
        ("SELECT * FROM secrets; SELECT 4711;", 3, "error: no table"),
        ("\\nope\nSELECT 4711;", 2, "error: there is no command \\nope"),
        ("\\d secrets\nSELECT 4711;", 2, "error: there is no such table"),
        ("\\o file.exe\nSELECT 4711;", 2, "error: the file's name says its format (.csv"),
    ],
)
def test_a_script_stops_at_its_first_error(remote: list[str], script: str, code: int, said: str) -> None:
    """With that error's code, and one line about it."""
    done = piped(remote, script)
    assert (done.returncode, done.stderr.count("\n")) == (code, 1), done.stderr
    assert done.stderr.startswith(said)
    assert "4711" not in done.stdout


def test_rows_are_shown_up_to_a_number(remote: list[str]) -> None:
    """And how many more there are; as JSON all of them."""
    done = piped([*remote, "--rows", "3"], "SELECT n FROM events;")
    assert len(done.stdout.splitlines()) == 2 + 3 + 2
    assert "(144 rows)" in done.stdout
    assert "(141 more rows" in done.stdout
    document = json.loads(piped([*remote, "--json"], "SELECT n FROM events;").stdout)
    assert len(document["rows"]) == 144


def test_one_result_goes_to_a_file(remote: list[str], tmp_path: Path) -> None:
    """The next one, of mode 0600; the one after it is shown again."""
    file = tmp_path / "out.parquet"
    done = piped(remote, f"\\o {file}\nSELECT n FROM events;\nSELECT 5 AS shown;\n")
    assert pq.read_table(file).num_rows == 144
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert "in the clear" in done.stderr
    assert done.stdout.split() == ["shown", "-----", "5", "(1", "rows)"]


def test_the_purpose_changes(shell: Shell) -> None:
    """What may be read follows it."""
    script = "\\purpose\nSELECT count(*) AS n FROM events;\n\\purpose study\nSELECT employee FROM events LIMIT 1;\n"
    done = piped(embedded(shell, "stu", "incident"), script)
    assert done.returncode == 0, done.stderr
    assert done.stderr.splitlines() == ["incident", "the purpose is study"]
    assert "p_" in done.stdout
    assert piped(embedded(shell), "\\purpose study\nSELECT * FROM events;").returncode == 3


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--gateway", "grpc://127.0.0.1:1"], "a gateway must know who asks"),
        (["--gateway", "grpc://127.0.0.1:1", "--token-file", "t", "--user", "vera"], "knows its lake and who asks"),
        (["--gateway", "grpc://lake.example:1", "--token-file", "t"], "without TLS"),
        (["--token-file", "t"], "are for a gateway"),
        (["--user", "vera"], "--user and --purpose are required"),
        (["--user", "vera", "--purpose", "study", "--rows", "0"], "--rows is at least 1"),
    ],
)
@pytest.mark.parametrize("command", [["sql"], ["query", "SELECT 1"]])
def test_options_that_do_not_go_together(shell: Shell, command: list[str], options: list[str], said: str) -> None:
    """Usage, before anything is asked."""
    if command[0] == "query" and "--rows" in options:
        command, said = [*command, "--rows"], "unrecognized"
        options = options[:-2]
    ran = shell.bare(*command, *options)
    assert ran.code == 2
    assert said in ran.err


def test_lake_query_asks_a_gateway(shell: Shell, remote: list[str]) -> None:
    """With the same forms of output, and the same errors."""
    ran = shell.bare("query", "SELECT count(*) AS n FROM events", "--json", *remote)
    assert (ran.code, ran.document["rows"]) == (0, [{"n": 144}])
    assert ran.document["receipt"] > 0
    ran = shell.bare("query", "SELECT * FROM secrets", "--json", *remote)
    assert (ran.code, ran.document["error"]) == (3, "denied")
    ran = shell.bare("query", "SELECT 1", "--gateway", "grpc://127.0.0.1:9", *remote[2:])
    assert (ran.code, ran.out) == (5, "")
    assert "is not there" in ran.err


WATCH = """
import sys
def hook(event, arguments):
    if event == "open" and isinstance(arguments[0], str) and arguments[2] & 3:
        if not arguments[0].startswith(("/dev/", "/proc/")):
            print("WRITES", arguments[0], file=sys.stderr)
sys.addaudithook(hook)
from lake.cli.main import run
run(sys.argv[1:])
"""


def test_nothing_is_written_by_default(remote: list[str], tmp_path: Path) -> None:
    """Neither in the home folder, nor beside it, nor in a temporary one."""
    folders = {name: tmp_path / name for name in ("HOME", "TMPDIR", "XDG_CACHE_HOME", "XDG_STATE_HOME")}
    for folder in folders.values():
        folder.mkdir()
    environment = {**ENVIRONMENT, **{name: str(folder) for name, folder in folders.items()}}
    script = "SELECT 'canary' AS c FROM events LIMIT 1;\n\\d\n"
    done = subprocess.run(
        [sys.executable, "-c", WATCH, "sql", *remote],
        input=script,
        env=environment,
        cwd=folders["HOME"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "canary" in done.stdout
    assert [file for folder in folders.values() for file in folder.rglob("*")] == []


def typed(keys: str, history: Path | None = None) -> list[str]:
    """What a user of the terminal's prompt sends with these keys."""
    with create_pipe_input() as keyboard:
        keyboard.send_text(keys)
        lines = toolkit(history, lambda: {"events": ["title"]}, input=keyboard, output=DummyOutput())
        return list(statements(lines, interactive=True))


def test_enter_sends_whole_statements_only() -> None:
    """Lines go on until the semicolon; a command is whole at once; Ctrl-D ends."""
    keys = "SELECT 1,\r2;\r\\d\rSELECT ';\r';\r\x04"
    assert typed(keys) == ["SELECT 1,\n2", "\\d", "SELECT ';\n'"]


def test_control_c_drops_what_was_begun() -> None:
    """And the shell goes on."""
    assert typed("SELECT half\x03SELECT 2;\r\x04") == ["SELECT 2"]


def test_words_are_completed() -> None:
    """From what one may see."""
    with create_pipe_input() as keyboard:
        lines: Any = toolkit(None, lambda: {"events": ["title"]}, input=keyboard, output=DummyOutput())
        completer = lines.__self__.completer
        found = list(completer.get_completions(Document("SELECT tit"), CompleteEvent(completion_requested=True)))
    assert [(completion.text, completion.start_position) for completion in found] == [("title", -3)]


def test_history_is_kept_only_where_it_is_asked_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """In a file of mode 0600, and the user is told; without one there is none."""
    home = tmp_path / "home"
    home.mkdir()
    assert typed("SELECT 'canary';\r\x04") == ["SELECT 'canary'"]
    assert list(home.iterdir()) == []
    file = home / "history"
    file.touch(0o644)
    assert typed("SELECT 'canary';\r\x04", file) == ["SELECT 'canary'"]
    assert "canary" in file.read_text()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert "queries hold personal data" in capsys.readouterr().err
    assert typed("\x1b[A\r\x04", file) == ["SELECT 'canary'"]


def test_history_goes_nowhere_else(tmp_path: Path) -> None:
    """Not through a link, not into a folder."""
    (tmp_path / "real").touch()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    for name in ("link", "."):
        with pytest.raises(UsageError):
            toolkit(tmp_path / name, dict)


def test_without_prompt_toolkit_there_is_a_prompt(monkeypatch: pytest.MonkeyPatch) -> None:
    """Plain, and without a history."""
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("lake.cli.sql_input.find_spec", lambda _name: None)
    assert source(None, dict) is input
    with pytest.raises(UsageError, match="needs prompt_toolkit"):
        source(Path("history"), dict)


class Terminal:
    """A shell at a pseudo-terminal."""

    def __init__(self, options: list[str]) -> None:
        self._master, slave = pty.openpty()
        command = [*LAKE, "sql", *options]
        self.process = subprocess.Popen(command, env=ENVIRONMENT, stdin=slave, stdout=slave, stderr=slave)
        os.close(slave)
        self.shown = b""

    def send(self, text: str) -> None:
        """Type."""
        os.write(self._master, text.encode())

    def wait_for(self, text: bytes) -> None:
        """Until this was shown, after what was waited for before."""
        while text not in self.shown:
            if not select.select([self._master], [], [], 60)[0]:
                pytest.fail(f"the shell shows nothing more after {self.shown!r}")
            self.shown += os.read(self._master, 4096)
        self.shown = self.shown.partition(text)[2]

    def close(self) -> None:
        """End it."""
        self.process.kill()
        self.process.wait()
        os.close(self._master)


def test_control_c_breaks_off_a_query_and_keeps_the_shell(remote: list[str], door: Door) -> None:
    """At a terminal: the query ends at the gateway too, and the next one runs."""
    calls = len(door.seen)
    terminal = Terminal(remote)
    try:
        terminal.wait_for(b"lake>")
        terminal.send(f"{ENDLESS}\r")
        while len(door.seen) < calls + 2:  # admitted, and being fetched
            assert terminal.process.poll() is None
        terminal.process.send_signal(signal.SIGINT)
        terminal.wait_for(b"cancelled")
        terminal.send("SELECT 'mar' || 'ker' AS text;\r")
        terminal.wait_for(b"marker")
        terminal.send("SELECT nope FROM events;\r")
        terminal.wait_for(b"error: the query does not fit")
        terminal.send("\\q\r")
        assert terminal.process.wait(60) == 0
    finally:
        terminal.close()
