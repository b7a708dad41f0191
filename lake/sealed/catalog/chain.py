"""The catalog's rows, accounted for: every change is a commit, and commits form a MAC chain.

A commit's digest covers the rows that it added; its MAC covers the digest and the MAC before it. A row changed, added
or removed behind the lake's back no longer fits its commit; an older copy of the whole catalog ends in an older MAC
than the one that the key store remembers (keys.keystore, anchors). Format: docs/formats.md, "Catalog chain".
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from lake.errors import IntegrityError
from lake.sealed.catalog import tables

Mac = Callable[[bytes], bytes]
GENESIS = bytes(32)
ERASURE = "erasure"
ERASABLE = frozenset({"directory", ERASURE})
"""Kinds of commits whose rows may be taken apart, as they hold entries of the directory and nothing else."""


@dataclass(frozen=True, slots=True)
class Head:
    """The newest commit: its number (0 before the first) and its MAC (32 bytes)."""

    seq: int
    mac: bytes


def row_line(table: str, row: Mapping[str, Any]) -> bytes:
    """One row as a canonical line: table name and values in column order, bytes as ``{"hex": ...}``."""
    values = [value for name, value in row.items() if not (table == "files" and name in tables.REWRAPPED)]
    return json.dumps([table, *values], separators=(",", ":"), ensure_ascii=True, default=_hex).encode() + b"\n"


def _hex(value: bytes) -> dict[str, str]:
    # Marked as bytes: a column turned from bytes to the same digits as text must not look unchanged.
    return {"hex": bytes(value).hex()}


def digest(lines: Iterable[bytes]) -> bytes:
    """SHA-256 over the sorted lines of a commit."""
    hasher = hashlib.sha256()
    for line in sorted(lines):
        hasher.update(line)
    return hasher.digest()


def link(mac: Mac, before: Head, kind: str, at: int, content: bytes) -> Head:
    """The head after a commit."""
    seq = before.seq + 1
    message = b"tlake catalog\x00" + before.mac + json.dumps([seq, kind, at, content.hex()], default=_hex).encode()
    return Head(seq, mac(message))


def head(connection: sa.Connection) -> Head:
    """The newest commit as the catalog states it."""
    row = connection.execute(
        sa.select(tables.commits.c.seq, tables.commits.c.mac).order_by(tables.commits.c.seq.desc()).limit(1)
    ).one_or_none()
    return Head(0, GENESIS) if row is None else Head(row.seq, row.mac)


def append(
    connection: sa.Connection, mac: Mac, kind: str, at: int, rows: Mapping[sa.Table, Sequence[Mapping[str, Any]]]
) -> Head:
    """Insert rows (without their ``seq``) as one commit, inside the caller's write transaction."""
    before = head(connection)
    seq = before.seq + 1
    lines: list[bytes] = []
    for table, values in rows.items():
        complete = [
            {column.name: seq if column.name == "seq" else value.get(column.name) for column in table.columns}
            for value in values
        ]
        if complete:
            connection.execute(table.insert(), complete)
        lines += [row_line(table.name, row) for row in complete]
    after = link(mac, before, kind, at, digest(lines))
    connection.execute(
        tables.commits.insert(), [{"seq": seq, "kind": kind, "at": at, "digest": digest(lines), "mac": after.mac}]
    )
    return after


def verify(connection: sa.Connection, mac: Mac) -> Head:
    """Recompute every commit from the rows and the chain from every commit.

    Raises:
        IntegrityError: names the first commit that does not hold.
    """
    lines: dict[int, list[bytes]] = {}
    for table in tables.CHAINED:
        for row in connection.execute(sa.select(table)).mappings():
            lines.setdefault(row["seq"], []).append(row_line(table.name, dict(row)))
    current = Head(0, GENESIS)
    erased = set(connection.execute(sa.select(tables.erasures.c.erased)).scalars())
    for commit in connection.execute(sa.select(tables.commits).order_by(tables.commits.c.seq)):
        # The MAC still authenticates the digest of a commit whose rows are gone; that they are, a later one says.
        gone = commit.seq in erased and commit.kind in ERASABLE
        content = commit.digest if gone else digest(lines.pop(commit.seq, []))
        expected = link(mac, current, commit.kind, commit.at, content)
        if commit.seq != expected.seq or commit.digest != content or commit.mac != expected.mac:
            raise IntegrityError(
                f"the catalog's commit {commit.seq} does not account for its rows",
                hint="rows were changed behind the lake's back: restore the catalog from a backup",
                commit=commit.seq,
            )
        current = expected
    if lines:
        raise IntegrityError("the catalog has rows that no commit accounts for", hint="restore it from a backup")
    _check_removals(connection)
    return current


def _check_removals(connection: sa.Connection) -> None:
    """A file is removed exactly if a commit says so: the mark itself is not part of any digest."""
    files, removals = tables.files.c, tables.removals.c
    marked = sa.select(files.file_id, files.removed_seq).where(files.removed_seq.is_not(None))
    stated = sa.select(removals.file_id, removals.seq)
    for some, others in ((marked, stated), (stated, marked)):
        if connection.execute(some.except_(others)).first():
            raise IntegrityError("a file was marked as removed by no commit", hint="restore the catalog from a backup")


def check_anchor(connection: sa.Connection, seq: int, mac: bytes) -> None:
    """Refuse a catalog that ends before, or differs at, the commit that the key store remembers.

    Raises:
        IntegrityError: an older copy of the catalog, or another one.
    """
    if seq == 0:
        return
    row = connection.execute(sa.select(tables.commits.c.mac).where(tables.commits.c.seq == seq)).one_or_none()
    if row is None or row.mac != mac:
        raise IntegrityError(
            "the catalog is not the newest one: it ends before a commit that the key store remembers",
            hint="an older copy was put back; restore the newest backup",
            commit=seq,
        )
