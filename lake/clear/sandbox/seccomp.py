"""A filter of system calls for the process that runs user SQL: what it needs to compute, and nothing else.

No file can be opened, no socket made, no program started, no other process touched, no memory made executable. A call
that is on no list answers "not implemented", to which the C library has fallbacks. The filter is a classic BPF program
(Linux, Documentation/userspace-api/seccomp_filter.rst), assembled here because it is small and must be readable.
"""

from __future__ import annotations

import ctypes
import os
import platform
import struct
from collections.abc import Mapping
from dataclasses import dataclass

_PR_SET_NO_NEW_PRIVS, _PR_SET_SECCOMP, _SECCOMP_MODE_FILTER = 38, 22, 2
_LOAD, _JUMP_EQUAL, _JUMP_SET, _JUMP_GREATER_EQUAL, _RETURN = 0x20, 0x15, 0x45, 0x35, 0x06
_ALLOW, _KILL, _ERRNO = 0x7FFF0000, 0x80000000, 0x00050000
_ENOSYS, _EACCES = 38, 13
_NR, _ARCH, _FIRST_ARGUMENT = 0, 4, 16

_CLONE_THREAD, _PROT_EXEC = 0x00010000, 0x4
_PR_SET_NAME, _PR_SET_VMA = 15, 0x53564D41
_F_GETFD, _F_GETFL = 1, 3
_MSG_OOB = 0x1
_X32 = 0x40000000


@dataclass(frozen=True, slots=True)
class _Machine:
    """How one kind of machine numbers its system calls."""

    audit_arch: int
    numbers: Mapping[str, int]


_X86_64 = _Machine(
    0xC000003E,
    {
        "read": 0, "write": 1, "close": 3, "fstat": 5, "poll": 7, "mmap": 9, "mprotect": 10, "munmap": 11, "brk": 12,
        "rt_sigaction": 13, "rt_sigprocmask": 14, "rt_sigreturn": 15, "readv": 19, "writev": 20, "sched_yield": 24,
        "mremap": 25, "madvise": 28, "nanosleep": 35, "getpid": 39, "sendto": 44, "recvfrom": 45, "sendmsg": 46,
        "recvmsg": 47, "clone": 56, "exit": 60, "uname": 63, "fcntl": 72, "gettimeofday": 96, "getrusage": 98,
        "sysinfo": 99, "sigaltstack": 131, "prctl": 157, "gettid": 186, "time": 201, "futex": 202,
        "sched_getaffinity": 204, "set_tid_address": 218, "restart_syscall": 219, "clock_gettime": 228,
        "clock_getres": 229, "clock_nanosleep": 230, "exit_group": 231, "tgkill": 234, "ppoll": 271,
        "set_robust_list": 273, "get_robust_list": 274, "prlimit64": 302, "getcpu": 309, "getrandom": 318,
        "membarrier": 324, "rseq": 334,
    },
)  # fmt: skip
_AARCH64 = _Machine(
    0xC00000B7,
    {
        "fcntl": 25, "close": 57, "read": 63, "write": 64, "readv": 65, "writev": 66, "ppoll": 73, "fstat": 80,
        "exit": 93, "exit_group": 94, "set_tid_address": 96, "futex": 98, "set_robust_list": 99,
        "get_robust_list": 100, "nanosleep": 101, "clock_gettime": 113, "clock_getres": 114, "clock_nanosleep": 115,
        "sched_getaffinity": 123, "sched_yield": 124, "restart_syscall": 128, "tgkill": 131, "sigaltstack": 132,
        "rt_sigaction": 134, "rt_sigprocmask": 135, "rt_sigreturn": 139, "uname": 160, "getrusage": 165, "prctl": 167,
        "getcpu": 168, "gettimeofday": 169, "getpid": 172, "gettid": 178, "sysinfo": 179, "sendto": 206,
        "recvfrom": 207, "sendmsg": 211, "recvmsg": 212, "brk": 214, "munmap": 215, "mremap": 216, "clone": 220,
        "mmap": 222, "mprotect": 226, "madvise": 233, "prlimit64": 261, "getrandom": 278, "membarrier": 283,
        "rseq": 293,
    },
)  # fmt: skip
_MACHINES = {"x86_64": _X86_64, "aarch64": _AARCH64}

Instruction = tuple[int, int, int, int]
"""Operation, where to go if true, if false (counted from the next one), and the constant."""


def program(machine: str, pid: int) -> list[Instruction]:
    """The filter for the process ``pid`` on a kind of machine.

    Raises:
        KeyError: its system calls are not known here.
    """
    known = _MACHINES[machine]
    code: list[Instruction] = [
        (_LOAD, 0, 0, _ARCH),
        (_JUMP_EQUAL, 1, 0, known.audit_arch),
        (_RETURN, 0, 0, _KILL),
        (_LOAD, 0, 0, _NR),
        (_JUMP_GREATER_EQUAL, 0, 1, _X32),
        (_RETURN, 0, 0, _KILL),
    ]
    checks: dict[str, list[Instruction]] = {
        # Threads, no processes.
        "clone": _argument(0, (_JUMP_SET, 0, 1, _CLONE_THREAD)),
        "mmap": _argument(2, (_JUMP_SET, 1, 0, _PROT_EXEC)),
        "mprotect": _argument(2, (_JUMP_SET, 1, 0, _PROT_EXEC)),
        # Descriptors are looked at, not set: one may be made to send signals.
        "fcntl": [*_argument(1, (_JUMP_EQUAL, 0, 1, _F_GETFD)), *_argument(1, (_JUMP_EQUAL, 0, 1, _F_GETFL))],
        # Urgent data of Unix sockets serve nobody, and their code had holes.
        **{name: _argument(2, (_JUMP_SET, 1, 0, _MSG_OOB)) for name in ("sendmsg", "recvmsg")},
        **{name: _argument(3, (_JUMP_SET, 1, 0, _MSG_OOB)) for name in ("sendto", "recvfrom")},
        "tgkill": _argument(0, (_JUMP_EQUAL, 0, 1, pid)),
        "prctl": [*_argument(0, (_JUMP_EQUAL, 0, 1, _PR_SET_NAME)), *_argument(0, (_JUMP_EQUAL, 0, 1, _PR_SET_VMA))],
        # Limits may be read, not set: the third argument is a pointer, of which both halves are zero.
        "prlimit64": [(_LOAD, 0, 0, _FIRST_ARGUMENT + 16), (_JUMP_EQUAL, 0, 3, 0), *_argument(2, (_JUMP_EQUAL, 0, 1, 0), high=True)],  # noqa: E501
    }  # fmt: skip
    for name, number in known.numbers.items():
        body = [*checks[name], (_RETURN, 0, 0, _ERRNO | _EACCES)] if name in checks else [(_RETURN, 0, 0, _ALLOW)]
        code += [(_JUMP_EQUAL, 0, len(body), number), *body]
    return [*code, (_RETURN, 0, 0, _ERRNO | _ENOSYS)]


def _argument(index: int, test: Instruction, *, high: bool = False) -> list[Instruction]:
    """Allow if the argument's lower (or higher) half passes the test, which skips one instruction if not."""
    return [(_LOAD, 0, 0, _FIRST_ARGUMENT + 8 * index + 4 * high), test, (_RETURN, 0, 0, _ALLOW)]


def install() -> str:
    """Put the filter over this process for good; every thread that it starts later has it too.

    Returns:
        ``on``, or ``off`` with the reason.
    """
    try:
        code = program(platform.machine(), os.getpid())
    except KeyError:
        return "off: the system calls of this kind of machine are not known"
    packed = b"".join(struct.pack("HBBI", *instruction) for instruction in code)
    buffer = ctypes.create_string_buffer(packed, len(packed))
    header = struct.pack("HxxxxxxP", len(code), ctypes.addressof(buffer))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        return "off: the system refused it"
    if libc.prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.create_string_buffer(header), 0, 0) != 0:
        return "off: the system refused it"
    return "on"
