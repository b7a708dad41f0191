"""Pauses on one lake: ordered by one person, ended by two. In force once its entry is durable and its commit made.

Every event is recorded in the audit log and then committed to the catalog, within one write transaction: a batch that
commits after it sees it. An event that was recorded and not committed did not count.
"""

from __future__ import annotations

import secrets
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

from lake.clock import timestamp
from lake.errors import DeniedError, PausedError, UsageError
from lake.gateway.collection import ledger
from lake.gateway.collection.devices import Devices
from lake.gateway.collection.interface import Judgement
from lake.gateway.collection.ledger import Ledger
from lake.gateway.home import Home
from lake.rules import halt as rules
from lake.rules.halt import BEGINNINGS, Backlog, Event, EventKind, Halt, Order, Scope, ScopeKind
from lake.rules.lease import Gate
from lake.rules.model import SENSITIVITIES
from lake.sealed.audit import entries
from lake.sealed.catalog import tables
from lake.sealed.catalog.rows import microseconds, moment

_KINDS = {
    EventKind.PAUSE: entries.PAUSE,
    EventKind.OPT_OUT: entries.OPT_OUT,
    EventKind.FREEZE: entries.FREEZE,
}


@dataclass(frozen=True, slots=True)
class Known:
    """Every pause as of a number, by id."""

    number: int = 0
    halts: Mapping[str, Halt] = field(default_factory=dict)

    def lasting(self) -> list[Halt]:
        """Those that nobody has ended."""
        return [halt for halt in self.halts.values() if halt.ended is None]


class Halts:
    """The pauses of one lake; may be shared by threads. Times are naive UTC."""

    def __init__(self, home: Home, devices: Devices) -> None:
        self._home = home
        self.devices = devices
        self._database = home.catalog.database
        self._ledger = Ledger(home, tables.halts)
        self._known = Known()

    def mark(self) -> int:
        """A number that grows with every event, quick to read."""
        with self._database.reading() as connection:
            return self._ledger.newest(connection)

    def known(self, connection: sa.Connection | None = None, *, writing: bool = False) -> Known:
        """Every pause that ever was.

        Raises:
            IntegrityError, KeyIntegrityError: an event was changed or removed behind the lake's back.
        """
        if connection is None:
            with self._database.reading() as own:
                return self.known(own)
        read = self._ledger.events(connection, writing=writing)
        known = self._known
        if known.number != read.number:
            self._known = known = Known(read.number, rules.fold(map(_opened, read.events)))
        return known

    def opted_out(self) -> set[str]:
        """Employees who have opted out: they are not collected any more, and their rows are to be purged."""
        return {
            halt.order.scope.name
            for halt in self.known().lasting()
            if halt.begun.kind is EventKind.OPT_OUT and halt.order.scope.kind is ScopeKind.EMPLOYEE
        }

    def order(self, by: str, order: Order, kind: EventKind = EventKind.PAUSE) -> Halt:
        """Stop what an order says, at once. The same again, while it lasts, is the same.

        Raises:
            UsageError: the reason is none, or the scope is of nobody.
        """
        order = Order(order.scope, _reason(order.reason), order.types, order.backlog)

        def settled(known: Known, now: datetime) -> Halt | None:
            same = (one for one in known.lasting() if one.order.same(order) and one.begun.kind is kind)
            return next((one for one in same if one.waiting(now) is None), None)

        return self._add(by, kind, secrets.token_hex(16), settled, order=order)

    def resume(self, by: str, halt: str, reason: str = "", *, reads: bool = False) -> Halt:
        """Ask to end a pause, or, if somebody else has asked, end it. Asking again changes nothing.

        Raises:
            UsageError: there is no such pause, or no reason is given by who asks.
        """
        kind = EventKind.REQUEST

        def settled(known: Known, now: datetime) -> Halt | None:
            one = _find(known, halt, reads=reads)
            nonlocal kind, reason
            waiting = one.waiting(now)
            if one.ended is not None or (waiting is not None and waiting.by == by):
                return one
            kind = EventKind.REQUEST if waiting is None else EventKind.APPROVE
            reason = _reason(reason) if waiting is None else ""
            return None

        return self._add(by, lambda: kind, halt, settled, reason=lambda: reason)

    def judgement(self, dataset: str) -> Judgement:
        """What may land of a delivery without a lease, an operator's.

        Rows from within a pause are dropped, whatever the delivery says of itself.
        """
        with self._database.reading() as connection:
            known, devices = self.known(connection), self.devices.known(connection)
        closed = rules.closed(known.halts.values(), dataset, devices.members())

        def confirm(connection: sa.Connection) -> None:
            if (
                self._ledger.newest(connection) == known.number
                and self.devices.known(connection).number == devices.number
            ):
                return
            fresh, members = (
                self.known(connection, writing=True),
                self.devices.known(connection, writing=True).members(),
            )
            if rules.closed(fresh.halts.values(), dataset, members) != closed:
                raise PausedError(
                    "collection was paused or resumed meanwhile", hint="send the batch again: it is judged anew"
                )

        return Judgement(Gate(closed=closed), confirm)

    def _add(
        self,
        by: str,
        kind: EventKind | Callable[[], EventKind],
        halt: str,
        settled: Callable[[Known, datetime], Halt | None],
        *,
        order: Order | None = None,
        reason: Callable[[], str] = lambda: "",
    ) -> Halt:
        self._home.catalog.check_anchor(*self._home.key_store.anchor("catalog"))
        actor = self._home.actor(by)
        with self._database.writing() as connection:
            # The time is taken inside, so that the order of events and that of their times are the same.
            now = self._home.clock().astimezone(UTC).replace(tzinfo=None)
            known = self.known(connection, writing=True)
            done = settled(known, now)
            if done is not None:
                return done
            if order is not None:
                self._check(connection, order)
            what = kind if isinstance(kind, EventKind) else kind()
            event = Event(halt, what, now, by, known.number + 1, reason(), order)
            after = rules.fold([*_events(known.halts.get(halt)), event])[halt]
            if what is EventKind.APPROVE and after.ended is None:
                raise DeniedError("a second person has to approve this", hint="not who asked for it")
            self._record(actor, event, after)
            sys.audit("lake.step", "halt.recorded")
            added, committed = self._ledger.add(connection, what, halt, microseconds(now), _document(event))
        sys.audit("lake.step", "halt.committed")
        committed()
        return rules.fold([*_events(known.halts.get(halt)), _opened(added)])[halt]

    def _check(self, connection: sa.Connection, order: Order) -> None:
        """Refuse a scope of nobody: a name with a slip of the pen would stop nothing."""
        scope, datasets = order.scope, self._datasets()
        if scope.kind is ScopeKind.PROGRAMME and scope.name not in datasets:
            raise UsageError("there is no such programme", hint=f"one of: {', '.join(sorted(datasets)) or 'none'}")
        if scope.kind in {ScopeKind.REGION, ScopeKind.TEAM}:
            known = sorted(one.name for one in self.devices.known(connection).members() if one.kind is scope.kind)
            if scope.name not in known:
                raise UsageError(
                    f"no device was ever enrolled in this {scope.kind}", hint=f"one of: {', '.join(known) or 'none'}"
                )
        if order.types is not None:
            types = {
                name
                for of, names in datasets.items()
                for name in names
                if scope.name in {"", of} or scope.kind is not ScopeKind.PROGRAMME
            }
            if not order.types or not order.types <= types:
                raise UsageError("there is no such event type", hint=f"of: {', '.join(sorted(types))}")

    def _datasets(self) -> dict[str, set[str]]:
        """Event types by dataset, of every version of its contract."""
        from lake.gateway.contracts import Contracts  # noqa: PLC0415 - reads every contract, and is needed here only

        found: dict[str, set[str]] = {}
        for contract in Contracts(self._home).all():
            found.setdefault(contract.dataset, set()).update(contract.events)
        return found

    def _record(self, actor: Any, event: Event, after: Halt) -> None:
        scope = after.order.scope
        name = self._home.control.actor_tag(scope.name) if scope.kind is ScopeKind.EMPLOYEE else scope.name
        fields: dict[str, Any] = {"halt": event.id, "scope": str(Scope(scope.kind, name))}
        detail = {"reason": event.order.reason if event.order else event.reason}
        if event.order is not None:
            fields["since"] = timestamp(event.at.replace(tzinfo=UTC))
            fields["backlog"] = str(event.order.backlog)
            fields["types"] = None if event.order.types is None else sorted(event.order.types)
            if event.kind is EventKind.OPT_OUT:
                fields["purge"] = "requested"
            kind = _KINDS[event.kind]
        else:
            kind = entries.UNFREEZE if scope.kind is ScopeKind.READS else entries.RESUME
            fields["step"] = "request" if event.kind is EventKind.REQUEST else "approve"
        self._home.recorder.record(kind, actor, fields, detail)


def frozen_levels(halts: Iterable[Halt]) -> frozenset[int]:
    """The sensitivities whose reads some orders freeze."""
    lowest = [int(halt.order.scope.name) for halt in halts if halt.order.scope.kind is ScopeKind.READS]
    return frozenset(level for level in SENSITIVITIES if lowest and level >= min(lowest))


def refuse_frozen(home: Home, levels: Iterable[int]) -> None:
    """Keep keys of frozen levels suspended: only two people together end that.

    Raises:
        DeniedError: one of the levels is frozen.
    """
    if not frozen_levels(Halts(home, Devices(home)).known().lasting()).isdisjoint(levels):
        raise DeniedError("reads of this sensitivity are frozen", hint="two people end that: 'lake unfreeze-reads'")


def _find(known: Known, halt: str, *, reads: bool) -> Halt:
    one = known.halts.get(halt)
    if one is None or (one.order.scope.kind is ScopeKind.READS) != reads:
        raise UsageError("there is no such order", hint="'lake halt-status' names them")
    return one


def _reason(text: str) -> str:
    reason = " ".join(text.split())
    if not rules.SHORTEST_REASON <= len(reason) <= rules.LONGEST_REASON or not reason.isprintable():
        raise UsageError(f"a reason has {rules.SHORTEST_REASON} to {rules.LONGEST_REASON} printable characters")
    return reason


def _events(halt: Halt | None) -> Iterable[Event]:
    return () if halt is None else [event for event in (halt.begun, halt.asked, halt.ended) if event is not None]


def _document(event: Event) -> dict[str, Any]:
    document: dict[str, Any] = {"by": event.by, "reason": event.reason}
    if event.order is not None:
        order = event.order
        document |= {
            "reason": order.reason,
            "scope": str(order.scope.kind),
            "name": order.scope.name,
            "types": None if order.types is None else sorted(order.types),
            "backlog": str(order.backlog),
        }
    return document


def _opened(event: ledger.Event) -> Event:
    kind, document = EventKind(event.kind), event.document
    order, reason = None, document["reason"]
    if kind in BEGINNINGS:
        types = None if document["types"] is None else frozenset(document["types"])
        scope = Scope(ScopeKind(document["scope"]), document["name"])
        order, reason = Order(scope, reason, types, Backlog(document["backlog"])), ""
    return Event(event.id, kind, moment(event.at), document["by"], event.number, reason, order)
