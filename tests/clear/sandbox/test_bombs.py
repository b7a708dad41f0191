"""Text that is too deep, too large or no SQL at all."""

# ruff: noqa: S608 - the SQL of these tests is made of their own constants
from __future__ import annotations

import threading

import pytest

from lake.clear.sandbox.guard import AdmittedQuery, admit
from lake.clear.sandbox.syntax import parse
from lake.errors import QueryRefusedError

TABLES = {"events": ["n", "app"]}


def admitted(sql: str) -> AdmittedQuery:
    return admit(parse(sql), TABLES)


def refusal(sql: str) -> QueryRefusedError:
    with pytest.raises(QueryRefusedError) as caught:
        admitted(sql)
    return caught.value


BOMBS = [
    "SELECT " + "(" * 45_000 + "1" + ")" * 45_000,
    "SELECT 1 FROM " + "(" * 5_000 + "events" + ")" * 5_000,
    "SELECT " + "NOT " * 20_000 + "true",
    "SELECT " + "- " * 40_000 + "1",
    "SELECT " + "CASE WHEN true THEN " * 3_000 + "1" + " END" * 3_000,
    "SELECT " + "[" * 20_000 + "]" * 20_000,
    "SELECT 1" + "+1" * 20_000,
    "SELECT 1 FROM events" + ", events" * 3_000,
    "SELECT " + "(SELECT " * 9_000 + "1" + ")" * 9_000,
    "WITH a AS (" * 5_000 + "SELECT 1" + ") SELECT 1" * 5_000,
    "SELECT 1::" + "INTEGER" + "[]" * 10_000,
    "SELECT n FROM events GROUP BY ROLLUP (" + ",".join(["n"] * 30_000) + ")",
    "SELECT n FROM events GROUP BY CUBE (" + ",".join(["n"] * 30) + ")",
    "SELECT 1 FROM events" + " JOIN events USING (n)" * 3_000,
    "SELECT '" + "x" * 1_000_000 + "'",
    "(" * 200_000,
    "NOT " * 100_000,
]


@pytest.mark.parametrize("sql", BOMBS, ids=[sql[:24] for sql in BOMBS])
def test_nesting_bombs_are_refused(sql: str) -> None:
    """Deep or huge queries come back as a refusal, from any thread, and the parser goes on working."""
    refusal(sql)
    assert admitted("SELECT 1").tables == frozenset()


@pytest.mark.parametrize("sql", ["", ";", "  ", "-- nothing", "SELECT 'a\0b'", "SELECT '\ud800'", "SELEC 1"])
def test_text_that_is_no_statement_is_refused(sql: str) -> None:
    """Empty text, NUL, broken Unicode and syntax errors are refused."""
    refusal(sql)


def test_syntax_errors_say_where_and_quote_nothing() -> None:
    """A syntax error gives line and column in characters, and none of the text."""
    error = refusal("SELECT 'ünïcode',\n  app FROM events WHERE app = 'secret' 'again'")
    assert error.message == "syntax error at line 2, column 40"
    assert error.details == {"line": 2, "column": 40}


def test_parsing_from_many_threads() -> None:
    """Eight threads share the parser and get their own trees."""
    seen: dict[int, AdmittedQuery] = {}

    def work(number: int) -> None:
        for _ in range(20):
            seen[number] = admitted(f"SELECT {number} FROM events")

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {number: query.literals for number, query in seen.items()} == {n: (str(n),) for n in range(8)}
