"""Damaged input of every format: either it is read, or it is refused without a word of what stood in it."""

from __future__ import annotations

import gzip
import io
import json
import traceback
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lake.clear.landing.readers.options import ReadOptions
from lake.clear.landing.readers.source import open_source
from lake.errors import MalformedInputError
from lake.rules.contract import Contract

CANARIES = ("xylophone", "marzipan", "quicksilver")

ROWS = [
    {
        "employee": "xylophone",
        "ts": f"2026-07-01T09:00:{second:02d}Z",
        "type": "window_focus",
        "seq": second,
        "app": "marzipan",
        "window_title": "quicksilver, marzipan",
        "duration_ms": 100,
    }
    for second in range(20)
]


def _columnar(write: Callable[[io.BytesIO, pa.Table], None]) -> bytes:
    sink = io.BytesIO()
    write(sink, pa.Table.from_pylist(ROWS))
    return sink.getvalue()


def _ipc(opened: Callable[..., pa.ipc.RecordBatchStreamWriter]) -> Callable[[io.BytesIO, pa.Table], None]:
    def write(sink: io.BytesIO, table: pa.Table) -> None:
        with opened(sink, table.schema) as writer:
            writer.write_table(table, 7)

    return write


NDJSON = "\n".join(json.dumps(row) for row in ROWS).encode()
CSV = "\n".join([",".join(ROWS[0]), *(",".join(f'"{value}"' for value in row.values()) for row in ROWS)]).encode()
EVENT = {"timestamp": "2026-07-01T09:00:00Z", "duration": 1, "data": {"app": "marzipan", "title": "quicksilver"}}
EXPORT = json.dumps({"buckets": {"xylophone": {"type": "currentwindow", "events": [EVENT] * 5}}}).encode()
MOVES = b"record timestamp,client timestamp,button,state,x,y\n" + b"0.0,0.5,NoButton,Move,10,20\n" * 20
KEYS = b"participant,seq,t_down_ms,t_up_ms,vk,value,pos,doclen\n" + b"xylophone,1,5,9,VK_A,marzipan,0,0\n" * 20

FILES: dict[str, tuple[str, str | None, bytes]] = {
    "ndjson": ("a.ndjson", None, NDJSON),
    "ndjson.gz": ("a.ndjson.gz", None, gzip.compress(NDJSON)),
    "ndjson.zst": ("a.ndjson.zst", None, pa.Codec("zstd").compress(NDJSON, asbytes=True)),
    "csv": ("a.csv", None, CSV),
    "parquet": ("a.parquet", None, _columnar(lambda sink, table: pq.write_table(table, sink))),
    "arrow file": ("a.arrow", None, _columnar(_ipc(pa.ipc.new_file))),
    "arrow stream": ("a.ipc", None, _columnar(_ipc(pa.ipc.new_stream))),
    "activitywatch": ("a.json", "activitywatch", EXPORT),
    "balabit": ("xylophone/session_1.csv", "balabit", MOVES),
    "keylog": ("a.csv", "keylog", KEYS),
}

PIECES = st.one_of(
    st.binary(max_size=6),
    st.sampled_from(
        [b'"', b"\n", b",", b"{", b"}", b"[", b"]", b"\\", b"NaN", b"\x00", b"\xff", b"1e999", b"null", b"-"]
    ),
)
CHANGES = st.lists(st.tuples(st.floats(0, 1), st.integers(0, 12), PIECES), min_size=1, max_size=4)


def _changed(data: bytes, changes: list[tuple[float, int, bytes]]) -> bytes:
    """Some bytes cut out, others put in, at places given as shares of the length."""
    for place, cut, piece in changes:
        at = int(place * len(data))
        data = data[:at] + piece + data[at + cut :]
    return data


def _refusal(desktop: Contract, form: str, data: bytes) -> str:
    """All that a refusal says, or nothing if the data was read."""
    name, importer, _ = FILES[form]
    options = ReadOptions(employee="E1", batch_rows=8, max_bytes=1_000_000, max_line=10_000)
    try:
        for batch in open_source(Path(name), importer, desktop, options, stream=io.BytesIO(data)):
            batch.validate(full=True)
    except MalformedInputError as error:
        shown = "".join(traceback.format_exception_only(error))
        return f"{shown} {error} {error.hint} {error.details} {error.__cause__}"
    return ""


@pytest.mark.parametrize("form", list(FILES))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(changes=CHANGES, end=st.one_of(st.just(1.0), st.floats(0, 1)))
def test_damage_says_nothing_of_the_content(
    desktop: Contract, form: str, changes: list[tuple[float, int, bytes]], end: float
) -> None:
    """Whatever is cut, changed or put in, the input is read or called malformed, and no value is in the words."""
    broken = _changed(FILES[form][2], changes)
    said = _refusal(desktop, form, broken[: int(end * len(broken))])
    assert not any(canary in said for canary in CANARIES)


@pytest.mark.parametrize("form", list(FILES))
def test_a_library_that_quotes_is_not_passed_on(desktop: Contract, form: str) -> None:
    """A canary in place of each number, time and mark is refused or read, and never repeated."""
    data = FILES[form][2]
    for found in (b"2026", b"Move", b"0.5", b"10", b"5,9", b": 100", b'"100"', b"PAR1", b"ARROW1"):
        assert "marzipan" not in _refusal(desktop, form, data.replace(found, b"marzipan"))
    assert _refusal(desktop, form, b"\xffmarzipan,\n" * 100)


@pytest.mark.parametrize("form", list(FILES))
def test_the_undamaged_file_is_read(desktop: Contract, form: str) -> None:
    """The files that are damaged above are good ones."""
    name, importer, data = FILES[form]
    source = open_source(Path(name), importer, desktop, ReadOptions(employee="E1"), stream=io.BytesIO(data))
    assert sum(batch.num_rows for batch in source) in {5, 20}
