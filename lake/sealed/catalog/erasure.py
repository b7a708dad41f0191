"""Erasing entries of the directory from the chain, so that the rest of it is still accounted for.

A commit's digest covers all of its rows: one cannot go alone. So those that stay are brought into the erasing commit,
and the former commit is named as one that accounts for no rows any more. Its MAC, and those after it, stay good.
"""

from __future__ import annotations

from collections.abc import Collection

import sqlalchemy as sa

from lake.errors import IntegrityError
from lake.sealed.catalog import chain
from lake.sealed.catalog.catalog import Catalog
from lake.sealed.catalog.leases import Lease, check_lease
from lake.sealed.catalog.rows import chunks
from lake.sealed.catalog.tables import commits, directory, erasures


def erase_entries(catalog: Catalog, numbers: Collection[int], lease: Lease | None) -> chain.Head | None:
    """Erase employees' entries in one commit; None if there is none of them.

    Args:
        lease: under which it is done; None for a lake that nobody else has.

    Raises:
        LeaseLostError: another process has taken the lease over.
        IntegrityError: an entry is of a commit that is none of the directory.
    """
    with catalog.database.writing() as connection:
        if lease is not None:
            check_lease(connection, lease)
        apart: set[int] = set()
        for part in chunks(sorted(numbers)):
            apart |= set(connection.execute(sa.select(directory.c.seq).where(directory.c.number.in_(part))).scalars())
        if not apart:
            return None
        of = sorted(apart)
        kinds = set(connection.execute(sa.select(commits.c.kind).where(commits.c.seq.in_(of))).scalars())
        if not kinds <= chain.ERASABLE:
            raise IntegrityError("an entry of the directory is of another commit", hint="run 'lake doctor'")
        entries = connection.execute(sa.select(directory).where(directory.c.seq.in_(of))).mappings().all()
        former = connection.execute(sa.select(erasures).where(erasures.c.seq.in_(of))).mappings().all()
        connection.execute(directory.delete().where(directory.c.seq.in_(of)))
        connection.execute(erasures.delete().where(erasures.c.seq.in_(of)))
        staying = [dict(row) for row in entries if row["number"] not in set(numbers)]
        named = [{"erased": row["erased"]} for row in former] + [{"erased": seq} for seq in of]
        return catalog.append(connection, chain.ERASURE, {directory: staying, erasures: named})
