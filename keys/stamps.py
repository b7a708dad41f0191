"""How often each part of the key store was changed, so that a backup writes only what is new.

A stamp is a counter named after the part (keys.names), moved in the same transaction as the change.
"""

from __future__ import annotations

from collections.abc import Collection

import sqlalchemy as sa

from keys.names import bucket_id, subjects_id
from keys.rows import BucketPlace, chunks
from keys.tables import counters


def touch_buckets(connection: sa.Connection, places: Collection[BucketPlace]) -> None:
    """KEKs of these buckets change in this transaction."""
    _touch(connection, {bucket_id(*place) for place in places})


def touch_subjects(connection: sa.Connection, buckets: Collection[int]) -> None:
    """Employees of these buckets change in this transaction."""
    _touch(connection, {subjects_id(bucket) for bucket in buckets})


def _touch(connection: sa.Connection, names: Collection[str]) -> None:
    known: set[str] = set()
    for part in chunks(sorted(names)):
        where = counters.c.name.in_(part)
        known |= set(connection.execute(sa.select(counters.c.name).where(where)).scalars())
        connection.execute(counters.update().where(where).values(value=counters.c.value + 1))
    if missing := sorted(set(names) - known):
        connection.execute(counters.insert(), [{"name": name, "value": 1} for name in missing])
