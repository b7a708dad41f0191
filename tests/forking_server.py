"""Loads the project, then forks a process for each order: the other end of ``tests.forking``."""

from __future__ import annotations

import atexit
import contextlib
import gc
import importlib
import json
import os
import pkgutil
import socket
import sys
import threading
import types
import warnings
from typing import Any

STREAMS = 3


def load() -> None:
    """What most processes of tests need."""
    import lake.cli

    for module in pkgutil.iter_modules(lake.cli.__path__, "lake.cli."):
        importlib.import_module(module.name)
    for name in ("lake.gateway.broker_process", "jobs.cli", "jobs.clear.retention.execute", "tests.gateway.keylakes",
                 "tests.gateway.elevated", "tests.gateway.units"):  # fmt: skip
        importlib.import_module(name)
    for name in ("lake.gateway.receiving.process", "boto3", "psycopg"):
        with contextlib.suppress(ImportError):  # of an extra that is not installed
            importlib.import_module(name)


def fork() -> int:
    """As ``os.fork``: a thread of jemalloc's own, which knows about forks, is no cause for a warning."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return os.fork()


def ordered(connection: socket.socket) -> dict[str, Any]:
    """Fork whenever something comes; only a new process gets out of this, with its order."""
    parents = 0
    while True:
        _, received, *_ = socket.recv_fds(connection, 1, STREAMS + 1)
        while parents and os.waitpid(-1, os.WNOHANG)[0]:
            parents -= 1
        if not received:
            os._exit(0)
        if fork() == 0:
            connection.close()
            return started(received[:STREAMS], socket.socket(fileno=received[STREAMS]))
        parents += 1
        for number in received:
            os.close(number)


def started(streams: list[int], told: socket.socket) -> dict[str, Any]:
    """Fork once more, and stay as the parent that tells how the process ended; only the process gets out of this."""
    size = int.from_bytes(told.recv(4, socket.MSG_WAITALL), "big")
    order: dict[str, Any] = json.loads(told.recv(size, socket.MSG_WAITALL))
    process = fork()
    if process:
        for number in streams:
            os.close(number)
        told.sendall(process.to_bytes(4, "big"))
        code = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
        try:
            told.sendall(code.to_bytes(4, "big", signed=True))
        finally:
            os._exit(0)
    told.close()
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    return order


def become(order: dict[str, Any]) -> int:
    """Take on what an interpreter started with these arguments would have, and run; the exit code."""
    os.chdir(order["folder"])
    os.environ.clear()
    os.environ.update(order["environment"])
    sys.argv[:] = ["-c", *order["arguments"]]
    paths = order["environment"].get("PYTHONPATH", "").split(os.pathsep)
    sys.path[:1] = ["", *(path for path in paths if path and path not in sys.path)]
    main = sys.modules["__main__"] = types.ModuleType("__main__")
    try:
        exec(compile(order["source"], "<string>", "exec"), main.__dict__)  # noqa: S102 - the test's own source
    except SystemExit as stop:
        if isinstance(stop.code, int | None):
            return stop.code or 0
        print(stop.code, file=sys.stderr)
        return 1
    except BaseException:  # noqa: BLE001 - a process ends here whatever happens
        sys.excepthook(*sys.exc_info())
        return 1
    return 0


def end(code: int) -> None:
    """Do what an interpreter does at its end, but for taking every module apart, which takes longer than all else."""
    threading._shutdown()
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(code)


if __name__ == "__main__":
    load()
    gc.freeze()  # a collection would otherwise write to, and so copy, every page that is shared with the server
    end(become(ordered(socket.socket(fileno=int(sys.argv[1])))))
