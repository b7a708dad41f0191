"""Transactions on one file: whole or nothing, and errors that carry neither values nor another library's words."""

# ruff: noqa: S105, PT012 - a row's value, no password; the block itself is under test
from __future__ import annotations

import sqlite3
import subprocess
import threading

import pytest
import sqlalchemy as sa
from sqlalchemy import exc

from lake.errors import IntegrityError, UnavailableError
from lake.sealed.catalog import database as module
from lake.sealed.catalog.database import Database
from tests import forking

SECRET = "the-value-of-a-row"
TABLE = sa.Table("things", sa.MetaData(), sa.Column("name", sa.String, primary_key=True), sa.Column("n", sa.Integer))


@pytest.fixture
def file(tmp_path):
    """Where the database lies."""
    return tmp_path / "things.db"


@pytest.fixture
def database(file, monkeypatch):
    """A database that waits a moment only for a lock."""
    monkeypatch.setattr(module, "BUSY_TIMEOUT_MS", 20)
    opened = Database.sqlite(file, "list of things", create=True)
    TABLE.metadata.create_all(opened.engine)
    yield opened
    opened.close()


def names(database):
    """What is stored."""
    with database.reading() as connection:
        return set(connection.execute(sa.select(TABLE.c.name)).scalars())


def add(database, *added):
    """Store names in one transaction."""
    with database.writing() as connection:
        connection.execute(TABLE.insert(), [{"name": name, "n": 1} for name in added])


def test_a_missing_file_is_not_made_silently(tmp_path):
    """A lost database is an integrity error, and no empty one takes its place."""
    with pytest.raises(IntegrityError, match="missing"):
        Database.sqlite(tmp_path / "none.db", "catalog")
    assert list(tmp_path.iterdir()) == []


def test_a_file_name_is_taken_as_it_is(tmp_path):
    """Characters that mean something in a URL are part of the name."""
    path = tmp_path / "a?mode=memory#b%41.db"
    opened = Database.sqlite(path, "list", create=True)
    TABLE.metadata.create_all(opened.engine)
    opened.close()
    assert path.is_file()


def test_the_settings_that_durability_needs_are_on(database):
    """Write-ahead log, full synchronisation, and overwriting of what is deleted."""
    expected = {"journal_mode": "wal", "synchronous": 2, "secure_delete": 1, "foreign_keys": 1, "trusted_schema": 0}
    with database.reading() as connection:
        assert {name: connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in expected} == expected


def test_a_failed_block_leaves_nothing(database):
    """An error of the caller passes through as it is, and nothing of the block stays."""
    with pytest.raises(KeyError), database.writing() as connection:
        connection.execute(TABLE.insert(), [{"name": "a", "n": 1}])
        raise KeyError
    assert names(database) == set()


def test_a_reader_sees_one_state(database):
    """What is committed during a read is not seen by it."""
    with database.reading() as connection:
        before = connection.execute(sa.select(TABLE.c.name)).all()
        add(database, "later")
        assert connection.execute(sa.select(TABLE.c.name)).all() == before == []
    assert names(database) == {"later"}


def test_writers_take_turns_from_the_start(file, database, monkeypatch):
    """What a writer has read still holds when it writes, whatever others do."""
    monkeypatch.setattr(module, "BUSY_TIMEOUT_MS", 30_000)
    add(database, "counter")

    def count():
        own = Database.sqlite(file, "list of things")
        for _ in range(10):
            with own.writing() as connection:
                value = connection.execute(sa.select(TABLE.c.n)).scalar_one()
                connection.execute(TABLE.update(), {"n": value + 1})
        own.close()

    threads = [threading.Thread(target=count) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with database.reading() as connection:
        assert connection.execute(sa.select(TABLE.c.n)).scalar_one() == 31


def test_a_locked_database_can_be_tried_again(file, database):
    """Somebody else's lock gives UnavailableError without the row, and the next call succeeds."""
    other = sqlite3.connect(file, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(UnavailableError) as caught:
        add(database, SECRET)
    other.close()
    shown = f"{caught.value} {caught.value!r} {caught.value.details}"
    assert SECRET not in shown
    assert "locked" not in shown
    assert caught.value.__cause__ is None
    add(database, SECRET)
    assert names(database) == {SECRET}


def test_a_read_only_file_can_be_read(file, database):
    """Without the right to write, reading works and writing is unavailable."""
    add(database, "a")
    limited = Database(f"sqlite:///file:{file}?mode=ro&uri=true", "list of things")
    assert names(limited) == {"a"}
    with pytest.raises(UnavailableError) as caught:
        add(limited, SECRET)
    assert SECRET not in str(caught.value)
    limited.close()
    assert names(database) == {"a"}


def test_a_folder_that_is_missing_is_unavailable(tmp_path):
    """A database cannot be made in a folder that is not there."""
    opened = Database.sqlite(tmp_path / "none" / "things.db", "list", create=True)
    with pytest.raises(UnavailableError):
        names(opened)


def test_a_file_that_is_no_database_is_damaged(file):
    """Other bytes in place of the database are an integrity error that names it."""
    file.write_bytes(b"these are no pages of a database " * 200)
    opened = Database.sqlite(file, "list of things")
    with pytest.raises(IntegrityError, match="the list of things is damaged"):
        names(opened)
    opened.close()


def test_a_constraint_is_for_the_caller_and_hides_values(database):
    """A violated constraint passes through, so that a race can be decided; its text has no values."""
    add(database, SECRET)
    with pytest.raises(exc.IntegrityError) as caught:
        add(database, "other", SECRET)
    assert SECRET not in str(caught.value)
    assert names(database) == {SECRET}


def test_what_is_deleted_is_overwritten(file, database):
    """After a deletion the file no longer has the value."""
    add(database, SECRET)
    with database.writing() as connection:
        connection.execute(TABLE.delete())
    database.close()
    assert SECRET.encode() not in file.read_bytes()


HOLDER = """
import fcntl, sys

with open(sys.argv[1] + "-shm", "r+b") as index:
    fcntl.lockf(index, fcntl.LOCK_EX, 1, 121)  # WAL_CKPT_LOCK of SQLite's WAL-index format
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_checkpoint_waits_for_another_one(database, file, monkeypatch):
    """A process that is just bringing the log in is waited for; a reader that stays is a typed error."""
    short = module.BUSY_TIMEOUT_MS
    monkeypatch.setattr(module, "BUSY_TIMEOUT_MS", 20_000)
    attempt, done = module._empty_log, []

    def attempted(connection):
        done.append(attempt(connection))
        if len(done) == 2:
            holder.communicate(timeout=60)
        return done[-1]

    monkeypatch.setattr(module, "_empty_log", attempted)
    with database.reading():  # the log and its index are there
        holder = forking.python(HOLDER, file, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert holder.stdout.readline() == "held\n"
    database.checkpoint()
    assert done == [False, False, True]
    monkeypatch.setattr(module, "BUSY_TIMEOUT_MS", short)
    reader = sqlite3.connect(file)
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM things").fetchone()
    with database.writing() as connection:
        connection.execute(TABLE.insert(), [{"name": "new", "n": 1}])
    with pytest.raises(UnavailableError, match="being read for long"):
        database.checkpoint()
    reader.close()
    database.checkpoint()
