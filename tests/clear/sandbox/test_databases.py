"""Databases that are used again: the next query finds nothing of the last one, and no more files than before."""

# ruff: noqa: S608 - the SQL is made of constants
from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lake.clear.sandbox import execute
from lake.clear.sandbox.answers import SandboxLimits
from lake.clear.sandbox.databases import IDLE, SLOTS, Database, Databases
from lake.errors import LakeError

LIMITS = SandboxLimits(threads=2, memory=256 << 20, seconds=20)
SETTINGS = (LIMITS.threads, LIMITS.memory)


class Numbers:
    """A file in memory with numbers from ``first`` on."""

    def __init__(self, first: int, rows: int = 10) -> None:
        self.descriptor = os.memfd_create("numbers", os.MFD_CLOEXEC)
        weakref.finalize(self, os.close, self.descriptor)
        with os.fdopen(os.dup(self.descriptor), "wb") as file:
            pq.write_table(pa.table({"a": range(first, first + rows), "hidden": ["canary"] * rows}), file)


class Shown:
    """One column of it."""

    def __init__(self, image: Numbers) -> None:
        self.image = image
        self.columns: Sequence[str] = ["a"]


def ask(sql: str, databases: Databases, **images: Numbers) -> list[Any]:
    """The rows of an answer."""
    shown = {name: Shown(image) for name, image in images.items()}
    running = execute.run(sql, {}, (), LIMITS, images=shown, databases=databases)
    return [tuple(row.values()) for batch in running.batches for row in batch.to_pylist()]


def resting(databases: Databases) -> list[Database]:
    """Those that wait for the next query."""
    return list(databases._resting)


def descriptors() -> set[str]:
    """Open ones of this process."""
    return set(os.listdir("/proc/self/fd"))  # noqa: PTH208 - of the system


def test_every_image_is_read_as_it_is() -> None:
    """More of them than there are slots, all of one size: no footer is taken for another's, and databases are few."""
    databases, seen = Databases(), set()
    for turn in range(2 * SLOTS + 3):
        image = Numbers(1000 * turn)
        for _ in range(2):
            assert ask("SELECT min(a), max(a) FROM t", databases, t=image) == [(1000 * turn, 1000 * turn + 9)]
        seen.add(id(resting(databases)[0]))
        del image
    assert len(seen) <= 3


def test_the_next_query_finds_nothing_of_the_last(tmp_path: Path) -> None:
    """Neither its tables nor any other file; and no setting can be changed."""
    databases = Databases()
    image, plain = Numbers(0), tmp_path / "plain.parquet"
    pq.write_table(pa.table({"a": [1]}), plain)
    assert ask("SELECT count(*) FROM first", databases, first=image) == [(10,)]
    for sql in (
        "SELECT * FROM first",
        f"SELECT * FROM read_parquet('{plain}')",
        f"SELECT * FROM read_parquet('/proc/self/fd/{image.descriptor}')",
        "SELECT * FROM read_text('/proc/self/environ')",
        "SELECT hidden FROM second",
        "SET threads = 1",
        "SET enable_external_access = true",
        "SET allowed_directories = ['/']",
    ):
        with pytest.raises(LakeError):
            ask(sql, databases, second=Numbers(5))
    (database,) = [databases.take(*SETTINGS)]
    names = database.cursor().execute(
        "SELECT table_name FROM duckdb_tables() UNION SELECT view_name FROM duckdb_views() WHERE NOT internal"
    )
    assert names.fetchall() == []


def test_memory_goes_with_the_image() -> None:
    """A slot keeps nothing alive, and descriptors go with the database."""
    before = descriptors()
    databases = Databases()
    image = Numbers(0)
    ask("SELECT sum(a) FROM t", databases, t=image)
    (database,) = resting(databases)
    slot = database._shown[image]
    assert os.fstat(slot).st_size == os.fstat(image.descriptor).st_size > 0
    del image
    gc.collect()
    assert os.fstat(slot).st_size == 0
    assert database.free == SLOTS - 1
    del database, databases
    gc.collect()
    assert descriptors() <= before


def test_a_query_that_does_not_fit_leaves_a_database_as_it_was() -> None:
    """Nothing of it was begun."""
    databases = Databases()
    for sql in ("SELECT nothing FROM t", "SELECT a FROM elsewhere", "SELECT sum(a) FROM t"):
        if "sum" in sql:
            assert ask(sql, databases, t=Numbers(0)) == [(45,)]
        else:
            with pytest.raises(LakeError):
                ask(sql, databases, t=Numbers(0))
        (database,) = resting(databases)
    assert database.free == SLOTS - 3


@pytest.mark.parametrize("ending", ["failed", "left"])
def test_after_a_query_that_did_not_end_there_is_a_new_one(ending: str) -> None:
    """What failed, or what somebody left, may still be at work."""
    databases = Databases()
    images = {"t": Shown(Numbers(0, 500_000))}
    if ending == "failed":
        with pytest.raises(LakeError):
            ask("SELECT CAST(a || 'x' AS INTEGER) FROM t", databases, t=Numbers(0))
    else:
        running = execute.run("SELECT a FROM t", {}, (), LIMITS, images=images, databases=databases)
        next(running.batches)
        running.close()
        running.close()
    assert resting(databases) == []


def test_one_at_a_time_and_few_at_rest() -> None:
    """Queries side by side have a database each; with other settings, too."""
    databases, image = Databases(), Numbers(0)
    running = [
        execute.run("SELECT a FROM t", {}, (), LIMITS, images={"t": Shown(image)}, databases=databases)
        for _ in range(IDLE + 2)
    ]
    for one in running:
        assert sum(batch.num_rows for batch in one.batches) == 10
        one.close()
    assert len(set(map(id, resting(databases)))) == len(resting(databases)) == IDLE
    assert databases.take(1, 0).settings == (1, 0)


def test_many_tables_in_one_query() -> None:
    """As many as there are."""
    images = {f"t{number}": Numbers(number, 1) for number in range(SLOTS + 4)}
    sql = "SELECT " + " + ".join(f"{name}.a" for name in images) + " AS n FROM " + ", ".join(images)
    assert ask(sql, Databases(), **images) == [(sum(range(SLOTS + 4)),)]


def test_a_description_leaves_a_database_as_it_was() -> None:
    """Its tables are gone with it; a query that does not fit the columns has begun nothing."""
    databases = Databases()
    schema = pa.schema([("a", pa.int64())])
    for _ in range(2):
        assert execute.described("SELECT a FROM t", {"t": schema}, (), databases) == schema
    (database,) = resting(databases)
    with pytest.raises(duckdb.CatalogException):
        database.cursor().sql("SELECT a FROM t")
    for sql in ("SELECT b FROM t", "SELECT a +"):
        with pytest.raises(LakeError):
            execute.described(sql, {"t": schema}, (), databases)
        assert resting(databases) == [database]


def test_every_query_has_the_same_settings() -> None:
    """Times in UTC and nothing drawn on stdout, also where Python is used interactively, of which DuckDB takes note."""
    program = """if True:
        import duckdb
        from lake.clear.sandbox.databases import Database
        assert duckdb.__interactive__
        names = ("TimeZone", "enable_progress_bar", "lock_configuration", "enable_external_access", "threads")
        sql = "SELECT " + ", ".join(f"current_setting('{name}')" for name in names)
        database = Database((3, 0), 2)
        print([database.cursor().execute(sql).fetchone() for _ in range(2)])
    """
    asked = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    expected = ("UTC", False, True, False, 3)
    assert asked.stdout.strip() == repr([expected] * 2)


def test_a_fork_has_databases_of_its_own() -> None:
    """The threads of those that rest are not there in it."""
    databases, image = Databases(), Numbers(0, 300_000)
    ask("SELECT sum(a) FROM t", databases, t=image)
    pid = os.fork()
    if not pid:
        signal.alarm(30)
        found = [ask("SELECT sum(a) FROM t", databases, t=image) for _ in range(2)]
        os._exit(0 if found == [[(44_999_850_000,)]] * 2 and len(resting(databases)) == 1 else 1)
    assert os.waitpid(pid, 0)[1] == 0
    assert ask("SELECT sum(a) FROM t", databases, t=image) == [(44_999_850_000,)]
