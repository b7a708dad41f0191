"""Tables as pages of lines, the same from every database, and the chain checked over pages without a database.

A page is one JSON array with the table's name and its columns, then an array of values a line; bytes are
``{"b": base64}``. Rows come in the order in which they were added, so that full pages change only where rows do.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from heapq import merge
from itertools import groupby
from typing import Any

import sqlalchemy as sa

from lake.errors import IntegrityError, UsageError
from lake.sealed.catalog import chain, tables

PAGE = 2_000
"""Rows of a page, which is held in memory as a whole."""
TABLES = (tables.commits, *tables.CHAINED, tables.marks)
"""All of the catalog but leases, which nobody holds after a restoration, and what was counted under them."""
Rows = Callable[[str], Iterator[dict[str, Any]]]
"""Reads the rows of a table by its name, in the order of the pages."""


def pages(connection: sa.Connection, table: sa.Table) -> Iterator[tuple[bytes, list[Mapping[str, Any]]]]:
    """The pages of a table in this transaction's snapshot, each with its rows."""
    columns = [column.name for column in table.columns]
    first = [table.c.seq] if "seq" in table.c else []
    query = sa.select(table).order_by(*first, *table.primary_key.columns)
    found = connection.execute(query, execution_options={"yield_per": PAGE})
    for part in found.partitions(PAGE):
        lines = [[table.name, columns], *([_coded(value) for value in row] for row in part)]
        text = "".join(json.dumps(line, separators=(",", ":"), ensure_ascii=True) + "\n" for line in lines)
        yield text.encode(), [dict(zip(columns, row, strict=True)) for row in part]


def parse(page: bytes, table: sa.Table) -> list[dict[str, Any]]:
    """The rows of a page.

    Raises:
        IntegrityError: it is not a page of this table.
        UsageError: it was written by a version with other columns.
    """
    try:
        (name, columns), *rows = (json.loads(line) for line in page.splitlines())
        found = [dict(zip(columns, map(_decoded, row), strict=True)) for row in rows]
    except (ValueError, TypeError, KeyError):
        raise IntegrityError(f"a page of {table.name} in a backup is not one", hint="use another unit") from None
    if name != table.name:
        raise IntegrityError(f"a page of {table.name} in a backup is of another table", hint="use another unit")
    needed = {column.name for column in table.columns if not column.nullable}
    if not needed <= set(columns) <= set(table.c.keys()):
        raise UsageError(
            f"the backup's {table.name} has the columns of another version",
            hint="restore it with the version that wrote it, then run 'lake upgrade' with this one",
        )
    return found


def _coded(value: Any) -> Any:
    return {"b": base64.b64encode(value).decode()} if isinstance(value, bytes | memoryview) else value


def _decoded(value: Any) -> Any:
    return base64.b64decode(value["b"], validate=True) if isinstance(value, dict) else value


class ObjectsDigest:
    """Count of live files, and SHA-256 over a line of each in the order of the pages: key, length, digest in hex."""

    def __init__(self) -> None:
        self.count = 0
        self._hash = hashlib.sha256()

    def add(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Rows of ``files``."""
        for row in rows:
            if row["removed_seq"] is None:
                self.count += 1
                self._hash.update(f"{row['object_key']} {row['length']} {bytes(row['sha256']).hex()}\n".encode())

    def hexdigest(self) -> str:
        """The digest."""
        return self._hash.hexdigest()


def verify(rows: Rows, mac: chain.Mac) -> chain.Head:
    """What ``chain.verify`` checks, over pages: memory holds a page of each table.

    Raises:
        IntegrityError: names the first commit that does not hold.
    """
    marked: dict[str, int] = {}
    by_commit = groupby(merge(*(_lines(rows, table, marked) for table in tables.CHAINED)), key=lambda item: item[0])
    waiting = next(by_commit, None)
    current = chain.Head(0, chain.GENESIS)
    erased = {row["erased"] for row in rows(tables.erasures.name)}
    for commit in rows(tables.commits.name):
        lines: list[bytes] = []
        if waiting is not None and waiting[0] == commit["seq"]:
            lines = [line for _, line in waiting[1]]
            waiting = next(by_commit, None)
        gone = commit["seq"] in erased and commit["kind"] in chain.ERASABLE
        if gone and lines:
            raise IntegrityError("a backup has rows of a commit that was erased", hint="use another unit")
        content = commit["digest"] if gone else chain.digest(lines)
        expected = chain.link(mac, current, commit["kind"], commit["at"], content)
        if (commit["seq"], commit["digest"], commit["mac"]) != (expected.seq, content, expected.mac):
            raise IntegrityError(
                f"the commit {commit['seq']} of a backup does not account for its rows", hint="use another unit"
            )
        current = expected
    stated = {row["file_id"]: row["seq"] for row in rows(tables.removals.name)}
    if waiting is not None or marked != stated:
        raise IntegrityError("a backup has rows that no commit accounts for", hint="use another unit")
    return current


def _lines(rows: Rows, table: sa.Table, marked: dict[str, int]) -> Iterator[tuple[int, bytes]]:
    names = table.c.keys()
    for row in rows(table.name):
        if row.get("removed_seq") is not None:
            marked[row["file_id"]] = row["removed_seq"]
        yield row["seq"], chain.row_line(table.name, {name: row.get(name) for name in names})
