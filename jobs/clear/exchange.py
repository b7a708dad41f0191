"""Reading files for a job and putting others in their place: recorded first, one commit, killed anywhere without loss.

A job that writes data anew says what becomes of some files; here is what all such jobs share. Objects that were
replaced stay for queries under way, until the sweep removes them.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import sqlalchemy as sa

from jobs.runner.work import Step
from keys.broker import LandingKey, LandingKeys
from keys.errors import CompromisedKeyError, OutdatedPlanError
from keys.receipts import JOB_INTENT
from keys.refs import PartitionRef
from lake.clear.landing.batch import finished
from lake.clear.landing.encode import encode_parts
from lake.clear.reading.plan import FileToRead
from lake.errors import LakeError, StaleKeysError
from lake.gateway.home import Home
from lake.gateway.kek_rotation import dek_request
from lake.gateway.planner import to_read
from lake.gateway.recorder import Actor
from lake.gateway.release import release
from lake.rules.layout import object_key
from lake.rules.model import NAME, DataFile, Partition
from lake.sealed.audit import entries

TRIES = 5
"""How often files are read anew because keys changed under them."""
Page = Sequence[tuple[DataFile, int]]
"""Files, each with the dense number of its employee."""


class RekeyFirstError(LakeError):
    """Files are not touched while a key above theirs is marked as compromised."""

    code = "rekey_first"


@dataclass(frozen=True, slots=True)
class Opened:
    """Files whose keys were released, and the index of the entry that says so."""

    intent: int
    files: tuple[FileToRead, ...]


def opened(home: Home, actor: Actor, job: str, page: Page, **more: Any) -> Opened:
    """Record that a job reads these files, and then get their keys.

    Raises:
        KeysError: a key may not be used, or a wrap does not open.
        AuditUnavailableError: it could not be recorded; no key is released.
    """
    scope = {"partitions": partitions_of(page), "files": len(page)}
    intent = home.recorder.record(JOB_INTENT, actor, {"job": job, "scope": scope, **more})
    sys.audit("lake.step", f"{job}.intended")
    deks = release(home, intent, [dek_request(file) for file, _ in page])
    sys.audit("lake.step", f"{job}.keys-released")
    return Opened(intent.index, tuple(to_read(home, *item, dek) for item, dek in zip(page, deks, strict=True)))


def concluded(home: Home, actor: Actor, job: str, intent: int, fields: Mapping[str, Any]) -> None:
    """Record what came of it; ``rows`` is among the fields: how many were read."""
    home.recorder.record(entries.JOB_OUTCOME, actor, {"job": job, "ref": intent, **fields})


@dataclass(slots=True)
class Draft:
    """Files that are to take the place of others. Their objects are written, and no commit names them yet.

    Attributes:
        files: each with the id of the file whose employee and batch it takes over.
        gone: ids of the files that go.
        written: keys of the objects.
        confirm: asked within the commit's transaction whether it may still be made; raises if not.
    """

    home: Home
    job: str
    keys: list[LandingKeys] = field(default_factory=list)
    files: list[tuple[DataFile, str]] = field(default_factory=list)
    gone: set[str] = field(default_factory=set)
    written: list[str] = field(default_factory=list)
    confirm: Callable[[sa.Connection], None] = lambda _: None

    def announce(self, partitions: Collection[PartitionRef]) -> Callable[[PartitionRef], LandingKey]:
        """Fresh DEKs for files of these partitions."""
        found = self.home.broker.landing_keys(partitions)
        self.keys.append(found)
        return found

    def write(
        self,
        partition: Partition,
        version: int,
        schema: pa.Schema,
        parts: Iterable[pa.Table],
        *,
        key: LandingKey,
        of: str,
    ) -> DataFile:
        """Encrypt and store one file, which takes over employee and batch of the file ``of``."""
        encoded = encode_parts(schema, parts, key)
        name = object_key(partition, key.file_id)
        self.written.append(name)
        self.home.objects.put(name, encoded.content)
        file = finished(encoded, partition, version, key, name)
        self.files.append((file, of))
        sys.audit("lake.step", f"{self.job}.object-written")
        return file

    def remove(self) -> None:
        """Objects that no commit names; what cannot be removed now is an orphan that the sweep finds."""
        with suppress(LakeError):
            # A commit whose answer was lost may have been made.
            for name in self.home.catalog.unnamed(self.written):
                self.home.objects.delete(name)


Make = Callable[[Opened, Page, Draft], Mapping[str, int]]
"""Writes into the draft what takes the place of which files, and gives the counts. Files that do not go stay."""


def exchange(home: Home, actor: Actor, job: str, step: Step, make: Make, *, whole: bool = True) -> Mapping[str, int]:
    """Put what ``make`` writes in the place of an item's files (``work["files"]``), in one commit.

    Args:
        whole: whether the files belong together: if one is live no more, none is touched and ``skipped`` is counted.
            Otherwise the others are done.

    Raises:
        LakeError, KeysError: the files stay as they are.
    """
    if "counts" in step.noted:
        return dict(step.noted["counts"])  # cut off after the commit
    names = list(step.item.work["files"])
    for attempt in range(TRIES):
        page = home.upkeep.live(names)
        if not page or (whole and len(page) != len(names)):
            return {"skipped": 1} if whole else {}
        try:
            counts = _once(home, actor, job, step, page=page, make=make)
        except CompromisedKeyError:
            raise RekeyFirstError(
                "a key of these files is marked as compromised", hint="'lake keys rekey' puts them under others"
            ) from None
        except (OutdatedPlanError, StaleKeysError):
            if attempt == TRIES - 1:
                raise
            continue
        if counts is not None:
            return counts
    raise StaleKeysError("files change too often", hint="run the command again")


def _once(home: Home, actor: Actor, job: str, step: Step, *, page: Page, make: Make) -> Mapping[str, int] | None:
    found = opened(home, actor, job, page)
    draft = Draft(home, job)
    rows = sum(file.rows for file, _ in page)
    try:
        counts = make(found, page, draft)
        if not draft.gone:
            concluded(home, actor, job, found.intent, {"files": len(page), "rows": rows, "changed": False})
            return counts
        home.objects.settle(draft.written)
        sys.audit("lake.step", f"{job}.objects-durable")

        def confirm(connection: sa.Connection) -> None:
            draft.confirm(connection)
            step.note(connection, {"counts": dict(counts)})

        head = home.upkeep.swap(
            job,
            sorted(draft.gone),
            draft.files,
            key_epoch=min((keys.epoch for keys in draft.keys), default=None),
            lease=step.lease,
            confirm=confirm,
        )
    except BaseException:
        draft.remove()
        raise
    if head is None:
        draft.remove()
        return None
    sys.audit("lake.step", f"{job}.replaced")
    home.advance(head)
    more = {"files": len(page), "rows": rows, "changed": True, "seq": head.seq, "counts": dict(counts)}
    concluded(home, actor, job, found.intent, more)
    sys.audit("lake.step", f"{job}.recorded")
    return counts


def partitions_of(page: Page) -> dict[str, dict[str, dict[str, str]]]:
    """The scope of an entry: employees' numbers by dataset, sensitivity and month."""
    found: dict[tuple[str, str, str], set[int]] = {}
    for file, number in page:
        partition = file.partition
        found.setdefault((partition.dataset, str(partition.sensitivity), partition.month), set()).add(number)
    scope: dict[str, dict[str, dict[str, str]]] = {}
    for (dataset, level, month), numbers in sorted(found.items()):
        scope.setdefault(dataset, {}).setdefault(level, {})[month] = entries.bitmap(numbers)
    return scope


def names(text: str) -> frozenset[str]:
    """An option's text as names of datasets."""
    found = frozenset(filter(None, (name.strip() for name in text.split(","))))
    if not found or not all(NAME.fullmatch(name) for name in found):
        raise ValueError
    return found
