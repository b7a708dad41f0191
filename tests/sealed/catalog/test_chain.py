"""The catalog's chain: whatever is changed behind the lake's back is found, and an older copy too."""

# ruff: noqa: S608 - names of tables and columns are the schema's own
from __future__ import annotations

import random
import shutil
import sqlite3

import pytest

from lake.errors import IntegrityError, UnavailableError
from lake.rules.model import Subject
from lake.sealed.catalog import tables
from lake.sealed.catalog.chain import GENESIS, Head, digest, row_line
from lake.sealed.catalog.erasure import erase_entries
from lake.sealed.catalog.leases import Leases

COLUMNS = [(table.name, column.name) for table in (*tables.CHAINED, tables.commits) for column in table.columns]


def tamper(path, statement, *parameters):
    """Run plain SQL on the file; gives the number of rows that it changed."""
    connection = sqlite3.connect(path)
    with connection:
        changed = connection.execute(statement, parameters).rowcount
    connection.close()
    return changed


@pytest.fixture
def catalog(catalog):
    """Every kind of commit, and one of the directory whose entries were taken apart: of two one is erased."""
    people = [
        (Subject(letter * 26, number), letter.encode() * 32, b"sealed id") for number, letter in ((7, "c"), (8, "d"))
    ]
    catalog.add_employees(people)
    lease = Leases(catalog.database).take("erasing", "tests", 60)
    assert erase_entries(catalog, [7], lease)
    assert erase_entries(catalog, [7], lease) is None
    return catalog


def refused(catalog):
    """The error of a verification that must fail."""
    with pytest.raises(IntegrityError) as caught:
        catalog.verify()
    return caught.value


def test_an_untouched_catalog_verifies(catalog, path, opened):
    """The head of the verified chain is the newest commit, and an empty catalog has none."""
    assert catalog.verify() == catalog.head()
    assert catalog.head().seq == 11
    empty = opened(path.with_name("empty.db"))
    assert empty.verify() == empty.head() == Head(0, GENESIS)
    empty.database.close()


@pytest.mark.parametrize(("table", "column"), COLUMNS)
def test_every_column_counts(catalog, path, table, column):
    """A value changed in one row is found by its commit, except what rotation re-wraps in place."""
    catalog.database.close()
    content = path.read_bytes()
    connection = sqlite3.connect(path)
    old, key = connection.execute(f"SELECT {column}, rowid FROM {table} ORDER BY rowid").fetchone()
    connection.close()
    for new in _others(old):
        path.write_bytes(content)
        assert tamper(path, f"UPDATE {table} SET {column} = ? WHERE rowid = ?", new, key) == 1
        if table == "files" and column in tables.REWRAPPED - {"removed_seq"}:
            catalog.verify()
        else:
            refused(catalog)
        catalog.database.close()


def _others(old):
    """Values to put in place of one: another of its type, and the same digits as another type."""
    if isinstance(old, bytes):
        return [bytes(len(old)), old.hex(), old + b"\x00"]
    if isinstance(old, str):
        return [old + "x", old[:-1], old.encode()]
    return [9_999] if old is None else [old + 1_000, -1]


@pytest.mark.parametrize("table", [table.name for table in tables.CHAINED])
def test_a_missing_row_is_found_by_its_commit(catalog, path, table):
    """A deleted row leaves a commit that does not account for its rows, which the error names."""
    connection = sqlite3.connect(path)
    # Without its erasure, it is the erased commit that has lost its rows.
    column = "erased" if table == "erasures" else "seq"
    (seq,) = connection.execute(f"SELECT {column} FROM {table} LIMIT 1").fetchone()
    connection.close()
    assert tamper(path, f"DELETE FROM {table} WHERE rowid = (SELECT min(rowid) FROM {table})") == 1
    error = refused(catalog)
    assert error.details["commit"] == seq
    assert f"commit {seq} " in str(error)


@pytest.mark.parametrize("table", [table.name for table in tables.CHAINED if table.name != "policies"])
def test_an_added_row_is_found(catalog, path, table):
    """A row put in by hand is found, whether it claims an old commit or one that never was."""
    columns = {column.name: column for column in tables.metadata.tables[table].columns}
    unique = {"dataset", "batch_id", "subject", "actor", "file_id", "object_key", "id"}
    copied = ", ".join(
        f"{name} + 50"
        if name in {"number", "erased"}
        else "randomblob(32)"
        if name in {"lookup", "wrapped_dek"}
        else f"'n' || substr({name}, 2)"
        if name in unique
        else name
        for name in columns
    )
    statement = f"INSERT INTO {table} SELECT {copied} FROM {table} LIMIT 1"
    assert tamper(path, statement) == 1
    assert refused(catalog).details["commit"] >= 1
    tamper(path, f"UPDATE {table} SET seq = 77 WHERE rowid = (SELECT max(rowid) FROM {table})")
    assert "commit" in str(refused(catalog))


def test_a_missing_or_swapped_commit_is_found(catalog, path):
    """Commits cannot be cut out of the middle, nor exchange their places."""
    shutil.copy(path, path.with_name("copy.db"))
    for seq in range(1, 10):
        connection = sqlite3.connect(path)
        row = connection.execute("SELECT * FROM commits WHERE seq = ?", (seq,)).fetchone()
        connection.close()
        tamper(path, "DELETE FROM commits WHERE seq = ?", seq)
        refused(catalog)
        tamper(path, "INSERT INTO commits VALUES (?, ?, ?, ?, ?)", *row)
        catalog.verify()
    for one, other in ((-7, 7), (7, 8), (8, -7)):
        tamper(path, "UPDATE commits SET seq = ? WHERE seq = ?", one, other)
    refused(catalog)


def test_what_rotation_rewraps_may_change(catalog, path):
    """KEK, version and wrap of a file are not the commit's: they authenticate themselves."""
    assert {"kek_id", "kek_version", "wrapped_dek", "removed_seq"} == tables.REWRAPPED
    tamper(path, "UPDATE files SET kek_id = 'new', kek_version = 2, wrapped_dek = randomblob(110)")
    assert catalog.verify() == catalog.head()


def test_a_file_is_not_removed_by_hand(catalog, path):
    """A file marked as removed without a commit is noticed, and its object is not taken for an orphan."""
    before = catalog.object_keys()
    tamper(path, "UPDATE files SET removed_seq = 8")
    refused(catalog)
    assert catalog.object_keys() == before != set()


def test_another_key_does_not_verify(catalog):
    """A chain written anew by somebody without the MAC's key is refused."""
    catalog._mac = lambda message: bytes(32)
    assert refused(catalog).details["commit"] == 1


def test_an_older_copy_is_found_by_the_anchor(catalog, path, opened, file, batch):
    """An older copy of the whole file verifies by itself, and not against what the key store remembers."""
    catalog.database.close()
    shutil.copy(path, path.with_name("old.db"))
    older = catalog.head()
    catalog.land(batch("batch-9"), [(file("9"), 0)], key_epoch=1)
    newest = catalog.head()
    for head in (older, newest, Head(0, GENESIS)):
        catalog.check_anchor(head.seq, head.mac)
    old = opened(path.with_name("old.db"))
    assert old.verify() == older
    old.check_anchor(older.seq, older.mac)
    for seq, mac in ((newest.seq, newest.mac), (older.seq, newest.mac), (older.seq, b"")):
        with pytest.raises(IntegrityError, match="not the newest"):
            old.check_anchor(seq, mac)
    old.database.close()


def test_damage_is_found_or_changes_nothing(catalog, path, opened, dumped):
    """With bytes of the file changed anywhere, verification fails or the content is what it was."""
    catalog.database.close()
    content, before = path.read_bytes(), dumped(path)
    damaged = path.with_name("damaged.db")
    chance, failures = random.Random(17), 0
    used = [position for position, byte in enumerate(content) if byte]
    for position in chance.sample(used, 250):
        changed = bytearray(content)
        changed[position] ^= 1 << chance.randrange(8)
        damaged.write_bytes(changed)
        other = opened(damaged)
        try:
            other.verify()
        except (IntegrityError, UnavailableError):
            failures += 1
        else:
            assert _rows(damaged) == _rows(path), position
        finally:
            other.database.close()
    assert before == dumped(path)
    assert failures > 50


def _rows(path):
    """Rows of the chained tables as the chain accounts for them."""
    connection = sqlite3.connect(path)
    rows = []
    for table in tables.CHAINED:
        kept = [column.name for column in table.columns if column.name not in tables.REWRAPPED or table.name != "files"]
        rows += [
            (table.name, *row) for row in connection.execute(f"SELECT {', '.join(kept)} FROM {table.name} NOT INDEXED")
        ]
    connection.close()
    return sorted(rows, key=repr)


def test_a_line_is_unambiguous():
    """Bytes, text of the same digits, numbers and nothing give different lines; the order of lines does not matter."""
    values = [b"\xab", "ab", "\u00ab", 1, "1", None, "null", 1.0, True]
    assert len({row_line("t", {"c": value}) for value in values}) == len(values)
    assert row_line("t", {"c": "a", "d": "b"}) != row_line("t", {"c": 'a","b'})
    assert digest([b"a\n", b"b\n"]) == digest([b"b\n", b"a\n"]) != digest([b"a\n"])


def test_rows_of_a_commit_do_not_come_back_once_they_were_erased(catalog, path):
    """Nor does a commit lose its rows because somebody says that they were erased."""
    assert tamper(path, "INSERT INTO directory SELECT number + 50, subject || 'x', randomblob(32), sealed, seq - 1 "
                        "FROM directory WHERE number = 8") == 1  # fmt: skip
    refused(catalog)
    catalog.database.close()
    assert tamper(path, "DELETE FROM directory WHERE number > 50") == 1
    catalog.verify()
    (first,) = sqlite3.connect(path).execute("SELECT min(seq) FROM directory").fetchone()
    tamper(path, "DELETE FROM directory WHERE seq = ?", first)
    tamper(path, "INSERT INTO erasures SELECT ?, seq FROM erasures LIMIT 1", first)
    refused(catalog)
