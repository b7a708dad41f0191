"""Events of break-glass in the catalog: added one to a commit, never changed.

An end that is missing opens a door again, so while something is open its reader does not wait for the next check of
the whole chain: :func:`check_since` recomputes the commits since then.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import sqlalchemy as sa

from lake.errors import IntegrityError
from lake.sealed.catalog import chain, tables
from lake.sealed.catalog.catalog import Catalog

COMMIT = "break-glass"
"""Kind of the commits."""


@dataclass(frozen=True, slots=True)
class ElevationRow:
    """An event: ``sealed`` holds who and what, ``at`` is in microseconds, ``seq`` the commit that added it."""

    id: str
    kind: str
    sealed: bytes
    at: int
    seq: int


def newest(connection: sa.Connection) -> int:
    """The commit that added the newest event, 0 if there is none."""
    return int(connection.execute(sa.select(sa.func.max(tables.elevations.c.seq))).scalar() or 0)


def read_rows(connection: sa.Connection, *, ended_by: Collection[str] = ()) -> list[ElevationRow]:
    """Events in the order of their commits, without those of ids that have an event of these kinds."""
    events = tables.elevations.c
    query = sa.select(tables.elevations).order_by(events.seq)
    if ended_by:
        query = query.where(events.id.not_in(sa.select(events.id).where(events.kind.in_(sorted(ended_by)))))
    return [ElevationRow(row.id, row.kind, row.sealed, row.at, row.seq) for row in connection.execute(query)]


def add_row(catalog: Catalog, connection: sa.Connection, row: ElevationRow) -> chain.Head:
    """Add an event inside a write transaction, in a commit of its own; its ``seq`` is that of the commit.

    Raises:
        sqlalchemy.exc.IntegrityError: there is one of this kind already.
    """
    values = {"id": row.id, "kind": row.kind, "sealed": row.sealed, "at": row.at}
    return catalog.append(connection, COMMIT, {tables.elevations: [values]})


def check_since(connection: sa.Connection, mac: chain.Mac, seq: int) -> None:
    """Recompute the chain from a commit to the head, and each event since then from its commit.

    Raises:
        IntegrityError: a commit or an event since then was changed, added or removed behind the lake's back.
    """
    lines: dict[int, list[bytes]] = {}
    for row in connection.execute(sa.select(tables.elevations).where(tables.elevations.c.seq >= seq)).mappings():
        lines.setdefault(row["seq"], []).append(chain.row_line(tables.elevations.name, dict(row)))
    stated = {at: chain.digest(some) for at, some in lines.items()}
    before = _before(connection, seq)
    query = sa.select(tables.commits).where(tables.commits.c.seq >= seq).order_by(tables.commits.c.seq)
    for commit in connection.execute(query):
        after = chain.link(mac, before, commit.kind, commit.at, commit.digest)
        digest = commit.digest if commit.kind == COMMIT else None
        if (commit.seq, commit.mac) != (after.seq, after.mac) or stated.pop(commit.seq, None) != digest:
            raise _changed(after.seq)
        before = after
    if stated:
        raise _changed(min(stated))


def _before(connection: sa.Connection, seq: int) -> chain.Head:
    query = sa.select(tables.commits.c.mac).where(tables.commits.c.seq == seq - 1)
    mac = chain.GENESIS if seq == 1 else connection.execute(query).scalar()
    if mac is None:
        raise _changed(seq - 1)
    return chain.Head(seq - 1, mac)


def _changed(seq: int) -> IntegrityError:
    return IntegrityError(
        f"the catalog's commit {seq} does not account for its rows",
        hint="an event of break-glass was changed behind the lake's back: run 'lake doctor'",
        commit=seq,
    )
