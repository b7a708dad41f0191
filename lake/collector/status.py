"""What a collector has, holds and does, told to whoever owns its folder; it reads no event."""

from __future__ import annotations

from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

from lake.clock import timestamp
from lake.collector import leases, state
from lake.collector.clocks import Clocks
from lake.collector.folder import load_state, owner, read_key
from lake.collector.settings import CollectorSettings


def status(settings: CollectorSettings, clocks: Clocks | None = None) -> dict[str, Any]:
    """Of the collector with these settings, running or not; counts are as of its last saving, a second ago or so.

    Raises:
        KeysError: the key file is not there or may not be used.
        IntegrityError: the spool does not open with it.
    """
    clocks = clocks or Clocks()
    content = load_state(settings.folder, read_key(settings.key_file))
    known = state.State() if content is None else state.decode(content)
    held = leases.decode(known.leases) if known.boot and known.boot == clocks.boot_id() else leases.Leases()
    clock, process = clocks.boot(), owner(settings.folder)
    lease = held.live(clock)
    return {
        "device": settings.device,
        "employee": settings.employee,
        "dataset": settings.dataset,
        "process": process,
        "recording": process is not None and lease is not None,
        "lease": None
        if lease is None
        else {
            "id": lease.id,
            "contract": lease.contract,
            "version": lease.version,
            "types": sorted(lease.types),
            "ends_in_seconds": round(lease.held.sent + lease.held.seconds - clock, 1),
        },
        "spool": {"bytes": _size(settings.folder / "batches"), "most": settings.spool_bytes},
        "kept_until_upload": settings.keep,
        "counts": dict(sorted(Counter(known.totals).items())),
        "at": timestamp(clocks.wall()),
    }


def _size(folder: Path) -> int:
    size = 0
    for file in folder.glob("*"):
        with suppress(FileNotFoundError):  # sent meanwhile
            size += file.stat().st_size
    return size
