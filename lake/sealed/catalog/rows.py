"""Files as rows of the catalog and as values."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any, TypeVar

from lake.rules.model import DataFile, Partition

_T = TypeVar("_T")
_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 - capture times are naive UTC throughout
_MICROSECOND = timedelta(microseconds=1)
IN_LIST = 5_000
"""Numbers in one SQL IN list; longer restrictions are applied to the result."""


def microseconds(moment: datetime) -> int:
    """Microseconds since 1970 of a naive UTC time."""
    return (moment - _EPOCH) // _MICROSECOND


def moment(value: int) -> datetime:
    """Naive UTC time of microseconds since 1970."""
    return _EPOCH + value * _MICROSECOND


def chunks(values: Sequence[_T]) -> Iterable[Sequence[_T]]:
    """Parts that fit into one IN list."""
    for start in range(0, len(values), IN_LIST):
        yield values[start : start + IN_LIST]


def file_row(file: DataFile, number: int, batch_id: str) -> dict[str, Any]:
    """A file's columns."""
    return {
        "file_id": file.file_id,
        "dataset": file.partition.dataset,
        "subject": file.partition.subject,
        "number": number,
        "sensitivity": file.partition.sensitivity,
        "month": file.partition.month,
        "object_key": file.object_key,
        "format": file.format,
        "format_version": file.format_version,
        "schema_version": file.schema_version,
        "length": file.length,
        "sha256": file.sha256,
        "rows": file.rows,
        "first_ts": microseconds(file.first_ts),
        "last_ts": microseconds(file.last_ts),
        "batch_id": batch_id,
        "kek_id": file.kek_id,
        "kek_version": file.kek_version,
        "wrapped_dek": file.wrapped_dek,
    }


def data_file(row: Any) -> DataFile:
    """From a result's row."""
    return DataFile(
        file_id=row.file_id,
        partition=Partition(row.dataset, row.subject, row.sensitivity, row.month),
        object_key=row.object_key,
        format=row.format,
        format_version=row.format_version,
        schema_version=row.schema_version,
        length=row.length,
        sha256=row.sha256,
        rows=row.rows,
        first_ts=moment(row.first_ts),
        last_ts=moment(row.last_ts),
        kek_id=row.kek_id,
        kek_version=row.kek_version,
        wrapped_dek=row.wrapped_dek,
    )
