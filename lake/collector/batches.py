"""What a closed batch says of itself, and one batch as two: docs/formats.md, "A batch"."""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Packed:
    """A batch as it is sent. Its ``repr`` shows no event."""

    header: Mapping[str, Any] = field(repr=False)
    body: bytes = field(repr=False)
    rows: int


def pack(base: Mapping[str, Any], lines: Sequence[str], first: int, dropped: Mapping[str, int]) -> Packed:
    """Events as a batch.

    Args:
        base: what every batch of the lease says of itself, and the batch's id.
        lines: the events, each as JSON.
        first: number of the first event.
        dropped: what was left out and stands in no other header, by reason.
    """
    rows = [json.loads(line) for line in lines]
    times = sorted(row["ts"] for row in rows)
    header = {
        **base,
        "captured": [times[0], times[-1]],
        "seq": [first, first + len(rows) - 1],
        "filter": {"rules": "", "dropped": dict(dropped)},
        "types": sorted({row["type"] for row in rows}),
    }
    return Packed(header, gzip.compress("".join(f"{line}\n" for line in lines).encode(), mtime=0), len(rows))


def halve(whole: Packed, names: tuple[str, str]) -> tuple[Packed, Packed]:
    """A batch of at least two events as two under other ids; the first tells what was left out."""
    lines = gzip.decompress(whole.body).decode().split("\n")[:-1]
    middle, first = len(lines) // 2, whole.header["seq"][0]
    left, right = ({**whole.header, "batch": name} for name in names)
    dropped = whole.header["filter"]["dropped"]
    return pack(left, lines[:middle], first, dropped), pack(right, lines[middle:], first + middle, {})
