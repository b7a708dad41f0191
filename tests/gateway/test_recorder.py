"""Details of the log: sealed with the entries of whom they name, found in whatever form they name them."""

# ruff: noqa: S608 - the SQL is made of constants
from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keys.control import AUDIT_DETAIL
from keys.errors import KeyIntegrityError
from lake.gateway.recorder import words
from lake.rules.model import MAX_EMPLOYEE_ID
from lake.sealed.audit import entries
from tests.world import ADA, BEN, World

IDS = st.text(st.characters(blacklist_categories=["Cs", "Cc"]), min_size=1, max_size=MAX_EMPLOYEE_ID)


@given(IDS)
def test_an_id_is_found_quoted_and_alone(employee: str) -> None:
    """As a constant of SQL, however it is escaped there, as a parameter, and inside lists and objects."""
    literal = "'" + employee.replace("'", "''") + "'"
    assert employee in words({"sql": f"SELECT n FROM events WHERE employee = {literal}\nAND app <> ''"})
    assert employee in words({"sql": "SELECT ?", "parameters": ["7", employee]})
    assert employee in words({"a": [{"b": employee}]})


@pytest.mark.parametrize(
    "text",
    [
        "ask E-00017.",
        "E-00017: gone",
        "(E-00017)",
        "of E-00017, of E-9",
        "\nE-00017\n",
        "x='E-00017'",
        'x="E-00017"',
        "E-00017!",
    ],
)
def test_an_id_is_found_in_what_people_write(text: str) -> None:
    """In a reason, among marks."""
    assert "E-00017" in words({"reason": text})


def test_numbers_and_long_texts_are_nobody() -> None:
    """What cannot be an id is not looked for."""
    assert words({"sql": "SELECT '\ud800'"}) == {"SELECT"}
    assert words({"n": 7, "long": "x" * (MAX_EMPLOYEE_ID + 1), "none": None}) == set()


def test_a_query_that_names_somebody_is_sealed_with_their_entry(world: World) -> None:
    """The entry says about whom by number; neither the secret alone nor another's entry opens it."""
    connection = world.connect()
    connection.sql(f"SELECT n FROM events WHERE employee = '{ADA}'").arrow()
    connection.sql("SELECT n FROM events WHERE employee IN (?, ?)", [ADA, BEN]).arrow()
    connection.sql("SELECT n FROM events").arrow()
    connection.close()
    one, two, nobody = world.entries("query.intent")[-3:]
    with world.open() as lake:
        home = lake.home
        numbers = {name: subject.number for name, subject in home.directory.find([ADA, BEN]).items()}
        assert entries.members(one["about"]) == {numbers[ADA]}
        assert entries.members(two["about"]) == {numbers[ADA], numbers[BEN]}
        assert "about" not in nobody
        for entry in (one, two, nobody):
            detail = home.recorder.open_detail(entry)
            assert detail is not None
            assert detail["sql"].startswith("SELECT n FROM events")
        name = f"{one['actor']['p']}/{one['ts'][:7]}"
        sealed = base64.b64decode(one["sealed"])
        with pytest.raises(KeyIntegrityError):
            home.control.open_document(AUDIT_DETAIL, name, sealed)
        with pytest.raises(KeyIntegrityError):
            home.control.open_detail(name, sealed, [home.catalog.directory([numbers[BEN]])[numbers[BEN]][1]])
