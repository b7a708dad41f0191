"""Programs that are started and stopped: what they say, how they fail, and that they end with who started them."""

from __future__ import annotations

import os
import pwd
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from lake.dev.children import Child, finished
from lake.dev.servers import DATABASE_USER, database_user
from lake.dev.stack import decide
from lake.dev.state import SQLITE, State, free_ports
from lake.errors import UnavailableError, UsageError

ROOT = Path(__file__).resolve().parents[2]
STUBBORN = "trap '' TERM; echo '{\"ready\": true}'; while :; do sleep 0.05; done"
PARENT = """
import sys, time
from pathlib import Path
from lake.dev.children import Child
folder = Path(sys.argv[1])
child = Child("a child", ["sleep", "600"], folder / "log", folder=folder, environment={"PATH": "/usr/bin:/bin"})
print(child._process.pid, flush=True)
time.sleep(600)
"""


@pytest.fixture
def start(tmp_path: Path) -> Callable[[str], Child]:
    """Starts a shell's script whose first line says that it is ready."""

    def starting(script: str) -> Child:
        return Child(
            "the program", ["/bin/sh", "-c", script], tmp_path / "log",
            folder=tmp_path, environment={"PATH": "/usr/bin:/bin"}, speaks=True,
        )  # fmt: skip

    return starting


def test_a_program_that_speaks_is_ready(start: Callable[[str], Child]) -> None:
    """Its document is what it says first; asked to end, it ends."""
    child = start("echo '{\"ready\": true}'; exec sleep 600")
    assert child.announcement() == {"ready": True}
    assert child.ended is None
    child.stop()
    assert child.ended == -signal.SIGTERM


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("exit 3", "the program ended with status 3"),
        ("echo no document; exec sleep 600", "the program said something unexpected"),
        ("echo '[1]'; exec sleep 600", "the program said something unexpected"),
        ("exec sleep 600", "the program is not ready"),
    ],
)
def test_a_program_that_is_not_ready_is_an_error(start: Callable[[str], Child], script: str, message: str) -> None:
    """Which names its log, and repeats nothing of it."""
    child = start(script)
    try:
        with pytest.raises(UnavailableError, match=message) as raised:
            child.announcement(0.3 if "not ready" in message else 60)
        assert str(child.log) in raised.value.hint
    finally:
        child.stop()


def test_a_program_that_will_not_end_is_ended(start: Callable[[str], Child]) -> None:
    """After the time it is given."""
    child = start(STUBBORN)
    child.announcement()
    child.stop(0.2)
    assert child.ended == -signal.SIGKILL


def test_a_program_that_fails_is_told(tmp_path: Path) -> None:
    """With its status, and what it said is in the log, which nobody else reads."""
    log = tmp_path / "log"
    with pytest.raises(UnavailableError, match="it ended with status 7"):
        finished("it", ["/bin/sh", "-c", "echo why >&2; exit 7"], log, folder=tmp_path, environment={})
    assert log.read_text() == "why\n"
    assert log.stat().st_mode & 0o777 == 0o600


def test_a_program_that_succeeds_is_no_failure_whenever_it_ends(tmp_path: Path) -> None:
    """At once, or while somebody looks; one that does not end is one."""
    for seconds in ("0", "0.01", "0.05"):
        finished("it", ["/bin/sleep", seconds], tmp_path / "log", folder=tmp_path, environment={})
    child = Child("it", ["/bin/sleep", "600"], tmp_path / "log", folder=tmp_path, environment={})
    with pytest.raises(UnavailableError, match="it does not end"):
        child.wait(0.01)
    child.stop()


def test_it_ends_with_its_parent(tmp_path: Path) -> None:
    """However that ends."""
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, str(tmp_path)], stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": ROOT}
    )
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    assert Path(f"/proc/{pid}").exists()
    parent.kill()
    parent.communicate()
    deadline = time.monotonic() + 60
    while _runs(pid):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def _runs(pid: int) -> bool:
    """Whether it does; what is only not yet waited for does not."""
    try:
        return ") Z " not in Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False


def test_without_a_database_server_there_is_sqlite(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And it is said; who asks for the server is told what is missing."""
    monkeypatch.setattr("lake.dev.servers.postgresql_programs", lambda: None)
    said: list[str] = []
    state = State(tmp_path / "state")
    chosen = decide("local", "", 4711, state, said.append)
    assert (chosen.database, chosen.ports["gateway"]) == (SQLITE, 4711)
    assert said == ["SQLite instead of PostgreSQL: no PostgreSQL server is installed"]
    with pytest.raises(UsageError, match="there can be no PostgreSQL"):
        decide("local", "postgresql", None, state, said.append)
    assert decide("local", "sqlite", None, state, said.append).database == SQLITE
    assert len(said) == 1


@pytest.mark.skipif(os.geteuid() != 0, reason="only root runs the server as another user")
def test_a_folder_that_the_database_does_not_reach_is_told(tmp_path: Path) -> None:
    """As the server runs as another user, who does not get into a closed folder."""
    if DATABASE_USER not in {entry.pw_name for entry in pwd.getpwall()}:
        pytest.skip("there is no user to run the server as")
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    with pytest.raises(UsageError, match="does not get into"):
        database_user(closed / "state")


def test_a_folder_is_somebodys_or_nobodys(tmp_path: Path) -> None:
    """One runs it at a time; what another run left of itself is not believed; a folder of others is refused."""
    state = State(tmp_path / "state")
    assert state.announced() is None
    with state.running():
        state.announce({"gateway": "here"})
        assert state.announced() == {"gateway": "here", "pid": os.getpid()}
        with pytest.raises(UsageError, match="it runs already"), State(tmp_path / "state").running():
            pass
    assert state.announced() is None
    with state.running():
        assert state.announced() is None
    state.folder.chmod(0o755)
    with pytest.raises(UsageError, match="not yours alone"), state.running():
        pass
    other = State(tmp_path / "other")
    other.folder.mkdir(mode=0o700)
    (other.folder / "letter").touch()
    with other.running(), pytest.raises(UsageError, match="something else"):
        other.make(decide("local", "sqlite", None, other, print))


def test_ports_differ() -> None:
    """And those that are given are taken."""
    ports = free_ports({"gateway": 4711})
    assert ports["gateway"] == 4711
    assert len(set(ports.values())) == len(ports)
