"""The clocks of a collector: one that nobody sets and that counts while the machine sleeps, and the wall's for display.

A lease is measured on the first alone. See :class:`lake.rules.lease.Held`.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from lake.clock import Clock, utc_now
from lake.errors import UsageError

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def since_boot() -> float:
    """Seconds since the machine was started, those asleep counted in.

    Raises:
        UsageError: this system has no such clock; nothing may be recorded on it.
    """
    # Darwin's own clock of the second name counts while asleep, unlike Linux's.
    names = {"linux": "CLOCK_BOOTTIME", "darwin": "CLOCK_MONOTONIC"}
    number = getattr(time, names.get(sys.platform, ""), None)
    if number is None:
        raise UsageError("this system has no clock that counts while it sleeps", hint="collect on Linux or macOS")
    return time.clock_gettime(number)


def boot_id() -> str:
    """What differs from one start of the machine to the next; empty if the system does not say."""
    try:
        return _BOOT_ID.read_text().strip()
    except OSError:
        return ""


@dataclass(frozen=True, slots=True)
class Clocks:
    """What a collector reads the time from; tests hand in others."""

    boot: Callable[[], float] = since_boot
    boot_id: Callable[[], str] = boot_id
    wall: Clock = utc_now
