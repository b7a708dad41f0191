"""Spools and events for tests of the collector."""

from __future__ import annotations

import gzip
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lake.collector.spool import MIB, Batch, Spool

KEY = bytes(range(32))
LEASES = ("a" * 32, "b" * 32, "c" * 32)
MARKER = "Marker-QX-4711"
HEADER = {
    "device": "laptop-7",
    "employee": MARKER,
    "dataset": "events",
    "version": 1,
    "contract": "sha256:" + "0" * 64,
    "lease": "token",
}


def event(number: int, text: str = MARKER) -> dict[str, Any]:
    """One row as a spool takes it."""
    return {
        "employee": MARKER,
        "ts": f"2026-11-27T09:00:00.{number % 1_000_000:06d}+00:00",
        "type": "focus",
        "n": number,
        "app": text,
    }


def opened(path: Path, most: int = 64 * MIB) -> Spool:
    """The spool in a folder."""
    return Spool(path, KEY, most=most)


def put(spool: Spool, *numbers: int, lease: str = LEASES[0], **options: Any) -> bool:
    """Take some events in one step."""
    return spool.append(lease, HEADER, [event(number) for number in numbers], **options)


def numbers(batch: Batch) -> list[int]:
    """Of the events in a batch."""
    return [json.loads(line)["n"] for line in gzip.decompress(batch.body).splitlines()]


def drain(spool: Spool) -> list[tuple[str, list[int]]]:
    """Send everything: ids of batches and the numbers in them."""
    spool.close_batch()
    found: list[tuple[str, list[int]]] = []
    while batch := spool.first():
        found.append((batch.header["batch"], numbers(batch)))
        spool.finish([batch.name], {"sent": batch.rows})
    return found


def flat(drained: Sequence[tuple[str, list[int]]]) -> list[int]:
    """All numbers, in order."""
    return [number for _, some in drained for number in some]


def bytes_of(path: Path) -> bytes:
    """Everything in a folder."""
    return b"".join(file.read_bytes() for file in sorted(path.rglob("*")) if file.is_file())
