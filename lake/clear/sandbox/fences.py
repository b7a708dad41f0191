"""What keeps the process that runs user SQL in its place, as far as the system lets it. Raised before any SQL is seen.

Each fence reports whether it is in force; ``lake doctor`` shows it. The limits of memory, time, files and descriptors
are the system's own (setrlimit), for DuckDB's are not kept by every function of its own.
"""

from __future__ import annotations

import ctypes
import os
import resource
import struct
import sys
from pathlib import Path

from lake.clear.sandbox import seccomp

_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_SET_NO_NEW_PRIVS, _SIGKILL = 1, 4, 38, 9
_CLONE_NEWUSER, _CLONE_NEWNET, _CLONE_NEWIPC = 0x10000000, 0x40000000, 0x08000000
_LANDLOCK_CREATE_RULESET, _LANDLOCK_RESTRICT_SELF, _LANDLOCK_VERSION = 444, 446, 1
_FILE_RIGHTS = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1, 5: (1 << 16) - 1}
"""All rights over files, from the ABI version on that knows them (Linux, Documentation/userspace-api/landlock.rst)."""
_TCP_RIGHTS, _SCOPES = 0b11, 0b11
_NOBODY = 65_534
_DESCRIPTORS = 16
_GRACE_SECONDS = 2
"""Between the signal that says that the processor time is used up, and the one that cannot be ignored."""
ON = "on"


def apart() -> dict[str, str]:
    """Leave the host's network and its shared memory; the process that starts the sandboxes does it once for all."""
    libc = _libc()
    if libc is None:
        return {"network namespace": "off: only Linux is supported"}
    alone = _CLONE_NEWNET | _CLONE_NEWIPC
    if libc.unshare(alone) == 0 or libc.unshare(alone | _CLONE_NEWUSER) == 0:
        return {"network namespace": ON}
    return {"network namespace": "off: the system refused it"}


def die_with_parent() -> None:
    """Be killed when the parent ends."""
    libc = _libc()
    if libc is not None:
        libc.prctl(_PR_SET_PDEATHSIG, _SIGKILL, 0, 0, 0)


def raised(memory: int, seconds: int) -> dict[str, str]:
    """Raise every fence around this process, for good.

    Args:
        memory: bytes of address space beyond what the process has now.
        seconds: of processor time, of all its threads together.
    """
    found = {"no core dumps": _limit(resource.RLIMIT_CORE, 0)}
    found["no files written"] = _limit(resource.RLIMIT_FSIZE, 0)
    found["open files"] = _limit(resource.RLIMIT_NOFILE, _DESCRIPTORS)
    found["processor time"] = _limit(resource.RLIMIT_CPU, seconds, seconds + _GRACE_SECONDS)
    found["address space"] = _limit(resource.RLIMIT_AS, _address_space() + memory)
    found["a user of its own"] = _nobody()
    libc = _libc()
    if libc is None:
        return found
    die_with_parent()  # forgotten when the user changes
    libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
    libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    found["landlock"] = _landlock(libc)
    found["seccomp"] = seccomp.install()
    return found


def _limit(kind: int, value: int, hard: int | None = None) -> str:
    try:
        resource.setrlimit(kind, (value, value if hard is None else hard))
    except (ValueError, OSError):
        return "off: the system refused it"
    return ON


def _address_space() -> int:
    """Bytes that the process has mapped."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    except (OSError, ValueError):
        return 4 << 30


def _nobody() -> str:
    """Give up root, if it is root: the sandbox owns no file then."""
    if os.geteuid() != 0:
        return "the gateway's: start the gateway as root to have one" if os.geteuid() else ON
    try:
        os.setgroups([])
        os.setresgid(_NOBODY, _NOBODY, _NOBODY)
        os.setresuid(_NOBODY, _NOBODY, _NOBODY)
    except OSError:
        return "off: the system refused it"
    return ON


def _landlock(libc: ctypes.CDLL) -> str:
    """No path may be opened, no port bound or connected to, no process outside signalled: a ruleset without rules."""
    version = libc.syscall(_LANDLOCK_CREATE_RULESET, None, ctypes.c_size_t(0), _LANDLOCK_VERSION)
    if version < 1:
        return "off: the kernel has none"
    rights = _FILE_RIGHTS[max(known for known in _FILE_RIGHTS if known <= version)]
    fields = [rights, _TCP_RIGHTS if version >= 4 else 0, _SCOPES if version >= 6 else 0]
    size = 24 if version >= 6 else 16 if version >= 4 else 8
    attributes = ctypes.create_string_buffer(struct.pack("QQQ", *fields))
    ruleset = libc.syscall(_LANDLOCK_CREATE_RULESET, attributes, ctypes.c_size_t(size), 0)
    if ruleset < 0:
        return "off: the system refused it"
    try:
        if libc.syscall(_LANDLOCK_RESTRICT_SELF, ruleset, 0) != 0:
            return "off: the system refused it"
    finally:
        os.close(ruleset)
    return ON


def _libc() -> ctypes.CDLL | None:
    try:
        return ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None
    except OSError:
        return None
