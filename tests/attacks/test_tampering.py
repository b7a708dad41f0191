"""Changing what is stored behind the lake's back: refused at the next query, found by the doctor, never other rows."""

# ruff: noqa: DTZ001, S608 - capture times are naive UTC; the SQL is made of constants
from __future__ import annotations

import sqlite3
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import lake
from keys.errors import KeyIntegrityError, KeysError, ReceiptRefusedError
from lake.errors import IntegrityError, LakeError
from lake.gateway.doctor import DAMAGE, Doctor
from tests.world import ADA, BEN, NOW, World, clock

CONTRACT = """
dataset: small
version: 1
title: Small
notice: Made up for tests.
purposes: [incident]
retention: {"1": 9d, "2": 9d, "3": 9d, "4": 9d}
fields:
  text: {type: string, sensitivity: 1, notice: A text.}
events:
  said: {sensitivity: 1, notice: Words., fields: [text]}
"""
POLICY = """
purposes: {incident: Incidents}
roles: {all: {grants: [{dataset: small, purposes: [incident], sensitivity: 4, employee_id: real}]}}
users: {vera: {roles: [all]}}
"""


@pytest.fixture
def small(tmp_path: Path) -> World:
    """A lake with four files of a few rows: two employees, two months, two levels."""
    world = World(tmp_path / "lake", tmp_path / "key")
    lake.create(world.root, key_file=world.key, single_approver=True)
    rows = [
        {"employee": employee, "ts": start + timedelta(minutes=minute), "type": "said", "text": f"words {minute}"}
        | {"sensitivity": rating}
        for employee, start, rating in (
            (ADA, datetime(2026, 8, 1), 4),
            (ADA, datetime(2026, 9, 1), 4),
            (BEN, datetime(2026, 8, 1), 4),
            (BEN, datetime(2026, 8, 1), 1),
        )
        for minute in range(5)
    ]
    with world.open() as opened:
        opened.add_contract(CONTRACT)
        opened.apply_policy(POLICY)
        opened.ingest("small", pa.Table.from_pylist(rows))
    return world


ALL = "SELECT * FROM small ORDER BY ALL"


def ask(world: World) -> list[Any]:
    """Every row that there is."""
    with lake.connect(world.root, user="vera", purpose="incident", key_file=world.key, clock=clock) as connection:
        return list(connection.sql(ALL).arrow().to_pylist())


def damage(world: World) -> list[str]:
    """The checks of the doctor that found damage."""
    with world.open() as opened:
        return [finding.check for finding in Doctor(opened.home).examine_lake() if finding.state == DAMAGE]


@pytest.mark.parametrize("step", [11, pytest.param(1, marks=pytest.mark.soak)])
def test_every_changed_byte_of_a_data_file_is_noticed(small: World, step: int) -> None:
    """One bit flipped in a byte of a data file, of every region of it, refuses the query; no row is ever another."""
    before = ask(small)
    path = small.objects()[0]
    content = path.read_bytes()
    assert len(content) < 4_000
    month, level = path.parts[-2].removeprefix("month="), path.parts[-3].removeprefix("dss=")
    sql = f"SELECT * FROM small WHERE sensitivity = {level} AND ts < '{month}-28' AND ts >= '{month}-01'"
    with lake.connect(small.root, user="vera", purpose="incident", key_file=small.key, clock=clock) as connection:
        for position in range(0, len(content), step):
            changed = bytearray(content)
            changed[position] ^= 1 << position % 8
            path.write_bytes(changed)
            with pytest.raises((IntegrityError, KeysError)):
                connection.sql(sql).arrow()
    path.write_bytes(content)
    assert ask(small) == before
    assert damage(small) == []


def _truncate(path: Path, _others: list[Path]) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def _extend(path: Path, _others: list[Path]) -> None:
    path.write_bytes(path.read_bytes() + b"\0")


def _double(path: Path, _others: list[Path]) -> None:
    path.write_bytes(path.read_bytes() * 2)


def _empty(path: Path, _others: list[Path]) -> None:
    path.write_bytes(b"")


def _delete(path: Path, _others: list[Path]) -> None:
    path.unlink()


def _plaintext(path: Path, _others: list[Path]) -> None:
    pq.write_table(pa.table({"ts": [NOW.replace(tzinfo=None)], "type": ["said"], "text": ["forged"]}), path)


def _zeros(path: Path, _others: list[Path]) -> None:
    path.write_bytes(bytes(path.stat().st_size))


def _swap(which: int) -> Callable[[Path, list[Path]], None]:
    def swap(path: Path, others: list[Path]) -> None:
        first, second = path.read_bytes(), others[which].read_bytes()
        path.write_bytes(second)
        others[which].write_bytes(first)

    return swap


HARM = {
    "truncated": _truncate,
    "extended": _extend,
    "doubled": _double,
    "emptied": _empty,
    "deleted": _delete,
    "plaintext": _plaintext,
    "zeroed": _zeros,
    "swapped with another": _swap(0),
    "swapped with a second": _swap(1),
    "swapped with a third": _swap(2),
}


@pytest.mark.parametrize("harm", HARM.values(), ids=HARM.keys())
def test_a_file_that_is_not_what_was_written_is_refused(small: World, harm: Callable[[Path, list[Path]], None]) -> None:
    """Cut, grown, gone, moved to another person, month or level, or in clear: the query ends, and the doctor tells."""
    first, *others = small.objects()
    assert len(others) == 3
    harm(first, others)
    with pytest.raises(IntegrityError) as caught:
        ask(small)
    assert "words" not in str(caught.value)
    assert "forged" not in str(caught.value)
    assert "objects" in damage(small)


EDITS = {
    "level": "UPDATE files SET sensitivity = 1 WHERE sensitivity = 4",
    "rows": "UPDATE files SET rows = rows + 1",
    "earliest": "UPDATE files SET first_ts = first_ts - 1",
    "latest": "UPDATE files SET last_ts = last_ts + 1",
    "digest": "UPDATE files SET sha256 = zeroblob(32)",
    "length": "UPDATE files SET length = length + 1",
    "month": "UPDATE files SET month = '2026-07'",
    "employee": "UPDATE files SET number = 1 - number",
    "schema": "UPDATE files SET schema_version = 2",
    "format": "UPDATE files SET format = 'plain'",
    "key": "UPDATE files SET wrapped_dek = zeroblob(60) || randomblob(4)",
    "key version": "UPDATE files SET kek_version = kek_version + 1",
    "another file's key": (
        "UPDATE files SET wrapped_dek = x'00' || wrapped_dek WHERE rowid = 1;"
        "UPDATE files SET kek_id = (SELECT kek_id FROM files WHERE rowid = 2) WHERE rowid = 1"
    ),
    "subject": "UPDATE files SET subject = (SELECT subject FROM files AS f WHERE f.number <> files.number LIMIT 1)",
    "object": "UPDATE files SET object_key = (SELECT max(object_key) || 'x' FROM files AS f) || rowid",
}


@pytest.mark.parametrize("edit", EDITS.values(), ids=EDITS.keys())
def test_an_edited_catalog_is_refused(small: World, edit: str) -> None:
    """A row of a file edited in any column gives no row and is found by the doctor."""
    database = sqlite3.connect(small.root / "catalog.db")
    database.executescript(edit)
    database.commit()
    database.close()
    with pytest.raises((IntegrityError, KeysError)) as caught:
        ask(small)
    assert isinstance(caught.value, LakeError | KeyIntegrityError | ReceiptRefusedError | KeysError)
    assert caught.value.exit_code != 0
    assert damage(small)


def test_a_row_taken_out_of_the_catalog_is_found(small: World) -> None:
    """A file that was made to disappear from the catalog is missed by the doctor's chain."""
    database = sqlite3.connect(small.root / "catalog.db")
    database.execute("DELETE FROM files WHERE sensitivity = 1")
    database.commit()
    database.close()
    assert "catalog" in damage(small)


def test_a_planted_plaintext_file_is_found(small: World) -> None:
    """Parquet in clear below the data folder is damage, and no query reads it."""
    before = ask(small)
    _plaintext(small.objects()[0].with_name("0" * 32 + ".parquet"), [])
    assert damage(small) == ["stray files"]
    assert ask(small) == before
