"""Calls to a gateway: each with its token, its headers and a time to wait, and errors that are the lake's own."""

from __future__ import annotations

import os
import threading
from typing import Any

import pyarrow as pa
import pyarrow.flight as fl

from lake.client.failures import told
from lake.client.place import Place
from lake.errors import UsageError
from lake.wire.names import ENDPOINTS, PURPOSE, ROLE

_process: list[int] = []
"""The process in which a connection was first made: gRPC does not survive a fork."""


class Door:
    """A connection to one gateway; safe for many threads.

    Raises:
        UsageError: a file for TLS cannot be read, or this process is a fork of one that had a connection.
    """

    def __init__(self, place: Place) -> None:
        self.place = place
        self._location = place.location()
        self._lock = threading.Lock()
        self._client: Any = None

    def info(self, descriptor: Any, endpoints: int = 1) -> Any:
        """Where and in how many parts a result can be fetched."""
        more = ((ENDPOINTS, str(endpoints)),) if endpoints > 1 else ()
        with told(self._location):
            return self._connected().get_flight_info(descriptor, self._options(*more))

    def get(self, ticket: Any) -> Any:
        """Start to fetch one part; without a deadline, as a long result is no failure."""
        with told(self._location):
            return self._connected().do_get(ticket, self._options(patience=None))

    def act(self, kind: str, body: bytes, patience: float | None = None) -> list[bytes]:
        """Ask for an action; its answers."""
        with told(self._location):
            options = self._options(patience=patience or self.place.patience)
            return [bytes(one.body) for one in self._connected().do_action(fl.Action(kind, body), options)]

    def put(self, descriptor: Any, batch: pa.RecordBatch) -> bytes | None:
        """Hand over one batch; the answer that comes with it, if one does."""
        with told(self._location):
            writer, reader = self._connected().do_put(descriptor, batch.schema, self._options())
            with writer:
                writer.write_batch(batch)
                writer.done_writing()
                answer = reader.read()
        return None if answer is None else answer.to_pybytes()

    def close(self) -> None:
        """Hang up."""
        with self._lock:
            client, self._client = self._client, None
        if client is not None:
            client.close()

    def told(self) -> Any:
        """Turn errors of a stream from here into the lake's own."""
        return told(self._location)

    def _options(self, *more: tuple[str, str], patience: float | None = 0) -> Any:
        headers = list(more)
        token = self.place.tokens.current()
        if token is not None:
            headers.append(("authorization", f"Bearer {token}"))
        for name, value in ((PURPOSE, self.place.purpose), (ROLE, self.place.role)):
            if value is not None:
                headers.append((name, value))
        timeout = self.place.patience if patience == 0 else patience
        encoded = [(name.encode(), value.encode()) for name, value in headers]
        return fl.FlightCallOptions(timeout=timeout, headers=encoded)

    def _connected(self) -> Any:
        with self._lock:
            _not_forked()
            if self._client is None:
                self._client = fl.FlightClient(self._location, **self.place.tls())
            return self._client


def _not_forked() -> None:
    if not _process:
        _process.append(os.getpid())
    if _process[0] != os.getpid():
        hint = "start it with 'spawn' or 'forkserver', e.g. DataLoader(..., multiprocessing_context='spawn')"
        raise UsageError("this process was forked from one that has had a connection to a gateway", hint=hint)
