"""Encrypted files with every type that the lake stores, and the images that are made of them."""

# ruff: noqa: DTZ001 - capture times are naive UTC
from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, NoReturn

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyarrow.parquet.encryption import create_encryption_properties

from keys.broker import LandingKey
from lake.clear.landing.encode import layout
from lake.clear.reading.image import footer
from lake.clear.reading.image.build import Image, Wanted, build
from lake.clear.reading.plan import FileToRead
from lake.rules.layout import FORMAT_PME, FORMAT_PME_VERSION
from lake.sealed.objects import Location

STORED = pa.schema(
    [
        ("ts", pa.timestamp("us")),
        ("type", pa.string()),
        ("i", pa.int32()),
        ("l", pa.int64()),
        ("d", pa.float64()),
        ("b", pa.bool_()),
        ("at", pa.timestamp("us")),
        ("text", pa.string()),
    ]
)
SHOWN = pa.schema([("sensitivity", pa.int8()), ("employee", pa.string()), *STORED])


def _unused(_binding: object) -> NoReturn:
    raise AssertionError("nothing is wrapped here")


class Files:
    """Writes encrypted files, and makes images of them."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.location = Location("local", str(root))
        self.opened: list[str] = []

    def file(
        self, rows: pa.Table, number: int = 1, sensitivity: int = 2, *, group: int = 1000, **options: Any
    ) -> FileToRead:
        """A file of these rows, laid out as the lake's own but for the size of groups and the options given."""
        key = LandingKey(os.urandom(16).hex(), os.urandom(32), os.urandom(32), _unused)
        properties = create_encryption_properties(
            key.dek, aad_prefix=key.aad_prefix, store_aad_prefix=False, encryption_algorithm="AES_GCM_V1"
        )
        path = self.root / f"{key.file_id}.parquet"
        with pq.ParquetWriter(path, rows.schema, **layout(rows) | options, encryption_properties=properties) as writer:
            writer.write_table(rows, row_group_size=group)
        return FileToRead(
            file_id=key.file_id,
            object_key=path.name,
            format=FORMAT_PME,
            format_version=FORMAT_PME_VERSION,
            length=path.stat().st_size,
            rows=rows.num_rows,
            number=number,
            label=f"e{number}",
            sensitivity=sensitivity,
            dek=key.dek,
            aad_prefix=key.aad_prefix,
        )

    def path(self, file: FileToRead) -> Path:
        return self.root / file.object_key

    def footer(self, file: FileToRead) -> footer.Footer:
        """Read each time it is asked for."""
        self.opened.append(file.file_id)
        content = self.path(file).read_bytes()
        return footer.read(file, lambda start, count: content[start : start + count])

    def image(
        self,
        files: Sequence[FileToRead],
        schema: pa.Schema = SHOWN,
        known: Image | None = None,
        *,
        first: datetime | None = None,
        last: datetime | None = None,
        most: int = 1 << 30,
    ) -> Image | None:
        wanted = Wanted(self.location, schema, first, last, most)
        return build(files, wanted, self.footer, known=known)


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


def content(image: Image) -> bytes:
    """All bytes of an image."""
    return os.pread(image.descriptor, image.size, 0)


def by_engine(image: Image, columns: str = "*") -> pa.Table:
    """What DuckDB reads."""
    path = f"/proc/self/fd/{image.descriptor}"
    with duckdb.connect(":memory:", config={"threads": "2"}) as connection:
        return connection.sql(f"SELECT {columns} FROM read_parquet('{path}')").to_arrow_table()  # noqa: S608


def by_arrow(image: Image) -> pa.Table:
    """What Arrow reads, which checks more."""
    return pq.read_table(pa.BufferReader(content(image)))


Rows = Callable[..., pa.Table]


def rows(count: int, start: int = 0) -> pa.Table:
    """Rows with NULLs in every column but the first, empty and long texts, and numbers at their ends."""
    at = [datetime(2026, 7, 1 + (start + n) // 100, 9, 0, 0, (start + n) % 100) for n in range(count)]
    edge = [-(2**31), 2**31 - 1, 0, 7]
    wide = [-(2**63), 2**63 - 1, 0, -7]
    real = [float("-inf"), 0.1, -0.0, 1e300]
    texts = ["", "ä" * 300, "plain", "a\0b"]
    return pa.table(
        {
            "ts": at,
            "type": ["key" if n % 3 else "focus" for n in range(count)],
            "i": [None if n % 5 == 0 else edge[n % 4] for n in range(count)],
            "l": [None if n % 7 == 0 else wide[n % 4] for n in range(count)],
            "d": [None if n % 4 == 0 else real[n % 4] for n in range(count)],
            "b": [None if n % 3 == 0 else n % 2 == 0 for n in range(count)],
            "at": [None if n % 2 else at[n] for n in range(count)],
            "text": [None if n % 6 == 0 else f"{texts[n % 4]}{start + n}" for n in range(count)],
        },
        STORED,
    )


def expected(parts: Sequence[tuple[FileToRead, pa.Table]], schema: pa.Schema = SHOWN) -> pa.Table:
    """The rows with what their files have in common."""
    tables = []
    for file, part in parts:
        constants = {
            "sensitivity": pa.array([file.sensitivity] * part.num_rows, pa.int8()),
            "employee": pa.array([file.label] * part.num_rows, pa.string()),
        }
        arrays = [
            constants[field.name]
            if field.name in constants
            else part[field.name]
            if field.name in part.column_names
            else pa.nulls(part.num_rows, field.type)
            for field in schema
        ]
        tables.append(pa.table(arrays, schema=schema))
    return pa.concat_tables(tables)
