"""Parquet and Arrow files."""

from __future__ import annotations

import io
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lake.clear.landing.readers.options import ReadOptions
from lake.clear.landing.readers.source import open_source
from lake.clear.landing.synth import synthesise
from lake.errors import MalformedInputError, UsageError
from lake.rules.contract import Contract

Read = Callable[..., list[pa.RecordBatch]]

CANARY = "xylophone-canary"
FORMATS = ("parquet", "arrow", "ipc")


def _write(table: pa.Table, name: str) -> bytes:
    sink = io.BytesIO()
    if name == "parquet":
        pq.write_table(table, sink, row_group_size=1000, write_page_checksum=True)
        return sink.getvalue()
    opened = pa.ipc.new_file if name == "arrow" else pa.ipc.new_stream
    with opened(sink, table.schema) as writer:
        writer.write_table(table, 1000)
    return sink.getvalue()


@pytest.mark.parametrize("form", FORMATS)
def test_what_was_written_is_read(read: Read, desktop: Contract, form: str) -> None:
    """Every format gives back the rows that were put in, in batches no larger than asked for."""
    table = synthesise(20, 3500, 1).read_all()
    batches = read(_write(table, form), f"a.{form}", desktop, ReadOptions(batch_rows=700))
    assert max(batch.num_rows for batch in batches) <= 700
    assert pa.Table.from_batches(batches).select(table.column_names).equals(table)


@pytest.mark.parametrize("form", FORMATS)
def test_a_file_without_rows_is_fine(read: Read, desktop: Contract, form: str) -> None:
    """A whole file of no rows is no error."""
    assert (
        sum(batch.num_rows for batch in read(_write(synthesise(1, 1, 1).read_all()[:0], form), f"a.{form}", desktop))
        == 0
    )


@pytest.mark.parametrize(
    ("field", "values"),
    [
        ("x", pa.array([7], pa.uint8())),
        ("x", pa.array([7.0], pa.float64())),
        ("seq", pa.array([7], pa.int16())),
        ("app", pa.array(["a"], pa.large_string())),
        ("app", pa.array(["a"]).dictionary_encode()),
        ("app", pa.array(["a"], pa.string_view())),
        ("app", pa.nulls(1)),
        ("ts", pa.array(["2026-07-01T09:00:00Z"])),
        ("ts", pa.array([datetime.fromisoformat("2026-07-01T09:00:00+02:00")], pa.timestamp("ns", "Europe/Berlin"))),
        ("ts", pa.array([1], pa.timestamp("s"))),
    ],
)
def test_other_types_arrive_where_nothing_is_lost(read: Read, desktop: Contract, field: str, values: pa.Array) -> None:
    """A narrower number, another form of text or another unit of time is converted."""
    batch = read(_write(pa.table({field: values}), "arrow"), "a.arrow", desktop)[0]
    assert batch[field].null_count == values.null_count


def test_a_zone_is_only_how_a_time_is_shown(read: Read, desktop: Contract) -> None:
    """An Arrow time with a zone becomes the same instant in UTC, cut to microseconds."""
    values = pa.array([1_782_882_000_000_000_999], pa.timestamp("ns", "America/New_York"))
    batch = read(_write(pa.table({"ts": values}), "arrow"), "a.arrow", desktop)[0]
    assert batch["ts"].cast(pa.int64()).to_pylist() == [1_782_882_000_000_000]


@pytest.mark.parametrize(
    ("field", "values"),
    [
        ("x", pa.array([1, 2**40])),
        ("x", pa.array([1.0, 1.5])),
        ("x", pa.array(["1", CANARY])),
        ("x", pa.array([True, False])),
        ("app", pa.array([1, 2])),
        ("app", pa.array([CANARY.encode()] * 2)),
        ("app", pa.array([[CANARY]] * 2)),
        ("app", pa.array([{"a": CANARY}] * 2)),
        ("ts", pa.array([1, 2])),
        ("ts", pa.array([0, 2**62], pa.timestamp("us"))),
        ("ts", pa.array([0, 2**62], pa.timestamp("s"))),
        ("ts", pa.array(["2026-07-01T09:00:00Z", CANARY])),
    ],
)
def test_what_does_not_fit_is_refused(read: Read, desktop: Contract, field: str, values: pa.Array) -> None:
    """A value that would change is refused with its row and field, without the value."""
    with pytest.raises(MalformedInputError, match=f"row [12]: the field '{field}'") as caught:
        read(_write(pa.table({field: values}), "arrow"), "a.arrow", desktop)
    assert CANARY not in str(caught.value)


def test_the_row_of_a_misfit_is_counted_through_the_file(read: Read, desktop: Contract) -> None:
    """The number is that of the row in the file, from 1, not in its batch."""
    table = pa.table({"x": pa.array([1] * 2500 + [2**40] + [1] * 10)})
    for form in FORMATS:
        with pytest.raises(MalformedInputError, match="row 2501"):
            read(_write(table, form), f"a.{form}", desktop)


def test_numbers_that_are_not_finite_are_refused(read: Read, desktop: Contract) -> None:
    """NaN and infinity are no values of a number."""
    for value in (float("nan"), float("inf")):
        with pytest.raises(MalformedInputError, match="'seq'"):
            read(_write(pa.table({"seq": [value]}), "parquet"), "a.parquet", desktop)


def test_unknown_columns_survive(read: Read, desktop: Contract) -> None:
    """Columns that the contract does not name follow the known ones as they were found."""
    table = pa.table({"extra": [[1, 2], None], "app": ["a", "b"], "other": [1, 1]})
    batch = read(_write(table, "parquet"), "a.parquet", desktop)[0]
    assert batch.schema.names[-2:] == ["extra", "other"]
    assert batch["extra"].null_count == 1


@pytest.mark.parametrize("form", FORMATS)
def test_a_cut_file_is_refused(read: Read, desktop: Contract, form: str) -> None:
    """A file that ends early anywhere, also between two batches, is never taken for whole."""
    whole = _write(synthesise(5, 3000, 1).read_all(), form)
    for end in [0, 1, 5, 8, 100, len(whole) // 2, len(whole) - 8, len(whole) - 1]:
        with pytest.raises(MalformedInputError):
            read(whole[:end], f"a.{form}", desktop)


def test_text_that_is_not_utf8_is_refused(read: Read, desktop: Contract) -> None:
    """Arrow text with other bytes in it is found, also in a column that the contract does not name."""
    bad = pa.Array.from_buffers(pa.string(), 1, [None, pa.py_buffer(b"\0\0\0\0\2\0\0\0"), pa.py_buffer(b"\xff\xfe")])
    for name in ("app", "other"):
        with pytest.raises(MalformedInputError):
            read(_write(pa.table({name: bad}), "arrow"), "a.arrow", desktop)


def test_offsets_out_of_bounds_are_refused(read: Read, desktop: Contract) -> None:
    """A hostile file whose text would begin outside its buffer is refused before a value is looked at."""
    whole = _write(pa.table({"app": ["a" * 0x1234]}), "ipc")
    before, _, after = whole.rpartition(b"\0\0\0\0\x34\x12\0\0")
    assert len(after) >= 0x1234
    with pytest.raises(MalformedInputError):
        read(before + b"\0\0\0\0\xff\xff\xff\x7f" + after, "a.ipc", desktop)


def test_a_column_twice_is_refused(read: Read, desktop: Contract) -> None:
    """Two columns of one name could each be the one that is checked."""
    table = pa.Table.from_arrays([pa.array([1]), pa.array([2])], names=["x", "x"])
    with pytest.raises(MalformedInputError, match="twice"):
        read(_write(table, "ipc"), "a.ipc", desktop)


class _Pipe(io.BytesIO):
    def seekable(self) -> bool:
        return False

    def seek(self, *_: Any) -> int:
        raise io.UnsupportedOperation


def test_a_pipe_can_carry_an_arrow_stream_only(desktop: Contract) -> None:
    """Formats with their index at the end say that they need a file."""
    table = synthesise(2, 10, 1).read_all()
    for form in FORMATS:
        pipe = _Pipe(_write(table, form))
        source = open_source(Path(f"a.{form}"), None, desktop, ReadOptions(), stream=pipe)
        if form == "ipc":
            assert sum(batch.num_rows for batch in source) == 10
        else:
            with pytest.raises(UsageError, match="pipe"):
                list(source)
        assert not pipe.closed


@pytest.mark.parametrize("form", FORMATS)
def test_memory_does_not_grow_with_the_file(desktop: Contract, tmp_path: Path, form: str) -> None:
    """Ten times as many row groups or batches need no more of Arrow's memory at a time."""
    peaks = []
    for rows in (5_000, 50_000):
        file = tmp_path / f"{rows}.{form}"
        file.write_bytes(_write(synthesise(20, rows, 1).read_all(), form))
        before, peak = pa.total_allocated_bytes(), 0
        for batch in open_source(file, None, desktop, ReadOptions(batch_rows=1000)):
            peak = max(peak, pa.total_allocated_bytes() - before, batch.nbytes)
        peaks.append(peak)
    assert peaks[1] < 1.5 * peaks[0]
