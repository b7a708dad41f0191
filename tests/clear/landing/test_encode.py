"""Encoding: what is written opens only with its own key and prefix, and shows nothing."""

# ruff: noqa: DTZ001 - capture times are naive UTC
from __future__ import annotations

import hashlib
import os
from datetime import datetime
from typing import NoReturn

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyarrow.parquet.encryption import create_decryption_properties

from keys.broker import LandingKey
from keys.errors import KeyIntegrityError
from lake.clear.landing.encode import ROW_GROUP_ROWS, encode, encode_parts


def _unused(_binding: object) -> NoReturn:
    raise AssertionError("nothing is wrapped while a file is encoded")


def landing_key(dek: bytes | None = None, prefix: bytes | None = None) -> LandingKey:
    return LandingKey("f" * 32, dek or os.urandom(32), prefix or os.urandom(32), _unused)


ROWS = pa.table(
    {
        "ts": pa.array([datetime(2026, 7, 1, 8), datetime(2026, 7, 2), datetime(2026, 7, 3)], pa.timestamp("us")),
        "type": ["focus", "focus", "focus"],
        "app": ["canary-program", None, "canary-program"],
    }
)


def opened(content: memoryview, key: bytes, prefix: bytes) -> pa.Table:
    properties = create_decryption_properties(key, aad_prefix=prefix, check_footer_integrity=True)
    return pq.ParquetFile(pa.BufferReader(pa.py_buffer(content)), decryption_properties=properties).read()


def test_rows_come_back_under_key_and_prefix() -> None:
    """The file holds the rows, and its length, digest, rows and times are as told."""
    key = landing_key()
    file = encode(ROWS, key)
    assert opened(file.content, key.dek, key.aad_prefix).to_pylist() == ROWS.to_pylist()
    assert (file.length, file.rows) == (file.content.nbytes, 3)
    assert file.sha256 == hashlib.sha256(file.content).digest()
    assert (file.first_ts, file.last_ts) == (datetime(2026, 7, 1, 8), datetime(2026, 7, 3))


def test_a_column_without_a_value_is_left_out() -> None:
    """Of the columns of a file, those are there of which any row has a value."""
    key = landing_key()
    content = encode(ROWS.append_column("title", pa.nulls(3, pa.string())), key).content
    assert opened(content, key.dek, key.aad_prefix).equals(ROWS.cast(opened(content, key.dek, key.aad_prefix).schema))


def test_a_column_may_begin_in_a_later_part() -> None:
    """Of rows that come in parts, every column is there: what the first lacks, the last may have."""
    times = pa.array([0], pa.timestamp("us")).take(pa.array([0] * ROW_GROUP_ROWS))
    first = pa.table({"ts": times, "app": pa.nulls(ROW_GROUP_ROWS, pa.string())})
    last = pa.table({"ts": times.slice(0, 2), "app": ["x", None]})
    key = landing_key()
    content = encode_parts(first.schema, [first, last], key).content
    rows = opened(content, key.dek, key.aad_prefix)
    assert rows.column_names == ["ts", "app"]
    assert rows["app"].drop_null().to_pylist() == ["x"]


def test_another_key_or_prefix_opens_nothing() -> None:
    """A file under another key or another prefix does not open."""
    key = landing_key()
    content = encode(ROWS, key).content
    for dek, prefix in ((os.urandom(32), key.aad_prefix), (key.dek, os.urandom(32))):
        with pytest.raises((OSError, pa.ArrowException)):
            opened(content, dek, prefix)


def test_nothing_is_in_clear() -> None:
    """Neither values nor names of columns are in the file, which is marked as encrypted at both ends."""
    content = bytes(encode(ROWS, landing_key()).content)
    assert content[:4] == content[-4:] == b"PARE"
    for text in (b"canary", b"focus", b"app", b"ARROW", b"pandas"):
        assert text not in content


def test_no_two_encodings_are_alike() -> None:
    """The same rows under the same key twice share no ciphertext: nonces and the file's own number are fresh."""
    key = landing_key()
    first, second = bytes(encode(ROWS, key).content), bytes(encode(ROWS, key).content)
    assert first != second
    blocks = {first[start : start + 16] for start in range(4, len(first) - 40)}
    assert not any(second[start : start + 16] in blocks for start in range(4, len(second) - 40))


@pytest.mark.parametrize(("dek", "prefix"), [(b"k" * 16, b"p" * 32), (b"k" * 31, b"p" * 32), (b"k" * 32, b"p" * 20)])
def test_short_keys_are_refused(dek: bytes, prefix: bytes) -> None:
    """Only 256-bit keys and 32-byte prefixes are used."""
    with pytest.raises(KeyIntegrityError):
        encode(ROWS, landing_key(dek, prefix))


def test_row_groups_have_the_engines_size() -> None:
    """Long files are cut into row groups of 122,880 rows."""
    count = ROW_GROUP_ROWS * 2 + 5
    times = pa.array([0], pa.timestamp("us")).take(pa.array([0] * count))
    key = landing_key()
    content = encode(pa.table({"ts": times, "type": ["x"] * count}), key).content
    properties = create_decryption_properties(key.dek, aad_prefix=key.aad_prefix)
    file = pq.ParquetFile(pa.BufferReader(pa.py_buffer(content)), decryption_properties=properties)
    assert [file.metadata.row_group(index).num_rows for index in range(3)] == [ROW_GROUP_ROWS, ROW_GROUP_ROWS, 5]
