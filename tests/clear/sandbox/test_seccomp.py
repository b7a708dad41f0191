"""The filter of system calls: as data, against a table written down here, and in a process that has it."""

# ruff: noqa: E501 - one table, a few calls a line
from __future__ import annotations

import ctypes
import json
import os
import platform
import random
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from lake.clear.sandbox import seccomp
from tests.world import ROOT

PID = 4711
ALLOW, KILL, EACCES, ENOSYS = 0x7FFF0000, 0x80000000, 0x0005000D, 0x00050026
ARCHES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
HEADERS = {
    "x86_64": Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h"),
    "aarch64": Path("/usr/include/asm-generic/unistd.h"),
}
Arguments = tuple[int, int, int, int, int, int]

ALWAYS = {
    "read", "write", "close", "fstat", "munmap", "brk", "rt_sigaction", "rt_sigprocmask", "rt_sigreturn", "readv",
    "writev", "sched_yield", "mremap", "madvise", "nanosleep", "getpid", "exit", "uname", "gettimeofday", "getrusage",
    "sysinfo", "sigaltstack", "gettid", "futex", "sched_getaffinity", "set_tid_address", "restart_syscall",
    "clock_gettime", "clock_getres", "clock_nanosleep", "exit_group", "ppoll", "set_robust_list", "get_robust_list",
    "getcpu", "getrandom", "membarrier", "rseq",
}  # fmt: skip
OLD = {"x86_64": {"poll", "time"}, "aarch64": set[str]()}
LOW = 0xFFFFFFFF
CHECKED: dict[str, Callable[[Arguments], bool]] = {
    "clone": lambda a: bool(a[0] & 0x10000),
    "mmap": lambda a: not a[2] & 4,
    "mprotect": lambda a: not a[2] & 4,
    "fcntl": lambda a: a[1] & LOW in {1, 3},
    "sendmsg": lambda a: not a[2] & 1,
    "recvmsg": lambda a: not a[2] & 1,
    "sendto": lambda a: not a[3] & 1,
    "recvfrom": lambda a: not a[3] & 1,
    "tgkill": lambda a: a[0] & LOW == PID,
    "prctl": lambda a: a[0] & LOW in {15, 0x53564D41},
    "prlimit64": lambda a: a[2] == 0,
}


def judged(code: list[seccomp.Instruction], arch: int, number: int, arguments: Arguments) -> int:
    """What the kernel's interpreter would say: classic BPF over struct seccomp_data."""
    data = number.to_bytes(4, "little") + arch.to_bytes(4, "little") + bytes(8)
    data += b"".join(argument.to_bytes(8, "little") for argument in arguments)
    register, place = 0, 0
    while True:
        operation, yes, no, constant = code[place]
        place += 1
        match operation:
            case 0x20:
                assert constant % 4 == 0
                register = int.from_bytes(data[constant : constant + 4], "little")
            case 0x15:
                place += yes if register == constant else no
            case 0x35:
                place += yes if register >= constant else no
            case 0x45:
                place += yes if register & constant else no
            case 0x06:
                return constant
            case _:
                pytest.fail(f"operation {operation:#x} is not one that the filter needs")


def header_numbers(machine: str) -> dict[str, int]:
    """System calls as the C library's headers number them."""
    path = HEADERS[machine]
    if not path.exists():
        pytest.skip(f"no header at {path}")
    lines = re.findall(r"^#define __NR(?:3264)?_(\w+)\s+(\d+)$", path.read_text(), re.MULTILINE)
    return {name: int(number) for name, number in lines}


def some_arguments(chance: random.Random) -> list[Arguments]:
    """Classes of arguments: nothing, each bit alone in each place, small numbers, the process, chance."""
    found: list[Arguments] = [(0,) * 6, (PID,) * 6, ((1 << 64) - 1,) * 6]  # type: ignore[list-item]
    for place in range(4):
        for value in [*(1 << bit for bit in range(64)), 1, 3, 15, PID, 0x53564D41, PID | 1 << 32, 0x10000 | 0x20000000]:
            one = [0] * 6
            one[place] = value
            found.append(tuple(one))  # type: ignore[arg-type]
    found += [tuple(chance.getrandbits(64) for _ in range(6)) for _ in range(20)]  # type: ignore[misc]
    return found


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_every_call_is_judged_as_written_here(machine: str) -> None:
    """All numbers up to 600 with arguments of every class, against the names that are allowed."""
    code = seccomp.program(machine, PID)
    numbers = header_numbers(machine)
    names = {number: name for name, number in numbers.items()}
    arguments = some_arguments(random.Random(5))
    known = ALWAYS | OLD[machine]
    assert known | set(CHECKED) <= set(numbers)
    for number in range(601):
        name = names.get(number, "")
        for one in arguments:
            if name in known:
                expected = ALLOW
            elif name in CHECKED:
                expected = ALLOW if CHECKED[name](one) else EACCES
            else:
                expected = ENOSYS
            assert judged(code, ARCHES[machine], number, one) == expected, (name, number, one)


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_other_ways_to_number_calls_kill(machine: str) -> None:
    """Another machine's calls, 32-bit calls and the x32 numbers end the process."""
    code = seccomp.program(machine, PID)
    for arch in (0x40000003, 0x40000028, 0, *(arch for name, arch in ARCHES.items() if name != machine)):
        assert all(judged(code, arch, number, (0,) * 6) == KILL for number in range(601))
    for number in (0x40000000, 0x40000000 | 1, 0x40000000 | 520, 0x7FFFFFFF, 0xFFFFFFFF):
        assert judged(code, ARCHES[machine], number, (0,) * 6) == KILL


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_the_program_is_one_that_the_kernel_takes(machine: str) -> None:
    """Short enough, every jump forwards and within it, and the last instruction returns."""
    code = seccomp.program(machine, PID)
    assert len(code) <= 4096
    for place, (operation, yes, no, _) in enumerate(code):
        if operation in {0x15, 0x35, 0x45}:
            assert place + 1 + max(yes, no) < len(code)
            assert max(yes, no) < 256
    assert code[-1] == (0x06, 0, 0, ENOSYS)


def test_an_unknown_machine_has_no_filter_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is not known is not guessed."""
    with pytest.raises(KeyError):
        seccomp.program("riscv64", PID)
    monkeypatch.setattr(platform, "machine", lambda: "riscv64")
    assert seccomp.install().startswith("off: ")


TRIES = """
import ctypes, json, os, signal, socket, sys, threading
from lake.clear.sandbox import seccomp
libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long
numbers = json.loads(sys.argv[1])
path, buffer = ctypes.c_char_p(b"/etc/hostname"), ctypes.create_string_buffer(4096)
left, right = socket.socketpair()
other = os.getppid()
tries = {
    "open": [path, 0], "openat": [-100, path, 0], "creat": [ctypes.c_char_p(b"/tmp/x"), 0], "openat2": [-100, path, buffer, 24],
    "stat": [path, buffer], "newfstatat": [-100, path, buffer, 0], "statx": [-100, path, 0, 0xFFF, buffer], "access": [path, 0],
    "readlink": [path, buffer, 100], "getdents64": [0, buffer, 100], "unlink": [path], "rename": [path, path], "mkdir": [path, 0],
    "socket": [1, 1, 0], "socketpair": [1, 1, 0, buffer], "connect": [left.fileno(), buffer, 16], "bind": [left.fileno(), buffer, 16],
    "listen": [left.fileno(), 1], "accept": [left.fileno(), 0, 0], "setsockopt": [left.fileno(), 1, 16, buffer, 4],
    "fork": [], "vfork": [], "clone": [17, 0, 0, 0, 0], "clone3": [buffer, 88], "execve": [path, 0, 0], "execveat": [-1, path, 0, 0, 0],
    "ptrace": [16, other, 0, 0], "process_vm_readv": [other, buffer, 1, buffer, 1, 0], "process_vm_writev": [other, buffer, 1, buffer, 1, 0],
    "kill": [other, 0], "tkill": [other, 0], "tgkill": [other, other, 0], "rt_sigqueueinfo": [other, 0, buffer],
    "pidfd_open": [other, 0], "pidfd_getfd": [0, 0, 0], "pidfd_send_signal": [0, 0, 0, 0], "kcmp": [other, other, 0, 0, 0],
    "memfd_create": [path, 0], "memfd_secret": [0], "mprotect": [ctypes.c_void_p(0), 4096, 5], "mmap": [0, 4096, 7, 0x22, -1, 0],
    "pkey_mprotect": [0, 4096, 5, -1], "shmget": [0, 4096, 0o1600], "shmat": [0, 0, 0], "personality": [0x0400000],
    "prlimit64": [0, 7, buffer, 0], "setrlimit": [7, buffer], "prctl": [4, 1, 0, 0, 0], "seccomp": [1, 0, buffer],
    "io_uring_setup": [8, buffer], "keyctl": [0, -3, 0], "add_key": [path, path, buffer, 8, -3], "bpf": [0, buffer, 100],
    "perf_event_open": [buffer, 0, -1, -1, 0], "userfaultfd": [0], "unshare": [0x10000000], "setns": [0, 0],
    "mount": [path, path, path, 0, 0], "umount2": [path, 0], "chroot": [path], "pivot_root": [path, path], "fcntl": [left.fileno(), 8, other],
    "dup": [0], "dup2": [0, 9], "dup3": [0, 9, 0], "pipe2": [buffer, 0], "eventfd2": [0, 0], "epoll_create1": [0], "ioctl": [0, 0x5401, buffer],
    "sendmsg": [left.fileno(), buffer, 1], "sendto": [left.fileno(), buffer, 1, 1, 0, 0], "recvfrom": [right.fileno(), buffer, 1, 1, 0, 0],
    "sched_setaffinity": [0, 8, buffer], "setuid": [0], "capset": [buffer, buffer], "reboot": [0, 0, 0, 0], "landlock_create_ruleset": [buffer, 8, 0],
    "timer_create": [0, buffer, buffer], "inotify_init1": [0], "fanotify_init": [0, 0], "name_to_handle_at": [-100, path, buffer, buffer, 0],
    "open_by_handle_at": [-1, buffer, 0], "swapon": [path, 0], "modify_ldt": [0, buffer, 16], "arch_prctl": [0x1002, 0],
}
state = seccomp.install()
found = {}
for name, arguments in tries.items():
    if name in numbers:
        ctypes.set_errno(0)
        result = libc.syscall(ctypes.c_long(numbers[name]), *[ctypes.c_long(a) if isinstance(a, int) else a for a in arguments])
        found[name] = [result, ctypes.get_errno()]
allowed = {
    "threads": [], "readlimit": libc.syscall(numbers["prlimit64"], 0, 7, None, buffer) == 0,
    "ownsignal": libc.syscall(numbers["tgkill"], os.getpid(), threading.get_native_id(), 0) == 0,
    "getfl": libc.syscall(numbers["fcntl"], left.fileno(), 3) >= 0, "talk": left.send(b"x") == 1 and right.recv(1) == b"x",
}
threads = [threading.Thread(target=allowed["threads"].append, args=(n,)) for n in range(3)]
[t.start() for t in threads]; [t.join() for t in threads]
try:
    open("/etc/hostname")
    allowed["opened"] = True
except OSError:
    pass
print(json.dumps([state, found, allowed]))
"""


def test_in_a_process_that_has_it_nothing_else_works() -> None:
    """Files, sockets, processes, programs, signals, executable memory, limits, namespaces, kernel interfaces: refused."""
    numbers = header_numbers(platform.machine())
    ran = subprocess.run(
        [sys.executable, "-c", TRIES, json.dumps(numbers)],
        capture_output=True,
        timeout=60,
        check=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    state, found, allowed = json.loads(ran.stdout)
    assert state == "on"
    assert len(found) > 70
    assert {name: seen for name, seen in found.items() if seen[0] != -1 or seen[1] not in {13, 38}} == {}
    assert allowed.pop("threads") == [0, 1, 2]
    assert set(allowed) == {"readlimit", "ownsignal", "getfl", "talk"}
    assert all(allowed.values())


@pytest.mark.skipif(platform.machine() != "x86_64", reason="there is only one way to number calls elsewhere")
def test_a_number_of_another_kind_ends_the_process() -> None:
    """An x32 call is not answered: the process is killed by SIGSYS."""
    pid = os.fork()
    if pid == 0:
        seccomp.install()
        ctypes.CDLL(None).syscall(ctypes.c_long(0x40000000 | 39))
        os._exit(0)
    assert os.WTERMSIG(os.waitpid(pid, 0)[1]) == 31
