"""Newline-delimited JSON."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lake.clear.landing.readers.inputs import Input
from lake.clear.landing.readers.ndjson import _parse_alone, _parse_together
from lake.clear.landing.readers.options import ReadOptions
from lake.errors import MalformedInputError
from lake.rules.contract import Contract

Read = Callable[..., list[pa.RecordBatch]]

GOOD = b'{"employee":"E1","ts":"2026-07-01T09:00:00Z","type":"mouse","x":1,"y":2}'
CANARY = "xylophone-canary"


def _rows(batches: list[pa.RecordBatch]) -> list[dict[str, Any]]:
    return [row for batch in batches for row in batch.to_pylist()]


def test_a_line_becomes_a_row(read: Read, desktop: Contract) -> None:
    """The contract's fields arrive in the contract's types, the absent ones as null."""
    row = _rows(read(GOOD + b"\n", "a.ndjson", desktop))[0]
    assert (row["employee"], row["type"], row["x"], row["y"]) == ("E1", "mouse", 1, 2)
    assert row["ts"] == datetime(2026, 7, 1, 9, tzinfo=UTC).replace(tzinfo=None)
    assert row["app"] is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-07-01T09:00:00Z", "2026-07-01T09:00:00"),
        ("2026-07-01T09:00:00.5+02:00", "2026-07-01T07:00:00.500000"),
        ("2026-07-01 09:00:00z", "2026-07-01T09:00:00"),
        ("2026-07-01T00:30:00.123456789-01:00", "2026-07-01T01:30:00.123456"),
    ],
)
def test_times_become_utc(read: Read, desktop: Contract, text: str, expected: str) -> None:
    """RFC 3339 with any offset becomes naive UTC; what is finer than a microsecond is cut."""
    line = json.dumps({"employee": "E1", "ts": text, "type": "afk"}).encode()
    assert _rows(read(line, "a.ndjson", desktop))[0]["ts"].isoformat() == expected


@pytest.mark.parametrize("name", ["a.ndjson", "a.jsonl", "a.ndjson.gz", "a.jsonl.zst"])
def test_compression_goes_by_the_suffix(read: Read, desktop: Contract, name: str) -> None:
    """gzip and zstd are unpacked; the last line needs no end; blank lines and CRLF are fine."""
    data = GOOD + b"\r\n\n  \n" + GOOD
    if name.endswith(".gz"):
        data = gzip.compress(data)
    elif name.endswith(".zst"):
        data = pa.Codec("zstd").compress(data, asbytes=True)
    assert len(_rows(read(data, name, desktop))) == 2


def test_unknown_fields_survive_as_presence(read: Read, desktop: Contract) -> None:
    """A field that the contract does not name stays visible, whatever its values, and none of them is kept."""
    lines = b'{"secret":"abc","n":null}\n{"secret":{"deep":[1]}}\n{"secret":5,"sensitivity":1}\n{"secret":null}'
    batch = read(lines, "a.ndjson", desktop)[0]
    assert batch["secret"].to_pylist() == [True, True, True, None]
    assert batch["n"].null_count == 4
    assert batch["sensitivity"].to_pylist() == [None, None, 1, None]


def test_a_whole_number_may_be_written_with_a_point(read: Read, desktop: Contract) -> None:
    """5.0 is five, in a column of whole numbers as in one of others."""
    batch = read(b'{"x":5.0,"seq":1}\n{"x":6,"seq":-2e0}', "a.ndjson", desktop)[0]
    assert batch["x"].to_pylist() == [5, 6]
    assert batch["seq"].to_pylist() == [1, -2]


def test_batches_are_bounded(read: Read, desktop: Contract) -> None:
    """No batch has more rows than asked for, and no row is lost between batches."""
    data = b"\n".join(b'{"seq":%d}' % number for number in range(25))
    batches = read(data, "a.ndjson", desktop, ReadOptions(batch_rows=10))
    assert [batch.num_rows for batch in batches] == [10, 10, 5]
    assert [row["seq"] for row in _rows(batches)] == list(range(25))


def test_the_employee_of_the_options_fills_in(read: Read, desktop: Contract) -> None:
    """A row that does not say whose it is gets the given employee; a row that does keeps its own."""
    batch = read(b'{"seq":1}\n{"employee":"E2"}', "a.ndjson", desktop, ReadOptions(employee="E9"))[0]
    assert batch["employee"].to_pylist() == ["E9", "E2"]


@pytest.mark.parametrize(
    "line",
    [
        f'{{"app":"{CANARY}","app":"{CANARY}"}}',
        f'{{"app":"{CANARY}" ,"app" : "{CANARY}"}}',
        f'{{"u":{{"{CANARY}":1,"{CANARY}":2}}}}',
        f'{{"u":[{{"{CANARY}":1,"{CANARY}":2}}]}}',
        '{"x":NaN}',
        '{"u":Infinity}',
        '{"hold_ms":-Infinity}',
        f'"{CANARY}"',
        f'["{CANARY}"]',
        "null",
        "{}{}",
        "{},{}",
        f'{{"app":"{CANARY}"}} trailing',
        f'{{"app":"{CANARY}',
        f'{{"app":["{CANARY}"]}}',
        f'{{"app":{{"a":"{CANARY}"}}}}',
        f'{{"x":"{CANARY}"}}',
        '{"x":"5"}',
        '{"x":5.5}',
        '{"x":true}',
        '{"x":2147483648}',
        '{"seq":9223372036854775808}',
        '{"seq":1e400}',
        '{"seq":' + "9" * 5000 + "}",
        '{"app":5}',
        '{"app":"\\ud800"}',
        '{"ts":"2026-07-01T09:00:00"}',
        '{"ts":"2026-02-30T09:00:00Z"}',
        '{"ts":"0000-01-01T00:00:00Z"}',
        '{"ts":1783000000}',
        f'{{"ts":"{CANARY}"}}',
        '{"u":' + "[" * 100_000,
        '{"u":' + '{"a":' * 100_000,
        '{"app":"a\tb"}',
    ],
)
def test_a_bad_line_is_named_and_not_quoted(read: Read, desktop: Contract, line: str) -> None:
    """What is not one plain JSON object of the right types is refused with its line and without its values."""
    data = b"\n".join([GOOD, b"", line.encode(), GOOD])
    with pytest.raises(MalformedInputError, match="line 3") as caught:
        read(data, "a.ndjson", desktop)
    assert caught.value.hint
    assert CANARY not in str(caught.value)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "is empty"),
        (b"\n \n", "holds no rows"),
        (b"\xef\xbb\xbf" + GOOD, "byte order mark"),
        (GOOD + b"\n" + b'{"app":"\xff"}', "line 2: not UTF-8"),
        (GOOD + b"\n" + GOOD[:-3], "line 2"),
        (GOOD + b"\n" + b" " * 2000, "line 2: longer than 1000 bytes"),
        (GOOD * 20, "line 1: longer than 1000 bytes"),
        (b"\n".join([GOOD] * 100), "more than 5000 bytes"),
    ],
)
def test_bad_bytes_are_refused(read: Read, desktop: Contract, data: bytes, message: str) -> None:
    """Empty, cut off, too long, too large, not UTF-8 or with a byte order mark."""
    with pytest.raises(MalformedInputError, match=message):
        read(data, "a.ndjson", desktop, ReadOptions(max_line=1000, max_bytes=5000))


@pytest.mark.parametrize("name", ["a.ndjson.gz", "a.ndjson.zst"])
def test_a_cut_or_changed_archive_is_refused(read: Read, desktop: Contract, name: str) -> None:
    """A compressed file that ends early, or has bytes after its end, never counts as whole."""
    plain = b"\n".join([GOOD] * 1000)
    data = gzip.compress(plain) if name.endswith("gz") else pa.Codec("zstd").compress(plain, asbytes=True)
    for broken in (data[:-1], data[: len(data) // 2], data + b"garbage", b"\x00" + data):
        with pytest.raises(MalformedInputError):
            read(broken, name, desktop)


@pytest.mark.parametrize("name", ["a.ndjson.gz", "a.ndjson.zst"])
def test_a_bomb_stops_at_the_limit(read: Read, desktop: Contract, name: str) -> None:
    """Few bytes that unpack to many are refused at the limit, in one line or in many."""
    for plain in (b" " * 30_000_000, b"{}\n" * 10_000_000):
        data = gzip.compress(plain, 1) if name.endswith("gz") else pa.Codec("zstd").compress(plain, asbytes=True)
        with pytest.raises(MalformedInputError, match=r"more than|longer than"):
            read(data, name, desktop, ReadOptions(max_bytes=3_000_000))


def test_field_names_without_end_are_refused(read: Read, desktop: Contract) -> None:
    """Rows that each name another field do not make a batch of any width."""
    data = b"\n".join(b'{"f%d":1}' % number for number in range(1100))
    with pytest.raises(MalformedInputError, match="unknown fields"):
        read(data, "a.ndjson", desktop)


FRAGMENTS = [
    r'{"a":1}',
    r'{"a":1',
    r'"b":2}',
    r"{",
    r"}",
    r'{"a":[1',
    r"2]}",
    r'{"a":[{}',
    r"{}]}",
    r"{},{}",
    r'{"a":1,"a":2}',
    r'{"a":"x\":y"}',
    r'{"a":"x\":y","a":1}',
    r'{"a" :1}',
    r'{"a":{"b":1}}',
    r'{"a":NaN}',
    r"[]",
    r'{"a":""}',
    r'{"":":"}',
]
"""Whole and broken lines, some of which would be whole together."""


@given(st.lists(st.sampled_from(FRAGMENTS), min_size=1, max_size=5))
def test_parsing_together_agrees_with_parsing_alone(lines: list[str]) -> None:
    """The quick way gives what line by line would give, or nothing: lines never run into each other."""
    together = _parse_together(lines)
    if together is not None:
        source = Input(Path("a.ndjson"), None, ReadOptions())
        assert together == [_parse_alone(source, 1, line) for line in lines]
