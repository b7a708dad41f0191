"""Shared memory as Arrow buffers, without a copy."""

from __future__ import annotations

import ctypes
import os
import weakref

import pyarrow as pa

_PROT_READ, _MAP_SHARED, _MAP_POPULATE = 1, 1, 0x8000


def mapped(descriptor: int, size: int) -> pa.Buffer:
    """The bytes behind a descriptor, which is closed; unmapped when nothing refers to them any more."""
    try:
        address = _MMAP(None, size, _PROT_READ, _MAP_SHARED | _MAP_POPULATE, descriptor, 0)
    finally:
        os.close(descriptor)
    if address in {None, ctypes.c_void_p(-1).value}:
        raise MemoryError
    owner = _Mapping()
    weakref.finalize(owner, _MUNMAP, address, size).atexit = False
    return pa.foreign_buffer(address, size, owner)


class _Mapping:
    """Lives as long as a buffer refers to it."""


_LIBC = ctypes.CDLL(None, use_errno=True)
_MMAP, _MUNMAP = _LIBC.mmap, _LIBC.munmap
_MMAP.restype = ctypes.c_void_p
_MMAP.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
_MUNMAP.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
