"""Processes for tests, forked from an interpreter that has loaded the project once, instead of loading it each time.

A forked process is one of its own: it has its own arguments, environment, working directory and streams, ends as a
script does, and dies of SIGKILL like any other. What looks at its files in ``/proc``, at what it loads or at its peak
of memory needs an interpreter of its own: ``subprocess``.
"""

from __future__ import annotations

import atexit
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

_FOLDER = Path(__file__).resolve().parent


def python(source: str, *arguments: object, **options: Any) -> subprocess.Popen[Any]:
    """Start Python source, as ``subprocess.Popen([sys.executable, "-c", source, *arguments], **options)`` does."""
    return _Forked([sys.executable, "-c", source, *map(str, arguments)], **options)


def run(source: str, *arguments: object, **options: Any) -> subprocess.CompletedProcess[Any]:
    """Run Python source to its end and take what it writes; a stdin that is not given is empty."""
    streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with python(source, *arguments, **streams | options) as process:
        out, err = process.communicate()
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


class _Server:
    """The interpreter that forks; it ends when its starter's end of the connection is gone."""

    def __init__(self) -> None:
        self._connection, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, str(_FOLDER / "forking_server.py"), str(theirs.fileno())],
                # One thread: a fork of several would leave the others' locks as they happen to be.
                env={**os.environ, "PYTHONPATH": str(_FOLDER.parent), "OPENBLAS_NUM_THREADS": "1"},
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
            )
        atexit.register(self._close)

    def _close(self) -> None:
        self._connection.close()
        self._process.wait()

    def fork(self, order: Mapping[str, Any], streams: Sequence[int]) -> tuple[int, socket.socket]:
        """A new process with these streams: its id, and the connection that tells its end."""
        told, theirs = socket.socketpair()
        with theirs:
            socket.send_fds(self._connection, [b"!"], [*streams, theirs.fileno()])
        text = json.dumps(order).encode()
        told.sendall(len(text).to_bytes(4, "big") + text)
        return int.from_bytes(told.recv(4, socket.MSG_WAITALL), "big"), told


_server: dict[int, _Server] = {}
"""By the process that started it: a fork of a test's own process starts another."""
_starting = threading.Lock()


class _Forked(subprocess.Popen[Any]):
    """``Popen`` whose process has another parent, which tells how it ended."""

    _told: socket.socket

    def _execute_child(self, args: Sequence[str], *rest: Any) -> None:
        executable, preexec_fn, _, pass_fds, cwd, env, _, _, shell, *pipes = rest[:15]
        assert not any((executable, preexec_fn, pass_fds, shell)), "not for a forked process"
        order = {
            "source": args[2],
            "arguments": args[3:],
            "folder": str(cwd or Path.cwd()),
            "environment": dict(os.environ if env is None else env),
        }
        with _starting:
            if os.getpid() not in _server:
                _server[os.getpid()] = _Server()
        streams = [number if pipe == -1 else pipe for number, pipe in enumerate((pipes[0], pipes[3], pipes[5]))]
        self.pid, self._told = _server[os.getpid()].fork(order, streams)
        self._child_created = True
        self._close_pipe_fds(*pipes)

    def _internal_poll(self, *_: Any, **__: Any) -> int | None:
        if self.returncode is None and getattr(self, "_child_created", False):
            try:
                self._wait(0)
            except subprocess.TimeoutExpired:
                return None
        return self.returncode

    def _wait(self, timeout: float | None) -> int:
        with self._waitpid_lock:
            if self.returncode is None:
                self._told.settimeout(timeout)
                try:
                    told = self._told.recv(4)
                except (TimeoutError, BlockingIOError) as error:
                    raise subprocess.TimeoutExpired(self.args, timeout or 0) from error
                assert told, "the parent of a forked process is gone"
                self.returncode = int.from_bytes(told, "big", signed=True)
                self._told.close()
        return self.returncode
