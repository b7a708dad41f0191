"""Keeping a process that holds keys out of core dumps, debuggers and swap, as far as the system lets it."""

from __future__ import annotations

import ctypes
import resource
import sys
from pathlib import Path

_PR_GET_DUMPABLE, _PR_SET_DUMPABLE = 3, 4
_MCL_CURRENT, _MCL_FUTURE, _MCL_ONFAULT = 1, 2, 4
_CAP_IPC_LOCK = 14


def harden(*, lock: bool) -> dict[str, str]:
    """Turn off core dumps and tracing by the same user, and lock memory if asked. Never fails.

    Returns:
        What is in force: ``core_dumps`` and ``dumpable`` are ``off`` or ``on``; ``locked`` is ``yes``, or ``no`` with
        the reason.
    """
    return {"core_dumps": _core_dumps(), "dumpable": _dumpable(), "locked": _lock() if lock else "no: not asked for"}


def _core_dumps() -> str:
    try:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    except (ValueError, OSError):
        return "on"
    return "off"


def _dumpable() -> str:
    """A process that is not dumpable is not traced, nor its memory read, by others of its user either."""
    libc = _libc()
    if libc is None:
        return "on"
    libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
    return "off" if libc.prctl(_PR_GET_DUMPABLE, 0, 0, 0, 0) == 0 else "on"


def _lock() -> str:
    libc = _libc()
    if libc is None:
        return "no: only Linux is supported"
    # Below a finite limit the lock may succeed now, and an allocation fail later.
    if not _may_lock_without_limit():
        return "no: give the process CAP_IPC_LOCK, or an unlimited RLIMIT_MEMLOCK"
    # Pages are locked as they are touched: a thread's stack is mostly air.
    if libc.mlockall(_MCL_CURRENT | _MCL_FUTURE | _MCL_ONFAULT) != 0:
        return "no: the system refused it"
    return "yes"


def _may_lock_without_limit() -> bool:
    try:
        _, hard = resource.getrlimit(resource.RLIMIT_MEMLOCK)
        if hard == resource.RLIM_INFINITY:
            resource.setrlimit(resource.RLIMIT_MEMLOCK, (hard, hard))
            return True
        status = Path("/proc/self/status").read_text()
    except (ValueError, OSError):
        return False
    (effective,) = [int(line.split()[1], 16) for line in status.splitlines() if line.startswith("CapEff:")] or [0]
    return bool(effective >> _CAP_IPC_LOCK & 1)


def _libc() -> ctypes.CDLL | None:
    try:
        return ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None
    except OSError:
        return None
