"""Events of break-glass in the catalog: one of a kind, in order, and missed at once when they are gone."""

# ruff: noqa: S608 - names of tables and columns are the schema's own
from __future__ import annotations

import sqlite3

import pytest
from sqlalchemy import exc

from lake.errors import IntegrityError
from lake.sealed.catalog.elevations import check_since, newest, read_rows

ONE, TWO = "4" * 32, "5" * 32


@pytest.fixture(name="busy")
def _busy(catalog, event, batch, file):
    """A catalog in which TWO was asked for, approved and revoked while files landed."""
    event(catalog, TWO, "request")
    catalog.land(batch("between"), [(file("between"), 0)], key_epoch=1)
    event(catalog, TWO, "approve")
    catalog.add_actor("u:" + "6" * 32, b"sealed name")
    event(catalog, TWO, "revoke")
    catalog.add_actor("u:" + "7" * 32, b"sealed name")
    return catalog


def check(catalog, seq):
    """The check from a commit on."""
    with catalog.database.reading() as connection:
        check_since(connection, catalog._mac, seq)


def run(path, *statements):
    """Plain SQL on the file."""
    connection = sqlite3.connect(path)
    with connection:
        for statement in statements:
            assert connection.execute(statement).rowcount == 1, statement
    connection.close()


def test_events_are_read_in_order_and_ended_ones_left_out(busy):
    """By commit; an id that has an end is left out wholly; the newest commit of an event is the mark."""
    with busy.database.reading() as connection:
        rows = read_rows(connection)
        assert [(row.id, row.kind, row.seq) for row in rows] == [
            (ONE, "request", 9),
            (TWO, "request", 10),
            (TWO, "approve", 12),
            (TWO, "revoke", 14),
        ]
        assert [row.id for row in read_rows(connection, ended_by=["revoke"])] == [ONE]
        assert len(read_rows(connection, ended_by=["expire"])) == 4
        assert newest(connection) == 14


def test_an_event_happens_once(busy, event):
    """A second event of one kind for one id is refused, and nothing of it is committed."""
    head = busy.head()
    with pytest.raises(exc.IntegrityError):
        event(busy, TWO, "approve")
    assert busy.head() == busy.verify() == head


def test_an_untouched_chain_holds_from_every_commit_on(busy):
    """From the first commit to the last."""
    for seq in range(1, busy.head().seq + 1):
        check(busy, seq)


@pytest.mark.parametrize(
    "statements",
    [
        ["DELETE FROM elevations WHERE kind = 'revoke'"],
        ["DELETE FROM elevations WHERE kind = 'revoke'", "DELETE FROM commits WHERE seq = 14"],
        ["DELETE FROM elevations WHERE kind = 'revoke'", "UPDATE commits SET kind = 'actor' WHERE seq = 14"],
        ["DELETE FROM elevations WHERE kind = 'approve'"],
        ["UPDATE elevations SET at = at + 1 WHERE kind = 'approve'"],
        ["UPDATE elevations SET sealed = x'00' WHERE kind = 'approve'"],
        [f"UPDATE elevations SET id = '{ONE}' WHERE kind = 'approve'"],
        ["UPDATE elevations SET kind = 'expire' WHERE kind = 'revoke'"],
        ["UPDATE elevations SET seq = 99 WHERE kind = 'revoke'"],
        ["UPDATE elevations SET seq = 13 WHERE kind = 'revoke'"],
        [
            "UPDATE elevations SET seq = 99 WHERE kind = 'approve'",
            "UPDATE elevations SET seq = 12 WHERE kind = 'revoke'",
            "UPDATE elevations SET seq = 14 WHERE kind = 'approve'",
        ],
        [f"INSERT INTO elevations SELECT '{ONE}', kind, sealed, at, seq FROM elevations WHERE kind = 'approve'"],
        ["UPDATE commits SET at = at + 1 WHERE seq = 13"],
    ],
    ids=lambda statements: "; ".join(statements)[:60],
)
def test_what_is_changed_removed_or_reordered_is_missed_at_once(busy, path, statements):
    """By the check since the request as by that of the whole chain."""
    run(path, *statements)
    with pytest.raises(IntegrityError):
        check(busy, 10)
    with pytest.raises(IntegrityError):
        busy.verify()


def test_the_commit_before_must_be_there(busy, path):
    """Where the check would start from nothing, it does not start."""
    run(path, "DELETE FROM commits WHERE seq = 9")
    with pytest.raises(IntegrityError):
        check(busy, 10)
