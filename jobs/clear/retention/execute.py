"""The job that purges: months of employees as they were planned, each ended so that no crash leaves it half gone.

For the months of an item, in this order, each step noted and harmless when made again:

1. what goes is decided, with the holds of now; the KEKs that are to die are named, with fingerprints of their wraps;
2. no commit is accepted under these KEKs any more (fence); those of months that go on get a next version;
3. files that keep rows are written anew under it;
4. one catalog commit: old files leave, new ones come, and the journal says so. It is made only if no hold was placed
   and no other file has landed under the KEKs meanwhile;
5. DEKs of files that stay are wrapped under the next version, and the old KEKs are destroyed;
6. objects are deleted in every version; what a store keeps is a residual, with its date.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from jobs.clear.exchange import Draft, concluded, opened
from jobs.clear.reencrypt import ref
from jobs.clear.retention.rewrite import Going, Remaining
from jobs.runner.work import Counts, Item, Job, Option, Plan, Run, Step
from jobs.sealed.retention.plan import RETENTION, Planner, day, default_as_of
from keys.errors import KeyOperationError, KeyStateError
from keys.names import root_name
from keys.operations import rotate_keks
from keys.operations.journal import exclusive
from keys.refs import KeyState
from keys.rows import KekName, KekRow
from lake.clock import parse_timestamp
from lake.errors import ObjectRetainedError, UnavailableError, UsageError
from lake.gateway.holds import HoldDesk
from lake.gateway.home import Home
from lake.gateway.kek_rotation import dek_request, sweep_deks
from lake.gateway.keykeeping import KeyKeeping
from lake.gateway.recorder import Actor
from lake.gateway.retention import RetentionDesk
from lake.person import person
from lake.rules.model import DataFile
from lake.sealed.catalog.rows import moment

TRIES = 5
MARKS = (KeyState.DECRYPT_ONLY, KeyState.COMPROMISED, KeyState.PENDING_DESTRUCTION)


@dataclass(slots=True)
class _Work:
    """What is done of an item: files that go as a whole, files that are written anew, and what stays."""

    whole: list[tuple[DataFile, int]] = field(default_factory=list)
    parts: list[tuple[DataFile, int, Going]] = field(default_factory=list)
    held: int = 0
    skipped: int = 0
    suspended: int = 0

    def left(self) -> dict[str, int]:
        """Counts of files that stay: with rows that are held, replaced since the plan, of somebody suspended."""
        return {"held_files": self.held, "skipped_files": self.skipped, "suspended": self.suspended}

    def names(self) -> set[KekName]:
        """The months that are touched, as their KEKs are named."""
        files = [*(file for file, _ in self.whole), *(file for file, _, _ in self.parts)]
        return {(one.partition.subject, one.partition.sensitivity, one.partition.month) for one in files}


class _HeldError(Exception):
    """A hold was placed or released: decide again."""


class RetentionJob(Job):
    """Purges what is past.

    Args:
        as_of: up to when rows count as past, naive UTC; default: the start of today.
        by: who executes it, for approvals; default: the operating system's user.
        backup: folder of a key backup; with it bucket keys are replaced and old roots trimmed at the end, so that no
            copy of the key store from before opens.
    """

    name = RETENTION
    keep_going = False
    destroys = True
    options = {  # noqa: RUF012 - the base says ClassVar
        "as-of": Option(day, "a day such as 2026-11-01"),
        "backup": Option(Path, "a folder for key backups"),
    }

    def __init__(
        self, home: Home, actor: Actor, *, as_of: datetime | None = None, by: str = "", backup: Path | None = None
    ) -> None:
        super().__init__(home, actor)
        self._as_of = as_of
        self._by = by or person()
        self._backup = backup
        self._holds = HoldDesk(home)

    def plan(self) -> Plan:
        """See Job."""
        return Planner(self.home, self._as_of or default_as_of(self.home)).plan()

    def admit(self, plan: Plan) -> None:
        """See Job: not before its time, and with a second person where it takes one.

        Raises:
            UsageError: the clock is behind the plan.
            DeniedError: nobody else has approved it.
        """
        if parse_timestamp(plan.facts["as_of"]) > self.home.clock():
            raise UsageError("the plan is as of a time that has not come", hint="was the clock put back? plan again")
        if plan.facts["second_person"]:
            RetentionDesk(self.home).check_approved(plan.hash, self._by)

    def execute(self, item: Item, step: Step) -> Counts:
        """See Job."""
        with _key_work(self._keys()) as keys:
            noted = dict(step.noted)
            if "counts" not in noted:
                noted |= self._removed(keys, item, step, noted)
            if "destroyed" not in noted:
                step.alive()
                noted |= self._destroyed(keys, step, noted)
            step.alive()
            kept = self._deleted(step, noted)
        return {**noted["counts"], "keks": len(noted["keks"]), "residuals": len(kept)}

    def _removed(self, keys: KeyKeeping, item: Item, step: Step, noted: Mapping[str, Any]) -> dict[str, Any]:
        """Steps 1 to 4."""
        groups: list[dict[str, Any]] = item.work["groups"]
        for _ in range(TRIES):
            holds = self._holds.standing()
            work = self._work(groups)
            begun = noted.get("keks", [])
            self._leave_suspended(work)
            if not begun and not work.whole and not work.parts:
                return self._noted(step, {"counts": work.left(), "keks": []})
            dying = self._dying(keys, work.names(), begun)
            noted = {**noted, **self._noted(step, {"keks": dying})}
            sys.audit("lake.step", "retention.decided")
            self._close(keys, groups, work, {(kek_id, version) for kek_id, version, _ in dying})
            try:
                done = self._commit(step, work, holds.number)
            except _HeldError:
                continue
            if done is not None:
                return {**noted, **done}
        raise UnavailableError("files or holds change too often", hint="run the job again")

    @staticmethod
    def _noted(step: Step, more: dict[str, Any]) -> dict[str, Any]:
        step.save(more)
        return more

    def _work(self, groups: Sequence[Mapping[str, Any]]) -> _Work:
        """What of the planned files goes now. One that another job has replaced since stays for the next plan."""
        spared = self._holds.spared()
        cuts = {file_id: at for group in groups for file_id, at in group["files"]}
        page = self.home.upkeep.live(list(cuts))
        work = _Work(skipped=len(cuts) - len(page))
        for file, number in page:
            at = cuts[file.file_id]
            mine = [one for one in spared if one.about(number, file.partition.dataset)]
            going = Going(None if at is None else moment(at), mine)
            if going.everything(file.first_ts, file.last_ts):
                work.whole.append((file, number))
                continue
            work.held += any(one.touches(file.first_ts, file.last_ts) for one in mine)
            if not going.nothing(file.first_ts, file.last_ts):
                work.parts.append((file, number, going))
        return work

    def _leave_suspended(self, work: _Work) -> None:
        """Leave out what cannot be read to be written anew: an employee or a level may be suspended."""

        def opens(files: Sequence[DataFile]) -> bool:
            try:
                self.home.broker.check_open([dek_request(file) for file in files])
            except KeyStateError:
                return False
            return True

        if not opens([file for file, _, _ in work.parts]):
            readable = [part for part in work.parts if opens([part[0]])]
            work.suspended = len(work.parts) - len(readable)
            work.parts = readable

    def _dying(self, keys: KeyKeeping, names: Collection[KekName], begun: Sequence[Sequence[Any]]) -> list[list[Any]]:
        """Every living version of the KEKs of these months: id, version, SHA-256 of its wrap.

        What an attempt that was cut off has named stays so: its successor is not among them.
        """
        known = {(kek_id, version): fingerprint for kek_id, version, fingerprint in begun}
        named = {kek_id for kek_id, _ in known}
        for row in self._rows(keys, names):
            if row.kek_id not in named:
                known[row.kek_id, row.version] = hashlib.sha256(row.wrapped).hexdigest()
        return [[*key, fingerprint] for key, fingerprint in sorted(known.items())]

    @staticmethod
    def _rows(keys: KeyKeeping, names: Collection[KekName]) -> list[KekRow]:
        return [row for row in keys.keeper.changes.keks_of({name for name, _, _ in names}) if row.name in names]

    def _close(
        self, keys: KeyKeeping, groups: Sequence[Mapping[str, Any]], work: _Work, dying: set[tuple[str, int]]
    ) -> None:
        """No commit under the dying KEKs any more; months that go on have a next version."""
        names = {(group["subject"], group["sensitivity"], group["month"]): group["destroy"] for group in groups}
        every = self._rows(keys, names)
        rows = [row for row in every if (row.kek_id, row.version) in dying]
        newest = {row.kek_id: max(one.version for one in every if one.kek_id == row.kek_id) for row in rows}
        last = [row for row in rows if row.version == newest[row.kek_id]]  # the others have a successor
        going = {file.file_id for file, _ in work.whole}
        others = self._others(dying, going)
        ends = [row for row in last if names[row.name] and row.kek_id not in others]
        over = [(row.kek_id, row.version) for row in ends]
        keys.keeper.changes.change_keks(over, (KeyState.ENABLED,), KeyState.DECRYPT_ONLY)
        sys.audit("lake.step", "retention.closed")
        rotate_keks.next_versions(keys.keeper, [row for row in last if row not in ends])
        keys.keeper.fence(self.home.key_store.epoch())
        sys.audit("lake.step", "retention.fenced")
        # What landed before the fence, and after it was looked for, goes on under a next version too.
        late = self._others(set(over), going)
        rotate_keks.next_versions(keys.keeper, [row for row in ends if row.kek_id in late])

    def _others(self, keks: set[tuple[str, int]], going: set[str]) -> set[str]:
        """Ids of KEKs under which there is a live file that does not go as a whole."""
        found: set[str] = set()
        after = ""
        while page := self.home.upkeep.deks_of(keks, after, 1_000):
            found |= {file.kek_id for file, _ in page if file.file_id not in going}
            after = page[-1][0].file_id
        return found

    def _commit(self, step: Step, work: _Work, holds: int) -> dict[str, Any] | None:
        """Steps 3 and 4; None if a file was replaced meanwhile."""
        draft = Draft(self.home, RETENTION)
        counts = {"files": 0, "rows": 0, "bytes": 0, "rewritten": 0, **work.left()}
        gone: list[DataFile] = []
        intent = rows_read = 0
        try:
            if work.parts:
                intent, rows_read = self._rewrite(draft, work, counts, gone, step)
            for file, _ in work.whole:
                gone.append(file)
                counts["files"] += 1
                counts["rows"] += file.rows
                counts["bytes"] += file.length
            self.home.objects.settle(draft.written)
            sys.audit("lake.step", "retention.objects-durable")
            noted = {
                "counts": counts,
                "objects": sorted(file.object_key for file in gone),
                "deks": sorted(hashlib.sha256(file.wrapped_dek).hexdigest() for file in gone),
            }
            confirm = partial(self._confirm, step=step, noted=noted, holds=holds)
            if gone:
                head = self.home.upkeep.swap(
                    RETENTION,
                    [file.file_id for file in gone],
                    draft.files,
                    key_epoch=min((keys.epoch for keys in draft.keys), default=None),
                    lease=step.lease,
                    confirm=confirm,
                )
            else:
                step.save(noted)
                head = self.home.catalog.head()
        except BaseException:
            draft.remove()
            raise
        if head is None:
            draft.remove()
            return None
        sys.audit("lake.step", "retention.committed")
        self.home.advance(head)
        if intent:
            concluded(self.home, self.actor, RETENTION, intent, {"rows": rows_read, "files": len(work.parts)})
        return noted

    def _rewrite(
        self, draft: Draft, work: _Work, counts: dict[str, int], gone: list[DataFile], step: Step
    ) -> tuple[int, int]:
        page = [(file, person) for file, person, _ in work.parts]
        found = opened(self.home, self.actor, RETENTION, page)
        key = draft.announce([ref(file) for file, _ in page])
        read = 0
        for (file, _, going), source in zip(work.parts, found.files, strict=True):
            step.alive()
            left = Remaining(file, source, self.home.objects.location(), going)
            schema, parts = left.open()
            first = next(parts, None)
            read += file.rows
            if first is None:  # every row goes after all
                counts["files"] += 1
            else:
                tables = _chained(first, parts)
                made = draft.write(
                    file.partition, file.schema_version, schema, tables, key=key(ref(file)), of=file.file_id
                )
                if made.rows == file.rows:  # none goes: the file stays as it is
                    draft.files.pop()
                    self.home.objects.delete(draft.written.pop())
                    continue
                counts["rewritten"] += 1
            gone.append(file)
            counts["rows"] += file.rows - left.kept
            counts["bytes"] += file.length
        return found.intent, read

    def _confirm(self, connection: sa.Connection, *, step: Step, noted: Mapping[str, Any], holds: int) -> None:
        if self._holds.newest(connection) != holds:
            raise _HeldError
        step.note(connection, noted)

    def _destroyed(self, keys: KeyKeeping, step: Step, noted: Mapping[str, Any]) -> dict[str, Any]:
        """Step 5."""
        dying = [(kek_id, version) for kek_id, version, _ in noted["keks"]]
        if dying:
            sweep_deks(self.home, keys.keeper, dying)
            changes = keys.keeper.changes
            changes.change_keks(dying, (KeyState.DISABLED,), KeyState.PENDING_DESTRUCTION)
            changes.change_keks(dying, MARKS, KeyState.DESTROYED)
            sys.audit("lake.step", "retention.destroyed")
        return self._noted(step, {"destroyed": True})

    def _deleted(self, step: Step, noted: Mapping[str, Any]) -> list[list[str]]:
        """Step 6; gives what the store keeps: key and until when, empty for nobody knows."""
        kept: list[list[str]] = []
        for key in noted.get("objects", []):
            try:
                self.home.objects.delete(key)
            except ObjectRetainedError as error:
                kept.append([key, str(error.details.get("until", ""))])
            sys.audit("lake.step", "retention.deleted")
        step.save({"kept": kept})
        return kept

    def finish(self, run: Run) -> Mapping[str, Any]:
        """See Job: what was overwritten leaves the databases, and with a backup every older copy of the key store."""
        keys = self._keys()
        keys.keeper.checkpoint()
        self.home.catalog.database.checkpoint()
        finished = int(self.home.clock().astimezone(UTC).timestamp() * 1_000_000)
        if self._backup is None or not run.counts.get("keks"):
            return {"erased": None, "destroyed_at": finished}
        places = self._places(keys, run)
        keys.resume()  # of an attempt that was cut off
        keys.rotate_buckets(places)
        sys.audit("lake.step", "retention.buckets-replaced")
        operation = keys.rotate_roots({root_name(level) for level, _ in places}, self._backup)
        return {"erased": {"backup": operation.detail["backup"], "buckets": len(places)}, "destroyed_at": finished}

    def _places(self, keys: KeyKeeping, run: Run) -> set[tuple[int, int]]:
        """The bucket keys that the destroyed KEKs were under."""
        from jobs.runner.journal import RunJournal  # noqa: PLC0415 - the runner knows jobs, not the other way

        found: set[tuple[int, int]] = set()
        for item, _, _ in RunJournal(self.home).items(run):
            groups = item.work["groups"]
            subjects = self.home.key_store.subjects({group["subject"] for group in groups})
            found |= {
                (group["sensitivity"], subjects[group["subject"]].bucket)
                for group in groups
                if group["subject"] in subjects
            }
        existing = {row.place for row in keys.keeper.changes.buckets()}
        return found & existing

    def _keys(self) -> KeyKeeping:
        return KeyKeeping(self.home, self.actor)


def _chained(first: Any, rest: Iterator[Any]) -> Iterator[Any]:
    yield first
    yield from rest


@contextmanager
def _key_work(keys: KeyKeeping) -> Iterator[KeyKeeping]:
    """While no other operation on keys is under way.

    Raises:
        UnavailableError: one is, or is not finished.
    """
    try:
        lock = exclusive(keys.folder)
        lock.__enter__()
    except KeyOperationError:
        raise UnavailableError("another operation on keys is running", hint="run the job again afterwards") from None
    try:
        if keys.keeper.journal.unfinished() is not None:
            raise UnavailableError("an operation on keys is not finished", hint="finish it with 'lake keys resume'")
        yield keys
    finally:
        lock.__exit__(None, None, None)
