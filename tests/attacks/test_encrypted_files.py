"""Files that are made to deceive: by who has no key, and by who has one. None gives another row than was written."""

# ruff: noqa: DTZ001 - capture times are naive UTC
from __future__ import annotations

import os
import random
import resource
import struct
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import NoReturn

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyarrow.parquet.encryption import create_decryption_properties, create_encryption_properties

from keys.broker import LandingKey
from lake.clear.landing.encode import encode
from lake.clear.reading.decode import fragment
from lake.clear.reading.plan import FileToRead
from lake.errors import LakeError
from lake.sealed.objects import Location

REFUSED = (LakeError, OSError, pa.ArrowException, ValueError)
ROWS = pa.table(
    {
        "ts": pa.array([datetime(2026, 7, 1) + timedelta(hours=hour) for hour in range(40)], pa.timestamp("us")),
        "type": ["focus"] * 40,
        "n": list(range(40)),
    }
)
CRYPTO_METADATA = 16
HOSTILE = (0, 1, 11, 12, 27, 28, 2**16, 2**20, 2**31 - 1, 2**31, 2**32 - 1)
FUZZ_CASES = 3_000


def _unused(_binding: object) -> NoReturn:
    raise AssertionError("nothing is wrapped here")


def made(dek: bytes | None = None, prefix: bytes | None = None) -> tuple[bytes, LandingKey]:
    """A file as the lake writes it, and its key."""
    key = LandingKey("f" * 32, dek or os.urandom(32), prefix or os.urandom(32), _unused)
    return bytes(encode(ROWS, key).content), key


def read(folder: Path, content: bytes, key: LandingKey) -> pa.Table:
    """The file's rows, as the lake reads them."""
    (folder / "file.parquet").write_bytes(content)
    file = FileToRead(
        file_id=key.file_id,
        object_key="file.parquet",
        format="pme",
        format_version=1,
        length=len(content),
        rows=40,
        number=0,
        label=None,
        sensitivity=1,
        dek=key.dek,
        aad_prefix=key.aad_prefix,
    )
    return fragment(file, Location("local", str(folder))).to_table().select(ROWS.column_names)


def modules(content: bytes) -> list[tuple[int, int]]:
    """(offset of the length field, length) of every module before the footer."""
    found: list[tuple[int, int]] = []
    (footer,) = struct.unpack("<I", content[-8:-4])
    at = 4
    while at < len(content) - 8 - footer:
        (length,) = struct.unpack("<I", content[at : at + 4])
        found.append((at, length))
        at += 4 + length
    return found


def test_the_algorithm_without_tags_is_refused(tmp_path: Path) -> None:
    """AES_GCM_CTR_V1 leaves pages unauthenticated: not read, although the key and the prefix are right."""
    key = LandingKey("f" * 32, os.urandom(32), os.urandom(32), _unused)
    properties = create_encryption_properties(
        key.dek, aad_prefix=key.aad_prefix, store_aad_prefix=False, encryption_algorithm="AES_GCM_CTR_V1"
    )
    sink = pa.BufferOutputStream()
    pq.write_table(ROWS, sink, encryption_properties=properties)
    opened = create_decryption_properties(key.dek, aad_prefix=key.aad_prefix)
    assert pq.ParquetFile(pa.BufferReader(sink.getvalue()), decryption_properties=opened).read().equals(ROWS)
    with pytest.raises(LakeError, match="not what was written"):
        read(tmp_path, bytes(sink.getvalue()), key)


def test_bytes_do_not_move_from_the_prefix_into_the_files_own_number(tmp_path: Path) -> None:
    """A byte of the prefix put into the clear metadata opens under the shorter prefix: ours have one length."""
    content, key = made()
    (footer,) = struct.unpack("<I", content[-8:-4])
    start = len(content) - 8 - footer
    unique = content[start + 4 : start + 12]
    shifted = (
        content[:start]
        + b"\x1c\x1c\x28\x09"
        + key.aad_prefix[-1:]
        + unique
        + b"\x11\x00\x00\x00"
        + content[start + CRYPTO_METADATA : -8]
        + struct.pack("<I", footer + 1)
        + content[-4:]
    )
    shorter = create_decryption_properties(key.dek, aad_prefix=key.aad_prefix[:-1])
    table = pq.ParquetFile(pa.BufferReader(shifted), decryption_properties=shorter).read()
    assert table.equals(ROWS), "the attack works on the format as such"
    for prefix in (key.aad_prefix, key.aad_prefix[:-1], os.urandom(32)):
        with pytest.raises(REFUSED):
            read(tmp_path, shifted, replace_prefix(key, prefix))


def replace_prefix(key: LandingKey, prefix: bytes) -> LandingKey:
    """The same DEK for another identity."""
    return LandingKey(key.file_id, key.dek, prefix, _unused)


def test_pages_of_an_attempt_that_was_repeated_do_not_fit(tmp_path: Path) -> None:
    """The same rows under the same key and prefix twice: no module of one file is taken by the other."""
    key = made()[1]
    first, second = made(key.dek, key.aad_prefix)[0], made(key.dek, key.aad_prefix)[0]
    pairs = list(zip(modules(first), modules(second), strict=True))
    assert len(pairs) >= 6
    for (at, length), (other, its_length) in pairs:
        assert length == its_length
        moved = first[: at + 4] + second[other + 4 : other + 4 + length] + first[at + 4 + length :]
        with pytest.raises(REFUSED):
            read(tmp_path, moved, key)
    assert read(tmp_path, first, key).equals(ROWS)


def test_modules_do_not_change_places(tmp_path: Path) -> None:
    """Two modules of one file, of equal length, in each other's place."""
    content, key = made()
    swapped = 0
    found = modules(content)
    for number, (at, length) in enumerate(found):
        for other, its_length in found[number + 1 :]:
            if length != its_length:
                continue
            changed = bytearray(content)
            changed[at + 4 : at + 4 + length] = content[other + 4 : other + 4 + length]
            changed[other + 4 : other + 4 + length] = content[at + 4 : at + 4 + length]
            with pytest.raises(REFUSED):
                read(tmp_path, bytes(changed), key)
            swapped += 1
    assert swapped


def hostile_lengths(content: bytes) -> Iterator[bytes]:
    """The file with each length field as it should not be."""
    for at, length in [*modules(content), (len(content) - 8, 0)]:
        for value in (*HOSTILE, length - 1, length + 1):
            if 0 <= value != struct.unpack("<I", content[at : at + 4])[0]:
                yield content[:at] + struct.pack("<I", value) + content[at + 4 :]


def fuzzed(content: bytes) -> Iterator[bytes]:
    """Splices, cuts, repeats, zeros and noise."""
    chance = random.Random(20)
    for _ in range(FUZZ_CASES):
        changed = bytearray(content)
        start, length = chance.randrange(len(content)), chance.randrange(1, 64)
        match chance.randrange(5):
            case 0:
                del changed[start : start + length]
            case 1:
                changed[start:start] = content[-length:]
            case 2:
                changed[start : start + length] = bytes(min(length, len(content) - start))
            case 3:
                other = chance.randrange(len(content))
                changed[start : start + length] = content[other : other + min(length, len(content) - start)]
            case _:
                changed[start] ^= 1 << chance.randrange(8)
        yield bytes(changed)


@pytest.mark.parametrize("cases", [hostile_lengths, fuzzed])
def test_hostile_files_neither_crash_nor_fill_the_memory(
    tmp_path: Path, cases: Callable[[bytes], Iterator[bytes]]
) -> None:
    """In a process of its own: each is refused or gives the rows as written, and memory stays where it was."""
    content, key = made()
    child = os.fork()
    if not child:
        status = 1
        try:
            read(tmp_path, content, key)
            before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            for changed in cases(content):
                try:
                    found = read(tmp_path, changed, key)
                except REFUSED:
                    continue
                if not found.equals(ROWS):
                    os._exit(3)
            grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
            status = 0 if grown < 100 * 1024 else 4
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_every_changed_byte_is_noticed(tmp_path: Path) -> None:
    """One flipped bit in any byte, and the file is refused."""
    content, key = made()
    for position in range(len(content)):
        changed = bytearray(content)
        changed[position] ^= 1 << position % 8
        with pytest.raises(REFUSED):
            read(tmp_path, bytes(changed), key)


def test_a_file_of_another_length_is_refused(tmp_path: Path) -> None:
    """Truncated anywhere or extended, it is refused before it is parsed."""
    content, key = made()
    for end in range(0, len(content), 7):
        with pytest.raises(REFUSED):
            read_as(tmp_path, content[:end], content, key)
    with pytest.raises(LakeError):
        read_as(tmp_path, content + b"\0", content, key)


def read_as(folder: Path, content: bytes, expected: bytes, key: LandingKey) -> pa.Table:
    """Bytes in the place of a file whose length the catalog knows."""
    (folder / "file.parquet").write_bytes(content)
    file = FileToRead("f" * 32, "file.parquet", "pme", 1, len(expected), 40, 0, None, 1, key.dek, key.aad_prefix)
    return fragment(file, Location("local", str(folder))).to_table()
