"""The one place that reads data files: a dataset fragment per file, each with a key of its own.

What PME does not authenticate (the leading magic and the crypto metadata in clear) is compared here, byte by byte, so
that every changed byte of what is read is noticed, wherever the objects lie.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.dataset as ds
from pyarrow import fs
from pyarrow.parquet.encryption import create_decryption_properties

from lake.clear.reading.plan import SUBJECT_COLUMN, FileToRead
from lake.clear.reading.ranged import KIB, RangedObject
from lake.errors import IntegrityError, UnavailableError
from lake.rules.layout import FORMAT_PME, FORMAT_PME_VERSION
from lake.rules.model import EMPLOYEE_COLUMN, SENSITIVITY_COLUMN
from lake.sealed.objects import Location

Decoder = Callable[[FileToRead, Location], ds.Fragment]
OPENED_AT_ONCE = 16
"""Objects of a store that are opened together: each costs a round trip or two."""

REMOTE = pa.CacheOptions(hole_size_limit=512 * KIB, range_size_limit=16 * KIB * KIB)
"""Columns that lie near each other are read in one request: what lies between costs less than another round trip."""

_MAGIC = b"PARE"
# FileCryptoMetaData of Parquet's thrift as our writer makes it: algorithm AES_GCM_V1 with an 8-byte aad_file_unique and
# supply_aad_prefix true; no key metadata.
_CRYPTO_HEAD = bytes.fromhex("1c1c28") + b"\x08"
_CRYPTO_TAIL = bytes.fromhex("11000000")


def fragment(file: FileToRead, location: Location) -> ds.Fragment:
    """A fragment that decodes one file, its partition's columns supplied as constants.

    Raises:
        IntegrityError: the object is missing, has another length, or its unencrypted bytes were changed.
    """
    decoder = DECODERS.get((file.format, file.format_version))
    if decoder is None:
        raise IntegrityError(
            f"file {file.file_id} has the unknown format {file.format} {file.format_version}",
            hint="it was written by a newer version: upgrade",
        )
    return decoder(file, location)


def fragments(files: Iterable[FileToRead], location: Location) -> list[ds.Fragment]:
    """The same of several files, in their order; where opening one is a request, several are opened at once."""
    if location.part is None:
        return [fragment(file, location) for file in files]
    with ThreadPoolExecutor(OPENED_AT_ONCE, thread_name_prefix="opening") as pool:
        return list(pool.map(lambda file: fragment(file, location), files))


def _decode_pme(file: FileToRead, location: Location) -> ds.Fragment:
    filesystem, scan = _local(file, location) if location.part is None else _remote(file, location)
    properties = create_decryption_properties(
        file.dek, aad_prefix=file.aad_prefix, check_footer_integrity=True, allow_plaintext_files=False
    )
    kind = ds.ParquetFileFormat(
        default_fragment_scan_options=ds.ParquetFragmentScanOptions(decryption_properties=properties, **scan)
    )
    partition = (ds.field(SENSITIVITY_COLUMN) == file.sensitivity) & (ds.field(SUBJECT_COLUMN) == file.number)
    if file.label is not None:
        partition = partition & (ds.field(EMPLOYEE_COLUMN) == file.label)
    return kind.make_fragment(
        file.object_key, filesystem, partition_expression=partition, file_size=file.length if scan else None
    )


def _local(file: FileToRead, location: Location) -> tuple[fs.FileSystem, dict[str, Any]]:
    try:
        with (Path(location.root) / file.object_key).open("rb", buffering=0) as stream:
            length = os.fstat(stream.fileno()).st_size
            _check_clear_bytes(file, length, lambda start, count: os.pread(stream.fileno(), count, start))
    except FileNotFoundError:
        raise _missing(file) from None
    except OSError:
        raise UnavailableError(f"the object of file {file.file_id} cannot be read") from None
    return fs.SubTreeFileSystem(location.root, fs.LocalFileSystem()), {}


def _remote(file: FileToRead, location: Location) -> tuple[fs.FileSystem, dict[str, Any]]:
    assert location.part is not None  # noqa: S101 - the caller has looked
    opened = RangedObject(file.object_key, file.length, location.part)
    _check_clear_bytes(file, opened.length, opened.read)
    return opened.file_system(), {"cache_options": REMOTE}


def _check_clear_bytes(file: FileToRead, length: int, read: Callable[[int, int], bytes]) -> None:
    if length != file.length or length < 12:
        raise _changed(file)
    head, end = read(0, 4), read(length - 8, 8)
    footer = int.from_bytes(end[:4], "little")
    if head != _MAGIC or end[4:] != _MAGIC or footer + 8 > length:
        raise _changed(file)
    crypto = read(length - 8 - footer, len(_CRYPTO_HEAD) + 8 + len(_CRYPTO_TAIL))
    if not (crypto.startswith(_CRYPTO_HEAD) and crypto.endswith(_CRYPTO_TAIL)):
        raise _changed(file)


def _missing(file: FileToRead) -> IntegrityError:
    return IntegrityError(f"the object of file {file.file_id} is missing", hint="restore it from a backup")


def _changed(file: FileToRead) -> IntegrityError:
    return IntegrityError(
        f"the object of file {file.file_id} is not what was written",
        hint="restore it from a backup; 'lake doctor' lists every damaged file",
    )


DECODERS: dict[tuple[str, int], Decoder] = {(FORMAT_PME, FORMAT_PME_VERSION): _decode_pme}
