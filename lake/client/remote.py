"""A principal's view of a lake behind a gateway."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any
from weakref import WeakSet

import pyarrow as pa

from lake.client.dataset import Dataset
from lake.client.door import Door
from lake.client.fetch import RemoteStream
from lake.client.order import Shard
from lake.client.place import PATIENCE, Place
from lake.client.progress import Progress
from lake.client.result import Result
from lake.client.statements import Parameters, ShownTable, ask, recall, tables
from lake.client.token import Tokens
from lake.errors import UsageError

MOST_ENDPOINTS = 64


class RemoteConnection:
    """A gateway as one caller sees it; safe for many threads.

    Args:
        endpoints: in how many parts results are read at once, where the gateway can divide a query.

    Raises:
        UsageError: there cannot be so many parts.
    """

    def __init__(self, place: Place, endpoints: int = 1) -> None:
        self._endpoints = _checked(endpoints)
        self._place = place
        self._door = Door(place)
        self._lock = threading.Lock()
        self._open: WeakSet[RemoteStream] = WeakSet()
        self._cancellations = 0

    def __repr__(self) -> str:
        return f"RemoteConnection({self._place.location()!r})"

    def __enter__(self) -> RemoteConnection:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def sql(
        self,
        query: str,
        parameters: Parameters = (),
        *,
        endpoints: int | None = None,
        ordered: bool = True,
        progress: Progress = None,
    ) -> Result:
        """Run one SELECT over the datasets that the policy grants.

        Args:
            parameters: values of its parameters, by position or by name.
            endpoints: in how many parts to read it, if not as the connection says.
            ordered: parts come one after the other; otherwise batches come as they arrive.
            progress: called with rows and bytes so far, or True for a line on the terminal.

        Raises:
            DeniedError, QueryRefusedError, QueryFailedError, LimitExceededError, IntegrityError, UnavailableError.
        """
        parts = self._endpoints if endpoints is None else _checked(endpoints)
        before = self._cancellations
        info = ask(self._door, query, parameters, parts)
        stream = _stream(self._door, info, info.endpoints, ordered=ordered)
        with self._lock:
            self._open.add(stream)
            if self._cancellations != before:
                stream.cancel()
        return Result(stream.open(), progress)

    def cancel(self) -> None:
        """Break off every query of this connection, from any thread; whoever reads gets QueryCancelledError."""
        with self._lock:
            self._cancellations += 1
            streams = list(self._open)
        for stream in streams:
            stream.cancel()

    def tables(self) -> list[ShownTable]:
        """The tables that may be read for this purpose, in order of name.

        Raises:
            DeniedError: none.
        """
        return tables(self._door)

    def dataset(
        self,
        query: str,
        parameters: Parameters = (),
        *,
        columns: tuple[str, ...] | list[str] | None = None,
        shuffle: int | None = None,
        seed: int = 0,
        shard: tuple[int, int] | None = None,
    ) -> Dataset:
        """A query to train on, which runs anew for every epoch; see ``Dataset``."""
        kept = None if columns is None else tuple(columns)
        return Dataset(RemoteSource(self._place, query, parameters), kept, shuffle, seed, Shard(*shard or ()))

    def close(self) -> None:
        """Hang up."""
        self._door.close()


def connect_remote(
    url: str,
    *,
    purpose: str | None = None,
    role: str | None = None,
    token: str | Callable[[], str] | None = None,
    token_file: str | os.PathLike[str] | None = None,
    ca: str | os.PathLike[str] | None = None,
    cert: str | os.PathLike[str] | None = None,
    key: str | os.PathLike[str] | None = None,
    endpoints: int = 1,
    patience: float = PATIENCE,
) -> RemoteConnection:
    """Make ready to call a gateway; see ``lake.api.connect``.

    Raises:
        UsageError: the options do not go together.
    """
    tokens = Tokens(token, Path(token_file) if token_file else None)
    trusted, own, secret = (Path(file) if file else None for file in (ca, cert, key))
    return RemoteConnection(Place(url, purpose, role, trusted, own, secret, patience, tokens), endpoints)


class RemoteSource:
    """A query that can be run again, in this process or in another one, which then makes a connection of its own."""

    def __init__(self, place: Place, sql: str, parameters: Parameters) -> None:
        self.sql = sql
        self._place = place
        self._parameters = parameters
        self._door = Door(place)

    def __repr__(self) -> str:
        return f"RemoteSource({self._place.location()!r})"

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        """What another process needs; of the token only the way to get one."""
        return RemoteSource, (self._place, self.sql, self._parameters)

    def schema(self) -> pa.Schema:
        """Columns of the result; nothing is read."""
        info = ask(self._door, self.sql, self._parameters)
        return info.schema.remove_metadata()

    def whole(self) -> Iterator[pa.RecordBatch]:
        """Run it."""
        info = ask(self._door, self.sql, self._parameters)
        return Result(_stream(self._door, info, info.endpoints).open()).batches()

    def share(self, shard: Shard) -> Iterator[pa.RecordBatch] | None:
        """Run it over this share of its files only; None if it cannot be divided."""
        info = ask(self._door, self.sql, self._parameters, _checked(shard.count))
        if len(info.endpoints) == 1:
            return None
        own = info.endpoints[shard.index :: shard.count]
        return Result(_stream(self._door, info, own).open()).batches() if own else iter(())


def _stream(door: Door, info: Any, endpoints: Any, *, ordered: bool = True) -> RemoteStream:
    return RemoteStream(door, [endpoint.ticket for endpoint in endpoints], partial(recall, door, info), ordered=ordered)


def _checked(endpoints: int) -> int:
    if not 1 <= endpoints <= MOST_ENDPOINTS:
        raise UsageError(f"a result is read in 1 to {MOST_ENDPOINTS} parts")
    return endpoints
