"""Logs of keys."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest

from lake.clear.landing.readers.keylog import key_class
from lake.clear.landing.readers.options import ReadOptions
from lake.clear.landing.readers.source import open_source
from lake.errors import MalformedInputError
from lake.rules.contract import Contract

Read = Callable[..., list[pa.RecordBatch]]

HEADER = b"participant,seq,t_down_ms,t_up_ms,vk,value,pos,doclen\n"


def test_keys_become_classes_and_timing(read: Read, keylog: Contract) -> None:
    """Class, hold and coarse gap are made for each participant alone; what was typed stays apart."""
    data = HEADER + b"".join(
        [
            b"P1,1,1000,1080,VK_H,H,0,0\n",
            b'P1,2,1149,1200,VK_OEM_COMMA,",",1,1\n',
            b"P2,1,50,60,VK_BACK,,4,5\n",
            b"P1,3,1250,1260,VK_5,5,2,2\n",
        ]
    )
    for rows_of_a_batch in (1, 100):
        options = ReadOptions(batch_rows=rows_of_a_batch)
        batches = read(data, "keys.csv", keylog, options, "keylog")
        rows = [row for batch in batches for row in batch.to_pylist()]
        assert [row["key_class"] for row in rows] == ["letter", "punct", "edit", "digit"]
        assert [row["gap_bucket_ms"] for row in rows] == [None, 100, None, 100]
        assert [row["hold_ms"] for row in rows] == [80, 51, 10, 10]
        assert [row["ts"].isoformat()[11:] for row in rows] == [
            "09:00:00",
            "09:00:00.149000",
            "09:00:00",
            "09:00:00.250000",
        ]
        assert [row["employee"] for row in rows] == ["P1", "P1", "P2", "P1"]
        assert [row["pos"] for row in rows] == [0, 1, 4, 2]
        assert set(rows[0]) - set(keylog.fields) == {"employee", "ts", "type", "sensitivity", "vk", "value"}


@pytest.mark.parametrize(
    ("vk", "value", "expected"),
    [
        ("VK_A", "a", "letter"),
        ("VK_A", "", "letter"),
        ("NONE", "ä", "letter"),
        ("VK_7", "/", "punct"),
        ("VK_7", "", "digit"),
        ("VK_SPACE", " ", "space"),
        ("VK_RETURN", "", "space"),
        ("VK_DELETE", "x", "edit"),
        ("VK_LEFT", "", "nav"),
        ("VK_LSHIFT", "", "modifier"),
        ("VK_OEM_7", "", "punct"),
        ("VK_OEM_7", "Ä", "letter"),
        ("VK_F5", "", "other"),
        ("NONE", "", "other"),
        ("", "", "other"),
        ("NONE", "pasted text", "other"),
    ],
)
def test_classes_of_keys(vk: str, value: str, expected: str) -> None:
    """The key decides where it acts, what it wrote decides where it writes."""
    assert key_class(vk, value) == expected


@pytest.mark.parametrize(
    ("row", "field"),
    [
        (b"P1,2,x,1,VK_A,a,0,0", "t_down_ms"),
        (b"P1,2,999,1100,VK_A,a,0,0", "t_down_ms"),
        (b"P1,2,2000,1999,VK_A,a,0,0", "t_up_ms"),
        (b"P1,2,9223372036854775807,9223372036854775807,VK_A,a,0,0", "t_down_ms"),
        (b"P1,two,2000,2001,VK_A,a,0,0", "seq"),
    ],
)
def test_a_bad_row_is_refused(read: Read, keylog: Contract, row: bytes, field: str) -> None:
    """A time before the first key, a key that goes up before it goes down, and what is no number."""
    data = HEADER + b"P1,1,1000,1080,VK_H,H,0,0\n" + row + b"\n"
    with pytest.raises(MalformedInputError, match=f"line 3: the field '{field}'"):
        read(data, "keys.csv", keylog, importer="keylog")


def test_other_columns_are_refused(read: Read, keylog: Contract) -> None:
    """A CSV of another kind is no log of keys."""
    with pytest.raises(MalformedInputError, match="not a file of this kind"):
        read(b"a,b\n1,2\n", "keys.csv", keylog, importer="keylog")


def test_the_real_log(shared_data: Path, keylog: Contract) -> None:
    """Real writing is read whole, mostly letters, with the typed characters in columns that the contract lacks."""
    source = open_source(shared_data / "keystrokes" / "keystrokes.csv.gz", "keylog", keylog, ReadOptions())
    table = pa.Table.from_batches(list(source))
    assert table.num_rows == 20_917
    classes = table["key_class"].to_pylist()
    assert classes.count("letter") > 0.6 * len(classes)
    assert classes.count("other") < 0.01 * len(classes)
    assert table["value"].null_count == 0
