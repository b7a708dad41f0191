"""A result on its way out: each part leaves only after its OUTCOME entry is durable, and while it may still leave."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pyarrow as pa

from keys.errors import KeysError
from lake.clear.reading.slice import Slice
from lake.clear.sandbox.answers import Running
from lake.errors import FilesChangedError, IntegrityError, LakeError, LimitExceededError
from lake.gateway.cancellation import Cancellation
from lake.gateway.home import Home
from lake.gateway.recorder import Actor, Recorded
from lake.gateway.standing import Standing
from lake.rules.policy import Limits
from lake.sealed.audit import entries

CHECK_ROWS, CHECK_SECONDS = 65_536, 0.02
"""Whether the caller may still read is asked before so many rows have left since it was last asked, and so long ago."""
_LARGER = 4
"""How many times the size of the first part later ones may have."""


class Outcome:
    """Records the OUTCOME entries of one query."""

    def __init__(self, home: Home, actor: Actor, intent: Recorded, purpose: str) -> None:
        self._home = home
        self._actor = actor
        self.intent = intent.index
        self._purpose = purpose
        self._part = 0
        self.closed = False

    def record(
        self,
        out: str,
        slices: Mapping[str, Slice],
        rows: int,
        size: int,
        *,
        final: bool = True,
        error: LakeError | KeysError | None = None,
    ) -> None:
        """Append the OUTCOME of one part; ``rows`` and ``size`` are of the part, ``touched`` is so far."""
        fields: dict[str, Any] = {
            "ref": self.intent,
            "purpose": self._purpose,
            "part": self._part,
            "final": final,
            "out": out,
            "rows": rows,
            "bytes": size,
            "touched": {name: _touched(source) for name, source in slices.items()},
        }
        whole = sorted(name for name, source in slices.items() if source.whole)
        if whole:
            fields["whole"] = whole
        if error is not None:
            fields["error"] = error.code
        self._home.recorder.record(entries.OUTCOME, self._actor, fields)
        self._part += 1
        self.closed = self.closed or final

    def explained(self, error: LakeError | KeysError, slices: Mapping[str, Slice]) -> LakeError | KeysError:
        """The error, or that files of the query went while it ran: then what is missing is no damage."""
        if type(error) is IntegrityError:
            names = [name for source in slices.values() for name in source.files()]
            if len(self._home.upkeep.live(names)) < len(names):
                return FilesChangedError("files of this query were purged or replaced while it ran", hint="ask again")
        return error

    def anchor(self) -> None:
        """Make a log without this entry noticeable."""
        self._home.anchor_log()


class QueryStream:
    """Arrow batches, to be taken once.

    Attributes:
        schema: columns of the result.
        receipt: index of the query's INTENT entry in the audit log.
        cancellation: the query's own; kept here as long as the result is.
    """

    def __init__(
        self,
        running: Running,
        slices: Mapping[str, Slice],
        watch: tuple[Outcome, Standing],
        *,
        limits: Limits,
        release_bytes: int,
    ) -> None:
        outcome, standing = watch
        self.schema: pa.Schema = running.schema
        self.receipt = outcome.intent
        self.cancellation = Cancellation()
        self._running = running
        self._slices = slices
        self._outcome = outcome
        self._standing = standing
        self._limits = limits
        self._release_bytes = release_bytes
        self._rows = self._bytes = 0
        self._done = False
        self._closed: Callable[[], None] = lambda: None
        # The first part is made at once, so that errors show where the query was asked.
        self._parts = self._make_parts()
        self._first: list[pa.RecordBatch] | None = next(self._parts, None)

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        if self._first is not None:
            part, self._first = self._first, None
            yield from self._leaving(part)
            del part
        for part in self._parts:
            yield from self._leaving(part)
            del part  # not kept while the next one is made

    def when_closed(self, call: Callable[[], None]) -> None:
        """Have this called when nothing more is computed, which may be already; it may be called more than once."""
        self._closed = call
        if self._done:
            call()

    def cancel(self) -> None:
        """Break it off, from any thread; whoever iterates gets QueryCancelledError, unless all has left already."""
        self._running.cancel()

    def close(self) -> None:
        """Stop; what was not taken is not released."""
        self._end()
        if not self._outcome.closed:
            self._outcome.record("abandoned", self._slices, 0, 0)

    def _leaving(self, part: list[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        rows, moment = CHECK_ROWS, 0.0
        for batch in part:
            # Not for each of many small batches that are taken at once.
            if rows >= CHECK_ROWS or time.monotonic() - moment > CHECK_SECONDS:
                self._standing.check()
                rows, moment = 0, time.monotonic()
            rows += batch.num_rows
            yield batch

    def _make_parts(self) -> Iterator[list[pa.RecordBatch]]:
        try:
            part: list[pa.RecordBatch] = []
            size, enough = 0, self._release_bytes
            for batch in self._running.batches:
                part.append(batch)
                size += batch.nbytes
                self._count(batch)
                del batch
                if size >= enough:
                    # Larger ones of a large result: each costs an entry, whatever its size.
                    enough = min(2 * enough, _LARGER * self._release_bytes)
                    leaving, part = part, []
                    self._released(leaving, size, final=False)
                    yield leaving
                    del leaving
                    size = 0
            yield self._released(part, size, final=True)
        except (LakeError, KeysError) as error:
            known = self._outcome.explained(error, self._slices)
            if not self._outcome.closed:
                self._outcome.record("error", self._slices, 0, 0, error=known)
            raise known from None
        finally:
            self._end()

    def _end(self) -> None:
        self._done = True
        self._running.close()
        self._closed()

    def _count(self, batch: pa.RecordBatch) -> None:
        self._rows += batch.num_rows
        self._bytes += batch.nbytes
        for name, used, limit in (("rows", self._rows, self._limits.rows), ("bytes", self._bytes, self._limits.bytes)):
            if limit is not None and used > limit:
                raise LimitExceededError(f"the result has more than {limit} {name}", hint="narrow the query")

    def _released(self, part: list[pa.RecordBatch], size: int, *, final: bool) -> list[pa.RecordBatch]:
        sys.audit("lake.step", "query.computed")
        self._standing.check()
        self._standing.check_keys()
        rows = sum(batch.num_rows for batch in part)
        self._outcome.record("allow", self._slices, rows, size, final=final)
        if final:
            self._outcome.anchor()
        sys.audit("lake.step", "query.outcome-recorded")
        return part


def _touched(source: Slice) -> dict[str, Any]:
    return {
        str(level): {"rows": rows, "emp": entries.bitmap(numbers)}
        for level, (rows, numbers) in sorted(source.touched_so_far().items())
    }
