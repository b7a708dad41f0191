"""Programs that are started, watched and stopped in order, and end with whoever started them, however that ends."""

from __future__ import annotations

import ctypes
import json
import os
import select
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from lake.errors import UnavailableError

READY_SECONDS = 60.0
STOP_SECONDS = 15.0
_PAUSE = 0.05
_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None)


class Child:
    """One program. What it says goes to its log; with ``speaks``, its first line on stdout is that it is ready."""

    def __init__(
        self,
        name: str,
        command: Sequence[str | Path],
        log: Path,
        *,
        folder: Path,
        environment: Mapping[str, str],
        user: int | None = None,
        group: int | None = None,
        stop: signal.Signals = signal.SIGTERM,
        speaks: bool = False,
    ) -> None:
        self.name = name
        self.log = log
        self._stop = stop
        parent = os.getpid()

        def tied() -> None:
            # After the user was changed, which would undo it. A parent that ended before it was told is seen here.
            _LIBC.prctl(_PR_SET_PDEATHSIG, stop)
            if os.getppid() != parent:
                os._exit(1)

        descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o600)
        with os.fdopen(descriptor, "ab") as output:
            # A session of its own: Ctrl-C in the terminal reaches us only, and we stop everything in order.
            self._process = subprocess.Popen(  # noqa: S603 - our own commands
                list(command),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE if speaks else output,
                stderr=output,
                cwd=folder,
                env=dict(environment),
                user=user,
                group=group,
                extra_groups=None if user is None else [],
                start_new_session=True,
                preexec_fn=tied,  # noqa: PLW1509 - this process has one thread
            )

    @property
    def ended(self) -> int | None:
        """Its exit status, once it has one."""
        return self._process.poll()

    def wait_for(self, holds: Callable[[], bool], seconds: float = READY_SECONDS) -> None:
        """Until it does what it is for.

        Raises:
            UnavailableError: it ended, or took too long.
        """
        deadline = time.monotonic() + seconds
        while not holds():
            self._check(deadline)
            time.sleep(_PAUSE)

    def wait(self, seconds: float) -> None:
        """Until it has done its work and ended.

        Raises:
            UnavailableError: it failed, or took too long.
        """
        try:
            status = self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise self._failure("does not end") from None
        if status:
            raise self._failure(f"ended with status {status}")

    def announcement(self, seconds: float = READY_SECONDS) -> dict[str, Any]:
        """The document on its first line of stdout.

        Raises:
            UnavailableError: it ended, took too long, or said something else.
        """
        assert self._process.stdout is not None  # noqa: S101 - as it was started
        deadline = time.monotonic() + seconds
        line = b""
        while not line.endswith(b"\n"):
            if select.select([self._process.stdout], [], [], _PAUSE)[0]:
                part = os.read(self._process.stdout.fileno(), 65_536)
                if not part:
                    self._process.wait()
                line += part
            self._check(deadline)
        try:
            found = json.loads(line)
        except ValueError:
            found = None
        if not isinstance(found, dict):
            raise self._failure("said something unexpected")
        return found

    def stop(self, seconds: float = STOP_SECONDS) -> None:
        """End it; after ``seconds`` without asking."""
        if self._process.poll() is None:
            self._process.send_signal(self._stop)
            try:
                self._process.wait(seconds)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()

    def _check(self, deadline: float) -> None:
        status = self._process.poll()
        if status is not None:
            raise self._failure(f"ended with status {status}")
        if time.monotonic() > deadline:
            raise self._failure("is not ready")

    def _failure(self, what: str) -> UnavailableError:
        return UnavailableError(f"{self.name} {what}", hint=f"see {self.log}")


def finished(
    name: str, command: Sequence[str | Path], log: Path, *, folder: Path, environment: Mapping[str, str]
) -> None:
    """Run a program to its end.

    Raises:
        UnavailableError: it failed.
    """
    child = Child(name, command, log, folder=folder, environment=environment)
    try:
        child.wait(120)
    finally:
        child.stop()
