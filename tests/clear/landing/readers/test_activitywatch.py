"""ActivityWatch exports."""

from __future__ import annotations

import json
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from lake.clear.landing.readers.options import ReadOptions
from lake.clear.landing.readers.source import open_source
from lake.errors import MalformedInputError, UsageError
from lake.rules.contract import Contract

Read = Callable[..., list[pa.RecordBatch]]

CANARY = "xylophone-canary"
OPTIONS = ReadOptions(employee="E1")


def _event(**data: Any) -> dict[str, Any]:
    return {"id": 7, "timestamp": "2026-07-01T11:00:00.5+02:00", "duration": 1.25, "data": data}


def _export(**buckets: list[dict[str, Any]]) -> bytes:
    """Buckets by type, two underscores for a dot."""
    named = {
        f"bucket-{kind}": {"id": kind, "type": kind.replace("__", "."), "hostname": CANARY, "events": events}
        for kind, events in buckets.items()
    }
    return json.dumps({"buckets": named}).encode()


def _rows(read: Read, desktop: Contract, data: bytes) -> list[dict[str, Any]]:
    batches = read(data, "aw.json", desktop, OPTIONS, "activitywatch")
    return [row for batch in batches for row in batch.to_pylist()]


def test_buckets_become_event_types(read: Read, desktop: Contract) -> None:
    """Windows, absence, visits and counts arrive as the contract's events with their fields."""
    data = _export(
        currentwindow=[_event(app="Quillmark", title="plan")],
        afkstatus=[_event(status="afk")],
        web__tab__current=[_event(url="https://docs.example/x", title="t", incognito=False)],
        os__hid__input=[_event(presses=3, clicks=1, deltaX=5, deltaY=6, scrollX=0, scrollY=2)],
    )
    window, afk, visit, counts = _rows(read, desktop, data)
    assert (window["type"], window["app"], window["window_title"]) == ("window_focus", "Quillmark", "plan")
    assert (window["employee"], window["seq"], window["duration_ms"]) == ("E1", 7, 1250)
    assert window["ts"].isoformat() == "2026-07-01T09:00:00.500000"
    assert (afk["type"], afk["status"]) == ("afk", "afk")
    assert (visit["type"], visit["url_host"]) == ("url_visit", "docs.example")
    assert (counts["presses"], counts["clicks"], counts["delta_x"], counts["scroll_y"]) == (3, 1, 5, 2)


@pytest.mark.parametrize(
    ("url", "host"),
    [
        (f"https://docs.example/{CANARY}?q={CANARY}#{CANARY}", "docs.example"),
        (f"http://{CANARY}:pw@Docs.Example:8443/", "docs.example"),
        (f"file:///home/{CANARY}", None),
        (f"about:{CANARY}", None),
        (f"https://[{CANARY}/", None),
        (CANARY, None),
        (None, None),
    ],
)
def test_only_the_host_of_a_page_is_taken(desktop: Contract, url: str | None, host: str | None) -> None:
    """Path, query, user and password are gone; what is no web page is left out and counted."""
    data = _export(web__tab__current=[_event(url=url, title=CANARY, incognito=False)])
    source = open_source(Path("aw.json"), "activitywatch", desktop, OPTIONS, stream=BytesIO(data))
    batches = list(source)
    assert CANARY not in str([batch.to_pydict() for batch in batches])
    assert [row["url_host"] for batch in batches for row in batch.to_pylist()] == ([host] if host else [])
    assert source.dropped["activitywatch:not_web"] == (host is None)


def test_private_tabs_and_unknown_buckets_are_counted(desktop: Contract) -> None:
    """Private tabs, tabs that do not say, and buckets of other types are left out with a count."""
    page = "https://docs.example/"
    data = _export(
        web__tab__current=[_event(url=page, incognito=True), _event(url=page), _event(url=page, incognito=False)],
        app__editor__activity=[_event(file=CANARY)] * 3,
    )
    source = open_source(Path("aw.json"), "activitywatch", desktop, OPTIONS, stream=BytesIO(data))
    assert sum(batch.num_rows for batch in source) == 1
    assert source.dropped == {"activitywatch:incognito": 2, "activitywatch:unknown_bucket_type": 3}


def test_further_data_survives_as_presence(read: Read, desktop: Contract) -> None:
    """What an event holds beyond the known keys can be counted, and its value is not kept."""
    data = _export(currentwindow=[_event(app="a", title="t", path=CANARY), _event(app="a", title="t")])
    assert [row["data.path"] for row in _rows(read, desktop, data)] == [True, None]


def test_an_export_without_events_is_fine(read: Read, desktop: Contract) -> None:
    """No buckets or no events make no rows."""
    assert _rows(read, desktop, b'{"buckets": {}}') == []
    assert _rows(read, desktop, _export(afkstatus=[])) == []


def test_the_employee_must_be_named(desktop: Contract) -> None:
    """An export does not say whose it is."""
    with pytest.raises(UsageError, match="whose"):
        open_source(Path("aw.json"), "activitywatch", desktop, ReadOptions())


GOOD = _export(currentwindow=[_event(app=CANARY, title=CANARY)] * 3).decode()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        f'"{CANARY}"',
        GOOD[:-1],
        GOOD[: len(GOOD) // 2],
        GOOD + "{}",
        GOOD.replace("1.25", "NaN"),
        GOOD.replace("1.25", "-1"),
        GOOD.replace("1.25", f'"{CANARY}"'),
        GOOD.replace("1.25", "true"),
        GOOD.replace('"duration"', '"id"'),
        GOOD.replace('"title"', '"app"'),
        GOOD.replace('"id": 7', f'"id": "{CANARY}"'),
        GOOD.replace('"id": 7', '"id": 99999999999999999999999'),
        GOOD.replace(f'"title": "{CANARY}"', f'"title": {{"a": "{CANARY}"}}'),
        GOOD.replace("2026-07-01", CANARY),
        GOOD.replace('"type": "currentwindow", ', ""),
        GOOD.replace('{"buckets"', '{"x": ' + "[" * 100 + "]" * 100 + ', "buckets"'),
        GOOD.replace('"id": 7', '"id": ' + "[" * 100_000),
        GOOD.replace("1.25", "9" * 3_000_000),
        GOOD.replace('"app": "', '"app": "' + "a" * 3_000_000),
        '{"buckets": [' + "1," * 10 + "1]}",
        '{"buckets": {"a": 1}}',
        '{"buckets": {"a": {"type": "afkstatus", "events": 1}}}',
        '{"buckets": {"a": {"type": "afkstatus", "events": [1]}}}',
        '{"buckets": {}, "buckets": {}}',
    ],
)
def test_a_broken_export_is_refused(read: Read, desktop: Contract, text: str) -> None:
    """What is cut off, of another shape, too long or too deep is refused without a value."""
    with pytest.raises(MalformedInputError) as caught:
        _rows(read, desktop, text.encode())
    assert caught.value.hint
    assert CANARY not in str(caught.value)


def test_text_that_is_not_utf8_is_refused(read: Read, desktop: Contract) -> None:
    """Bytes that are no UTF-8 are found by the parser."""
    with pytest.raises(MalformedInputError):
        _rows(read, desktop, GOOD.encode().replace(CANARY.encode(), b"\xff"))
