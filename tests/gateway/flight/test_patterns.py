"""LIKE patterns: exact, total, and never slow."""

from __future__ import annotations

import duckdb
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lake.gateway.flight.patterns import matches

ENGINE = duckdb.connect()
TEXTS = st.text(alphabet="ab%_\\.*\n", max_size=8)


@given(TEXTS, TEXTS)
def test_patterns_match_what_duckdb_matches(pattern: str, text: str) -> None:
    """Where DuckDB takes the pattern at all; an escape at the end stands for itself here."""
    if pattern.replace("\\\\", "").endswith("\\"):
        pattern += "\\"
    try:
        ((wanted,),) = ENGINE.execute("SELECT $t LIKE $p ESCAPE '\\'", {"t": text, "p": pattern}).fetchall()
    except duckdb.SyntaxException:
        return
    assert matches(pattern, text) == wanted


@pytest.mark.parametrize(
    ("pattern", "text", "wanted"),
    [
        ("events", "events", True),
        ("Events", "events", False),
        ("%", "", True),
        ("", "", True),
        ("", "a", False),
        ("_", "", False),
        ("e%s", "events", True),
        ("e%s", "event", False),
        ("mouse_events", "mouseXevents", True),
        ("mouse\\_events", "mouseXevents", False),
        ("mouse\\_events", "mouse_events", True),
        ("100\\%", "100%", True),
        ("a\\", "a\\", True),
        ("a.c", "abc", False),
        ("%_%", "ü", True),
    ],
)
def test_cases(pattern: str, text: str, wanted: bool) -> None:
    """By hand."""
    assert matches(pattern, text) is wanted


def test_a_hostile_pattern_takes_no_longer_than_its_length_says() -> None:
    """What takes a backtracking matcher for ever is decided."""
    assert not matches("%a" * 200 + "b", "a" * 400)
    assert matches("%" * 1000, "a" * 400)
