"""Starts sandboxes: a process that has loaded the engine and forks for each session. It never held a key or a row.

``python -m lake.clear.sandbox.zygote DESCRIPTOR MEMORY SECONDS`` on one end of an unnamed pair of sockets. A request
carries two descriptors, the sandbox's end of its channel and where to write how it ended; the answer is the sandbox's
number and a descriptor that stands for the process. When the other side closes, every sandbox is killed.
"""

from __future__ import annotations

import array
import json
import os
import select
import signal
import socket
import sys
from contextlib import suppress

import pyarrow as pa

from lake.clear.sandbox import execute, fences, pushdown, syntax, worker
from lake.clear.sandbox.channel import Channel, ChannelError

_REQUEST = b"start"
_SCRATCH = pa.table({"a": ["a"]})
_SPACE = socket.CMSG_SPACE(2 * array.array("i").itemsize)


def main(arguments: list[str]) -> int:
    """Serve until the other side closes."""
    control = socket.socket(fileno=int(arguments[0]))
    memory, seconds = int(arguments[1]), int(arguments[2])
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # of a terminal: the gateway says when to end
    network = fences.apart()
    pushdown.install()
    connection = execute.opened()
    _warm()
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
            pid = os.fork()
            if pid == 0:
                for descriptor in (control.detach(), ends[1], *children, *(child[1] for child in children.values())):
                    os.close(descriptor)
                _be_sandbox(connection, socket.socket(fileno=ends[0]), memory, seconds)
            process = os.pidfd_open(pid)
            os.close(ends[0])
            children[process] = (pid, ends[1])
            poll.register(process, select.POLLIN)
            rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [process]))]
            with suppress(OSError):
                control.sendmsg([str(pid).encode()], rights)


def _warm() -> None:
    """Open the parser, which a fenced process could not, and touch what every query touches."""
    syntax.serialize("SELECT 1")
    scratch = execute.opened()
    scratch.register("t", execute.SliceTable(_SCRATCH.schema, lambda _columns, _condition: _SCRATCH.to_reader()))
    scratch.sql("SELECT count(*) AS n, min(a) AS a FROM t WHERE a > 'x'").to_arrow_reader(1).read_all()
    scratch.close()


def _request(control: socket.socket) -> list[int] | None:
    """The two descriptors of a request, or None: the other side has closed."""
    try:
        data, ancillary, _, _ = control.recvmsg(len(_REQUEST), _SPACE, socket.MSG_CMSG_CLOEXEC)
    except OSError:
        return None
    found = array.array("i")
    for _, kind, content in ancillary:
        if kind == socket.SCM_RIGHTS:
            found.frombytes(content)
    return list(found) if data == _REQUEST and len(found) == 2 else None


def _be_sandbox(connection: object, end: socket.socket, memory: int, seconds: int) -> None:
    """What the child does; it does not return."""
    status = 1
    try:
        fences.die_with_parent()
        worker.serve(connection, Channel(end), memory, seconds)  # type: ignore[arg-type]
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
