"""CSV files and their mappings."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest

from lake.clear.landing.readers.mapping import parse_mapping
from lake.clear.landing.readers.options import ReadOptions
from lake.errors import DocumentError, MalformedInputError, UsageError
from lake.rules.contract import Contract

Read = Callable[..., list[pa.RecordBatch]]

MAPPINGS = Path(__file__).resolve().parents[4] / "examples" / "mappings"
CANARY = "xylophone-canary"


def _example(name: str) -> ReadOptions:
    text = (MAPPINGS / f"{name}.yaml").read_text(encoding="utf-8")
    return ReadOptions(mapping=parse_mapping(text, f"{name}.yaml"))


def test_the_browser_example(read: Read, desktop: Contract) -> None:
    """Columns are renamed, a constant is added, times and nulls are read, and the unmapped column stays."""
    data = (
        b"when;person;site;open_for_ms;page\n"
        b'01.07.2026 09:30:00;E1;docs.example;1500;"/a;b"\n'
        b"01.07.2026 09:31:00;E1;mail.example;-;\n"
    )
    rows = read(data, "visits.csv", desktop, _example("browser_history"))[0].to_pylist()
    assert [row["url_host"] for row in rows] == ["docs.example", "mail.example"]
    assert [row["duration_ms"] for row in rows] == [1500, None]
    assert [row["page"] for row in rows] == ["/a;b", None]
    assert rows[0]["type"] == "url_visit"
    assert rows[0]["ts"].isoformat() == "2026-07-01T09:30:00"


def test_the_mouse_example(read: Read, desktop: Contract) -> None:
    """Times in milliseconds and whole numbers are read from text."""
    row = read(b"t,user,px,py,button\n1782898200123,E1,5,-7,\n", "m.csv", desktop, _example("mouse_samples"))[
        0
    ].to_pylist()[0]
    assert (row["ts"].isoformat(), row["x"], row["y"], row["button"]) == ("2026-07-01T09:30:00.123000", 5, -7, None)


@pytest.mark.parametrize(
    ("form", "text", "expected"),
    [
        ("iso", "2026-07-01T11:30:00+02:00", "2026-07-01T09:30:00"),
        ("unix_s", "1782898200.000001", "2026-07-01T09:30:00.000001"),
        ("unix_s", "-1", "1969-12-31T23:59:59"),
        ("unix_ms", "1782898200123.5", "2026-07-01T09:30:00.123500"),
        ("unix_us", "1782898200123456", "2026-07-01T09:30:00.123456"),
        ("%Y-%m-%d %H:%M:%S.%f", "2026-07-01 09:30:00.25", "2026-07-01T09:30:00.250000"),
        ("%Y-%m-%dT%H:%M%z", "2026-07-01T09:30-0100", "2026-07-01T10:30:00"),
    ],
)
def test_forms_of_time(read: Read, desktop: Contract, form: str, text: str, expected: str) -> None:
    """Each form gives naive UTC in microseconds."""
    mapping = parse_mapping(f'columns: {{t: ts}}\ntimestamps: {{ts: "{form}"}}')
    assert (
        read(f"t\n{text}\n".encode(), "a.csv", desktop, ReadOptions(mapping=mapping))[0]["ts"][0].as_py().isoformat()
        == expected
    )


@pytest.mark.parametrize("form", ["iso", "unix_s", "unix_ms", "unix_us", "%d.%m.%Y"])
@pytest.mark.parametrize("text", [CANARY, "1e300", "99999999999999999999", "NaN"])
def test_a_time_of_another_form_is_refused(read: Read, desktop: Contract, form: str, text: str) -> None:
    """A text that is no time of the form is named by line and field."""
    mapping = parse_mapping(f'columns: {{t: ts}}\ntimestamps: {{ts: "{form}"}}')
    with pytest.raises(MalformedInputError, match="line 3: the field 'ts'") as caught:
        read(f"t\n\n{text}\n".encode(), "a.csv", desktop, ReadOptions(mapping=mapping))
    assert text not in str(caught.value)


def test_without_a_mapping_columns_keep_their_names(read: Read, desktop: Contract) -> None:
    """A CSV whose columns are the contract's needs no mapping; an empty field is null."""
    row = read(b"employee,ts,type,x\nE1,2026-07-01T09:00:00Z,mouse,\n", "a.csv", desktop)[0].to_pylist()[0]
    assert (row["employee"], row["type"], row["x"]) == ("E1", "mouse", None)


@pytest.mark.parametrize("text", [" 1", "0x1F", "1.0", "1_000", CANARY, "2147483648", "١"])
def test_a_number_is_decimal_digits(read: Read, desktop: Contract, text: str) -> None:
    """Other ways to write a number are refused, not guessed."""
    with pytest.raises(MalformedInputError, match="'x'"):
        read(f"x\n1\n{text}\n".encode(), "a.csv", desktop)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "is empty"),
        (b"\n\n", "no header"),
        (b"a,a\n1,2\n", "usable header"),
        (f"a,b\n1,2\n{CANARY}\n".encode(), "line 3: more or fewer"),
        (f"a,b\n1,2\n1,2,{CANARY}\n".encode(), "line 3: more or fewer"),
        (f'a,b\n1,"{CANARY}\n'.encode(), "broken quoting"),
        (f'a,b\n1,"{CANARY}"x\n'.encode(), "broken quoting"),
        (b"\xef\xbb\xbfa,b\n1,2\n", "byte order mark"),
        (b"a,b\n1,\xff\n", "line 2: not UTF-8"),
    ],
)
def test_broken_text_is_refused(read: Read, desktop: Contract, data: bytes, message: str) -> None:
    """Rows of another length, broken quoting and other bytes are named by line."""
    with pytest.raises(MalformedInputError, match=message) as caught:
        read(data, "a.csv", desktop)
    assert CANARY not in str(caught.value)


def test_a_mapping_must_fit_the_contract(read: Read, desktop: Contract) -> None:
    """A field that the dataset does not collect cannot be filled."""
    with pytest.raises(UsageError, match="'salary'"):
        read(b"a\n1\n", "a.csv", desktop, ReadOptions(mapping=parse_mapping("columns: {a: salary}")))


def test_two_columns_cannot_be_one_field(read: Read, desktop: Contract) -> None:
    """An unmapped column that has the name of a mapped field is not silently lost."""
    with pytest.raises(MalformedInputError, match="two columns"):
        read(b"a,app\n1,2\n", "a.csv", desktop, ReadOptions(mapping=parse_mapping("columns: {a: app}")))


@pytest.mark.parametrize(
    "text",
    [
        "columns: {a: x, b: x}",
        "columns: {a: x}\nconstants: {x: 1}",
        "columns: {a: ts}\ntimestamps: {x: iso}",
        "columns: {a: ts}\ntimestamps: {ts: weekly}",
        'columns: {a: ts}\ntimestamps: {ts: "%Q"}',
        'columns: {a: ts}\ndelimiter: ";;"',
        "columns: {a: X}",
        "columns: {a: x}\nnull: []",
        "constants: {a: x}",
    ],
)
def test_a_wrong_mapping_is_refused(text: str) -> None:
    """Whatever is unknown, missing or said twice is named with line and column."""
    with pytest.raises(DocumentError, match=r"mapping:\d+:\d+: "):
        parse_mapping(text)
