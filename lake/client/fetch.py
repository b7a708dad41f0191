"""A result on its way in: one thread reads each endpoint, and the caller takes batches as they come."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pyarrow as pa

from lake.client.door import Door
from lake.client.intake import ClosedIntakeError, Intake
from lake.errors import LakeError, QueryCancelledError, UnavailableError
from lake.wire.names import RECEIPT

WAITING = 64 << 20
"""Bytes that may wait for the caller, over all endpoints."""

_PARTING = 2.0
"""Seconds that closing waits for readers; one that the gateway never answers is left behind."""


class _Work:
    """What the reading threads share; it does not hold the stream, so that a stream nobody holds is closed."""

    def __init__(self, door: Door, lanes: int, recall: Callable[[], None]) -> None:
        self.door = door
        self.intake = Intake(lanes, max(1, WAITING // lanes))
        self._recall = recall
        self._lock = threading.RLock()  # a collected stream closes its work, wherever that happens
        self._readers: dict[int, Any] = {}
        self._threads: list[threading.Thread] = []

    def start(self, tickets: Sequence[Any]) -> None:
        """One thread for each ticket."""
        for lane, ticket in enumerate(tickets):
            thread = threading.Thread(target=self._read, args=(lane, ticket), name=f"lake-read-{lane}", daemon=True)
            self._threads.append(thread)
            thread.start()

    def _read(self, lane: int, ticket: Any) -> None:
        try:
            self.intake.check()
            reader = self.door.get(ticket)
            with self._lock:
                self._readers[lane] = reader
            self.intake.opened(lane, reader.schema)
            with self.door.told():
                for chunk in reader:
                    self.intake.put(lane, chunk.data)
            self.intake.end(lane)
        except ClosedIntakeError:
            self._cancel_reader(lane)
        except LakeError as error:
            self.intake.fail(error)
        except Exception as error:  # noqa: BLE001 - whoever takes must not wait for ever; its text could quote rows
            self.intake.fail(LakeError(f"the result could not be read ({type(error).__name__})"))
        finally:
            with self._lock:
                self._readers.pop(lane, None)

    def _cancel_reader(self, lane: int) -> None:
        with self._lock:
            reader = self._readers.get(lane)
        if reader is not None:
            reader.cancel()

    def cancel(self, error: LakeError | None = None) -> None:
        """Stop all readers, and the gateway's side of them; whoever takes gets ``error``."""
        if self.intake.finished:
            return
        if error is not None:
            self.intake.fail(error)
        for lane in range(len(self._threads)):
            self._cancel_reader(lane)
        self._recall()

    def close(self) -> None:
        """Stop, and wait for the threads."""
        self.intake.close()
        if any(thread.is_alive() for thread in self._threads):
            self.cancel()
        for thread in self._threads:
            if thread is not threading.current_thread():
                thread.join(_PARTING)


class RemoteStream:
    """Arrow batches of all endpoints of one query, to be taken once; ``open`` comes first.

    Args:
        tickets: one for each endpoint, good once; their order is the order of the batches.
        recall: tells the gateway that the query is not wanted any more.
        ordered: endpoint by endpoint; otherwise as they come.

    Attributes:
        schema: columns of the result.
        receipts: index of each endpoint's query in the audit log; -1 where the gateway did not say it.
        receipt: the first of them.
    """

    schema: pa.Schema
    receipt: int
    receipts: tuple[int, ...]

    def __init__(self, door: Door, tickets: Sequence[Any], recall: Callable[[], None], *, ordered: bool = True) -> None:
        self._work = _Work(door, len(tickets), recall)
        self._tickets = tickets
        self._patience = door.place.patience
        self._ordered = ordered
        self._finalizer = weakref.finalize(self, _Work.close, self._work)

    def open(self) -> RemoteStream:
        """Start to read, and wait until the columns of every endpoint are known.

        Raises:
            LakeError: the query failed before its first batch, or was cancelled.
        """
        try:
            self._work.start(self._tickets)
            schemas = self._work.intake.schemas(self._patience)
            self.schema = _common([schema.remove_metadata() for schema in schemas])
        except BaseException:
            self.close()
            raise
        self.receipts = tuple(_receipt(schema) for schema in schemas)
        self.receipt = self.receipts[0]
        return self

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        while (batch := self._work.intake.take(self._patience, ordered=self._ordered)) is not None:
            yield batch.replace_schema_metadata(None)

    def cancel(self) -> None:
        """Break it off, from any thread; whoever iterates gets QueryCancelledError, unless all has come already."""
        self._work.cancel(QueryCancelledError("the query was cancelled"))

    def close(self) -> None:
        """Stop; what was not taken is lost."""
        self._finalizer()


def _receipt(schema: pa.Schema) -> int:
    value = (schema.metadata or {}).get(RECEIPT, b"")
    return int(value) if value.isdigit() else -1


def _common(schemas: Sequence[pa.Schema]) -> pa.Schema:
    if any(schema != schemas[0] for schema in schemas):
        raise UnavailableError("the policy changed while the query started", hint="run it again")
    return schemas[0]
