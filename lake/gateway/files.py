"""Files as deliveries: named by the digest of their bytes, and refused if they change while they are read."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from lake.clear.landing.readers.source import ReadOptions, Source, open_source
from lake.errors import MalformedInputError, UsageError
from lake.gateway.ingest import Delivery
from lake.rules.contract import Contract

CHUNK = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class _Digest:
    text: str

    def hexdigest(self) -> str:
        return self.text


def file_delivery(
    path: Path, importer: str | None, contract: Contract, options: ReadOptions, *, batch_id: str | None = None
) -> Delivery:
    """One file as one batch.

    Raises:
        UsageError: it cannot be read, or no importer takes it.
    """
    before = _state(path)
    digest = _digest(path)
    source = open_source(path, importer, contract, options)
    return Delivery(
        dataset=contract.dataset,
        batches=_unchanged(path, source, before),
        content=_Digest(digest),
        batch_id=batch_id,
        contract_version=contract.version,
        known_content=True,
        dropped=source.dropped,
    )


def _unchanged(path: Path, source: Source, before: tuple[int, ...]) -> Iterator[pa.RecordBatch]:
    yield from source
    if _state(path) != before:
        raise MalformedInputError(f"{path.name} changed while it was read", hint="wait until it is written, try again")


def _state(path: Path) -> tuple[int, ...]:
    try:
        status = os.stat(path)  # noqa: PTH116 - one call for all fields
    except OSError:
        raise UsageError(f"{path} cannot be read") from None
    return status.st_ino, status.st_size, status.st_mtime_ns


def _digest(path: Path) -> str:
    hasher = hashlib.sha256()
    try:
        with path.open("rb", buffering=0) as file:
            while chunk := file.read(CHUNK):
                hasher.update(chunk)
    except OSError:
        raise UsageError(f"{path} cannot be read") from None
    return hasher.hexdigest()
