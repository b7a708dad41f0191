"""Leases of collectors as the catalog remembers them, who has acknowledged a pause, and what was refused for one.

None of it is in the chain. A lease whose row is gone is refused, so taking rows away stops collection and starts none.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import sqlalchemy as sa

from lake.sealed.catalog import tables
from lake.sealed.catalog.rows import chunks


@dataclass(frozen=True, slots=True)
class IssuedRow:
    """A lease: times in microseconds, ``claims`` what its token says."""

    id: str
    device: str
    dataset: str
    claims: str
    mark: int
    issued_at: int
    expires_at: int
    renewed: bool = False


@dataclass(frozen=True, slots=True)
class Tally:
    """How often something was seen of a device, and when, in microseconds."""

    count: int
    first_at: int
    last_at: int


_issued = tables.leases_issued
_refused = tables.refusals
_acknowledged = tables.acknowledgements


def add_lease(connection: sa.Connection, row: IssuedRow, replaces: str | None) -> None:
    """Remember a lease inside a write transaction, and that the one before was renewed by it."""
    values = {name: getattr(row, name) for name in IssuedRow.__slots__}
    connection.execute(_issued.insert(), [values])
    if replaces is not None:
        connection.execute(_issued.update().where(_issued.c.id == replaces), {"renewed": True})


def find_lease(connection: sa.Connection, lease: str) -> IssuedRow | None:
    """A lease by its id."""
    return _row(connection.execute(sa.select(_issued).where(_issued.c.id == lease)).one_or_none())


def newest_lease(connection: sa.Connection, device: str, dataset: str) -> IssuedRow | None:
    """The lease that a device was given last for a dataset."""
    own = (_issued.c.device == device) & (_issued.c.dataset == dataset)
    query = sa.select(_issued).where(own).order_by(_issued.c.issued_at.desc(), _issued.c.mark.desc()).limit(1)
    return _row(connection.execute(query).one_or_none())


def running_at(connection: sa.Connection, moment: int, before_mark: int) -> list[IssuedRow]:
    """Leases that ended after a moment and were issued before an event of pauses."""
    query = sa.select(_issued).where(_issued.c.expires_at > moment, _issued.c.mark < before_mark)
    return [found for row in connection.execute(query) if (found := _row(row))]


def forget_leases(connection: sa.Connection, moment: int) -> int:
    """Forget those that ended before a moment, inside a write transaction."""
    return connection.execute(_issued.delete().where(_issued.c.expires_at < moment)).rowcount


def acknowledge(connection: sa.Connection, device: str, mark: int, at: int) -> None:
    """A device has stopped what pauses up to a mark forbid."""
    own = (_acknowledged.c.device == device) & (_acknowledged.c.mark == mark)
    if not connection.execute(_acknowledged.update().where(own), {"last_at": at}).rowcount:
        connection.execute(_acknowledged.insert(), [{"device": device, "mark": mark, "first_at": at, "last_at": at}])


def acknowledged(connection: sa.Connection, mark: int) -> dict[str, Tally]:
    """Devices that have acknowledged this mark or a later one, with the first and the last time."""
    by, found = _acknowledged.c, {}
    query = (
        sa.select(by.device, sa.func.count(), sa.func.min(by.first_at), sa.func.max(by.last_at))
        .where(by.mark >= mark)
        .group_by(by.device)
    )
    for device, count, first, last in connection.execute(query):
        found[device] = Tally(count, first, last)
    return found


def refuse(connection: sa.Connection, halts: Iterable[str], device: str, at: int) -> None:
    """Count a batch that was refused for some pauses, inside a write transaction."""
    for halt in halts:
        own = (_refused.c.halt == halt) & (_refused.c.device == device)
        more = {"batches": _refused.c.batches + 1, "last_at": at}
        if not connection.execute(_refused.update().where(own).values(more)).rowcount:
            row = {"halt": halt, "device": device, "batches": 1, "first_at": at, "last_at": at}
            connection.execute(_refused.insert(), [row])


def refused(connection: sa.Connection, halts: Iterable[str]) -> dict[str, dict[str, Tally]]:
    """By pause and device how many batches were refused."""
    found: dict[str, dict[str, Tally]] = {}
    for part in chunks(sorted(halts)):
        for row in connection.execute(sa.select(_refused).where(_refused.c.halt.in_(part))):
            found.setdefault(row.halt, {})[row.device] = Tally(row.batches, row.first_at, row.last_at)
    return found


def _row(row: object) -> IssuedRow | None:
    return None if row is None else IssuedRow(*(getattr(row, name) for name in IssuedRow.__slots__))
