"""The one place that reads data files, each with a key of its own: for queries by row groups, for jobs as a fragment.

What PME does not authenticate (the leading magic and the crypto metadata in clear) is compared here, byte by byte, so
that every changed byte of what is read is noticed, wherever the objects lie.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
from pyarrow import fs
from pyarrow.parquet.encryption import create_decryption_properties

from lake.clear.reading.plan import SUBJECT_COLUMN, FileToRead
from lake.clear.reading.ranged import KIB, Opened, RangedObject
from lake.errors import IntegrityError, UnavailableError
from lake.rules.layout import FORMAT_PME, FORMAT_PME_VERSION
from lake.rules.model import EMPLOYEE_COLUMN, SENSITIVITY_COLUMN
from lake.sealed.objects import Location

# It gives memory back when it is freed; the pool that Arrow takes by itself keeps growing over a long scan. A reader of
# files takes no pool of its own, so it is the whole process's.
pa.set_memory_pool(pa.system_memory_pool())

REMOTE = pa.CacheOptions(hole_size_limit=512 * KIB, range_size_limit=16 * KIB * KIB)
"""Columns that lie near each other are read in one request: what lies between costs less than another round trip."""

_MAGIC = b"PARE"
# FileCryptoMetaData of Parquet's thrift as our writer makes it: algorithm AES_GCM_V1 with an 8-byte aad_file_unique and
# supply_aad_prefix true; no key metadata.
_CRYPTO_HEAD = bytes.fromhex("1c1c28") + b"\x08"
_CRYPTO_TAIL = bytes.fromhex("11000000")


class RowGroups:
    """An opened file as its row groups; for one thread. Its footer is authenticated, and so is whatever is read."""

    def __init__(self, reader: pq.ParquetFile, remote: Opened | None) -> None:
        self._reader = reader
        self._remote = remote
        self._metadata = reader.metadata
        self.names: list[str] = self._metadata.schema.names

    def __len__(self) -> int:
        return int(self._metadata.num_row_groups)

    def rows(self, group: int) -> int:
        """Rows of one, as the footer says."""
        return int(self._metadata.row_group(group).num_rows)

    def read(self, group: int, columns: Sequence[str]) -> pa.Table:
        """Columns of one, all of which the file has."""
        if self._remote is not None:
            self._remote.fetch([self._extent(group, name) for name in columns])
        return self._reader.read_row_group(group, columns=list(columns), use_threads=False)

    def _extent(self, group: int, name: str) -> tuple[int, int]:
        """Where a column of a group lies: first byte, length."""
        chunk = self._metadata.row_group(group).column(self.names.index(name))
        first = chunk.dictionary_page_offset if chunk.has_dictionary_page else None
        return (chunk.data_page_offset if first is None else first), chunk.total_compressed_size


class Decoding:
    """How one file is decoded: by any number of threads, each of which opens it for itself.

    Raises:
        IntegrityError: its format is not known.
    """

    def __init__(self, file: FileToRead, location: Location) -> None:
        _check_format(file)
        self._file = file
        self._location = location
        self._lock = threading.Lock()
        self._object: RangedObject | None = None

    def open(self, coded: Sequence[str] = ()) -> RowGroups:
        """Look at the object and open it; of one that is not local, the end is read once.

        Args:
            coded: columns of text that are decoded to dictionaries, those of them that the file has.

        Raises:
            IntegrityError: the object is missing, has another length, or its unencrypted bytes were changed.
            OSError, ArrowException: the footer is not what was written under this key.
        """
        remote = None if self._location.part is None else Opened(self._ranged())
        source = _local(self._file, self._location) if remote is None else pa.PythonFile(remote, mode="r")
        reader = self._reader(source)
        footer = reader.metadata
        has = frozenset(footer.schema.names)
        found = [name for name in coded if name in has]
        if found:  # only the footer tells which it has, and is not read again
            reader = self._reader(source, read_dictionary=found, metadata=footer)
        return RowGroups(reader, remote)

    def _reader(self, source: pa.NativeFile, **options: Any) -> pq.ParquetFile:
        return pq.ParquetFile(source, decryption_properties=_properties(self._file), pre_buffer=False, **options)

    def _ranged(self) -> RangedObject:
        with self._lock:
            if self._object is None:
                self._object = _ranged(self._file, self._location)
            return self._object


def fragment(file: FileToRead, location: Location) -> ds.Fragment:
    """A fragment that decodes one file, its partition's columns supplied as constants.

    Raises:
        IntegrityError: the object is missing, has another length, or its unencrypted bytes were changed.
    """
    _check_format(file)
    filesystem, scan = _local_files(file, location) if location.part is None else _remote(file, location)
    kind = ds.ParquetFileFormat(
        default_fragment_scan_options=ds.ParquetFragmentScanOptions(decryption_properties=_properties(file), **scan)
    )
    partition = (ds.field(SENSITIVITY_COLUMN) == file.sensitivity) & (ds.field(SUBJECT_COLUMN) == file.number)
    if file.label is not None:
        partition = partition & (ds.field(EMPLOYEE_COLUMN) == file.label)
    return kind.make_fragment(
        file.object_key, filesystem, partition_expression=partition, file_size=file.length if scan else None
    )


def _check_format(file: FileToRead) -> None:
    if (file.format, file.format_version) != (FORMAT_PME, FORMAT_PME_VERSION):
        raise IntegrityError(
            f"file {file.file_id} has the unknown format {file.format} {file.format_version}",
            hint="it was written by a newer version: upgrade",
        )


def _properties(file: FileToRead) -> Any:
    return create_decryption_properties(
        file.dek, aad_prefix=file.aad_prefix, check_footer_integrity=True, allow_plaintext_files=False
    )


@contextmanager
def opened(file: FileToRead, location: Location) -> Iterator[int]:
    """A descriptor of the object of a local store, which has been looked at.

    Raises:
        IntegrityError: it is missing, of an unknown format, has another length, or its unencrypted bytes were changed.
        UnavailableError: it cannot be read.
    """
    _check_format(file)
    try:
        with open(f"{location.root}/{file.object_key}", "rb", buffering=0) as looked:  # noqa: PTH123 - one of thousands
            number = looked.fileno()
            check_clear_bytes(file, os.fstat(number).st_size, lambda start, count: os.pread(number, count, start))
            yield number
    except FileNotFoundError:
        raise _missing(file) from None
    except OSError:
        raise UnavailableError(f"the object of file {file.file_id} cannot be read") from None


def _local(file: FileToRead, location: Location) -> pa.NativeFile:
    """The object of a local store, opened and looked at."""
    with opened(file, location):
        return pa.OSFile(f"{location.root}/{file.object_key}")


def _local_files(file: FileToRead, location: Location) -> tuple[fs.FileSystem, dict[str, Any]]:
    _local(file, location).close()
    return fs.SubTreeFileSystem(location.root, fs.LocalFileSystem()), {}


def _remote(file: FileToRead, location: Location) -> tuple[fs.FileSystem, dict[str, Any]]:
    return _ranged(file, location).file_system(), {"cache_options": REMOTE}


def _ranged(file: FileToRead, location: Location) -> RangedObject:
    assert location.part is not None  # noqa: S101 - the caller has looked
    opened = RangedObject(file.object_key, file.length, location.part)
    check_clear_bytes(file, opened.length, opened.read)
    return opened


def check_clear_bytes(file: FileToRead, length: int, read: Callable[[int, int], bytes]) -> None:
    """Compare what is not encrypted of a file with what was written.

    Raises:
        IntegrityError: it differs.
    """
    if length != file.length or length < 12:
        raise changed(file)
    head, end = read(0, 4), read(length - 8, 8)
    footer = int.from_bytes(end[:4], "little")
    if head != _MAGIC or end[4:] != _MAGIC or footer + 8 > length:
        raise changed(file)
    crypto = read(length - 8 - footer, len(_CRYPTO_HEAD) + 8 + len(_CRYPTO_TAIL))
    if not (crypto.startswith(_CRYPTO_HEAD) and crypto.endswith(_CRYPTO_TAIL)):
        raise changed(file)


def _missing(file: FileToRead) -> IntegrityError:
    return IntegrityError(f"the object of file {file.file_id} is missing", hint="restore it from a backup")


def changed(file: FileToRead) -> IntegrityError:
    """The error for a file that is not what was written."""
    return IntegrityError(
        f"the object of file {file.file_id} is not what was written",
        hint="restore it from a backup; 'lake doctor' lists every damaged file",
    )
