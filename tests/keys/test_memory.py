"""A process that holds keys leaves no core dump and is closed to others of its user. Root sees it all the same.

Nothing keeps root out: with CAP_SYS_PTRACE ``/proc/<pid>/mem`` opens whatever a process has asked for, and a test of
this file shows it, so that nobody takes the hardening for more than it is.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.world import ROOT

NOBODY = 65_534
CHILD = """
import ctypes, json, os, resource, sys
from keys import memory
if "as-nobody" in sys.argv:
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
    ctypes.CDLL(None).prctl(4, 1, 0, 0, 0)  # changing the user has made it undumpable: as at its start again
if "core" in sys.argv:
    resource.setrlimit(resource.RLIMIT_CORE, (resource.getrlimit(resource.RLIMIT_CORE)[1],) * 2)
state = memory.harden(lock="lock" in sys.argv) if "harden" in sys.argv else {}
state["limit"] = resource.getrlimit(resource.RLIMIT_CORE)
state["prctl"] = ctypes.CDLL(None).prctl(3, 0, 0, 0, 0)
secret = bytes(range(64, 96)) * 3
state["secret"] = id(secret) + bytes.__basicsize__ - 1
print(json.dumps(state), flush=True)
sys.stdin.readline()
"""
READER = """
import os, sys
os.setgroups([])
os.setgid(65534)
os.setuid(65534)
try:
    with open(f"/proc/{sys.argv[1]}/mem", "rb", 0) as memory:
        memory.seek(int(sys.argv[2]))
        print(memory.read(96).hex())
except OSError as error:
    print(type(error).__name__)
"""
SECRET = bytes(range(64, 96)) * 3


def run(source: str, *arguments: object) -> subprocess.Popen[str]:
    """Python source in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-c", source, *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


Started = tuple[subprocess.Popen[str], dict[str, Any]]


@pytest.fixture
def start() -> Iterator[Callable[..., Started]]:
    """Starts children that say what is in force, and wait."""
    running: list[subprocess.Popen[str]] = []

    def started(*words: str) -> Started:
        process = run(CHILD, *words)
        running.append(process)
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line, process.communicate()[1]
        return process, json.loads(line)

    yield started
    for process in running:
        process.kill()
        process.communicate()


def locked_kilobytes(pid: int) -> int:
    """Memory of a process that is never paged out."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split("VmLck:")[1].split()[0])


def test_a_hardened_process_is_neither_dumped_nor_traced(start: Callable[..., Started]) -> None:
    """No core file is allowed any more, and it is not dumpable; without hardening it is."""
    _, plain = start()
    assert plain["prctl"] == 1
    process, state = start("core", "harden")
    assert (state["core_dumps"], state["limit"]) == ("off", [0, 0])
    assert (state["dumpable"], state["prctl"]) == ("off", 0)
    assert state["locked"] == "no: not asked for"
    assert locked_kilobytes(process.pid) == 0


def test_memory_is_locked_where_that_is_permitted_and_the_reason_told_where_not(start: Callable[..., Started]) -> None:
    """``yes`` means that the kernel counts locked pages; ``no`` that it counts none."""
    process, state = start("harden", "lock")
    if state["locked"] == "yes":
        assert locked_kilobytes(process.pid) > 1_000
    else:
        assert state["locked"].startswith("no: ")
        assert locked_kilobytes(process.pid) == 0


def test_without_the_right_to_lock_the_reason_is_told(start: Callable[..., Started]) -> None:
    """A finite limit is not used: below it, an allocation could fail later."""
    if os.getuid() != 0:
        pytest.skip("only root can become another user")
    process, state = start("as-nobody", "harden", "lock")
    assert (state["core_dumps"], state["dumpable"]) == ("off", "off")
    if state["locked"] == "yes":  # this machine gives everybody an unlimited RLIMIT_MEMLOCK
        assert locked_kilobytes(process.pid) > 1_000
    else:
        assert "CAP_IPC_LOCK" in state["locked"]
        assert locked_kilobytes(process.pid) == 0


def test_a_crash_leaves_no_core_file(start: Callable[..., Started]) -> None:
    """The kernel says of a killed child whether it was dumped."""
    process, _ = start("core", "harden", "lock")
    process.send_signal(signal.SIGSEGV)
    _, status = os.waitpid(process.pid, 0)
    assert os.WTERMSIG(status) == signal.SIGSEGV
    assert not os.WCOREDUMP(status)
    process.returncode = -signal.SIGSEGV


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user")
def test_others_of_the_same_user_cannot_read_the_memory_and_root_can(start: Callable[..., Started]) -> None:
    """A neighbour reads the secret of a child that is not hardened, and not that of one that is; root reads both."""

    def neighbour(pid: int, place: int) -> str:
        out, err = run(READER, pid, place).communicate(timeout=60)
        assert err == ""
        return out.strip()

    open_child, plain = start("as-nobody")
    assert neighbour(open_child.pid, plain["secret"]) == SECRET.hex()
    closed, state = start("as-nobody", "harden")
    assert neighbour(closed.pid, state["secret"]) == "PermissionError"
    with Path(f"/proc/{closed.pid}/mem").open("rb", 0) as memory:
        memory.seek(state["secret"])
        assert memory.read(len(SECRET)) == SECRET
