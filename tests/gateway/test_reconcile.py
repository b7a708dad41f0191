"""Reconciliation: the broker's book and the audit log agree after real use, and every kind of difference is named."""

# ruff: noqa: S608 - the statements are the tests' own

from __future__ import annotations

import sqlite3

import pytest

from keys.errors import KeysError
from lake.gateway.reconcile import Reconciliation, reconcile
from lake.sealed.audit import entries
from tests.world import World, child, finished

QUERY = """
sys.addaudithook(hook)
world.rows()
"""


def compared(world: World) -> Reconciliation:
    with world.open() as lake:
        return reconcile(lake.home, lake.actor)


def book(world: World, statement: str, *values: object) -> None:
    """Change the broker's book by hand."""
    connection = sqlite3.connect(world.root / "keys" / "keystore.db")
    with connection:
        assert connection.execute(statement, values).rowcount == 1
    connection.close()


@pytest.fixture
def used(world: World) -> World:
    """A lake with a few queries, one of them without keys."""
    world.rows()
    world.rows("SELECT count(*) FROM events WHERE sensitivity = 4")
    world.rows("SELECT * FROM moods")
    return world


def test_real_use_agrees(used: World) -> None:
    """Keys as the files of the INTENTs, which are more than the releases where no key was needed."""
    found = compared(used)
    assert found.differences == []
    assert (found.releases, found.keys, found.intents, found.unused) == (2, 40, 3, 1)


@pytest.mark.parametrize("step", ["query.intended", "query.keys-released", "query.computed"])
def test_a_kill_in_between_is_no_difference(world: World, step: str) -> None:
    """An INTENT without keys, and keys without an OUTCOME, are what a crash leaves."""
    assert finished(child(world, QUERY, step))[0] < 0
    found = compared(world)
    assert found.differences == []
    assert found.unused == (step == "query.intended")


def test_a_refused_query_is_no_difference(used: World) -> None:
    """A query that fails before it gets keys leaves an INTENT that was not used."""
    path = used.root / "keys" / "keystore.db"
    connection = sqlite3.connect(path)
    with connection:
        connection.execute("UPDATE roots SET state = 'disabled' WHERE name = 'root-dss4'")
    connection.close()
    with pytest.raises(KeysError):
        used.rows()
    assert compared(used).differences == []


def test_keys_for_nothing_that_was_recorded(used: World) -> None:
    """A release whose number is not an INTENT of the log: the log was bypassed, or cut."""
    book(used, "INSERT INTO releases VALUES (0, 'u:0', 0, 1, 0, 0, 0)")
    (text,) = compared(used).differences
    assert text == "entry 0: keys were released for it, and it is not an INTENT of the log"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("dss1 = dss1 + 1", "33 keys were released for 32 files"),
        ("actor = 'u:somebody'", "released to another actor"),
    ],
)
def test_a_book_that_differs(used: World, change: str, said: str) -> None:
    """More keys than files, or another actor than the entry's."""
    first = used.entries(entries.INTENT)[0]["index"]
    book(used, f"UPDATE releases SET {change} WHERE receipt = ?", first)
    (text,) = compared(used).differences
    assert text.startswith(f"entry {first}: ")
    assert said in text


def test_keys_of_a_level_that_was_not_named(used: World) -> None:
    """The entry names level 4, and a key of level 2 was given."""
    second = used.entries(entries.INTENT)[1]["index"]
    book(used, "UPDATE releases SET dss4 = dss4 - 1, dss2 = 1 WHERE receipt = ?", second)
    (text,) = compared(used).differences
    assert "a sensitivity were released that it does not name" in text


def test_rows_without_keys(used: World) -> None:
    """An OUTCOME that touched rows, for which the book has no release."""
    first = used.entries(entries.INTENT)[0]["index"]
    book(used, "DELETE FROM releases WHERE receipt = ?", first)
    (text,) = compared(used).differences
    assert text.endswith(f"rows were read for entry {first}, and no key was released for it")
