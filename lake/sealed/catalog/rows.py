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
    """From a row of the whole table, in the order of its columns: by name it would take as long again."""
    file_id, dataset, subject, _, sensitivity, month, object_key = row[:7]
    kind, kind_version, schema_version, length, sha256, rows, first_ts, last_ts = row[7:15]
    kek_id, kek_version, wrapped_dek = row[18:]
    return DataFile(
        file_id,
        Partition(dataset, subject, sensitivity, month),
        object_key,
        kind,
        kind_version,
        schema_version,
        length,
        sha256,
        rows,
        moment(first_ts),
        moment(last_ts),
        kek_id,
        kek_version,
        wrapped_dek,
    )
