"""A table of events, opened: each event sealed with a digest of all before it, and the newest one anchored.

A pause that is taken away would let collection go on, and so would a retirement. So whoever reads an event checks that
none before it is missing or changed, and that the newest is not older than what the key store remembers.
"""

from __future__ import annotations

import hashlib
import json
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from keys.control import DIRECTORY
from lake.errors import IntegrityError
from lake.gateway.home import Home
from lake.sealed.audit.entries import canonical
from lake.sealed.catalog import chain, ledgers
from lake.sealed.catalog.chain import Head
from lake.sealed.catalog.ledgers import EventRow

VERSION = 1


@dataclass(frozen=True, slots=True)
class Event:
    """An event as it was opened: ``at`` in microseconds, ``number`` that of its commit."""

    id: str
    kind: str
    at: int
    number: int
    document: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Read:
    """Every event up to a number, and the digest of their rows."""

    number: int = 0
    digest: bytes = bytes(32)
    events: tuple[Event, ...] = ()


class Ledger:
    """The events of one table; may be shared by threads."""

    def __init__(self, home: Home, table: sa.Table) -> None:
        self._home = home
        self._table = table
        self._read: Read | None = None
        self._lock = threading.Lock()

    def newest(self, connection: sa.Connection) -> int:
        """The number of the newest event; quick."""
        return ledgers.newest(connection, self._table)

    def events(self, connection: sa.Connection, *, writing: bool = False) -> Read:
        """Every event; only new ones are read and opened.

        Args:
            writing: inside a write transaction, which sees all that there is.

        Raises:
            IntegrityError, KeyIntegrityError: one was changed or removed behind the lake's back.
        """
        anchor = self._home.key_store.anchor(self._table.name)
        newest = self.newest(connection)
        if newest < anchor[0]:
            self._check_older(connection, anchor[0], writing=writing)
        with self._lock:
            read = self._read or Read()
            if newest < read.number:
                self._check_older(connection, read.number, writing=writing)
                return Read(newest, b"", tuple(event for event in read.events if event.number <= newest))
            if newest > read.number or self._read is None:
                self._read = read = self._open(connection, read, anchor)
            return read

    def add(
        self, connection: sa.Connection, kind: str, event_id: str, at: int, document: Mapping[str, Any]
    ) -> tuple[Event, Callable[[], None]]:
        """Add an event inside a write transaction.

        Returns:
            The event, and what is to be called once the transaction is committed.
        """
        read = self.events(connection, writing=True)
        content = canonical({"v": VERSION, "at": at, "before": read.digest.hex(), **document})
        sealed = self._home.control.seal_document(DIRECTORY, self._name(event_id, kind), content)
        row = EventRow(event_id, kind, sealed, at, 0)
        head = ledgers.add_row(self._home.catalog, connection, self._table, row)
        row = EventRow(event_id, kind, sealed, at, head.seq)
        event = Event(event_id, kind, at, head.seq, document)

        def committed() -> None:
            self._advance(head, self._after(read.digest, row))

        return event, committed

    def _open(self, connection: sa.Connection, read: Read, anchor: tuple[int, bytes]) -> Read:
        digest, number, events = read.digest, read.number, list(read.events)
        for row in ledgers.read_rows(connection, self._table, number):
            events.append(self._event(row, digest))
            digest, number = self._after(digest, row), row.seq
            if number == anchor[0] and digest != anchor[1]:
                raise self._changed()
        if read.number < anchor[0] <= number and anchor[0] not in {event.number for event in events}:
            raise self._changed()
        if number > anchor[0]:
            self._home.key_store.advance_anchor(self._table.name, number, digest)
        return Read(number, digest, tuple(events))

    def _check_older(self, connection: sa.Connection, number: int, *, writing: bool) -> None:
        """An event is not there: this transaction began before it, or it is gone."""
        if writing or chain.head(connection).seq >= number:
            raise self._changed()
        self._home.catalog.check_anchor(*self._home.key_store.anchor("catalog"))

    def _event(self, row: EventRow, before: bytes) -> Event:
        content = self._home.control.open_document(DIRECTORY, self._name(row.id, row.kind), row.sealed)
        document: dict[str, Any] = json.loads(content)
        if document.pop("v") != VERSION or document.pop("at") != row.at or document.pop("before") != before.hex():
            raise self._changed()
        return Event(row.id, row.kind, row.at, row.seq, document)

    def _advance(self, head: Head, digest: bytes) -> None:
        self._home.advance(head)
        sys.audit("lake.step", "collection.advanced")
        self._home.key_store.advance_anchor(self._table.name, head.seq, digest)

    def _after(self, digest: bytes, row: EventRow) -> bytes:
        return hashlib.sha256(digest + row.line(self._table.name)).digest()

    def _name(self, event_id: str, kind: str) -> str:
        return f"{self._table.name}/{event_id}/{kind}"

    def _changed(self) -> IntegrityError:
        return IntegrityError(
            f"the catalog's {self._table.name} are not what was written",
            hint="an event was changed or removed behind the lake's back: run 'lake doctor'",
        )
