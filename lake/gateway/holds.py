"""Legal holds on one lake: placed by one person, released by two, each event recorded, signed and sealed.

An event is recorded in the audit log and then committed to the catalog, within one write transaction; one that was
recorded and not committed did not count.
"""

from __future__ import annotations

import secrets
import sys
from collections.abc import Mapping
from datetime import UTC, date, datetime
from typing import Any

import sqlalchemy as sa

from keys.signing import NoteSigner, NoteVerifier
from lake.clock import timestamp
from lake.errors import DeniedError, IntegrityError, UsageError
from lake.gateway.collection import ledger
from lake.gateway.collection.ledger import Ledger
from lake.gateway.home import Home
from lake.rules import hold as rules
from lake.rules import layout
from lake.rules.hold import Hold, HoldEvent, HoldKind, Holds, HoldScope, Spared
from lake.sealed.audit.entries import canonical
from lake.sealed.catalog import tables
from lake.sealed.catalog.rows import microseconds, moment

ENTRY = "hold"
"""Followed by what happened, such as ``hold.place``; or ``hold.deny``."""
TITLE = "telemetry-lake hold v1"


class HoldDesk:
    """The holds of one lake; may be shared by threads. Times are naive UTC."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self._database = home.catalog.database
        self._ledger = Ledger(home, tables.holds)
        self._known: Holds | None = None

    def standing(self, connection: sa.Connection | None = None, *, writing: bool = False) -> Holds:
        """Every hold.

        Raises:
            IntegrityError, KeysError: an event was changed or removed behind the lake's back.
        """
        if connection is None:
            with self._database.reading() as own:
                return self.standing(own)
        read = self._ledger.events(connection, writing=writing)
        known = self._known
        if known is None or known.number != read.number:
            known = rules.fold(map(_opened, read.events), read.number)
            self._check(known)
            self._known = known
        return known

    def spared(self, holds: Holds | None = None) -> list[Spared]:
        """What holds spare, employees by number; one whom the lake does not know yet has no rows."""
        active = (self.standing() if holds is None else holds).active()
        found = self._home.directory.find({hold.scope.employee for hold in active if hold.scope.employee is not None})
        spared = []
        for hold in active:
            scope, number = hold.scope, None
            if scope.employee is not None:
                if scope.employee not in found:
                    continue
                number = found[scope.employee].number
            spared.append(Spared(hold.id, number, scope.dataset, scope.first, scope.last))
        return spared

    def newest(self, connection: sa.Connection) -> int:
        """The number of the newest event: while it stays, no hold was placed or released."""
        return self._ledger.newest(connection)

    def place(self, by: str, scope: HoldScope, reason: str, review: date) -> Hold:
        """Hold rows back from every purge, from now on.

        Raises:
            UsageError: the reason, the interval or the day of review is not one.
        """
        now = self._now()
        reason = _reason(reason)
        if not now.date() < review <= now.date() + rules.LONGEST_REVIEW:
            raise UsageError(f"a review is in the future, within {rules.LONGEST_REVIEW.days} days")
        if scope.first is not None and scope.last is not None and scope.first >= scope.last:
            raise UsageError("the interval of a hold ends before it begins")
        hold_id = secrets.token_hex(16)
        note = self._sign(hold_id, HoldKind.PLACE, now, by, reason)
        self._add(HoldEvent(hold_id, HoldKind.PLACE, now, by, reason, scope, review, note))
        return self.standing().holds[hold_id]

    def release(self, by: str, hold_id: str, reason: str) -> Hold:
        """Ask for a release, or agree to what another person has asked for. Doing it again changes nothing.

        Raises:
            UsageError: there is no such hold, or no reason is given.
            DeniedError: they asked for it themselves.
        """
        reason = _reason(reason)
        hold = self._find(self.standing(), hold_id)
        if not hold.active:
            return hold
        if hold.asked is not None and hold.asked.by == by:
            self._home.recorder.record(f"{ENTRY}.deny", self._home.actor(by), {"hold": hold_id, "step": "release"})
            raise DeniedError("a second person has to agree to the release", hint="not who asked for it")
        kind = HoldKind.ASK if hold.asked is None else HoldKind.RELEASE
        now = self._now()
        self._add(HoldEvent(hold_id, kind, now, by, reason, note=self._sign(hold_id, kind, now, by, reason)))
        return self.standing().holds[hold_id]

    @property
    def verifier_key(self) -> str:
        """What others need to verify an event's note; public."""
        return self._signer().verifier_key

    def _find(self, holds: Holds, hold_id: str) -> Hold:
        if hold_id not in holds.holds:
            raise UsageError("there is no such hold", hint="'lake hold list' names them")
        return holds.holds[hold_id]

    def _add(self, event: HoldEvent) -> None:
        self._home.catalog.check_anchor(*self._home.key_store.anchor("catalog"))
        actor = self._home.actor(event.by)
        with self._database.writing() as connection:
            known = self.standing(connection, writing=True)
            former = known.holds.get(event.id)
            if event.kind is not HoldKind.PLACE and (former is None or not former.active):
                raise UsageError("the hold was released meanwhile")
            if event.kind is HoldKind.ASK and former is not None and former.asked is not None:
                raise UsageError("somebody else has asked for this release meanwhile", hint="run the command again")
            detail: dict[str, Any] = {"reason": event.reason}
            if event.scope is not None:
                detail |= _scope(event.scope)
            self._home.recorder.record(f"{ENTRY}.{event.kind}", actor, {"hold": event.id}, detail)
            sys.audit("lake.step", "hold.recorded")
            _, committed = self._ledger.add(connection, event.kind, event.id, microseconds(event.at), _document(event))
        sys.audit("lake.step", "hold.committed")
        committed()

    def _check(self, holds: Holds) -> None:
        verifier = NoteVerifier([self.verifier_key]) if holds.holds else None
        for hold in holds.holds.values():
            for event in (hold.placed, hold.asked, hold.released):
                if event is not None and (verifier is None or verifier.open(event.note) != note_text(event)):
                    raise IntegrityError("a hold is not the one that was signed", hint="run 'lake doctor'")

    def _signer(self) -> NoteSigner:
        return self._home.control.signer(f"{layout.audit_origin(self._home.config.lake)}/holds")

    def _sign(self, hold_id: str, kind: HoldKind, at: datetime, by: str, reason: str) -> str:
        return self._signer().sign(note_text(HoldEvent(hold_id, kind, at, by, reason)))

    def _now(self) -> datetime:
        return self._home.clock().astimezone(UTC).replace(tzinfo=None)


def note_text(event: HoldEvent) -> str:
    """What the lake signs of an event; docs/formats.md."""
    fields = {"id": event.id, "kind": str(event.kind), "at": microseconds(event.at), "by": event.by}
    return f"{TITLE}\n{canonical(fields | {'reason': event.reason}).decode()}\n"


def hold_document(hold: Hold, today: date) -> dict[str, Any]:
    """A hold for ``--json``."""

    def told(event: HoldEvent | None) -> dict[str, Any] | None:
        if event is None:
            return None
        at = timestamp(event.at.replace(tzinfo=UTC))
        return {"by": event.by, "at": at, "reason": event.reason, "signature": event.note}

    return {
        "id": hold.id,
        "state": "released" if hold.released else "release asked" if hold.asked else "in force",
        **_scope(hold.scope),
        "review": hold.review.isoformat(),
        "overdue": hold.overdue(today),
        "placed": told(hold.placed),
        "asked": told(hold.asked),
        "released": told(hold.released),
    }


def _scope(scope: HoldScope) -> dict[str, Any]:
    first, last = (None if one is None else one.isoformat() for one in (scope.first, scope.last))
    return {"employee": scope.employee, "dataset": scope.dataset, "from": first, "to": last}


def _document(event: HoldEvent) -> Mapping[str, Any]:
    document: dict[str, Any] = {"by": event.by, "reason": event.reason, "note": event.note}
    if event.scope is not None and event.review is not None:
        document |= {"scope": _scope(event.scope), "review": event.review.isoformat()}
    return document


def _opened(event: ledger.Event) -> HoldEvent:
    words = event.document
    scope = review = None
    if "scope" in words:
        named = words["scope"]
        first, last = (None if named[one] is None else datetime.fromisoformat(named[one]) for one in ("from", "to"))
        scope = HoldScope(named["employee"], named["dataset"], first, last)
        review = date.fromisoformat(words["review"])
    return HoldEvent(
        event.id, HoldKind(event.kind), moment(event.at), words["by"], words["reason"], scope, review, words["note"]
    )


def _reason(text: str) -> str:
    reason = " ".join(text.split())
    if not rules.SHORTEST_REASON <= len(reason) <= rules.LONGEST_REASON or not reason.isprintable():
        raise UsageError(f"a reason has {rules.SHORTEST_REASON} to {rules.LONGEST_REASON} printable characters")
    return reason
