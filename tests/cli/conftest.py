"""The command line as a user meets it: a lake of known rows, and a shell that runs commands on it."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from lake.cli.main import main
from tests import forking
from tests.world import World, copy, make


@dataclass(frozen=True, slots=True)
class Ran:
    """What a command left behind."""

    code: int
    raw: bytes
    err: str

    @property
    def out(self) -> str:
        """Stdout as text."""
        return self.raw.decode()

    @property
    def document(self) -> Any:
        """Stdout as the one JSON document that it must be, without NaN and infinities."""
        return json.loads(self.raw, parse_constant=pytest.fail)


@dataclass(frozen=True, slots=True)
class Shell:
    """Runs ``lake`` in this process, or in one of its own, on one lake."""

    world: World
    capture: pytest.CaptureFixture[bytes]

    def __call__(self, *arguments: str) -> Ran:
        """A command on the lake, opened with its key file."""
        return self.bare(*arguments, *self.place())

    def place(self) -> list[str]:
        """The options that name the lake and its key."""
        return ["--lake", str(self.world.root), "--key-file", str(self.world.key)]

    def bare(self, *arguments: str) -> Ran:
        """A command exactly as given; none may ever show a traceback."""
        self.capture.readouterr()
        try:
            code: Any = main(list(arguments))
        except SystemExit as stop:
            code = stop.code
        raw, err = self.capture.readouterr()
        ran = Ran(code, raw, err.decode())
        assert "Traceback" not in ran.err
        return ran

    def query(self, sql: str, *arguments: str, user: str = "vera-canary", purpose: str = "incident") -> Ran:
        """A query, by default of the user who sees everything."""
        return self("query", sql, "--user", user, "--purpose", purpose, *arguments)

    def start(self, *arguments: str, source: str = "") -> subprocess.Popen[bytes]:
        """A command in a process of its own; ``source`` runs before it."""
        run = f"import sys\n{source}\nfrom lake.cli.main import run\nrun(sys.argv[1:])"
        return forking.python(run, *arguments, *self.place(), stdout=subprocess.PIPE, stderr=subprocess.PIPE)


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> World:
    """The known lake; only to be copied or read."""
    return make(tmp_path_factory.mktemp("template"))


@pytest.fixture(autouse=True)
def _no_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LAKE_HOME", "LAKE_KEY_FILE", "LAKE_PASSPHRASE_FILE"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def shell(template: World, tmp_path: Path, capsysbinary: pytest.CaptureFixture[bytes]) -> Shell:
    """A shell on a copy of the known lake."""
    return Shell(copy(template, tmp_path), capsysbinary)


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str, str], str]:
    """Writes a text to a file of that name and gives its path."""

    def written(name: str, text: str) -> str:
        path = tmp_path / name
        path.write_text(text, "utf-8")
        return str(path)

    return written
