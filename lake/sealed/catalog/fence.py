"""The fence: commits whose keys were read before this key epoch are refused, so that none slips in behind a sweep.

A rotation of KEKs and a shredding move it before they begin. What then still commits was wrapped under keys that last.
"""

from __future__ import annotations

import sqlalchemy as sa

from lake.errors import StaleKeysError
from lake.sealed.catalog import tables

GENERATION = 2**32
"""A key store that was restored counts its epochs from the next multiple on, which the lost one never reached."""
_FENCE = "key-epoch"


def read_fence(connection: sa.Connection) -> int:
    """The lowest key epoch that may commit; 0 at first."""
    query = sa.select(tables.marks.c.value).where(tables.marks.c.name == _FENCE)
    return int(connection.execute(query).scalar() or 0)


def next_generation(epoch: int) -> int:
    """The first epoch of the key store that follows one of this epoch."""
    return (epoch // GENERATION + 1) * GENERATION


def move_fence(connection: sa.Connection, epoch: int) -> None:
    """Let only later epochs commit, inside a write transaction; the fence never moves back."""
    if epoch <= read_fence(connection):
        return
    connection.execute(tables.marks.delete().where(tables.marks.c.name == _FENCE))
    connection.execute(tables.marks.insert(), [{"name": _FENCE, "value": epoch}])


def check_fence(connection: sa.Connection, epoch: int | None) -> None:
    """Refuse a commit whose keys are too old.

    Args:
        epoch: when its keys were read; None for a commit without keys.

    Raises:
        StaleKeysError: wrap the DEKs anew and commit again.
    """
    if epoch is not None and epoch < read_fence(connection):
        raise StaleKeysError("keys were retired since they were read", hint="send the batch again")
