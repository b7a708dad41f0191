"""Pools of real sandboxes, sources that are handed over, and a stranger in a sandbox's place."""

from __future__ import annotations

import json
import socket
import struct
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from lake.clear.reading.plan import SliceKey, Source
from lake.clear.sandbox.answers import SandboxLimits
from lake.clear.sandbox.channel import Channel
from lake.clear.serving.cache import SliceCache
from lake.clear.serving.pool import Pool
from lake.clear.serving.processes import SandboxShape
from lake.clear.serving.session import SandboxSession
from lake.errors import LakeError

SHAPE = SandboxShape(memory=768 << 20, seconds=60)
LIMITS = SandboxLimits(threads=2, memory=256 << 20, seconds=20)
SOURCE = Source(1, 1)
NOTHING_KEPT = SliceCache(0, 1)


class Held:
    """Rows in memory in the place of a slice; notes what it was asked and what has left."""

    def __init__(self, rows: pa.Table, key: SliceKey | None = None, batch_rows: int = 1 << 15) -> None:
        self.schema = self.carried = rows.schema
        self.key = key
        self.failure: LakeError | None = None
        self.asked: list[tuple[Sequence[str], pc.Expression | None]] = []
        self.touched: dict[Source, int] = {}
        self.closed = 0
        self._rows = rows
        self._batch_rows = batch_rows

    def tagged(
        self, columns: Sequence[str], condition: pc.Expression | None, *, coded: bool = True
    ) -> Iterator[tuple[Source, pa.RecordBatch]]:
        """A scan."""
        self.asked.append((columns, condition))
        scanner = ds.dataset(self._rows).scanner(columns=list(columns), filter=condition, batch_size=self._batch_rows)
        try:
            for batch in scanner.to_batches():
                yield SOURCE, batch
        finally:
            self.closed += 1

    def scan(self, columns: Sequence[str] | None, condition: pc.Expression | None) -> pa.RecordBatchReader:
        """The same as a query in this process reads it."""
        names = list(self.schema.names if columns is None else columns)
        return ds.dataset(self._rows).scanner(columns=names, filter=condition).to_reader()

    def touch(self, touched: Mapping[Source, int]) -> None:
        """Count what left."""
        for source, rows in touched.items():
            self.touched[source] = self.touched.get(source, 0) + rows


def numbers(rows: int = 1000) -> pa.Table:
    """Numbers, and texts that must show up in no message."""
    return pa.table({"a": list(range(rows)), "b": [f"value-canary {number}" for number in range(rows)]})


@contextmanager
def pool_of(shape: SandboxShape = SHAPE, **values: Any) -> Iterator[Pool]:
    """A pool that is closed at the end."""
    pool = Pool(shape, **{"ready": 1, "most": 4, "patience": 20.0} | values)
    try:
        yield pool
    finally:
        pool.close()


@contextmanager
def session_of(pool: Any, cache: SliceCache = NOTHING_KEPT, longest: float = 30) -> Iterator[SandboxSession]:
    """A session that is closed at the end."""
    session = SandboxSession(pool, cache, longest)
    try:
        yield session
    finally:
        session.close()


def answer(
    pool: Any, sql: str, sources: Mapping[str, Held], parameters: Any = (), limits: SandboxLimits = LIMITS, **more: Any
) -> pa.Table:
    """The whole result of a query in a sandbox."""
    with session_of(pool, **more) as session:
        running = session.run(sql, sources, parameters, limits)
        return pa.Table.from_batches(running.batches, running.schema)


def descriptors() -> int:
    """How many this process has open."""
    return len(list(Path("/proc/self/fd").iterdir()))


def status(pid: int) -> dict[str, str]:
    """What the system says of a process, from its status file."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


class Stranger:
    """The sandbox's end of a channel in the hands of a test; all else of a sandbox is as the session uses it."""

    def __init__(self) -> None:
        ours, self.end = socket.socketpair()
        self.channel = Channel(ours)
        self.deadline: float | None = None
        self.timed_out = False
        self.killed = False

    def kill(self) -> None:
        """As when a process ends: the other end closes."""
        self.killed = True
        self.end.shutdown(socket.SHUT_RDWR)

    def says(self, fields: Any, payload: bytes = b"", descriptors: Sequence[int] = ()) -> None:
        """Send a message, whatever it is."""
        text = fields if isinstance(fields, bytes) else json.dumps(fields).encode()
        head = struct.pack("<II", len(text), len(payload)) + text
        socket.send_fds(self.end, [head], list(descriptors))
        self.end.sendall(payload)


class StrangersPool:
    """Gives one stranger out, and takes it back."""

    def __init__(self, stranger: Stranger) -> None:
        self.stranger = stranger
        self.back = 0

    def take(self) -> Stranger:
        """The stranger."""
        return self.stranger

    def discard(self, stranger: Stranger) -> int | None:
        """Kill it."""
        self.retire(stranger)
        return None

    def retire(self, stranger: Stranger) -> None:
        """Kill it."""
        self.back += 1
        stranger.kill()


@contextmanager
def stranger_session(say: Callable[[Stranger], None]) -> Iterator[tuple[SandboxSession, Stranger]]:
    """A session with a stranger who talks without being asked."""
    stranger = Stranger()
    pool = StrangersPool(stranger)
    session = SandboxSession(pool, NOTHING_KEPT, 30)  # type: ignore[arg-type]

    def talk() -> None:
        with suppress(OSError):  # nobody listens any more
            say(stranger)

    talking = threading.Thread(target=talk)
    talking.start()
    try:
        yield session, stranger
    finally:
        session.close()
        talking.join()
        stranger.end.close()
        stranger.channel.close()
    assert pool.back == 1
    assert stranger.killed
