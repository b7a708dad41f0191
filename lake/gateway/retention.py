"""The rules of retention in force on one lake, and who has approved which purge: events, recorded and sealed.

Rules take one person, as they can only shorten what contracts promise; a purge above their threshold takes two.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from keys.signing import NoteSigner, NoteVerifier
from lake.errors import DeniedError, IntegrityError, UsageError
from lake.gateway.collection.ledger import Event, Ledger
from lake.gateway.home import Home
from lake.rules import layout
from lake.rules.retention import Retention, parse_retention
from lake.sealed.audit.entries import canonical
from lake.sealed.catalog import tables
from lake.sealed.catalog.rows import microseconds, moment

ENTRY = "retention"
"""Followed by what happened: ``retention.rules``, ``retention.approve``; or ``retention.deny``."""
RULES, APPROVE = "rules", "approve"
TITLE = "telemetry-lake purge approval v1"


@dataclass(frozen=True, slots=True)
class Approval:
    """Who has said yes to a plan: its hash, when (naive UTC), and the signed note."""

    plan: str
    by: str
    at: datetime
    note: str


class RetentionDesk:
    """Rules and approvals of one lake; may be shared by threads."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self._database = home.catalog.database
        self._ledger = Ledger(home, tables.retention)

    def current(self) -> Retention:
        """The rules in force; none if no document was applied."""
        rules = [event for event in self._events() if event.kind == RULES]
        return parse_retention(rules[-1].document["text"], "the rules in force") if rules else Retention()

    def version(self) -> int:
        """How many documents were applied so far."""
        return sum(event.kind == RULES for event in self._events())

    def apply(self, text: str, source: str, by: str) -> tuple[Retention, bool]:
        """Put rules in force; False if they are already.

        Raises:
            DocumentError: they are not valid.
        """
        retention = parse_retention(text, source)
        before = self.current()
        if before.digest == retention.digest:
            return retention, False
        fields = {"rules": retention.digest, "before": before.digest}
        event_id = hashlib.sha256(text.encode()).hexdigest()[:32]
        self._add(RULES, event_id, by=by, document={"text": text}, fields=fields)
        return retention, True

    def approve(self, plan: str, by: str, facts: Mapping[str, Any]) -> Approval:
        """Say yes to a plan; again changes nothing."""
        known = [one for one in self.approvals(plan) if one.by == by]
        if known:
            return known[0]
        at = self._now()
        note = self._signer().sign(note_text(plan, by, at))
        document = {"plan": plan, "note": note}
        self._add(APPROVE, _id(plan), by=by, document=document, fields={"plan": plan, **facts}, at=at)
        return Approval(plan, by, at, note)

    def approvals(self, plan: str) -> list[Approval]:
        """Who has approved a plan.

        Raises:
            IntegrityError: an approval is not the one that was signed.
        """
        found = [
            Approval(plan, event.document["by"], moment(event.at), event.document["note"])
            for event in self._events()
            if event.kind == APPROVE and event.document["plan"] == plan
        ]
        verifier = NoteVerifier([self.verifier_key]) if found else None
        for one in found:
            if verifier is None or verifier.open(one.note) != note_text(plan, one.by, one.at):
                raise IntegrityError("an approval is not the one that was signed", hint="run 'lake doctor'")
        return found

    def check_approved(self, plan: str, by: str) -> list[Approval]:
        """Who, other than the person who executes it, has approved a plan.

        Raises:
            DeniedError: nobody.
        """
        others = [one for one in self.approvals(plan) if one.by != by]
        if not others:
            self._home.recorder.record(f"{ENTRY}.deny", self._home.actor(by), {"plan": plan, "reason": "not approved"})
            raise DeniedError(
                "a second person has to approve this purge", hint=f"'lake jobs retention approve --plan {plan}'"
            )
        return others

    @property
    def verifier_key(self) -> str:
        """What others need to verify an approval; public."""
        return self._signer().verifier_key

    def _events(self) -> tuple[Event, ...]:
        with self._database.reading() as connection:
            return self._ledger.events(connection).events

    def _add(
        self,
        kind: str,
        event_id: str,
        *,
        by: str,
        document: Mapping[str, Any],
        fields: Mapping[str, Any],
        at: datetime | None = None,
    ) -> None:
        self._home.catalog.check_anchor(*self._home.key_store.anchor("catalog"))
        actor = self._home.actor(by)
        with self._database.writing() as connection:
            self._ledger.events(connection, writing=True)
            self._home.recorder.record(f"{ENTRY}.{kind}", actor, fields)
            sys.audit("lake.step", "retention.recorded")
            when = microseconds(at or self._now())
            _, committed = self._ledger.add(connection, kind, event_id, when, {"by": by, **document})
        sys.audit("lake.step", "retention.committed")
        committed()

    def _signer(self) -> NoteSigner:
        return self._home.control.signer(f"{layout.audit_origin(self._home.config.lake)}/retention")

    def _now(self) -> datetime:
        return self._home.clock().astimezone(UTC).replace(tzinfo=None)


def note_text(plan: str, by: str, at: datetime) -> str:
    """What the lake signs of an approval; docs/formats.md."""
    return f"{TITLE}\n{canonical({'plan': plan, 'by': by, 'at': microseconds(at)}).decode()}\n"


def _id(plan: str) -> str:
    digest = plan.removeprefix("sha256:")
    if len(digest) != 64 or any(character not in "0123456789abcdef" for character in digest):
        raise UsageError("a plan is named by its hash", hint="'lake jobs retention plan' shows it")
    return digest[:32]
