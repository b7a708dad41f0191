"""Tables of events in the catalog: added one to a commit, never changed, each sealed with a digest of those before it.

What is sealed is opened elsewhere; here a row is bytes with an id, a kind, a time and the number of its commit.
"""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa

from lake.sealed.catalog import chain
from lake.sealed.catalog.catalog import Catalog


@dataclass(frozen=True, slots=True)
class EventRow:
    """An event: ``sealed`` holds who and what, ``at`` is in microseconds, ``seq`` the commit that added it."""

    id: str
    kind: str
    sealed: bytes
    at: int
    seq: int

    def line(self, table: str) -> bytes:
        """The row as its commit accounts for it."""
        values = {"id": self.id, "kind": self.kind, "sealed": self.sealed, "at": self.at, "seq": self.seq}
        return chain.row_line(table, values)


def newest(connection: sa.Connection, table: sa.Table) -> int:
    """The commit that added the newest event, 0 if there is none."""
    return int(connection.execute(sa.select(sa.func.max(table.c.seq))).scalar() or 0)


def read_rows(connection: sa.Connection, table: sa.Table, after: int = 0) -> list[EventRow]:
    """Events in the order of their commits, from the one after a commit on."""
    query = sa.select(table).where(table.c.seq > after).order_by(table.c.seq)
    return [EventRow(row.id, row.kind, bytes(row.sealed), row.at, row.seq) for row in connection.execute(query)]


def add_row(catalog: Catalog, connection: sa.Connection, table: sa.Table, row: EventRow) -> chain.Head:
    """Add an event inside a write transaction, in a commit of its own; its ``seq`` is that of the commit."""
    values = {"id": row.id, "kind": row.kind, "sealed": row.sealed, "at": row.at}
    return catalog.append(connection, table.name, {table: [values]})
