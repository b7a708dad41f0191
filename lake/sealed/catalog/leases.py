"""Leases: of several runners one does a job, and one that was taken over changes nothing more.

A lease ends by itself, by the database's clock, so that a runner that died holds nobody up. Clocks and pauses cannot be
trusted to that end: each taking has a higher token, and what a job commits checks the token in the same transaction
(:func:`check_lease`). A runner that wakes up after its lease was taken finds another token there.
"""

from __future__ import annotations

import socket
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa

from lake.errors import LeaseHeldError, LeaseLostError, UsageError
from lake.sealed.catalog import tables
from lake.sealed.catalog.database import Database

LONGEST = 3_600
"""Seconds for which a lease may be taken. One that seems to end later stems from before the clock was put back."""
_SECOND = 1_000_000
_NOW = {
    "sqlite": sa.literal_column("CAST((julianday('now') - 2440587.5) * 86400000000 AS INTEGER)", sa.BigInteger),
    "postgresql": sa.literal_column("CAST(extract(epoch FROM clock_timestamp()) * 1000000 AS bigint)", sa.BigInteger),
}


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to do a job; ``token`` is higher than that of whoever had it before."""

    name: str
    holder: str
    token: int


@dataclass(frozen=True, slots=True)
class Held:
    """A lease as the database shows it: for how many seconds it still runs."""

    lease: Lease
    seconds: float


class Leases:
    """The leases of one lake, in its catalog."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def take(self, name: str, holder: str, seconds: float) -> Lease:
        """Take a lease that is free, has ended, or is this holder's own already: what had it is locked out then.

        Args:
            holder: who it is, as others are told; one name must not be two runners that are to exclude each other.
            seconds: after which it ends unless it is renewed.

        Raises:
            LeaseHeldError: somebody else has it.
        """
        _check(seconds)
        lease = tables.leases.c
        with self._database.writing() as connection:
            now = _now(connection)
            found = connection.execute(sa.select(tables.leases).where(lease.name == name)).one_or_none()
            values = {"holder": holder, "expires_at": now + _micro(seconds)}
            if found is None:
                connection.execute(tables.leases.insert(), [{"name": name, "token": 1, **values}])
                return Lease(name, holder, 1)
            running = now < found.expires_at <= now + LONGEST * _SECOND
            if running and found.holder != holder:
                left = (found.expires_at - now) / _SECOND
                raise LeaseHeldError(
                    f"{name} is being done by {found.holder}",
                    hint=f"wait for it; if it has died, its lease ends in {left:.0f} seconds",
                )
            taken = Lease(name, holder, found.token + 1)
            connection.execute(tables.leases.update().where(lease.name == name), {"token": taken.token, **values})
        return taken

    def renew(self, lease: Lease, seconds: float) -> None:
        """Let a lease end later than it would; also one that has ended, if nobody has taken it since.

        Raises:
            LeaseLostError: another has taken it.
        """
        _check(seconds)
        with self._database.writing() as connection:
            check_lease(connection, lease)
            ends = {"expires_at": _now(connection) + _micro(seconds)}
            connection.execute(tables.leases.update().where(tables.leases.c.name == lease.name), ends)

    def release(self, lease: Lease) -> None:
        """Let others take it at once; nothing if another has taken it already. Its row stays, for its token."""
        own = (tables.leases.c.name == lease.name) & (tables.leases.c.token == lease.token)
        with self._database.writing() as connection:
            connection.execute(tables.leases.update().where(own), {"expires_at": 0})

    def held(self) -> list[Held]:
        """The leases that run, in order of name."""
        with self._database.reading() as connection:
            now = _now(connection)
            rows = connection.execute(sa.select(tables.leases)).all()
        found = [Held(Lease(row.name, row.holder, row.token), (row.expires_at - now) / _SECOND) for row in rows]
        return sorted((one for one in found if 0 < one.seconds <= LONGEST), key=lambda one: one.lease.name)


def check_lease(connection: sa.Connection, lease: Lease) -> None:
    """Refuse to commit for a job that another has taken over, inside a write transaction.

    Raises:
        LeaseLostError: another has taken the lease.
    """
    query = sa.select(tables.leases.c.token).where(tables.leases.c.name == lease.name)
    if connection.execute(query).scalar() != lease.token:
        raise LeaseLostError(f"{lease.name} was taken over by another process", hint="nothing of this one goes on")


def holder_of(place: Path) -> str:
    """The name of this host's runner of a lake: one at a time, as a later one locks out a former one."""
    return f"{socket.gethostname()}:{place.absolute()}"[:200]


def _check(seconds: float) -> None:
    if not 0 < seconds <= LONGEST:
        raise UsageError(f"a lease lasts more than 0 and at most {LONGEST} seconds")


def _micro(seconds: float) -> int:
    return int(seconds * _SECOND)


def _now(connection: sa.Connection) -> int:
    return int(connection.execute(sa.select(_NOW[connection.dialect.name])).scalar_one())
