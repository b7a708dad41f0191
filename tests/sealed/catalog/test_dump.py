"""Pages of a catalog: every table of it, the same rows back, and a chain that notices what was changed in them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lake.errors import IntegrityError, UsageError
from lake.sealed.catalog import dump, tables
from lake.sealed.catalog.upkeep import Upkeep
from tests.sealed.catalog.conftest import batch_record, data_file, mac, open_catalog

Pages = dict[str, list[bytes]]


@pytest.fixture
def pages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Pages:
    """A catalog with two batches and an erased employee, in pages of three rows."""
    monkeypatch.setattr(dump, "PAGE", 3)
    found = open_catalog(tmp_path / "catalog.db")
    found.add_contract("desktop", 1, "sha256:1", "text")
    for name in ("one", "two"):
        files = [(data_file(f"{name}{number}"), 7 + number) for number in range(4)]
        found.land(batch_record(name), files, key_epoch=1)
    Upkeep(found).erase([7])
    with found.database.reading() as connection:
        made = {table.name: [page for page, _ in dump.pages(connection, table)] for table in dump.TABLES}
    found.database.close()
    return made


def rows(pages: Pages, change: Callable[[str, dict[str, Any]], Any] = lambda _, row: row) -> dump.Rows:
    """What reads pages, each row as ``change`` leaves it; None leaves it out."""

    def read(name: str) -> Iterator[dict[str, Any]]:
        for page in pages[name]:
            for row in dump.parse(page, tables.metadata.tables[name]):
                if (changed := change(name, row)) is not None:
                    yield changed

    return read


LEFT_OUT = {"job_items", "job_runs", "leases", "leases_issued", "acknowledgements", "refusals", "quarantine"}
"""What holds for minutes, and is refused or asked for anew after a restoration."""


def test_every_table_is_dumped_or_named_as_left_out() -> None:
    """A table that is added to the catalog must not be forgotten in its backups."""
    assert {table.name for table in dump.TABLES} == set(tables.metadata.tables) - LEFT_OUT


def test_the_chain_holds_over_pages(pages: Pages) -> None:
    """Several pages of a table, commits across them, a removed file."""
    assert len(pages["files"]) == 3
    assert dump.verify(rows(pages), mac).seq == 4
    digest = dump.ObjectsDigest()
    digest.add(rows(pages)("files"))
    assert digest.count == 6


CHANGES: dict[str, Callable[[str, dict[str, Any]], Any]] = {
    "a row changed": lambda name, row: row | ({"rows": 9} if name == "files" and row["seq"] == 2 else {}),
    "a row left out": lambda name, row: None if name == "files" and row["seq"] == 3 else row,
    "a row added": lambda name, row: row | ({"seq": 99} if name == "contracts" else {}),
    "a mark taken away": lambda name, row: row | ({"removed_seq": None} if name == "files" else {}),
    "a removal left out": lambda name, row: None if name == "removals" else row,
    "the last commit left out": lambda name, row: None if name == "commits" and row["seq"] == 4 else row,
    "a commit's time": lambda name, row: row | ({"at": 1} if name == "commits" and row["seq"] == 1 else {}),
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_was_changed_in_pages_is_noticed(pages: Pages, change: str) -> None:
    """As the database's own check notices it."""
    with pytest.raises(IntegrityError):
        dump.verify(rows(pages, CHANGES[change]), mac)


def test_pages_that_are_none(pages: Pages) -> None:
    """Cut, of another table, of another version's columns."""
    page = pages["contracts"][0]
    for wrong in (page[:-3], b"[]\n", b"", page.replace(b'"contracts"', b'"policies"')):
        with pytest.raises(IntegrityError):
            dump.parse(wrong, tables.contracts)
    for wrong in (page.replace(b'"digest"', b'"digests"'), page.replace(b'"seq"', b'"sequence"')):
        with pytest.raises(UsageError, match="another version"):
            dump.parse(wrong, tables.contracts)
