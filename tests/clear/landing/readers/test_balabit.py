"""Recordings of mouse movements."""

from __future__ import annotations

import gzip
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest

from lake.clear.landing.readers.options import ReadOptions
from lake.clear.landing.readers.source import expand, open_source
from lake.errors import MalformedInputError, UsageError
from lake.rules.contract import Contract

Read = Callable[..., list[pa.RecordBatch]]

HEADER = b"record timestamp,client timestamp,button,state,x,y\n"
NAME = "user7/session_0000000093.csv"


def test_rows_of_a_session(read: Read, mouse: Contract) -> None:
    """Employee, session and day come from the file's name, the type from button and state."""
    data = HEADER + b"".join(
        [
            b"0.0,0.0,NoButton,Move,10,20\n",
            b"0.1,0.25,Left,Pressed,10,20\n",
            b"0.2,0.5,NoButton,Drag,65535,65535\n",
            b"0.2,0.5,Left,Released,0,0\n",
            b"0.3,1.0000005,Scroll,Down,1,2\n",
        ]
    )
    rows = read(data, NAME, mouse, importer="balabit")[0].to_pylist()
    assert [row["type"] for row in rows] == ["mouse_move", "mouse_press", "mouse_drag", "mouse_release", "scroll"]
    assert [row["button"] for row in rows] == [None, "left", None, "left", None]
    assert (rows[2]["x"], rows[2]["y"]) == (None, None)
    assert (rows[4]["direction"], rows[0]["direction"]) == ("down", None)
    assert {row["employee"] for row in rows} == {"user7"}
    assert {row["session"] for row in rows} == {"0000000093"}
    assert rows[1]["ts"].isoformat() == "2016-08-04T09:00:00.250000"
    assert rows[1]["record timestamp"] == "0.1"


def test_repeated_headers_are_skipped(mouse: Contract, tmp_path: Path) -> None:
    """A recording that was joined from parts loses its inner headers, with a count, and keeps its line numbers."""
    file = tmp_path / "user7" / "session_1.csv.gz"
    file.parent.mkdir()
    row = b"0.0,0.0,NoButton,Move,10,20\n"
    file.write_bytes(gzip.compress(HEADER + row + HEADER + row))
    source = open_source(file, "balabit", mouse, ReadOptions())
    assert sum(batch.num_rows for batch in source) == 2
    assert source.dropped == {"balabit:repeated_header": 1}
    file.write_bytes(gzip.compress(HEADER + row + HEADER + b"0.0,0.0,NoButton,Move,10,left\n"))
    with pytest.raises(MalformedInputError, match="line 4: the field 'y'"):
        list(open_source(file, "balabit", mouse, ReadOptions()))


@pytest.mark.parametrize(
    "row",
    [
        b"0.0,0.0,NoButton,Jump,1,2",
        b"0.0,0.0,Elbow,Move,1,2",
        b"0.0,-,NoButton,Move,1,2",
        b"0.0,1e12,NoButton,Move,1,2",
        b"0.0,-0.5,NoButton,Move,1,2",
        b"0.0,0.0,NoButton,Move,1.5,2",
        b"0.0,0.0,NoButton,Move,1",
    ],
)
def test_a_bad_row_is_refused(read: Read, mouse: Contract, row: bytes) -> None:
    """Unknown words and numbers that are none are named by line."""
    with pytest.raises(MalformedInputError, match="line 2"):
        read(HEADER + row + b"\n", NAME, mouse, importer="balabit")


def test_other_files_are_refused(read: Read, mouse: Contract) -> None:
    """Another name is a mistake of the caller; other columns are malformed."""
    with pytest.raises(UsageError, match="session_NUMBER"):
        read(HEADER, "user7/other.csv", mouse, importer="balabit")
    with pytest.raises(MalformedInputError, match="not a file of this kind"):
        read(b"a,b\n", NAME, mouse, importer="balabit")


def test_the_real_recordings(shared_data: Path, mouse: Contract) -> None:
    """Real sessions are read whole: as many rows as lines, every one typed and in the range of its day."""
    files = expand([shared_data / "balabit"], "balabit")[:3]
    for file in files:
        source = open_source(file, "balabit", mouse, ReadOptions())
        types: Counter[str] = Counter()
        for batch in source:
            types.update(batch["type"].to_pylist())
            assert batch["ts"].null_count == 0
        lines = gzip.decompress(file.read_bytes()).count(b"\n")
        assert types.total() + source.dropped.total() == lines - 1
        assert types["mouse_move"] > types["mouse_press"] > 0
