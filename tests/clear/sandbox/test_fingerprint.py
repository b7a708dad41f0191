# ruff: noqa: S608 - the SQL of these tests is made of their own constants
from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lake.clear.sandbox.fingerprint import fingerprint
from lake.clear.sandbox.syntax import parse

BASE = "SELECT app, sum(n) FROM events WHERE app = 'a' AND n > 3 GROUP BY app LIMIT 10"


def of(sql: str) -> str:
    return fingerprint(parse(sql).tree)


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT app, sum(n) FROM events WHERE app = 'other' AND n > -77.5 GROUP BY app LIMIT 99",
        "select  app,\n sum(n)\nfrom events /* note */ where app='x' and n>3 group by app limit 10 -- end",
        "SELECT app, (sum(n)) FROM events WHERE (app = 'a' AND n > 3) GROUP BY app LIMIT 10;",
    ],
)
def test_literals_layout_and_comments_do_not_count(sql: str) -> None:
    """Other literals, spaces, comments and needless brackets give the same fingerprint."""
    assert of(sql) == of(BASE)


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT app, sum(x) FROM events WHERE app = 'a' AND n > 3 GROUP BY app LIMIT 10",
        "SELECT app, sum(n) FROM people WHERE app = 'a' AND n > 3 GROUP BY app LIMIT 10",
        "SELECT app, sum(n) FROM events WHERE app = 'a' AND n >= 3 GROUP BY app LIMIT 10",
        "SELECT app, max(n) FROM events WHERE app = 'a' AND n > 3 GROUP BY app LIMIT 10",
        "SELECT app, sum(n) FROM events WHERE app = 'a' OR n > 3 GROUP BY app LIMIT 10",
        "SELECT app, sum(DISTINCT n) FROM events WHERE app = 'a' AND n > 3 GROUP BY app LIMIT 10",
        "SELECT app, sum(n) FROM events WHERE app = 'a' AND n > 3 GROUP BY app LIMIT 10%",
    ],
)
def test_another_shape_is_another_fingerprint(sql: str) -> None:
    """A different column, table, operator, function or clause changes the fingerprint."""
    assert of(sql) != of(BASE)


@given(text=st.text(st.characters(exclude_characters="'\0", exclude_categories=("Cs",)), max_size=20), n=st.integers())
def test_any_literal_gives_the_same_fingerprint(text: str, n: int) -> None:
    """No text or number of a literal can move the fingerprint."""
    assert of(f"SELECT 1 FROM events WHERE app = '{text}' AND n > {n}") == of(
        "SELECT 1 FROM events WHERE app = '' AND n > 1"
    )


def test_size_and_seed_of_a_sample_do_not_count() -> None:
    """Samples differ in shape by their method alone."""
    sample = "SELECT * FROM events TABLESAMPLE {}({} ROWS) REPEATABLE ({})"
    assert of(sample.format("reservoir", 10, 1)) == of(sample.format("reservoir", 99, 77))
    assert of("FROM events USING SAMPLE 10% (bernoulli)") != of("FROM events USING SAMPLE 10% (reservoir)")


def test_form_of_the_fingerprint() -> None:
    """It is the word sha256, a colon and 64 hexadecimal digits."""
    assert re.fullmatch(r"sha256:[0-9a-f]{64}", of(BASE))
