"""Encrypted files made directly, and plans over them."""

# ruff: noqa: DTZ001 - capture times are naive UTC
from __future__ import annotations

import os
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, NoReturn

import pyarrow as pa
import pytest

from keys.broker import LandingKey
from lake.clear.landing.encode import encode
from lake.clear.reading.plan import FileToRead, SealedPlan
from lake.sealed.objects import Location

STORED = pa.schema([("ts", pa.timestamp("us")), ("type", pa.string()), ("n", pa.int64()), ("s", pa.string())])


def _unused(_binding: object) -> NoReturn:
    raise AssertionError("nothing is wrapped here")


def _file(root: Path, number: int, sensitivity: int) -> FileToRead:
    """One file of ten rows; ``n`` says which employee and row."""
    rows = pa.Table.from_pylist(
        [
            {"ts": datetime(2026, 7, 1) + timedelta(days=row), "type": "x", "n": number * 100 + row, "s": f"text {row}"}
            for row in range(10)
        ],
        STORED,
    )
    key = LandingKey(f"{number:031x}{sensitivity}", os.urandom(32), os.urandom(32), _unused)
    encoded = encode(rows, key)
    name = f"{key.file_id}.parquet"
    (root / name).write_bytes(encoded.content)
    return FileToRead(
        file_id=key.file_id,
        object_key=name,
        format=encoded.format,
        format_version=encoded.format_version,
        length=encoded.length,
        rows=10,
        number=number,
        label=f"p_{number}",
        sensitivity=sensitivity,
        dek=key.dek,
        aad_prefix=key.aad_prefix,
    )


@pytest.fixture
def plan(tmp_path: Path) -> Callable[..., SealedPlan]:
    """Makes a plan over two employees' files, of levels 1 and 3, with some of its parts replaced."""

    def make(**changes: Any) -> SealedPlan:
        values: dict[str, Any] = {
            "dataset": "events",
            "location": Location("local", str(tmp_path)),
            "files": (_file(tmp_path, 1, 1), _file(tmp_path, 2, 3)),
            "schema": pa.schema([("sensitivity", pa.int8()), ("employee", pa.string()), *STORED]),
            "stored": STORED.append(pa.field("sensitivity", pa.int8())),
            "masks": {},
            "row_filter": None,
            "attributes": {},
            "now": datetime(2026, 9, 15),
            "first": None,
            "last": None,
            "mask_key": bytes(32),
        }
        return SealedPlan(**values | changes)

    return make
