"""Sandboxes as the gateway sees them: started, fed, killed. A killed one takes whatever it did not send with it."""

from __future__ import annotations

import array
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import suppress
from dataclasses import dataclass

from lake.clear.sandbox.channel import Channel, ChannelError
from lake.errors import UnavailableError

START_SECONDS = 30.0
_STATUS_SECONDS = 2.0
_NICE = 15
_RIGHTS_SPACE = socket.CMSG_SPACE(array.array("i").itemsize)


class Sandbox:
    """One process for one session.

    Attributes:
        fences: what keeps it in its place, each ``on`` or why not.
        deadline: when it is to be killed, on the monotonic clock; None while it waits to be used.
        since: when it was taken, on the same clock; None before that, and once it lets others go first.
    """

    def __init__(self, channel: Channel, pid: int, process: int, report: int) -> None:
        self.channel = channel
        self.pid = pid
        self.deadline: float | None = None
        self.since: float | None = None
        self.timed_out = False
        self._process = process
        self._report = report
        self._lock = threading.Lock()
        self.fences: dict[str, str] = {}

    def wait_ready(self) -> None:
        """Wait until its fences are up.

        Raises:
            ChannelError: it did not start.
        """
        self.channel.deadline = time.monotonic() + START_SECONDS
        self.fences = dict(self.channel.receive().fields["ready"])
        self.channel.deadline = None

    def kill(self) -> None:
        """Kill it at once; safe from any thread and at any time."""
        with self._lock, suppress(OSError):
            if self._process >= 0:
                signal.pidfd_send_signal(self._process, signal.SIGKILL)

    def expire(self) -> None:
        """Kill it because its time is up."""
        self.timed_out = True
        self.kill()

    def yield_to_others(self) -> None:
        """Let shorter queries have the processors first."""
        self.since = None
        with self._lock, suppress(OSError):
            if self._process >= 0:
                # Of all its threads, which the system takes one by one unless told of the group.
                os.setpriority(os.PRIO_PGRP, self.pid, _NICE)

    def close(self) -> int | None:
        """Kill it, wait until it is gone and give its descriptors back; its wait status, None if that is not known."""
        self.kill()
        with self._lock:
            if self._process < 0:
                return None
            text = os.read(self._report, 16) if _is_readable(self._report, _STATUS_SECONDS) else b""
            os.close(self._process)
            os.close(self._report)
            self._process = -1
        self.channel.close()
        return int(text) if text.isdigit() else None

    @property
    def is_alive(self) -> bool:
        """Whether the process runs."""
        with self._lock:
            return self._process >= 0 and not _is_readable(self._process, 0)


def _is_readable(descriptor: int, seconds: float) -> bool:
    """Whether there is something to read, or comes in time. Not by select, which knows small descriptors only."""
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(int(seconds * 1000)))


@dataclass(frozen=True, slots=True)
class SandboxShape:
    """What each sandbox may use at most: bytes of memory beyond the engine's own code, seconds of processor time."""

    memory: int
    seconds: int


class Zygote:
    """The process that the sandboxes are forked from.

    Raises:
        UnavailableError: it did not start.
    """

    def __init__(self, shape: SandboxShape) -> None:
        self._lock = threading.Lock()
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        arguments = [str(theirs.fileno()), str(shape.memory), str(shape.seconds)]
        with theirs:
            self._process = subprocess.Popen(  # noqa: S603 - our own interpreter and module
                [sys.executable, "-I", "-m", "lake.clear.sandbox.zygote", *arguments],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,  # an engine's last words could quote rows
                start_new_session=True,  # no terminal ends it
                env={"LANG": "C.UTF-8", "OPENBLAS_NUM_THREADS": "1", "ARROW_NUM_THREADS": "1"},
                cwd="/",
            )
        self._control.settimeout(START_SECONDS)
        try:
            answer = self._control.recv(4096)
            self.fences: dict[str, str] = json.loads(answer)
        except (OSError, ValueError):
            self.close()
            raise UnavailableError("the process that starts sandboxes did not start") from None

    @property
    def pid(self) -> int:
        """Its number."""
        return self._process.pid

    def fork(self) -> Sandbox:
        """A new sandbox, which may not be ready yet.

        Raises:
            UnavailableError: it cannot be started.
        """
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        read, write = os.pipe2(os.O_CLOEXEC)
        try:
            with self._lock:
                rights = array.array("i", [theirs.fileno(), write])
                self._control.sendmsg([b"start"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)])
                text, ancillary, _, _ = self._control.recvmsg(64, _RIGHTS_SPACE, socket.MSG_CMSG_CLOEXEC)
        except OSError:
            text, ancillary = b"", []
            self._process.kill()  # whatever it answered later would be taken for the answer to another question
        finally:
            theirs.close()
            os.close(write)
        process = array.array("i")
        for _, kind, data in ancillary:
            if kind == socket.SCM_RIGHTS:
                process.frombytes(data)
        if not text.isdigit() or len(process) != 1:
            for descriptor in (read, *process):
                os.close(descriptor)
            ours.close()
            raise UnavailableError("no sandbox can be started", hint="try again; see the gateway's log")
        return Sandbox(Channel(ours), int(text), process[0], read)

    @property
    def is_alive(self) -> bool:
        """Whether it runs."""
        return self._process.poll() is None

    def close(self) -> None:
        """End it and every sandbox."""
        self._control.close()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


__all__ = ["ChannelError", "Sandbox", "SandboxShape", "Zygote"]
