"""Looking again, in another process, at what a purge or a shredding has done; and certifying it only if it is done.

1. no row of the catalog needs a removed file, and none has a wrap; 2. every KEK that was to die is destroyed in the
key store and has no wrap; 3. each object is deleted once more: what the store keeps is a residual; 4. key backups from
before that still open are residuals, until the bucket keys are replaced and old roots trimmed. Of a shredding every
recorded backup is searched for a way to the keys.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

from jobs.runner.journal import DONE, RunJournal
from jobs.runner.run import JOB_RUN
from jobs.runner.work import Run
from jobs.sealed.retention.certificate import CRYPTO, REWRITE, horizon, issue, listed
from jobs.sealed.retention.plan import RETENTION
from jobs.sealed.retention.shred import SHRED
from keys.operations.backup import known_backups
from keys.refs import KeyState
from keys.tables import keks
from lake.clock import timestamp
from lake.errors import IntegrityError, ObjectRetainedError, UsageError
from lake.gateway.home import Home
from lake.gateway.keykeeping import KeyKeeping
from lake.gateway.recorder import Actor, parse_entry
from lake.gateway.retention import RetentionDesk
from lake.sealed.catalog.rows import chunks
from lake.sealed.catalog.tables import files


class Verification:
    """Verifies one run of a purge.

    Args:
        copies_kept: days for which copies of key service and database are kept; default: what its file says.

    Raises:
        UsageError: there is no such run, or it has not ended.
    """

    def __init__(self, home: Home, actor: Actor, run_id: str | None = None, copies_kept: int | None = None) -> None:
        self._home = home
        self._actor = actor
        self._copies_kept = copies_kept
        self._journal = RunJournal(home)
        self.run = self._journal.find(run_id) if run_id else self._newest()
        if self.run.job not in {RETENTION, SHRED} or self.run.state != DONE:
            raise UsageError("this is no purge that has ended", hint="finish it: 'lake jobs status' shows what was not")
        self._journal.plan_of(self.run)  # its items are those that were planned

    def _newest(self) -> Run:
        runs = (*self._journal.recent(RETENTION), *self._journal.recent(SHRED))
        ended = sorted((run for run in runs if run.state == DONE), key=lambda run: -run.updated_at)
        if not ended:
            raise UsageError("no purge has ended yet")
        return ended[0]

    def certify(self) -> str:
        """Check everything, and sign what was found.

        Raises:
            IntegrityError: something that was to be destroyed is not; nothing is certified.
        """
        done = [(item.work, noted) for item, _, noted in self._journal.items(self.run)]
        notes = [noted for _, noted in done]
        dead = [list(key) for noted in notes for key in noted.get("keks", [])]
        deks = [[digest] for noted in notes for digest in noted.get("deks", [])]
        objects = [key for noted in notes for name in ("objects", "late") for key in noted.get(name, [])]
        objects += [key for work, _ in done for key in work.get("objects", [])]
        self._check_catalog(objects)
        self._check_keys(dead)
        own = self._retention() if self.run.job == RETENTION else self._shred(done[0][0])
        residuals = [*self._kept_objects(objects), *own.pop("residuals")]
        finished = int(self.run.detail["destroyed_at"])
        counts = self.run.counts
        body = {
            "kind": self.run.job,
            "run": self.run.id,
            "plan": self.run.plan,
            **own,
            "keks": listed(dead),
            "deks": listed(deks),
            "counts": {name: counts.get(name, 0) for name in COUNTS[self.run.job]},
            "residuals": residuals,
            "horizon": horizon(self._home, finished, self._copies_kept),
            "operators": self._operators(),
            "started_at": _time(self.run.started_at),
            "finished_at": _time(finished),
        }
        return issue(self._home, self._actor, body)

    def _retention(self) -> dict[str, Any]:
        facts, counts = self.run.facts, self.run.counts
        approvals = RetentionDesk(self._home).approvals(self.run.plan)
        return {
            "scope": {name: facts[name] for name in ("as_of", "rules", "contracts")},
            "methods": ([CRYPTO] if counts.get("files") else []) + ([REWRITE] if counts.get("rewritten") else []),
            "erased": self.run.detail["erased"],
            "approvals": [self._home.control.actor_tag(one.by) for one in approvals],
            "residuals": list(self._backups()),
        }

    def _shred(self, work: Mapping[str, Any]) -> dict[str, Any]:
        """Of a shredding: no way to a key may be found, wherever there is a recorded copy.

        Raises:
            IntegrityError: there is one.
        """
        subjects: Mapping[str, int] = work["subjects"]
        with self._home.catalog.database.reading() as connection:
            where = files.c.number.in_(sorted(subjects.values())) & files.c.removed_seq.is_(None)
            if connection.execute(sa.select(files.c.file_id).where(where)).first():
                raise IntegrityError("a file of a shredded employee is in the catalog", hint="run 'lake doctor'")
        if self._home.catalog.directory(subjects.values()):
            raise IntegrityError("a shredded employee is in the directory", hint="run 'lake doctor'")
        found = KeyKeeping(self._home, self._actor).verify_shred([])
        if found.paths:
            raise IntegrityError("a way to a key of a shredded employee is left", hint="'lake keys verify-shred'")
        unread = [
            {"what": "key backup that could not be searched", "id": place, "until": None, "readable": True}
            for place in found.unreadable
        ]
        searched = {"artefacts": len(found.artefacts), "wraps_tried": found.wraps_tried}
        return {"scope": {"subjects": sorted(subjects)}, "methods": [CRYPTO], "searched": searched, "residuals": unread}

    def _check_catalog(self, objects: list[str]) -> None:
        """No live row names an object that went, and no row that did has a wrap left."""
        with self._home.catalog.database.reading() as connection:
            for part in chunks(objects):
                where = files.c.object_key.in_(part)
                left = where & (files.c.removed_seq.is_(None) | files.c.wrapped_dek.is_not(None))
                if connection.execute(sa.select(files.c.file_id).where(left)).first():
                    raise IntegrityError("a file that was purged is in the catalog", hint="run 'lake doctor'")

    def _check_keys(self, dead: list[list[Any]]) -> None:
        """Every KEK is destroyed."""
        with self._home.key_database.reading() as connection:
            for part in chunks(dead):
                names = [(kek_id, version) for kek_id, version, _ in part]
                where = sa.tuple_(keks.c.kek_id, keks.c.version).in_(names)
                rows = connection.execute(sa.select(keks.c.state, keks.c.wrapped).where(where)).all()
                if any(row.state != KeyState.DESTROYED.value or row.wrapped for row in rows):
                    raise IntegrityError(
                        "a key that was to be destroyed is in the key store", hint="was it restored? plan again"
                    )

    def _kept_objects(self, objects: list[str]) -> Iterator[dict[str, Any]]:
        for key in objects:
            try:
                self._home.objects.delete(key)
                left = self._home.objects.length(key) is not None
                until = ""
            except ObjectRetainedError as error:
                left, until = True, str(error.details.get("until", ""))
            if left:
                yield {"what": "object", "id": key, "until": until or None, "readable": False}

    def _backups(self) -> Iterator[dict[str, Any]]:
        """Copies of the key store that may hold the keys: of before the end, unless what wrapped them is gone too."""
        if self.run.detail["erased"] is not None or not self.run.counts.get("keks"):
            return
        destroyed = int(self.run.detail["destroyed_at"])
        for one in known_backups(self._home.key_database):
            if one["at"] <= destroyed:
                yield {"what": "key backup", "id": one["id"], "until": None, "readable": True}
        yield {"what": "other copies of the key store", "id": "", "until": None, "readable": True}

    def _operators(self) -> list[str]:
        """Who began the run or went on with it, as the audit log shows them."""
        found: list[str] = []
        for _, content in self._home.log.entries():
            if b'"job.run"' not in content:
                continue
            entry = parse_entry(content)
            if entry["type"] == JOB_RUN and entry["run"] == self.run.id and entry["step"] in {"begin", "resume"}:
                found.append(str(entry["actor"]["p"]))
        return list(dict.fromkeys(found))


COUNTS = {
    RETENTION: ("files", "rows", "bytes", "rewritten", "keks", "held_files", "skipped_files", "suspended"),
    SHRED: ("employees", "keks", "bucket_keys", "survivors", "refused", "objects", "entries"),
}


def _time(microseconds: int) -> str:
    return timestamp(datetime.fromtimestamp(microseconds / 1_000_000, UTC))
