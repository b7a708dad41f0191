"""What an operation has done so far, so that after a crash the same command goes on where it stopped.

One operation at a time: it holds a lock while it runs, and an unfinished one must be finished before another begins.
"""

from __future__ import annotations

import fcntl
import json
import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from keys.errors import KeyOperationError
from keys.keystore import Transactions
from keys.tables import operations

LOCK = "operation.lock"
BESIDE = ("rekey",)
"""Verbs that run beside the others, as they replace nothing but files: each with a lock and an order of its own."""


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation on keys; ``scope`` is what was asked, ``detail`` what was decided on the way."""

    id: str
    verb: str
    scope: Mapping[str, Any]
    phase: str
    detail: Mapping[str, Any]
    started_at: int
    updated_at: int
    done: bool


@contextmanager
def exclusive(folder: Path, verb: str | None = None) -> Iterator[None]:
    """Holds the lock of key operations, or of a verb that runs beside them.

    Raises:
        KeyOperationError: another process has it.
    """
    with (folder / (LOCK if verb is None else f"{verb}.lock")).open("ab") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            what = "another operation on keys" if verb is None else f"another {verb}"
            raise KeyOperationError(f"{what} is running", hint="wait until it has finished") from None
        yield


class Journal:
    """The operations of one key store.

    Args:
        verb: one that runs beside the others; this journal then knows no other verb.
    """

    def __init__(self, database: Transactions, now: Callable[[], int], verb: str | None = None) -> None:
        self._database = database
        self._now = now
        mine = operations.c.verb.not_in(BESIDE) if verb is None else operations.c.verb == verb
        self._unfinished = sa.select(operations).where(mine, operations.c.done.is_(False))
        self.resume = "lake keys resume" if verb is None else f"lake keys {verb} --resume"

    def of(self, verb: str) -> Journal:
        """The journal of a verb that runs beside these."""
        return Journal(self._database, self._now, verb)

    def begin(self, verb: str, scope: Mapping[str, Any], phase: str) -> Operation:
        """A new operation, or the unfinished one if it is the same.

        Raises:
            KeyOperationError: another one is unfinished.
        """
        with self._database.writing() as connection:
            found = connection.execute(self._unfinished).first()
            if found is not None:
                unfinished = _operation(found)
                if (unfinished.verb, unfinished.scope) != (verb, dict(scope)):
                    raise KeyOperationError(
                        f"the operation {unfinished.verb} {unfinished.id[:8]} is not finished",
                        hint=f"finish it with '{self.resume}'",
                    )
                return unfinished
            now = self._now()
            operation = Operation(secrets.token_hex(16), verb, dict(scope), phase, {}, now, now, done=False)
            connection.execute(operations.insert(), [_values(operation)])
        return operation

    def save(self, operation: Operation, phase: str, *, done: bool = False, **detail: Any) -> Operation:
        """The operation in its next phase, with more detail, durable."""
        changed = replace(
            operation, phase=phase, detail={**operation.detail, **detail}, updated_at=self._now(), done=done
        )
        with self._database.writing() as connection:
            connection.execute(operations.update().where(operations.c.id == operation.id), _values(changed))
        return changed

    def unfinished(self) -> Operation | None:
        """The operation that must be finished first, if there is one."""
        with self._database.reading() as connection:
            found = connection.execute(self._unfinished).first()
        return None if found is None else _operation(found)

    def finished(self, verb: str, scope: Mapping[str, Any]) -> Operation | None:
        """The newest operation that was just this and is done."""
        same = (operations.c.verb == verb) & (operations.c.scope == json.dumps(scope, sort_keys=True))
        query = sa.select(operations).where(same, operations.c.done.is_(True)).order_by(operations.c.started_at.desc())
        with self._database.reading() as connection:
            found = connection.execute(query.limit(1)).first()
        return None if found is None else _operation(found)

    def recent(self, limit: int = 20) -> list[Operation]:
        """The newest operations, newest first."""
        query = sa.select(operations).order_by(operations.c.started_at.desc()).limit(limit)
        with self._database.reading() as connection:
            return [_operation(row) for row in connection.execute(query)]


def _values(operation: Operation) -> dict[str, Any]:
    return {
        "id": operation.id,
        "verb": operation.verb,
        "scope": json.dumps(operation.scope, sort_keys=True),
        "phase": operation.phase,
        "detail": json.dumps(operation.detail, sort_keys=True),
        "started_at": operation.started_at,
        "updated_at": operation.updated_at,
        "done": operation.done,
    }


def _operation(row: Any) -> Operation:
    return Operation(
        row.id,
        row.verb,
        json.loads(row.scope),
        row.phase,
        json.loads(row.detail),
        row.started_at,
        row.updated_at,
        row.done,
    )
