"""What the lake knows of its contents. Every change is one chained commit; see chain.py.

A batch becomes visible by :meth:`Catalog.land` alone, after its objects are durable.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy import exc

from lake.clock import Clock
from lake.errors import BatchConflictError, UnavailableError
from lake.rules.model import DataFile, Subject
from lake.sealed.catalog import chain, tables
from lake.sealed.catalog.database import Database
from lake.sealed.catalog.fence import check_fence
from lake.sealed.catalog.rows import IN_LIST, chunks, data_file, file_row, microseconds, moment

_EARLIEST = datetime(1, 1, 1)  # noqa: DTZ001 - capture times are naive UTC throughout


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a receipt says of a batch, fixed by the commit that made it visible.

    Attributes:
        entry: index of the batch's entry in the audit log.
        lease: id of the lease under which it came; empty without one.
        levels: rows and files that landed, by sensitivity.
        masked: what was replaced in what landed, by category.
        rules: digest of the content rules.
    """

    entry: int
    lease: str
    levels: Mapping[str, Mapping[str, int]]
    masked: Mapping[str, int]
    rules: str


@dataclass(frozen=True, slots=True)
class BatchRecord:
    """A batch: ``content`` is the digest of what was sent, ``counts`` what was dropped, by reason.

    ``landed_at`` (naive UTC) is None before it has landed; ``outcome`` is None if it did before outcomes were kept.
    """

    dataset: str
    batch_id: str
    content: str
    contract_version: int
    rows: int
    counts: Mapping[str, int]
    outcome: Outcome | None = None
    landed_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Selection:
    """Which files of a dataset can matter; None means no restriction. Times are inclusive, naive UTC."""

    dataset: str
    sensitivities: frozenset[int]
    numbers: frozenset[int] | None = None
    first: datetime | None = None
    last: datetime | None = None


class Catalog:
    """The catalog of one lake. ``mac`` authenticates the chain; without it the catalog can only be read."""

    def __init__(self, database: Database, mac: chain.Mac, clock: Clock) -> None:
        self.database = database
        self._mac = mac
        self._clock = clock

    def _now(self) -> int:
        return microseconds(self._clock().astimezone(UTC).replace(tzinfo=None))

    def append(
        self, connection: sa.Connection, kind: str, rows: Mapping[sa.Table, Sequence[Mapping[str, Any]]]
    ) -> chain.Head:
        """One commit inside a write transaction; see chain.append."""
        return chain.append(connection, self._mac, kind, self._now(), rows)

    def _commit(self, kind: str, rows: Mapping[sa.Table, Sequence[Mapping[str, Any]]]) -> chain.Head:
        with self.database.writing() as connection:
            return self.append(connection, kind, rows)

    def head(self) -> chain.Head:
        """The newest commit."""
        with self.database.reading() as connection:
            return chain.head(connection)

    def check_anchor(self, seq: int, mac: bytes) -> None:
        """See chain.check_anchor."""
        with self.database.reading() as connection:
            chain.check_anchor(connection, seq, mac)

    def verify(self) -> chain.Head:
        """See chain.verify."""
        with self.database.reading() as connection:
            return chain.verify(connection, self._mac)

    def add_contract(self, dataset: str, version: int, digest: str, text: str) -> chain.Head:
        """Put a contract version in force."""
        row = {"dataset": dataset, "version": version, "digest": digest, "text": text}
        try:
            return self._commit("contract", {tables.contracts: [row]})
        except exc.IntegrityError:
            raise UnavailableError("another process has just added this contract version") from None

    def contract_texts(self, dataset: str | None = None) -> dict[tuple[str, int], str]:
        """Texts of contracts by (dataset, version), oldest first."""
        query = sa.select(tables.contracts).order_by(tables.contracts.c.dataset, tables.contracts.c.version)
        if dataset is not None:
            query = query.where(tables.contracts.c.dataset == dataset)
        with self.database.reading() as connection:
            return {(row.dataset, row.version): row.text for row in connection.execute(query)}

    def add_policy(self, digest: str, sealed: bytes) -> chain.Head:
        """Put a policy in force; the text is sealed because it names people."""
        row = {"digest": digest, "sealed": sealed, "applied_at": self._now()}
        return self._commit("policy", {tables.policies: [row]})

    def policies(self) -> list[tuple[int, str, bytes]]:
        """(applied at in microseconds, digest, sealed text) of every policy that was in force, oldest first."""
        with self.database.reading() as connection:
            rows = connection.execute(sa.select(tables.policies).order_by(tables.policies.c.seq))
            return [(row.applied_at, row.digest, row.sealed) for row in rows]

    def current_policy(self) -> tuple[str, bytes] | None:
        """(digest, sealed text) of the policy in force, or None: nobody may read."""
        query = sa.select(tables.policies).order_by(tables.policies.c.seq.desc()).limit(1)
        with self.database.reading() as connection:
            row = connection.execute(query).one_or_none()
        return None if row is None else (row.digest, row.sealed)

    def newest_policy(self) -> int:
        """The commit that put the policy in force there, 0 if there is none."""
        with self.database.reading() as connection:
            return connection.execute(sa.select(sa.func.max(tables.policies.c.seq))).scalar() or 0

    def add_employees(self, entries: Sequence[tuple[Subject, bytes, bytes]]) -> chain.Head | None:
        """Enter (subject, lookup tag, sealed id); None if another process has entered one of them first."""
        rows = [
            {"number": subject.number, "subject": subject.id, "lookup": lookup, "sealed": sealed}
            for subject, lookup, sealed in entries
        ]
        try:
            return self._commit("directory", {tables.directory: rows})
        except exc.IntegrityError:
            return None

    def find_employees(self, lookups: Collection[bytes]) -> dict[bytes, Subject]:
        """Subjects by lookup tag; unknown tags are absent."""
        columns = (tables.directory.c.lookup, tables.directory.c.subject, tables.directory.c.number)
        found: dict[bytes, Subject] = {}
        with self.database.reading() as connection:
            for part in chunks(list(lookups)):
                query = sa.select(*columns).where(tables.directory.c.lookup.in_(part))
                found |= {row.lookup: Subject(row.subject, row.number) for row in connection.execute(query)}
        return found

    def directory(self, numbers: Collection[int] | None = None) -> dict[int, tuple[Subject, bytes]]:
        """(subject, sealed id) by number, of all or of some."""
        found: dict[int, tuple[Subject, bytes]] = {}
        with self.database.reading() as connection:
            for part in [None] if numbers is None else chunks(sorted(numbers)):
                query = sa.select(tables.directory)
                if part is not None:
                    query = query.where(tables.directory.c.number.in_(part))
                for row in connection.execute(query):
                    found[row.number] = (Subject(row.subject, row.number), row.sealed)
        return found

    def lookups(self, numbers: Collection[int]) -> list[bytes]:
        """Lookup tags of employees."""
        found: list[bytes] = []
        with self.database.reading() as connection:
            for part in chunks(sorted(numbers)):
                query = sa.select(tables.directory.c.lookup).where(tables.directory.c.number.in_(part))
                found += map(bytes, connection.execute(query).scalars())
        return found

    def add_actor(self, actor: str, sealed: bytes) -> chain.Head | None:
        """Remember who an audit pseudonym stands for; None if known already."""
        with self.database.reading() as connection:
            if connection.execute(sa.select(tables.actors.c.actor).where(tables.actors.c.actor == actor)).first():
                return None
        try:
            return self._commit("actor", {tables.actors: [{"actor": actor, "sealed": sealed}]})
        except exc.IntegrityError:
            return None

    def actors(self) -> dict[str, bytes]:
        """Sealed names by audit pseudonym."""
        with self.database.reading() as connection:
            return {row.actor: row.sealed for row in connection.execute(sa.select(tables.actors))}

    def batch(self, dataset: str, batch_id: str) -> BatchRecord | None:
        """A landed batch, or None."""
        batches, outcomes = tables.batches.c, tables.outcomes.c
        both = (outcomes.dataset == batches.dataset) & (outcomes.batch_id == batches.batch_id)
        query = (
            sa.select(tables.batches, outcomes.entry, outcomes.lease, outcomes.levels, outcomes.masked, outcomes.rules)
            .join(tables.outcomes, both, isouter=True)
            .where(batches.dataset == dataset, batches.batch_id == batch_id)
        )
        with self.database.reading() as connection:
            row = connection.execute(query).one_or_none()
        if row is None:
            return None
        outcome = None
        if row.entry is not None:
            outcome = Outcome(row.entry, row.lease, json.loads(row.levels), json.loads(row.masked), row.rules)
        return BatchRecord(
            *(dataset, batch_id, row.content, row.contract_version, row.rows, json.loads(row.counts)),
            outcome=outcome,
            landed_at=moment(row.landed_at),
        )

    def batch_ids(self) -> set[tuple[str, str]]:
        """(dataset, batch id) of every landed batch."""
        columns = (tables.batches.c.dataset, tables.batches.c.batch_id)
        with self.database.reading() as connection:
            return {(row.dataset, row.batch_id) for row in connection.execute(sa.select(*columns))}

    def land(
        self,
        batch: BatchRecord,
        files: Iterable[tuple[DataFile, int]],
        *,
        key_epoch: int | None,
        confirm: Callable[[sa.Connection], None] = lambda _: None,
    ) -> chain.Head | None:
        """Make a batch and its files visible in one transaction; None if the same batch has landed already.

        Args:
            files: each with the dense number of its employee.
            key_epoch: when the KEKs that wrap the files' DEKs were read; None if there is no file.
            confirm: asks within the transaction whether it may still land, and raises if not.

        Raises:
            BatchConflictError: the id has landed with other content.
            StaleKeysError: a KEK was retired since; nothing landed: wrap the DEKs anew.
        """
        record = {
            "dataset": batch.dataset,
            "batch_id": batch.batch_id,
            "content": batch.content,
            "contract_version": batch.contract_version,
            "rows": batch.rows,
            "counts": _sorted(batch.counts),
            "landed_at": self._now(),
        }
        outcomes = [] if batch.outcome is None else [_outcome_row(batch, batch.outcome)]
        rows = [file_row(file, number, batch.batch_id) for file, number in files]
        try:
            with self.database.writing() as connection:
                check_fence(connection, key_epoch)
                confirm(connection)
                added = {tables.batches: [record], tables.outcomes: outcomes, tables.files: rows}
                return self.append(connection, "batch", added)
        except exc.IntegrityError:
            landed = self.batch(batch.dataset, batch.batch_id)
            if landed is None:
                raise UnavailableError("the batch collided with another commit; send it again") from None
            if landed.content != batch.content:
                raise BatchConflictError(
                    f"batch {batch.batch_id!r} landed before with other content", hint="use another batch id"
                ) from None
            return None

    def select(self, selection: Selection) -> list[tuple[DataFile, int]]:
        """Live files that the selection admits, each with its employee's number, in order of employee and time."""
        numbers = selection.numbers
        few = numbers is not None and len(numbers) <= IN_LIST
        found: list[tuple[DataFile, int]] = []
        with self.database.reading() as connection:
            for span in tables.SPANS:
                rows = connection.execute(_of_span(selection, span, few=few))
                found += [(data_file(row), row.number) for row in rows if numbers is None or row.number in numbers]
        found.sort(key=lambda item: (item[1], item[0].first_ts, item[0].file_id))
        return found

    def unnamed(self, keys: Sequence[str]) -> list[str]:
        """Those of these objects that no row names, and none will: every commit under way has ended before.

        A commit whose answer was lost may still be made. As a writer, this waits for it.
        """
        named: set[str] = set()
        with self.database.writing() as connection:
            for part in chunks(keys):
                where = tables.files.c.object_key.in_(part)
                named |= set(connection.execute(sa.select(tables.files.c.object_key).where(where)).scalars())
        return [key for key in keys if key not in named]

    def object_keys(self, removed_after: datetime | None = None) -> set[str]:
        """Keys of the objects that are still needed: of live files, and of those removed after a moment.

        Args:
            removed_after: naive UTC; None for every object that any row names, however long ago it was removed.
        """
        query = sa.select(tables.files.c.object_key)
        if removed_after is not None:
            recent = sa.select(tables.commits.c.seq).where(tables.commits.c.at > microseconds(removed_after))
            query = query.where(tables.files.c.removed_seq.is_(None) | tables.files.c.removed_seq.in_(recent))
        with self.database.reading() as connection:
            return set(connection.execute(query).scalars())

    def summary(self) -> list[dict[str, Any]]:
        """Files, rows, bytes, employees and times by dataset and sensitivity."""
        files = tables.files.c
        query = (
            sa.select(
                files.dataset,
                files.sensitivity,
                sa.func.count().label("files"),
                _sum(files.rows).label("rows"),
                _sum(files.length).label("bytes"),
                sa.func.count(sa.distinct(files.number)).label("employees"),
                sa.func.min(files.first_ts).label("first"),
                sa.func.max(files.last_ts).label("last"),
            )
            .where(files.removed_seq.is_(None))
            .group_by(files.dataset, files.sensitivity)
            .order_by(files.dataset, files.sensitivity)
        )
        with self.database.reading() as connection:
            return [
                {**row, "first": moment(row["first"]).isoformat(), "last": moment(row["last"]).isoformat()}
                for row in connection.execute(query).mappings()
            ]

    def holdings(self) -> list[dict[str, Any]]:
        """Rows, files and bytes by dataset, employee's number, sensitivity and month."""
        files = tables.files.c
        by = (files.dataset, files.number, files.sensitivity, files.month)
        query = (
            sa.select(
                *by,
                sa.func.count().label("files"),
                _sum(files.rows).label("rows"),
                _sum(files.length).label("bytes"),
            )
            .where(files.removed_seq.is_(None))
            .group_by(*by)
            .order_by(*by)
        )
        with self.database.reading() as connection:
            return [dict(row) for row in connection.execute(query).mappings()]

    def counts(self) -> dict[str, int]:
        """How many batches, live files, employees and commits there are."""
        with self.database.reading() as connection:
            found = {
                table.name: connection.execute(sa.select(sa.func.count()).select_from(table)).scalar_one()
                for table in (tables.batches, tables.files, tables.directory, tables.commits)
            }
            gone = connection.execute(sa.select(sa.func.count()).select_from(tables.removals)).scalar_one()
        return found | {"files": found["files"] - gone}


def _outcome_row(batch: BatchRecord, outcome: Outcome) -> dict[str, Any]:
    return {
        "dataset": batch.dataset,
        "batch_id": batch.batch_id,
        "entry": outcome.entry,
        "lease": outcome.lease,
        "levels": _sorted(outcome.levels),
        "masked": _sorted(outcome.masked),
        "rules": outcome.rules,
    }


def _sorted(counts: Mapping[str, Any]) -> str:
    return json.dumps(dict(sorted(counts.items())))


def _of_span(selection: Selection, span: str, *, few: bool) -> sa.Select[Any]:
    """The files of one span, by employees if they are few, else by time."""
    files = tables.files.c
    query = sa.select(tables.files).where(
        tables.of_span(span),
        files.dataset == selection.dataset,
        files.sensitivity.in_(sorted(selection.sensitivities)),
        files.last_ts >= microseconds(selection.first or _EARLIEST),
    )
    if selection.last is not None:
        last, (_, most) = microseconds(selection.last), tables.SPANS[span]
        query = query.where(files.first_ts <= last)
        if most is not None:
            query = query.where(files.last_ts <= last + most)
    if few:
        query = query.where(files.number.in_(sorted(selection.numbers or ())))
    # Without statistics SQLite takes any of them.
    index = f"ix_files_{'person' if few else 'time'}_{span}"
    return query.with_hint(tables.files, f"INDEXED BY {index}", "sqlite")


def _sum(column: sa.Column[Any]) -> sa.ColumnElement[int]:
    """A sum of whole numbers as one: PostgreSQL's sum of large ones is a decimal number."""
    return sa.cast(sa.func.sum(column), sa.BigInteger)
