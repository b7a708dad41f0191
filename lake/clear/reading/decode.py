"""The one place that reads data files: a dataset fragment per file, each with a key of its own.

What PME does not authenticate (the leading magic and the crypto metadata in clear) is compared here, byte by byte, so
that every changed byte of what is read is noticed.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import pyarrow.dataset as ds
from pyarrow import fs
from pyarrow.parquet.encryption import create_decryption_properties

from lake.clear.reading.plan import SUBJECT_COLUMN, FileToRead
from lake.errors import IntegrityError, UnavailableError
from lake.rules.layout import FORMAT_PME, FORMAT_PME_VERSION
from lake.rules.model import EMPLOYEE_COLUMN, SENSITIVITY_COLUMN
from lake.sealed.objects import Location

Decoder = Callable[[FileToRead, Location], ds.Fragment]

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


def _decode_pme(file: FileToRead, location: Location) -> ds.Fragment:
    _check_clear_bytes(file, Path(location.root))
    properties = create_decryption_properties(
        file.dek, aad_prefix=file.aad_prefix, check_footer_integrity=True, allow_plaintext_files=False
    )
    kind = ds.ParquetFileFormat(
        default_fragment_scan_options=ds.ParquetFragmentScanOptions(decryption_properties=properties)
    )
    partition = (ds.field(SENSITIVITY_COLUMN) == file.sensitivity) & (ds.field(SUBJECT_COLUMN) == file.number)
    if file.label is not None:
        partition = partition & (ds.field(EMPLOYEE_COLUMN) == file.label)
    filesystem = fs.SubTreeFileSystem(location.root, fs.LocalFileSystem())
    return kind.make_fragment(file.object_key, filesystem, partition_expression=partition)


def _check_clear_bytes(file: FileToRead, root: Path) -> None:
    try:
        with (root / file.object_key).open("rb") as stream:
            head = stream.read(4)
            length = stream.seek(0, 2)
            if length != file.length or length < 8:
                raise _changed(file)
            stream.seek(-8, 2)
            (footer,) = struct.unpack("<I", stream.read(4))
            tail = stream.read(4)
            if head != _MAGIC or tail != _MAGIC or footer + 8 > length:
                raise _changed(file)
            stream.seek(-8 - footer, 2)
            crypto = stream.read(len(_CRYPTO_HEAD) + 8 + len(_CRYPTO_TAIL))
    except FileNotFoundError:
        raise IntegrityError(f"the object of file {file.file_id} is missing", hint="restore it from a backup") from None
    except OSError:
        raise UnavailableError(f"the object of file {file.file_id} cannot be read") from None
    if not (crypto.startswith(_CRYPTO_HEAD) and crypto.endswith(_CRYPTO_TAIL)):
        raise _changed(file)


def _changed(file: FileToRead) -> IntegrityError:
    return IntegrityError(
        f"the object of file {file.file_id} is not what was written",
        hint="restore it from a backup; 'lake doctor' lists every damaged file",
    )


DECODERS: dict[tuple[str, int], Decoder] = {(FORMAT_PME, FORMAT_PME_VERSION): _decode_pme}
