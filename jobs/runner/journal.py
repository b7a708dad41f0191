"""Runs of jobs and their items in the catalog: what was planned, what is done, what was noted on the way.

A run is resumed from here and not planned again, so that what was approved is what is done. The journal is no content
and not in the catalog's chain; a MAC ties each run to the hash of its plan, and the hash to every item.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC
from typing import Any

import sqlalchemy as sa

from jobs.runner.work import LONGEST_ID, Item, Plan, Run, decoded, encoded
from lake.errors import IntegrityError, UsageError
from lake.gateway.home import Home
from lake.sealed.audit.entries import canonical
from lake.sealed.catalog.leases import Lease, check_lease
from lake.sealed.catalog.rows import microseconds
from lake.sealed.catalog.tables import job_items, job_runs

RUNNING, DONE, INCOMPLETE, ABANDONED = "running", "done", "incomplete", "abandoned"
"""States of a run: not ended; every item done; ended, and some items failed; given up by somebody."""
WAITING, ITEM_DONE, FAILED = "waiting", "done", "failed"
PAGE = 500
KEPT_RUNS = 50
"""Ended runs of a job whose items are kept."""


class RunJournal:
    """The runs of one lake's jobs. Everything that is written is written under the job's lease."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self._database = home.catalog.database

    def unfinished(self, job: str) -> Run | None:
        """The run that was cut off, if there is one.

        Raises:
            IntegrityError: its row is not what was written.
        """
        query = sa.select(job_runs).where(job_runs.c.job == job, job_runs.c.state == RUNNING)
        with self._database.reading() as connection:
            row = connection.execute(query).first()
        return None if row is None else self._checked(row)

    def find(self, run_id: str) -> Run:
        """A run by its id.

        Raises:
            UsageError: there is none.
            IntegrityError: its row is not what was written.
        """
        with self._database.reading() as connection:
            row = connection.execute(sa.select(job_runs).where(job_runs.c.id == run_id)).first()
        if row is None:
            raise UsageError("there is no such run", hint="'lake jobs status' names them")
        return self._checked(row)

    def recent(self, job: str | None = None, limit: int = 20) -> list[Run]:
        """The newest runs, newest first."""
        query = sa.select(job_runs).order_by(job_runs.c.started_at.desc(), job_runs.c.id).limit(limit)
        if job is not None:
            query = query.where(job_runs.c.job == job)
        with self._database.reading() as connection:
            return [_run(row) for row in connection.execute(query)]

    def begin(self, plan: Plan, lease: Lease) -> Run:
        """Keep a plan as a run, wholly or not at all."""
        if any(len(item.id) > LONGEST_ID for item in plan.items) or len({item.id for item in plan.items}) != len(
            plan.items
        ):
            raise UsageError("the items of a plan have ids of their own, of at most 200 characters")
        run_id, now = secrets.token_hex(16), self._now()
        values = {
            "id": run_id,
            "job": plan.job,
            "plan": plan.hash,
            "mac": self._mac(run_id, plan.job, plan.hash),
            "facts": encoded(plan.facts),
            "items": len(plan.items),
            "state": RUNNING,
            "detail": "{}",
            "started_at": now,
            "updated_at": now,
        }
        with self._database.writing() as connection:
            check_lease(connection, lease)
            self._forget(connection, plan.job)
            connection.execute(job_runs.insert(), [values])
            for start in range(0, len(plan.items), PAGE):
                connection.execute(job_items.insert(), _rows(run_id, start, plan.items[start : start + PAGE]))
            return _run(connection.execute(sa.select(job_runs).where(job_runs.c.id == run_id)).one())

    def plan_of(self, run: Run) -> Plan:
        """The plan of a run, every item of it as planned.

        Raises:
            IntegrityError: an item was changed, added or removed.
            UsageError: the run ended long ago.
        """
        items = tuple(item for item, _, _ in self.items(run))
        if run.items and not items:
            raise UsageError("the items of this run are not kept any more", hint="'lake audit show' has what it did")
        plan = Plan(run.job, items, run.facts)
        if plan.hash != run.plan:
            raise _changed()
        return plan

    def items(self, run: Run, state: str | None = None) -> Iterator[tuple[Item, str, dict[str, Any]]]:
        """Items with their state and what was noted, in order, a page at a time."""
        after = -1
        while True:
            query = sa.select(job_items).where(job_items.c.run == run.id, job_items.c.position > after)
            if state is not None:
                query = query.where(job_items.c.state == state)
            with self._database.reading() as connection:
                rows = connection.execute(query.order_by(job_items.c.position).limit(PAGE)).all()
            for row in rows:
                yield Item(row.item, decoded(row.work)), row.state, decoded(row.detail)
            if len(rows) < PAGE:
                return
            after = rows[-1].position

    def note(self, connection: sa.Connection, run: Run, item: Item, lease: Lease, more: Mapping[str, Any]) -> None:
        """Keep more of an item inside a write transaction, under the lease."""
        check_lease(connection, lease)
        where = _item(run, item)
        found = decoded(connection.execute(sa.select(job_items.c.detail).where(where)).scalar_one())
        connection.execute(job_items.update().where(where), {"detail": encoded(found | dict(more))})

    def save_note(self, run: Run, item: Item, lease: Lease, more: Mapping[str, Any]) -> None:
        """The same in a transaction of its own."""
        with self._database.writing() as connection:
            self.note(connection, run, item, lease, more)

    def close_item(self, run: Run, item: Item, lease: Lease, state: str, counts: Mapping[str, int]) -> Run:
        """An item is done, or failed; its counts join the run's. An item that is closed already changes nothing."""
        with self._database.writing() as connection:
            check_lease(connection, lease)
            open_item = _item(run, item) & (job_items.c.state == WAITING)
            row = connection.execute(sa.select(job_runs).where(job_runs.c.id == run.id)).one()
            if not connection.execute(job_items.update().where(open_item), {"state": state}).rowcount:
                return _run(row)
            detail = decoded(row.detail)
            totals = dict(detail.get("counts", {}))
            for name, count in {state: 1, **counts}.items():
                totals[name] = totals.get(name, 0) + count
            values = {"detail": encoded(detail | {"counts": totals}), "updated_at": self._now()}
            connection.execute(job_runs.update().where(job_runs.c.id == run.id), values)
            return _run(connection.execute(sa.select(job_runs).where(job_runs.c.id == run.id)).one())

    def close(self, run: Run, lease: Lease, more: Mapping[str, Any], *, abandoned: bool = False) -> Run:
        """The run has ended, or was given up."""
        with self._database.writing() as connection:
            check_lease(connection, lease)
            detail = decoded(
                connection.execute(sa.select(job_runs.c.detail).where(job_runs.c.id == run.id)).scalar_one()
            )
            state = ABANDONED if abandoned else INCOMPLETE if detail.get("counts", {}).get(FAILED) else DONE
            values = {"state": state, "detail": encoded(detail | dict(more)), "updated_at": self._now()}
            connection.execute(job_runs.update().where(job_runs.c.id == run.id), values)
            return _run(connection.execute(sa.select(job_runs).where(job_runs.c.id == run.id)).one())

    def _forget(self, connection: sa.Connection, job: str) -> None:
        """Drop the items of runs that ended long ago; what came of them stays in the run and the audit log."""
        ended = sa.select(job_runs.c.id).where(job_runs.c.job == job, job_runs.c.state != RUNNING)
        old = ended.order_by(job_runs.c.started_at.desc()).offset(KEPT_RUNS)
        for run_id in connection.execute(old).scalars().all():
            connection.execute(job_items.delete().where(job_items.c.run == run_id))

    def _checked(self, row: Any) -> Run:
        if not hmac.compare_digest(bytes(row.mac), self._mac(row.id, row.job, row.plan)):
            raise _changed()
        return _run(row)

    def _mac(self, run_id: str, job: str, plan: str) -> bytes:
        return self._home.control.catalog_mac(b"tlake job\x00" + canonical({"run": run_id, "job": job, "plan": plan}))

    def _now(self) -> int:
        return microseconds(self._home.clock().astimezone(UTC).replace(tzinfo=None))


def _rows(run_id: str, start: int, items: Sequence[Item]) -> list[dict[str, Any]]:
    return [
        {
            "run": run_id,
            "position": start + offset,
            "item": item.id,
            "work": encoded(item.work),
            "state": WAITING,
            "detail": "{}",
        }
        for offset, item in enumerate(items)
    ]


def _item(run: Run, item: Item) -> sa.ColumnElement[bool]:
    return (job_items.c.run == run.id) & (job_items.c.item == item.id)


def _run(row: Any) -> Run:
    return Run(
        row.id,
        row.job,
        row.plan,
        decoded(row.facts),
        row.items,
        row.state,
        decoded(row.detail),
        row.started_at,
        row.updated_at,
    )


def _changed() -> IntegrityError:
    return IntegrityError(
        "the journal of a job is not what was written", hint="its run was changed behind the lake's back: 'lake doctor'"
    )
