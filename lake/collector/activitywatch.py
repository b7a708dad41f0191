"""A bridge from ActivityWatch: its watchers' events, as far as they happened while a lease was held, to the lake.

The watchers run whether or not anything may be recorded; so of each event only the part is taken that lies in leases
held without a gap, and nothing of what began and ended outside. An event is taken when a later one has begun in its
bucket, for until then it may grow. The cursor of a bucket is taken into the spool in one step with the events.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from lake.collector.answers import Lease
from lake.collector.aw_server import AwBucket, AwEvent, AwServer
from lake.collector.check import UNKNOWN_FIELD
from lake.collector.collector import Collector, stamped
from lake.errors import LakeError, MalformedInputError, UnavailableError
from lake.rules.activitywatch import KINDS, fields_of, milliseconds
from lake.rules.model import TYPE_COLUMN

LATE = timedelta(minutes=5)
"""How much older than the newest event taken one may be that its watcher brings later."""
MOST_ROWS = 200
"""Events taken in one step."""
STEPPED = 2.0
"""Seconds by which the wall clock may drift between two looks; beyond, somebody has set it."""
DROPPED = "activitywatch"
_CLOCK = f"{DROPPED}:clock"


@dataclass(slots=True)
class Cursor:
    """How far a bucket was taken: the newest beginning, and the events within ``LATE`` before it."""

    at: datetime
    taken: dict[int, datetime] = field(default_factory=dict)

    def start(self) -> datetime:
        """Events that began later are asked for."""
        return self.at - LATE

    def advanced(self, event: AwEvent) -> Cursor:
        """The cursor with one event more."""
        at = max(self.at, event.begin)
        return Cursor(
            at, {one: begin for one, begin in {**self.taken, event.id: event.begin}.items() if begin > at - LATE}
        )

    def encode(self) -> dict[str, Any]:
        """For the spool."""
        return {"at": _number(self.at), "taken": {str(one): _number(begin) for one, begin in self.taken.items()}}


def decode_cursor(saved: Mapping[str, Any]) -> Cursor:
    """A cursor as the spool has kept it."""
    return Cursor(_moment(saved["at"]), {int(one): _moment(begin) for one, begin in saved["taken"].items()})


def _number(moment: datetime) -> int:
    """Milliseconds since 1970, in which the server counts too."""
    return round(moment.timestamp() * 1000)


def _moment(number: int) -> datetime:
    return datetime.fromtimestamp(number / 1000, UTC)


class ActivityWatchBridge:
    """Takes what a server has new, each time ``step`` is called.

    Args:
        hosts: of which machines buckets are taken; none names the one that the server runs on.
    """

    def __init__(self, server: AwServer, collector: Collector, hosts: Collection[str] = ()) -> None:
        self._server = server
        self._collector = collector
        self._hosts = frozenset(hosts)
        self._trusted = self._now = datetime.max  # noqa: DTZ901 - capture times are naive UTC

    @property
    def problem(self) -> str:
        """What keeps the collector from a lease or from sending, for whoever watches; "" if nothing does."""
        collector = self._collector
        return collector.keeper.problem or collector.sender.problem or collector.failure

    def step(self) -> int:
        """Take what is closed and may be recorded; gives how many events that were.

        Raises:
            UnavailableError, MalformedInputError: of the server; of that bucket nothing was taken, and the next step
                begins where this one did. Other buckets were looked at all the same.
        """
        lease = self._collector.keeper.live()
        if lease is None:
            return 0
        shift = self._shift(lease)
        hosts = self._hosts or {self._server.host()}
        taken, failures = 0, list[LakeError]()
        for bucket in self._server.buckets():
            if bucket.host in hosts and bucket.type in KINDS:
                try:
                    taken += self._bucket(bucket, shift)
                except (UnavailableError, MalformedInputError) as error:
                    failures.append(error)
        if failures:
            raise failures[0]
        return taken

    def _shift(self, lease: Lease) -> timedelta:
        """From the wall clock to the lake's time. What lies before a setting of the wall clock cannot be placed."""
        clocks, spool = self._collector.clocks, self._collector.spool
        boot, wall = clocks.boot(), clocks.wall()
        offset, now = wall.timestamp() - boot, lease.held.stamp(boot)
        known = spool.state.marks.get(_CLOCK, {})
        same = known.get("boot") == clocks.boot_id() and abs(offset - known["offset"]) <= STEPPED
        self._trusted = datetime.fromisoformat(known["trusted"]) if same else now
        if not same:
            # The cursors are of the wall clock as it was.
            spool.unmark(f"{DROPPED}:")
        mark = {"offset": offset, "boot": clocks.boot_id(), "trusted": self._trusted.isoformat()}
        spool.mark({_CLOCK: mark})
        if not same:
            spool.sync()
        self._now = now
        return now.replace(tzinfo=UTC) - wall

    def _bucket(self, bucket: AwBucket, shift: timedelta) -> int:
        name = f"{DROPPED}:{bucket.id}"
        saved = self._collector.spool.state.marks.get(name)
        if saved is None:
            saved = Cursor(self._collector.clocks.wall() - LATE).encode()
            self._collector.spool.mark({name: saved})
            self._collector.spool.sync()
        cursor = decode_cursor(saved)
        events = self._server.events(bucket.id, cursor.start())
        count, rows = 0, list[dict[str, Any]]()
        lease: Lease | None = None

        def taken() -> bool:
            """What was gathered under one lease and the cursor after it, in one step."""
            marks = {name: cursor.encode()}
            if lease is None or not rows:
                self._collector.spool.mark(marks)
                return True
            # No room, or no lease any more; the rest is there still when there is.
            return self._collector.append(lease, rows, marks)

        # The newest may still grow, and nothing shows that it does not.
        for event in self._new(events[:-1], cursor):
            made = self._row(bucket, event, shift)
            if made is not None and (made[0] is not lease or len(rows) >= MOST_ROWS):
                if not taken():
                    return count
                count, lease, rows = count + len(rows), made[0], []
            cursor = cursor.advanced(event)
            if made is not None:
                rows.append(made[1])
        return count + len(rows) if taken() else count

    @staticmethod
    def _new(events: Iterable[AwEvent], cursor: Cursor) -> list[AwEvent]:
        return [event for event in events if event.id not in cursor.taken]

    def _row(self, bucket: AwBucket, event: AwEvent, shift: timedelta) -> tuple[Lease, dict[str, Any]] | None:
        """An event as it is recorded, and under which lease; None and a count if it is not."""
        kind, collector = KINDS[bucket.type], self._collector
        begin, end = ((moment + shift).replace(tzinfo=None) for moment in (event.begin, event.end))
        since = collector.keeper.leases.since(kind.type)
        limit = max(since or self._now, self._trusted)
        first = max(begin, limit)
        lease = collector.keeper.leases.under(kind.type, first)
        if lease is None or (begin < limit and end <= limit) or first > self._now:
            collector.spool.count(f"{DROPPED}.unleased")
            return None
        reason, fields, unknown = fields_of(bucket.type, event.data)
        if reason:
            collector.spool.count(f"{DROPPED}.{reason}")
            return None
        if unknown:
            collector.spool.count(UNKNOWN_FIELD, len(unknown))
        spans = {"seq": event.id, "duration_ms": milliseconds(max(0.0, (end - first).total_seconds()))}
        told = {name: value for name, value in spans.items() if collector.carries(kind.type, name)}
        row = collector.check(lease, {TYPE_COLUMN: kind.type, **told, **fields})
        return None if row is None else (lease, row | stamped(first))
