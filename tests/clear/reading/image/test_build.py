"""Images: DuckDB and Arrow read from them exactly the rows that were written, and nothing else is in them."""

# ruff: noqa: DTZ001 - capture times are naive UTC
from __future__ import annotations

import os
import random
from dataclasses import replace
from datetime import datetime
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lake.clear.reading.image.build import Wanted, build
from lake.clear.reading.plan import SUBJECT_COLUMN
from lake.errors import IntegrityError
from tests.clear.reading.image.conftest import SHOWN, STORED, Files, by_arrow, by_engine, content, expected, rows


def test_every_type_is_read_as_it_was_written(files: Files) -> None:
    """NULLs, ends of ranges, empty and long texts; files of one group and of several, of several employees."""
    tables = [rows(250), rows(1), rows(90, 40)]
    made = [files.file(tables[0], 1, group=100), files.file(tables[1], 2, 4), files.file(tables[2], 2, 1)]
    image = files.image(made)
    assert image is not None
    wanted = expected(list(zip(made, tables, strict=True)))
    assert by_engine(image).equals(wanted)
    assert by_arrow(image).cast(SHOWN).equals(wanted)
    assert {(source.number, source.sensitivity): n for source, n in image.touched.items()} == {
        (1, 2): 250,
        (2, 4): 1,
        (2, 1): 90,
    }


@pytest.mark.parametrize(
    "options",
    [
        {"data_page_size": 64},
        {"use_dictionary": False},
        {"dictionary_pagesize_limit": 64, "data_page_size": 128},
        {"compression": "snappy"},
        {"compression": "none"},
        {"compression": "zstd"},
        {"write_statistics": False},
    ],
)
def test_other_layouts_are_read_too(files: Files, options: dict[str, Any]) -> None:
    """Many pages to a chunk, no dictionary or one that is given up, other codecs, no statistics."""
    if "use_dictionary" in options:
        options = options | {"column_encoding": None}
    table = rows(500)
    file = files.file(table, group=200, **options)
    image = files.image([file])
    assert image is not None
    assert by_engine(image).equals(expected([(file, table)]))


_ROW = st.tuples(
    st.datetimes(datetime(1970, 1, 1), datetime(2100, 1, 1)),
    st.text(max_size=3),
    *(st.none() | kind for kind in (st.integers(-(2**31), 2**31 - 1), st.integers(-(2**63), 2**63 - 1))),
    st.none() | st.floats(allow_nan=False),
    st.none() | st.booleans(),
    st.none() | st.datetimes(datetime(1970, 1, 1), datetime(2100, 1, 1)),
    st.none() | st.text(max_size=20),
)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.lists(_ROW, min_size=1, max_size=30), min_size=1, max_size=3), st.integers(1, 12))
def test_any_rows_are_read_as_they_were_written(files: Files, parts: list[list[Any]], group: int) -> None:
    """Whatever the rows, and however they are divided."""
    tables = [
        pa.Table.from_pylist([dict(zip(STORED.names, row, strict=True)) for row in part], STORED) for part in parts
    ]
    made = [files.file(table, number, group=group) for number, table in enumerate(tables)]
    image = files.image(made)
    assert image is not None
    assert by_engine(image).equals(expected(list(zip(made, tables, strict=True))))


def test_only_what_is_asked_for_is_in_it(files: Files) -> None:
    """Of other columns there is no page, no name and no bound, in whatever form; of those asked for there is."""
    table = rows(50)
    secret = pa.array([f"hidden-canary-{n}" for n in range(50)], pa.string())
    table = table.set_column(table.schema.get_field_index("text"), "text", secret)
    file = files.file(table, compression="none")
    some = pa.schema([SHOWN.field(name) for name in ("employee", "i", "ts")])
    image = files.image([file], some)
    assert image is not None
    assert by_engine(image).equals(expected([(file, table)], some))
    raw = content(image)
    assert not any(word in raw for word in (b"canary", b"text", b"type", b"sensitivity"))
    whole = files.image([file])
    assert whole is not None
    assert b"hidden-canary-7" in content(whole)


def test_a_column_that_a_file_lacks_is_null_there(files: Files) -> None:
    """Files of an earlier contract and of a later one, of every type that a contract may add."""
    old, new = rows(30).select(["ts", "type"]), rows(40)
    made = [files.file(old, 1, group=7), files.file(new, 2)]
    image = files.image(made)
    assert image is not None
    assert by_engine(image).equals(expected([(made[0], old), (made[1], new)]))
    alone = files.image(made[:1])
    assert alone is not None
    assert by_engine(alone).equals(expected([(made[0], old)]))


@pytest.mark.parametrize("kind", [pa.int64(), pa.string(), pa.float64()])
def test_a_column_of_two_forms_makes_no_image(files: Files, kind: pa.DataType) -> None:
    """Nor one whose form is not the type that is wanted."""
    table = rows(10)
    other = table.set_column(2, "i", pa.nulls(10, kind))
    assert files.image([files.file(table), files.file(other)]) is None
    assert files.image([files.file(other)]) is None


def test_a_subject_is_a_constant_as_well(files: Files) -> None:
    """The employee's number, beyond what a byte holds."""
    file = files.file(rows(10), 70_000)
    schema = pa.schema([(SUBJECT_COLUMN, pa.int32()), ("sensitivity", pa.int8())])
    image = files.image([file], schema)
    assert image is not None
    assert by_engine(image).to_pylist() == [{SUBJECT_COLUMN: 70_000, "sensitivity": 2}] * 10


def test_row_groups_outside_the_times_are_left_out(files: Files) -> None:
    """By the files' own bounds; one that touches the time stays whole, and rows left out count for nobody."""
    table = rows(500)  # a hundred a day
    file = files.file(table, group=100)
    image = files.image([file], first=datetime(2026, 7, 2, 9, 0, 0, 50), last=datetime(2026, 7, 3, 9))
    assert image is not None
    assert by_engine(image).equals(expected([(file, table.slice(100, 200))]))
    assert image.touched.total() == 200
    none = files.image([file], first=datetime(2027, 1, 1))
    assert none is not None
    assert (by_engine(none).num_rows, none.touched.total()) == (0, 0)
    blind = files.file(table, group=100, write_statistics=False)
    all_of_it = files.image([blind], first=datetime(2027, 1, 1))
    assert all_of_it is not None
    assert all_of_it.touched.total() == 500


def test_columns_are_added_to_what_is_there(files: Files) -> None:
    """The earlier image stays as it is, what it has is not opened again, and an image that has all is given back."""
    tables = [rows(120), rows(30, 7)]
    made = [files.file(tables[0], 1, group=50), files.file(tables[1], 2)]
    pairs = list(zip(made, tables, strict=True))
    some = pa.schema([SHOWN.field(name) for name in ("ts", "employee", "i")])
    first = files.image(made, some)
    assert first is not None
    both = files.image(made, SHOWN, first)
    assert both is not None
    names = [*some.names, *(name for name in SHOWN.names if name not in some.names)]
    whole = expected(pairs).select(names)
    assert by_engine(both).equals(whole)
    assert by_engine(first).equals(expected(pairs, some))
    files.opened.clear()
    assert files.image(made, some, both) is both
    assert files.opened == []
    assert both.touched == first.touched


def test_an_image_is_sealed_and_goes_with_its_object(files: Files) -> None:
    """Nobody writes it, and its memory is given back."""
    image = files.image([files.file(rows(10))])
    assert image is not None
    with pytest.raises(PermissionError):
        os.pwrite(image.descriptor, b"x", 0)
    number = image.descriptor
    del image
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(number)


def test_too_much_makes_no_image(files: Files) -> None:
    """Neither what is over the bound, nor what there is no memory for."""
    file = files.file(rows(500))
    assert files.image([file], most=100) is None
    assert files.image([file], most=file.length) is not None


def test_what_goes_on_may_stop_it(files: Files) -> None:
    """It is asked before every file, twice."""
    asked: list[None] = []

    def go_on() -> None:
        asked.append(None)
        if len(asked) == 4:
            raise LookupError

    made = [files.file(rows(3)) for _ in range(3)]
    wanted = Wanted(files.location, SHOWN, None, None, 1 << 20)
    with pytest.raises(LookupError):
        build(made, wanted, files.footer, go_on)


def test_every_changed_byte_is_noticed(files: Files) -> None:
    """Wherever it is in what is read: in the clear bytes, the footer, a header or a page."""
    table = rows(40)
    file = files.file(table, group=20)
    path = files.path(file)
    whole = path.read_bytes()
    positions = [*range(4), *range(len(whole) - 60, len(whole)), *random.Random(5).sample(range(len(whole)), 400)]
    for at in positions:
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1 << at % 8]) + whole[at + 1 :])
        with pytest.raises(IntegrityError):
            files.image([file])
    path.write_bytes(whole)
    assert files.image([file]) is not None


def _extents(files: Files, file: Any) -> dict[tuple[int, str], tuple[int, int]]:
    footer = files.footer(file)
    return {
        (number, name): (chunk.start, chunk.length)
        for number, group in enumerate(footer.groups)
        for name, chunk in group.chunks.items()
    }


@pytest.mark.parametrize("other", [(1, "i"), (0, "j")])
def test_a_chunk_in_the_place_of_another_is_refused(files: Files, other: tuple[int, str]) -> None:
    """Of another row group or another column of the same file, of the same length, under the same key."""
    table = rows(20).append_column("j", rows(20)["i"])
    schema = pa.schema([*SHOWN, ("j", pa.int32())])
    same = pa.concat_tables([table, table])
    file = files.file(same, group=20, write_statistics=False)
    extents = _extents(files, file)
    (start, length), (there, size) = extents[0, "i"], extents[other]
    assert length == size
    whole = bytearray(files.path(file).read_bytes())
    whole[start : start + length] = whole[there : there + size]
    files.path(file).write_bytes(whole)
    with pytest.raises(IntegrityError, match="not what was written"):
        files.image([file], schema)


def test_a_chunk_of_another_file_is_refused(files: Files) -> None:
    """Even under the same key and identity: what is unique of a file is in every AAD."""
    table = rows(20)
    file, other = files.file(table), files.file(table)
    mixed = bytearray(files.path(file).read_bytes())
    start, length = _extents(files, file)[0, "i"]
    theirs, size = _extents(files, other)[0, "i"]
    assert length == size
    mixed[start : start + length] = files.path(other).read_bytes()[theirs : theirs + size]
    files.path(file).write_bytes(mixed)
    with pytest.raises(IntegrityError, match="not what was written"):
        files.image([file])


@pytest.mark.parametrize("change", ["dek", "aad_prefix", "rows", "format_version"])
def test_a_file_opens_only_as_itself(files: Files, change: str) -> None:
    """Under another key or identity, or with another number of rows than the catalog knows, nothing comes."""
    file = files.file(rows(20))
    values: dict[str, Any] = {"dek": os.urandom(32), "aad_prefix": os.urandom(32), "rows": 19, "format_version": 9}
    with pytest.raises(IntegrityError):
        files.image([replace(file, **{change: values[change]})])


def test_a_missing_or_short_file_is_damage(files: Files) -> None:
    """Gone, or cut."""
    file, gone = files.file(rows(20)), files.file(rows(20))
    files.path(gone).unlink()
    os.truncate(files.path(file), file.length - 1)
    with pytest.raises(IntegrityError, match="not what was written"):
        files.image([file])
    with pytest.raises((IntegrityError, FileNotFoundError)):
        files.image([gone])


def test_a_chunk_that_ends_early_is_damage(files: Files) -> None:
    """When the object shrinks between its footer's being read and its pages'."""
    file = files.file(rows(200))
    known = files.footer(file)
    os.truncate(files.path(file), 100)
    with pytest.raises(IntegrityError):
        build([file], Wanted(files.location, SHOWN, None, None, 1 << 20), lambda _file: known)


def test_arrow_agrees_on_the_metadata(files: Files) -> None:
    """Row groups, codecs and bounds are those of the files."""
    table = rows(100)
    file = files.file(table, group=40)
    image = files.image([file])
    assert image is not None
    metadata = pq.read_metadata(pa.BufferReader(content(image)))
    assert [metadata.row_group(n).num_rows for n in range(metadata.num_row_groups)] == [40, 40, 20]
    moment = metadata.row_group(1).column(SHOWN.get_field_index("ts")).statistics
    assert (moment.min, moment.max) == (table["ts"][40].as_py(), table["ts"][79].as_py())
    label = metadata.row_group(2).column(SHOWN.get_field_index("employee"))
    assert (label.statistics.min, label.statistics.max, label.num_values) == ("e1", "e1", 20)
