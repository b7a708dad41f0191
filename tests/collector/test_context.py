"""The collector's context rules are the lake's: what one drops the other drops too, and for the same reason."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from lake.clear.landing.context import REASONS, ContextFilter
from lake.collector.check import Checker
from lake.collector.context import Context
from lake.rules.contract import parse_contract

CONTRACT = parse_contract("""
dataset: places
version: 1
title: Places
notice: Made up for tests.
purposes: [study]
retention: {"1": 90d, "2": 60d, "3": 30d, "4": 30d}
fields:
  app: {type: string, sensitivity: 1, notice: A.}
  page: {type: string, sensitivity: 2, notice: U.}
  tab: {type: string, sensitivity: 2, notice: U.}
  title: {type: string, sensitivity: 2, notice: T.}
  private: {type: boolean, sensitivity: 1, notice: P.}
  kind: {type: string, sensitivity: 1, notice: K.}
  key: {type: string, sensitivity: 4, notice: K.}
  seq: {type: int64, sensitivity: 1, notice: S.}
  presses: {type: int64, sensitivity: 1, notice: N.}
events:
  window: {sensitivity: 1, notice: W., fields: [app, page, tab, title, private]}
  site: {sensitivity: 1, notice: S., fields: [page, tab]}
  key: {sensitivity: 1, notice: K., fields: [app, title, kind, key, seq, presses]}
  silent: {sensitivity: 1, notice: K., fields: [app, kind, key, presses]}
filter:
  fields: {app: app, url: [page, tab], title: title, incognito: private, kind: kind, key: key, seq: seq}
  capture: {key: {level: counts, keys: presses}, silent: {level: none}}
  apps: {editor: office, Firefox: browser, Surf: browser}
  sites: {wiki.example.com: office, example.org: office}
""")
APPS = ("editor", "EDITOR.exe", "/opt/firefox", "surf", "1password", "keepass", "kееpass", "unknown", "", " ")
SITES = (
    *("https://wiki.example.com/a", "example.org", "sub.example.org", "https://paypal.com/", "other.example", "", " "),
    *("https://user@wiki.example.com:443/x", "xn--pypal-4ve.com", "pаypal.com", "not a url"),
)
TITLES = (
    "Notes",
    "Online banking - Editor",
    "Kündigung",
    "Private browsing",
    "Gehaltsabrechnung",
    "",
    "税務署",
    "ВКонтакте",
)
KINDS = ("text", "Text ", "password", "secure", "", "number")


def maybe(values: tuple[str, ...]) -> st.SearchStrategy[str | None]:
    """One of them, or none."""
    return st.sampled_from([None, *values])


ROWS = st.fixed_dictionaries(
    {
        "type": st.sampled_from(["window", "site"]),
        "app": maybe(APPS) | st.text(max_size=8),
        "page": maybe(SITES) | st.text(max_size=12),
        "tab": maybe(SITES),
        "title": maybe(TITLES) | st.text(max_size=12),
        "private": st.sampled_from([None, True, False]),
    }
)
SCHEMA = pa.schema(
    [(name, pa.string()) for name in ("type", "app", "page", "tab", "title")] + [("private", pa.bool_())]
)


@given(row=ROWS)
@settings(max_examples=400, deadline=None)
def test_one_judges_as_the_other(row: dict[str, Any]) -> None:
    event = CONTRACT.events[row["type"]]
    # As the lake has it after fields that the type does not carry were dropped.
    held = {name: value if name in event.fields or name == "type" else None for name, value in row.items()}
    table = pa.RecordBatch.from_pylist([held], schema=SCHEMA)
    (verdict,) = ContextFilter(CONTRACT).verdicts(table).tolist()
    fields = {name: value for name, value in held.items() if value is not None and name != "type"}
    assert Context(CONTRACT).refuses(event, fields) == REASONS[verdict]


def test_nothing_of_secret_fields_and_nothing_where_nothing_is_captured() -> None:
    checker = Checker(CONTRACT)
    for kind in KINDS:
        row, dropped = checker.check({"type": "key", "app": "editor", "key": "a", "kind": kind})
        assert (row is not None) == (kind.strip().casefold() == "text")
        assert row is not None or next(iter(dropped)).startswith("field.")
    row, dropped = checker.check({"type": "key", "app": "editor", "key": "a"})
    assert row is None
    assert dropped == {"field.unknown": 1}
    row, dropped = checker.check({"type": "silent", "app": "editor", "key": "a", "kind": "text"})
    assert row is None
    assert dropped == {"capture.none": 1}
