"""Starts sandboxes: a process that has loaded the engine and forks for each session. It never held a key or a row.

``python -m lake.clear.sandbox.zygote DESCRIPTOR MEMORY SECONDS`` on one end of an unnamed pair of sockets. A request
carries two descriptors, the sandbox's end of its channel and where to write how it ended; the answer is the sandbox's
number and a descriptor that stands for the process, or ``none``. When the other side closes, every sandbox is killed.
"""

from __future__ import annotations

import array
import datetime as dt
import gc
import json
import os
import select
import signal
import socket
import sys
from contextlib import suppress

import pyarrow as pa

from lake.clear.sandbox import databases, execute, fences, pushdown, syntax, worker
from lake.clear.sandbox.channel import Channel, ChannelError

_REQUEST, _NONE = b"start", b"none"
_SCRATCH = pa.table({"a": ["a"]})
_SPACE = socket.CMSG_SPACE(2 * array.array("i").itemsize)


def main(arguments: list[str]) -> int:
    """Serve until the other side closes."""
    control = socket.socket(fileno=int(arguments[0]))
    memory, seconds = int(arguments[1]), int(arguments[2])
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):  # sent to all of a group: the gateway says when
        signal.signal(number, signal.SIG_IGN)
    network = fences.apart()
    pushdown.install()
    connection = databases.opened()
    _warm()
    gc.collect()
    gc.freeze()  # so that no collection in a sandbox copies the pages of what it has from here
    control.sendall(json.dumps(network).encode())
    children: dict[int, tuple[int, int]] = {}
    """By the descriptor of the process: its number, and where to write how it ended."""
    poll = select.poll()
    poll.register(control, select.POLLIN)
    while True:
        for ready, _ in poll.poll():
            if ready != control.fileno():
                poll.unregister(ready)
                _bury(ready, *children.pop(ready))
                continue
            ends = _request(control)
            if ends is None:
                _kill_all(children)
                return 0
            if len(ends) != 2:
                for end in ends:
                    os.close(end)
                _answer(control, _NONE)
                continue
            others = [control.fileno(), ends[1], *children, *(report for _, report in children.values())]
            pid, process = _forked()
            if pid == 0:
                for descriptor in others:
                    os.close(descriptor)
                control.detach()
                _be_sandbox(connection, socket.socket(fileno=ends[0]), memory, seconds)
            os.close(ends[0])
            if pid < 0:
                os.close(ends[1])
                _answer(control, _NONE)
                continue
            children[process] = (pid, ends[1])
            poll.register(process, select.POLLIN)
            _answer(control, str(pid).encode(), process)


def _warm() -> None:
    """Open what a fenced process could not: the parser, UTC's file; and touch what every query touches."""
    pa.scalar(dt.datetime.now(dt.UTC)).as_py()
    syntax.serialize("SELECT 1")
    scratch = databases.opened()
    scratch.register("t", execute.SliceTable(_SCRATCH.schema, lambda _columns, _condition: _SCRATCH.to_reader()))
    scratch.sql("SELECT count(*) AS n, min(a) AS a FROM t WHERE a > 'x'").to_arrow_reader(1).read_all()
    scratch.close()


def _request(control: socket.socket) -> list[int] | None:
    """The two descriptors of a request, or fewer if there is no room for them; None: the other side has closed."""
    try:
        data, ancillary, _, _ = control.recvmsg(len(_REQUEST), _SPACE, socket.MSG_CMSG_CLOEXEC)
    except OSError:
        return None
    found = array.array("i")
    for _, kind, content in ancillary:
        if kind == socket.SCM_RIGHTS:
            found.frombytes(content)
    return list(found) if data == _REQUEST else None


def _forked() -> tuple[int, int]:
    """The number of a new process and a descriptor for it; (0, -1) in the child, (-1, -1) if there can be none."""
    try:
        pid = os.fork()
    except OSError:
        return -1, -1
    if pid == 0:
        return 0, -1
    try:
        return pid, os.pidfd_open(pid)
    except OSError:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        return -1, -1


def _answer(control: socket.socket, text: bytes, process: int = -1) -> None:
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [process]))] if process >= 0 else []
    with suppress(OSError):
        control.sendmsg([text], rights)


def _be_sandbox(connection: object, end: socket.socket, memory: int, seconds: int) -> None:
    """What the child does; it does not return."""
    status = 1
    try:
        fences.die_with_parent()
        os.setpgid(0, 0)
        worker.serve(connection, Channel(end, takes_descriptors=True), memory, seconds)  # type: ignore[arg-type]
        status = 0
    except (ChannelError, MemoryError):
        pass
    finally:
        os._exit(status)


def _bury(process: int, pid: int, report: int) -> None:
    """Say how a sandbox ended."""
    _, status = os.waitpid(pid, 0)
    with suppress(OSError):
        os.write(report, str(status).encode())
    os.close(report)
    os.close(process)


def _kill_all(children: dict[int, tuple[int, int]]) -> None:
    for process, (pid, _) in children.items():
        with suppress(OSError):
            signal.pidfd_send_signal(process, signal.SIGKILL)
        os.waitpid(pid, 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
