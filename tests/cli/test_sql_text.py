"""Where statements end, and how words go on."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lake.cli.sql_text import WORDS, blank, completions, split

TABLES = {"events": ["ts", "type", "title"], "moods": ["ts", "mood"]}
PIECES = [
    "SELECT 1",
    "'a;b'",
    '"a;""b"',
    "-- c; d\n",
    "/* e; f */",
    "$$g;h$$",
    "$t$i;$$j$t$",
    "e'k\\';l'",
    "'it''s;'",
    " x\n",
]


@given(st.lists(st.lists(st.sampled_from(PIECES), min_size=1), max_size=4))
def test_a_semicolon_ends_a_statement_outside_quotes_only(statements: list[list[str]]) -> None:
    """Whatever stands between two of them stays together."""
    texts = ["SELECT " + " ".join(pieces) for pieces in statements]
    whole, rest = split("".join(f"{text};" for text in texts))
    assert whole == [text.strip() for text in texts]
    assert rest == ""


@pytest.mark.parametrize("text", ["'a;", '"a;', "/* a;", "$$ a;", "$t$ a; $$", "e'a\\';", "SELECT 1 -- a;"])
def test_what_is_not_finished_waits(text: str) -> None:
    """An open quote or comment swallows semicolons until it is closed."""
    assert split(f"SELECT 0; {text}") == (["SELECT 0"], text)


@given(st.text())
def test_any_text_is_taken_apart(text: str) -> None:
    """Nothing of it fails, and nothing is added."""
    whole, rest = split(text)
    assert all(part in text for part in [*whole, rest])


@pytest.mark.parametrize(("text", "empty"), [("", True), (" \n-- a\n/* b */", True), ("-- a\nSELECT", False)])
def test_comments_alone_are_nothing_to_run(text: str, empty: bool) -> None:
    """Spaces and comments."""
    assert blank(text) is empty


@pytest.mark.parametrize(
    ("before", "word", "found"),
    [
        ("SELECT * FROM ev", "ev", ["events"]),
        ("SELECT ti", "ti", ["title", "TIMESTAMP"]),
        ("SELECT events.t", "t", ["ts", "type", "title"]),
        ("SELECT secrets.t", "t", []),
        ("sel", "sel", ["SELECT"]),
        ("SELECT ", "", ["events", "moods", "mood", "title", "ts", "type"]),
        ("\\ti", "\\ti", ["\\timing"]),
        ("\\d ev", "ev", ["events"]),
        ("\\d ", "", ["events", "moods"]),
    ],
)
def test_words_that_may_follow(before: str, word: str, found: list[str]) -> None:
    """Tables and columns that one may see, and SQL's own words; never more of them."""
    assert completions(before, TABLES) == (word, found)


def test_without_tables_there_are_words() -> None:
    """A connection that cannot be asked completes SQL all the same."""
    assert completions("wher", {}) == ("wher", ["WHERE"])
    assert len(set(WORDS)) == len(WORDS)
