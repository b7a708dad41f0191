"""The runner: one at a time for each job, item after item, resumed where it was cut off.

On a host a lock file excludes a second runner, which the system lets go of when a process dies; among hosts the lease
in the catalog does. Whoever has the lease taken away, after a long pause, can commit nothing more: each commit of the
journal, and of the items, checks the lease's token in the same transaction.
"""

from __future__ import annotations

import fcntl
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa

from jobs.runner import journal as j
from jobs.runner.journal import RunJournal
from jobs.runner.logs import Log
from jobs.runner.metrics import NO_METRICS, Figures
from jobs.runner.work import Item, Job, Plan, Run, Step
from keys.errors import KeysError
from lake.errors import LakeError, LeaseHeldError, LeaseLostError, UnavailableError, UsageError
from lake.gateway.home import Home
from lake.gateway.recorder import Actor
from lake.sealed.catalog.leases import Lease, Leases, holder_of

JOB_RUN = "job.run"
LEASE_SECONDS = 600
RENEW_SECONDS = 120
"""Between items, and when a long one says that it is alive."""
AGAIN = 75
"""Exit code for cron: nothing is broken, run it again (EX_TEMPFAIL of sysexits.h)."""
LOCKS = "jobs"

Progress = Callable[[int], None]


class StoppedError(UnavailableError):
    """The process was asked to end; what is done stays done, and the same command goes on."""

    code = "stopped"
    exit_code = AGAIN


@dataclass(frozen=True, slots=True)
class Options:
    """How to run.

    Attributes:
        stopping: whether the process was asked to end; asked between items.
        progress: told of each item that is closed, with 1.
        plan: the hash that the plan must have; None for whatever it is.
    """

    stopping: Callable[[], bool] = lambda: False
    progress: Progress = lambda _: None
    plan: str | None = None
    log: Log = field(default_factory=Log.silent)
    figures: Figures = NO_METRICS


class Runner:
    """Runs jobs on one opened lake."""

    def __init__(self, home: Home, options: Options | None = None) -> None:
        self._home = home
        self._options = options or Options()
        self._leases = Leases(home.catalog.database)
        self.journal = RunJournal(home)

    def plan(self, job: Job) -> tuple[Plan, Run | None]:
        """What a run would do, and the unfinished run that it would go on with; changes nothing."""
        unfinished = self.journal.unfinished(job.name)
        return (job.plan() if unfinished is None else self.journal.plan_of(unfinished)), unfinished

    def run(self, job: Job, planned: Plan | None = None) -> Run:
        """Finish the job's unfinished run, or plan and do a new one.

        Args:
            planned: what to do if nothing is unfinished; planned here if it is not given.

        Raises:
            LeaseHeldError: another runner does this job.
            LeaseLostError: this one was silent for so long that another has begun.
            StoppedError: asked to end.
            UsageError: the plan is not the one that was asked for.
            LakeError, KeysError: what is done stays done; the same command goes on.
        """
        options, started = self._options, time.monotonic()
        with self._alone(job.name) as lease:
            try:
                done = self._run(job, planned, lease)
            except BaseException as error:
                code = error.code if isinstance(error, LakeError | KeysError) else type(error).__name__
                options.figures.ended(job.name, code, time.monotonic() - started, {})
                options.log("run.cut-off", job=job.name, error=code)
                raise
        options.figures.ended(job.name, done.state, time.monotonic() - started, done.counts)
        options.log("run.ended", job=job.name, run=done.id, state=done.state, counts=done.counts)
        return done

    def abandon(self, job: str, actor: Actor) -> Run | None:
        """Give up a run that was cut off, if no item of it is half done; None if there is none.

        Raises:
            UsageError: an item is: finish it.
        """
        with self._alone(job) as lease:
            run = self.journal.unfinished(job)
            if run is None:
                return None
            if any(noted for _, _, noted in self.journal.items(run, j.WAITING)):
                raise UsageError("an item of this run is half done", hint="run the job again: it goes on where it was")
            self._home.recorder.record(JOB_RUN, actor, {"step": "abandon", "job": job, "run": run.id})
            return self.journal.close(run, lease.lease, {}, abandoned=True)

    def _run(self, job: Job, planned: Plan | None, lease: _Alive) -> Run:
        unfinished = self.journal.unfinished(job.name)
        plan = self.journal.plan_of(unfinished) if unfinished else planned or job.plan()
        if self._options.plan not in {None, plan.hash}:
            raise UsageError(
                "an unfinished run has another plan" if unfinished else "the plan is not the one that was named",
                hint="run the job without a plan's hash to finish it" if unfinished else "plan again, and compare",
            )
        job.admit(plan)
        run = unfinished or self.journal.begin(plan, lease.lease)
        sys.audit("lake.step", "job.begun")
        job.begin(run)
        fields = {"job": job.name, "run": run.id, "plan": run.plan, "items": run.items}
        begun = self._home.recorder.record(JOB_RUN, job.actor, {"step": "resume" if unfinished else "begin", **fields})
        self._options.log("run.resumed" if unfinished else "run.begun", **fields)
        sys.audit("lake.step", "job.recorded")
        try:
            run = self._items(job, run, lease)
            kept = job.finish(run)
            sys.audit("lake.step", "job.finished")
        except (LakeError, KeysError) as error:
            # An audit log that cannot record has its own error, and that one counts.
            if not isinstance(error, LeaseLostError):
                self._record_end(job, run, begun.index, error.code)
            raise
        run = self.journal.close(run, lease.lease, kept)
        sys.audit("lake.step", "job.closed")
        self._record_end(job, run, begun.index, run.state)
        return run

    def _record_end(self, job: Job, run: Run, begun: int, state: str) -> None:
        fields: dict[str, Any] = {"step": "end", "job": job.name, "run": run.id, "state": state, "ref": begun}
        self._home.recorder.record(JOB_RUN, job.actor, fields | {"counts": run.counts})

    def _items(self, job: Job, run: Run, lease: _Alive) -> Run:
        for item, _, noted in self.journal.items(run, j.WAITING):
            if self._options.stopping():
                raise StoppedError(f"{job.name} was asked to stop", hint="run the command again to go on")
            lease.renew()
            sys.audit("lake.step", "job.item")
            run = self._item(job, run, lease, item, noted)
            sys.audit("lake.step", "job.item-closed")
            self._options.progress(1)
        return run

    def _item(self, job: Job, run: Run, lease: _Alive, item: Item, noted: Mapping[str, Any]) -> Run:
        started = time.monotonic()

        def note(connection: sa.Connection, more: Mapping[str, Any]) -> None:
            self.journal.note(connection, run, item, lease.lease, more)

        def save(more: Mapping[str, Any]) -> None:
            self.journal.save_note(run, item, lease.lease, more)

        step = Step(item, noted, lease.lease, note, save, lease.renew, self._options.stopping)
        state, counts, code = j.ITEM_DONE, {}, "ok"
        try:
            counts = dict(job.execute(item, step))
        except (LakeError, KeysError) as error:
            if not job.keep_going or _passes(error):
                raise
            state, code = j.FAILED, error.code
            self.journal.save_note(run, item, lease.lease, {"error": error.code})
        sys.audit("lake.step", "job.item-done")
        run = self.journal.close_item(run, item, lease.lease, state, counts)
        self._options.figures.item(job.name, code, time.monotonic() - started)
        self._options.log("item", job=job.name, run=run.id, item=item.id, code=code, counts=counts)
        return run

    @contextmanager
    def _alone(self, job: str) -> Iterator[_Alive]:
        folder = self._home.root / LOCKS
        folder.mkdir(mode=0o700, exist_ok=True)
        with (folder / f"{job}.lock").open("ab") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise LeaseHeldError(f"{job} is being done by another process here", hint="wait for it") from None
            name = f"job.{job}"
            lease = self._leases.take(name, holder_of(self._home.root), LEASE_SECONDS)
            try:
                yield _Alive(self._leases, lease)
            finally:
                with suppress(LakeError):  # it ends by itself
                    self._leases.release(lease)


class _Alive:
    """A lease that is renewed before it ends."""

    def __init__(self, leases: Leases, lease: Lease) -> None:
        self._leases = leases
        self.lease = lease
        self._renewed = time.monotonic()

    def renew(self) -> None:
        """Renew it, if that is due.

        Raises:
            LeaseLostError: another has taken it.
        """
        if time.monotonic() - self._renewed >= RENEW_SECONDS:
            self._leases.renew(self.lease, LEASE_SECONDS)
            self._renewed = time.monotonic()


def _passes(error: LakeError | KeysError) -> bool:
    """Whether the same would hit the next item too, or passes by itself: then the run stops, and goes on later."""
    return isinstance(error, UnavailableError) or error.exit_code in {UnavailableError.exit_code, AGAIN}


def exit_code(run: Run) -> int:
    """Of a run that has ended: 0, or 1 if an item failed."""
    return 0 if run.state == j.DONE else 1


def for_cron(error: LakeError | KeysError) -> LakeError | KeysError:
    """The error with 75 as its exit code if running again may help."""
    if _passes(error):
        error.exit_code = AGAIN
    return error
