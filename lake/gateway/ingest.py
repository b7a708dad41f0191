"""The path of a batch: contract, filter, split, encrypt, objects, one catalog commit, audit. Exactly once.

Kill the process anywhere: the batch is wholly there or wholly absent, and sending it again makes it there once. Objects
of a batch that did not make it are named by no catalog row and are swept by a job.
"""

from __future__ import annotations

import hashlib
import io
import re
import sys
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC
from typing import Any, Protocol

import pyarrow as pa
import sqlalchemy as sa

from keys.broker import LandingKeys
from keys.errors import KeysError
from keys.refs import PartitionRef
from lake.clear.landing.batch import Landing, land_rows
from lake.clear.landing.canonical import canonical, decoded, decoded_schema
from lake.clear.landing.carry import OpenRuns
from lake.clear.landing.conform import Conformer
from lake.clear.landing.pipeline import Pipeline, Screen
from lake.clock import timestamp
from lake.errors import BatchConflictError, LakeError, MalformedInputError, StaleKeysError, UsageError
from lake.gateway.collection.devices import Devices
from lake.gateway.collection.halts import Halts
from lake.gateway.collection.interface import Judgement
from lake.gateway.contracts import Contracts
from lake.gateway.filtering import Filtering, content_screen
from lake.gateway.home import Home
from lake.gateway.planner import binding
from lake.gateway.recorder import Actor
from lake.rules.contract import Contract
from lake.rules.model import NAME, DataFile
from lake.sealed.audit import entries
from lake.sealed.catalog.catalog import BatchRecord, Outcome
from lake.sealed.catalog.chain import Head

BATCH_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,127}")
HASH_ROWS = 65_536
COMMIT_TRIES = 10
Progress = Callable[[int], None]


class ContentDigest(Protocol):
    """SHA-256 of a delivery, known at the latest when it has been read."""

    def hexdigest(self) -> str:
        """64 hexadecimal digits."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """What is to land.

    Attributes:
        content: digest of what was sent; final once ``batches`` is exhausted, or known before.
        batch_id: the sender's name for it; None to name it by its content.
        dropped: what the reader left out, by reason; final once ``batches`` is exhausted.
        judgement: what may land of a collector's batch; None for an operator's, which pauses cut by capture time.
        lease: id of the lease under which it comes; empty without one.
    """

    dataset: str
    batches: Iterable[pa.RecordBatch]
    content: ContentDigest
    batch_id: str | None = None
    contract_version: int | None = None
    known_content: bool = False
    dropped: Mapping[str, int] = field(default_factory=dict)
    judgement: Judgement | None = None
    lease: str = ""


@dataclass(frozen=True, slots=True)
class BatchReport:
    """What became of a delivery. ``unknown_fields`` are names, for the sender alone; they are not stored.

    ``files`` and ``bytes`` are what this delivery has written, so none if it had landed before. All else is as it
    was when it landed: ``dropped`` counts by reason what did not, ``masked`` by category what was replaced in what
    did, ``levels`` rows and files by sensitivity, ``rules`` is the digest of the content rules, ``entry`` the index of
    the batch's entry in the audit log, ``lease`` the one under which it came. Of batches that landed before these
    were kept, ``entry`` is None, and masked, levels, rules and lease are empty.
    """

    dataset: str
    batch_id: str
    status: str
    rows: int
    files: int
    bytes: int
    dropped: dict[str, int]
    unknown_fields: tuple[str, ...] = ()
    masked: dict[str, int] = field(default_factory=dict)
    levels: dict[str, dict[str, int]] = field(default_factory=dict)
    rules: str = ""
    contract_version: int = 0
    landed_at: str = ""
    entry: int | None = None
    lease: str = ""


class Ingest:
    """Lands deliveries in one lake."""

    def __init__(
        self,
        home: Home,
        contracts: Contracts,
        actor: Actor,
        open_runs: OpenRuns | None = None,
        screen: Screen | None = None,
    ) -> None:
        self._home = home
        self._contracts = contracts
        self._actor = actor
        self._screen = content_screen(home) if screen is None else screen
        self._open_runs = OpenRuns() if open_runs is None else open_runs
        self._filtering = Filtering(home, actor, self._open_runs, self._screen)
        self._halts = Halts(home, Devices(home))

    def acting(self, actor: Actor) -> Ingest:
        """The same for another actor, with the same open runs and content rules."""
        return Ingest(self._home, self._contracts, actor, self._open_runs, self._screen)

    def land(self, delivery: Delivery, progress: Progress = lambda _: None) -> BatchReport:
        """Land one delivery, or find that it has landed before.

        Raises:
            BatchRefusedError: it may not land; nothing of it did.
            UnavailableError: try again; nothing of it landed.
        """
        if delivery.batch_id is not None and BATCH_ID.fullmatch(delivery.batch_id) is None:
            raise UsageError("a batch id has letters, digits and . _ : - only, 128 at most")
        try:
            contract = self._contracts.get(delivery.dataset, delivery.contract_version)
            return self._land(delivery, contract, progress)
        except (LakeError, KeysError) as error:
            named = delivery.dataset if NAME.fullmatch(delivery.dataset) else "unknown"
            self._home.recorder.record(entries.BATCH_REFUSED, self._actor, {"dataset": named, "reason": error.code})
            if delivery.judgement is not None:
                delivery.judgement.refused(error)
            raise

    def find(self, delivery: Delivery) -> BatchReport | None:
        """What became of a delivery with an id that has landed before, without reading its rows; None if it has not.

        Raises:
            BatchConflictError: the id has landed with other content.
        """
        landed = self._landed(delivery.dataset, delivery.batch_id or "")
        return None if landed is None else self._again(delivery, landed, delivery.batch_id or "")

    def _land(self, delivery: Delivery, contract: Contract, progress: Progress) -> BatchReport:
        known = delivery.batch_id or (f"sha256:{delivery.content.hexdigest()}" if delivery.known_content else None)
        landed = self._landed(delivery.dataset, known) if known else None
        if landed is not None:
            # Read to the end without landing: only the content decides whether this is the same batch.
            if not delivery.known_content:
                for _ in delivery.batches:
                    pass
            return self._again(delivery, landed, known or "")
        judgement = delivery.judgement or self._halts.judgement(delivery.dataset)
        now = self._home.clock().astimezone(UTC).replace(tzinfo=None)
        conformer = Conformer(contract, now, judgement.gate)
        pipeline = self._filtering.pipeline(contract)
        sys.audit("lake.step", "ingest.judged")
        written: list[str] = []
        files: list[tuple[DataFile, int]] = []
        issued: list[LandingKeys] = []
        try:
            landing = self._landing(written, issued)
            for file, number in land_rows(delivery.batches, contract, conformer, pipeline, landing):
                files.append((file, number))
                progress(file.rows)
                sys.audit("lake.step", "ingest.object-written")
            self._home.objects.settle(written)
            sys.audit("lake.step", "ingest.objects-durable")
            batch_id = known or f"sha256:{delivery.content.hexdigest()}"
            counts = conformer.dropped.counts + Counter(delivery.dropped) + pipeline.dropped
            dropped = {reason: count for reason, count in counts.items() if count}
            report = BatchReport(
                dataset=delivery.dataset,
                batch_id=batch_id,
                status="landed",
                rows=sum(file.rows for file, _ in files),
                files=len(files),
                bytes=sum(file.length for file, _ in files),
                dropped=dropped,
                unknown_fields=tuple(sorted(conformer.dropped.unknown_fields)),
                masked=dict(pipeline.masked),
                levels=_levels(files),
                rules=self._screen.digest,
            )
        except BaseException:
            pipeline.abort()
            self._remove(written)
            raise
        try:
            judged = replace(delivery, judgement=judgement)
            return self._commit(judged, contract, report, files, issued, pipeline=pipeline)
        finally:
            pipeline.abort()  # if it has not landed

    def _landing(self, written: list[str], issued: list[LandingKeys]) -> Landing:
        def keys(partitions: Collection[PartitionRef]) -> LandingKeys:
            issued.append(self._home.broker.landing_keys(partitions))
            return issued[-1]

        def store(key: str, content: memoryview) -> None:
            written.append(key)
            self._home.objects.put(key, content)

        home = self._home
        return Landing(home.directory.enter, keys, store, home.writers, home.settings.landing_bytes)

    def _commit(
        self,
        delivery: Delivery,
        contract: Contract,
        report: BatchReport,
        files: list[tuple[DataFile, int]],
        issued: list[LandingKeys],
        *,
        pipeline: Pipeline,
    ) -> BatchReport:
        record = self._record(delivery, contract, report)
        try:
            self._filtering.report(record, contract, pipeline)
            self._home.recorder.record_keys(self._actor, self._home.broker.take_events())
            entry = self._announce("commit", record, contract, files)
            outcome = Outcome(entry, delivery.lease, report.levels, report.masked, report.rules)
            record = replace(record, outcome=outcome)
            sys.audit("lake.step", "ingest.announced")
            head = self._land_files(record, files, issued, delivery.judgement)
        except (LakeError, KeysError):
            with suppress(LakeError):  # the commit may have been made, or be under way, although its answer was lost
                self._remove(self._home.catalog.unnamed([file.object_key for file, _ in files]))
            raise
        if head is None:  # another process has landed the same batch meanwhile
            self._remove([file.object_key for file, _ in files])
            landed = self._landed(delivery.dataset, report.batch_id)
            return self._again(delivery, landed or record, report.batch_id)
        pipeline.commit()
        sys.audit("lake.step", "ingest.committed")
        self._home.advance(head)
        sys.audit("lake.step", "ingest.anchored")
        self._announce("landed", record, contract, files)
        sys.audit("lake.step", "ingest.audited")
        return _completed(report, self._landed(delivery.dataset, report.batch_id) or record)

    def _land_files(
        self,
        record: BatchRecord,
        files: list[tuple[DataFile, int]],
        issued: list[LandingKeys],
        judgement: Judgement | None,
    ) -> Head | None:
        """The commit. Keys that were retired since they were read are read again, and the DEKs wrapped anew."""
        assert judgement is not None  # noqa: S101 - nothing comes here that was not judged
        judged = judgement

        def confirm(connection: sa.Connection) -> None:
            judged.confirm(connection)
            self._contracts.confirm(connection, record.dataset, record.contract_version)

        for _ in range(COMMIT_TRIES):
            epoch = min((keys.epoch for keys in issued), default=None)
            try:
                return self._home.catalog.land(record, files, key_epoch=epoch, confirm=confirm)
            except StaleKeysError:
                sys.audit("lake.step", "ingest.keys-stale")
                files[:] = rewrapped(files, issued)
        raise StaleKeysError("keys are being changed all the time", hint="send the batch again")

    def _announce(self, step: str, record: BatchRecord, contract: Contract, files: list[tuple[DataFile, int]]) -> int:
        """Record a step of the commit; gives the index of its entry."""
        levels: dict[int, list[tuple[DataFile, int]]] = {}
        for file, number in files:
            levels.setdefault(file.partition.sensitivity, []).append((file, number))
        fields = {
            "step": step,
            "dataset": record.dataset,
            "batch": record.batch_id,
            "content": record.content,
            "contract": contract.digest,
            "rows": record.rows,
            "dropped": dict(record.counts),
            "touched": {
                str(level): {
                    "rows": sum(file.rows for file, _ in found),
                    "files": len(found),
                    "emp": entries.bitmap(number for _, number in found),
                }
                for level, found in sorted(levels.items())
            },
        }
        return self._home.recorder.record(entries.BATCH, self._actor, fields).index

    def _record(self, delivery: Delivery, contract: Contract, report: BatchReport) -> BatchRecord:
        return BatchRecord(
            dataset=delivery.dataset,
            batch_id=self._tag(delivery.dataset, report.batch_id),
            content=self._tag(delivery.dataset, "content " + delivery.content.hexdigest()),
            contract_version=contract.version,
            rows=report.rows,
            counts=report.dropped,
        )

    def _tag(self, dataset: str, text: str) -> str:
        """Batch ids and digests are the sender's words about plaintext: stored as keyed tags only."""
        return self._home.control.literal_tag(f"batch {dataset} {text}")

    def _landed(self, dataset: str, batch_id: str) -> BatchRecord | None:
        return self._home.catalog.batch(dataset, self._tag(dataset, batch_id))

    def _again(self, delivery: Delivery, landed: BatchRecord, batch_id: str) -> BatchReport:
        if landed.content != self._tag(delivery.dataset, "content " + delivery.content.hexdigest()):
            raise BatchConflictError(
                f"batch {batch_id!r} has landed before with other content", hint="use another batch id"
            )
        report = BatchReport(delivery.dataset, batch_id, "already landed", landed.rows, 0, 0, dict(landed.counts))
        return _completed(report, landed)

    def _remove(self, written: list[str]) -> None:
        """Best effort: what stays behind is an orphan that no catalog row names."""
        with suppress(LakeError):  # who may not delete one, or gets no answer, need not ask for each
            for key in written:
                self._home.objects.delete(key)


def _completed(report: BatchReport, landed: BatchRecord) -> BatchReport:
    """A report with what is kept of the batch: the same whenever it is sent."""
    known = replace(
        report,
        dropped=dict(landed.counts),
        contract_version=landed.contract_version,
        landed_at="" if landed.landed_at is None else timestamp(landed.landed_at.replace(tzinfo=UTC)),
    )
    if landed.outcome is None:
        return known
    outcome = landed.outcome
    levels = {level: dict(counts) for level, counts in outcome.levels.items()}
    masked, rules = dict(outcome.masked), outcome.rules
    return replace(known, levels=levels, masked=masked, rules=rules, entry=outcome.entry, lease=outcome.lease)


def _levels(files: Iterable[tuple[DataFile, int]]) -> dict[str, dict[str, int]]:
    """Rows and files by sensitivity."""
    found: dict[str, dict[str, int]] = {}
    for file, _ in sorted(files, key=lambda pair: pair[0].partition.sensitivity):
        level = found.setdefault(str(file.partition.sensitivity), {"rows": 0, "files": 0})
        level["rows"] += file.rows
        level["files"] += 1
    return found


def rewrapped(files: Sequence[tuple[DataFile, int]], issued: Sequence[LandingKeys]) -> list[tuple[DataFile, int]]:
    """The same files with their DEKs under the KEKs of now.

    Raises:
        KeyStateError: an employee was erased or disabled meanwhile.
    """
    by_file: dict[str, LandingKeys] = {}
    for keys in issued:
        keys.renew()
        by_file |= dict.fromkeys(keys.files(), keys)
    changed: list[tuple[DataFile, int]] = []
    for file, number in files:
        fresh = by_file[file.file_id].wrap(binding(file))
        again = replace(file, kek_id=fresh.kek_id, kek_version=fresh.kek_version, wrapped_dek=fresh.blob)
        changed.append((again, number))
    return changed


class HashedBatches:
    """Record batches whose content digest is taken as they pass: of Arrow IPC in batches of 65,536 rows."""

    def __init__(self, schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> None:
        self._schema = schema
        self._decoded = decoded_schema(schema)
        self._batches = batches
        self._passed = False
        self._hash = hashlib.sha256()
        # What Arrow would write goes to the hash, column by column, and is nowhere together.
        self._messages = pa.ipc.new_stream(_HashSink(self._hash), self._decoded.remove_metadata())

    def hexdigest(self) -> str:
        """Digest of what has passed."""
        if not self._passed:  # Arrow writes the schema with the first rows
            return hashlib.sha256(self._decoded.remove_metadata().serialize()).hexdigest()
        return self._hash.hexdigest()

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        held: list[pa.RecordBatch] = []
        count = 0
        for batch in self._batches:
            if not batch.schema.equals(self._schema):
                raise MalformedInputError("the batches of the delivery do not have the same columns")
            held.append(decoded(batch))
            count += batch.num_rows
            while count >= HASH_ROWS:
                table = pa.Table.from_batches(held, self._decoded)
                yield self._pass(table.slice(0, HASH_ROWS))
                held, count = table.slice(HASH_ROWS).to_batches(), count - HASH_ROWS
        if count:
            yield self._pass(pa.Table.from_batches(held, self._decoded))

    def _pass(self, rows: pa.Table) -> pa.RecordBatch:
        (joined,) = rows.combine_chunks().to_batches()
        batch = canonical(joined)
        self._messages.write_batch(batch)
        self._passed = True
        return batch


class _HashSink(io.RawIOBase):
    """A file that is only hashed."""

    def __init__(self, digest: hashlib._Hash) -> None:
        self._digest = digest

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._digest.update(data)
        return len(data)
