"""Versions of contracts on one lake: proposed by one person, put in force by another, withdrawn by anybody.

Every event is recorded in the audit log and then committed to the catalog together with the contract itself, within one
write transaction. An event that was recorded and not committed did not count. Decision 0028 has the reasons.
"""

from __future__ import annotations

import secrets
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

from keys.signing import NoteSigner, NoteVerifier
from lake.errors import ContractBreachError, DeniedError, IntegrityError, UsageError
from lake.gateway.collection import ledger
from lake.gateway.collection.ledger import Ledger
from lake.gateway.home import Home
from lake.rules import contract_approval as rules
from lake.rules import layout
from lake.rules.capture import check_filtered
from lake.rules.contract import Contract, check_successor, parse_contract
from lake.rules.contract_approval import Alone, Event, EventKind, Proposal, Proposed, Standing, State
from lake.rules.contract_change import Comparison, compare
from lake.sealed.audit import entries
from lake.sealed.catalog import tables
from lake.sealed.catalog.rows import microseconds, moment

SHORTEST_REASON = 10
Settled = Callable[[sa.Connection, Standing], Proposal | Event]
"""What is to happen; the proposal as it is if nothing is."""


class Approvals:
    """The versions of one lake's contracts; may be shared by threads. Times are naive UTC."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self._database = home.catalog.database
        self._ledger = Ledger(home, tables.contract_events)
        self._standing: Standing | None = None

    def standing(self, connection: sa.Connection | None = None, *, writing: bool = False) -> Standing:
        """What became of every proposal.

        Raises:
            IntegrityError, KeysError: an event was changed or removed behind the lake's back.
        """
        if connection is None:
            with self._database.reading() as own:
                return self.standing(own)
        read = self._ledger.events(connection, writing=writing)
        known = self._standing
        if known is None or known.number != read.number:
            known = rules.fold(map(_opened, read.events), read.number)
            self._check(known)
            self._standing = known
        return known

    def compare(self, text: str, source: str = "contract") -> tuple[Contract, Comparison]:
        """A contract and what it changes of the newest version in force.

        Raises:
            DocumentError, UsageError: it is not valid, or does not follow the newest version.
        """
        with self._database.reading() as connection:
            contract = parse_contract(text, source)
            return contract, self._compare(connection, self.standing(connection), contract)

    def propose(self, text: str, source: str, by: str, *, shortcut: bool = False) -> Proposal:
        """Propose a version; one that only narrows is in force at once. The same again is the same proposal.

        Args:
            shortcut: only what needs no second person: a narrower version, or in a lake made for a single approver
                one of a dataset that has no rows yet.

        Raises:
            DocumentError, UsageError: it is not valid, or does not follow the newest version.
            DeniedError: it takes a second person, and ``shortcut`` asks for none.
        """
        contract = parse_contract(text, source)
        check_filtered(contract)

        def settled(connection: sa.Connection, standing: Standing) -> Proposal | Event:
            of = (one for one in standing.proposals.values() if one.what.digest == contract.digest)
            same = next((one for one in of if standing.state(one) in {State.WAITING, State.IN_FORCE}), None)
            if same is not None and (same.in_force or not shortcut):
                return same
            changes = self._compare(connection, standing, contract)
            alone = self._alone(connection, standing, contract, changes, shortcut=shortcut)
            if shortcut and not alone:
                raise DeniedError(
                    "a second person has to approve this contract",
                    hint="'lake contract propose FILE', then 'lake contract approve ID' by somebody else",
                )
            words = tuple(change.words for change in changes.changes)
            what = Proposed(contract.dataset, contract.version, contract.digest, contract.text, words, alone)
            note = self._sign(what) if alone else ""
            return Event(secrets.token_hex(16), EventKind.PROPOSE, self._now(), by, what, note)

        return self._add(by, settled)

    def approve(self, by: str, proposal: str) -> Proposal:
        """Say yes as the second person; the version is in force from then on. Saying it again changes nothing.

        Raises:
            DeniedError: they proposed it themselves.
            UsageError: there is no such proposal, or it has ended.
        """

        def settled(connection: sa.Connection, standing: Standing) -> Proposal | Event:
            one = _waiting(standing, proposal)
            if one.proposed.by == by:
                raise DeniedError("a second person has to approve this", hint="not who proposed it")
            if one.in_force:
                return one
            # Again, against what is in force now.
            self._compare(connection, standing, parse_contract(one.what.text, "the proposal"))
            return Event(one.id, EventKind.APPROVE, self._now(), by, note=self._sign(one.what))

        with self._refusals(by, "approve", proposal):
            return self._add(by, settled)

    def reject(self, by: str, proposal: str, reason: str) -> Proposal:
        """Say no, or take back one's own proposal. Saying it again changes nothing.

        Raises:
            UsageError: there is no such proposal, it is in force, or no reason is given.
        """
        reason = _reason(reason)

        def settled(_: sa.Connection, standing: Standing) -> Proposal | Event:
            one = _find(standing, proposal)
            if one.approved is not None:
                raise UsageError("this version is in force already", hint="'lake contract withdraw' ends that")
            return one if one.ended else Event(one.id, EventKind.REJECT, self._now(), by, note=reason)

        return self._add(by, settled)

    def withdraw(self, by: str, dataset: str, version: int, reason: str) -> Proposal:
        """Take a version out of force: batches that name it are refused from then on. Again changes nothing.

        Raises:
            UsageError: it never was in force, or no reason is given.
        """
        reason = _reason(reason)

        def settled(_: sa.Connection, standing: Standing) -> Proposal | Event:
            one = standing.version(dataset, version)
            if one is None:
                raise UsageError("no such version was ever in force", hint="'lake contract list' names them")
            return one if one.ended else Event(one.id, EventKind.WITHDRAW, self._now(), by, note=reason)

        return self._add(by, settled)

    def make_single(self, by: str) -> None:
        """Of a lake that is being made: datasets without rows take a contract from one person.

        Raises:
            UsageError: the lake has contracts already.
        """

        def settled(_: sa.Connection, standing: Standing) -> Event:
            if standing.number:
                raise UsageError("only a new lake can be made for a single approver")
            return Event(secrets.token_hex(16), EventKind.SINGLE, self._now(), by)

        self._write(by, settled)

    def confirm(self, connection: sa.Connection, dataset: str, version: int) -> None:
        """Ask inside a batch's transaction whether its version is still in force.

        Raises:
            ContractBreachError: it was withdrawn meanwhile.
        """
        known = self._standing
        if known is None or self._ledger.newest(connection) != known.number:
            known = self.standing(connection, writing=True)
        if version not in known.in_force(dataset):
            raise not_in_force(dataset, version)

    @property
    def verifier_key(self) -> str:
        """What others need to verify the note of a version in force; public."""
        return self._signer().verifier_key

    def _signer(self) -> NoteSigner:
        return self._home.control.signer(f"{layout.audit_origin(self._home.config.lake)}/contracts")

    def _sign(self, what: Proposed) -> str:
        return self._signer().sign(note_text(what))

    def _check(self, standing: Standing) -> None:
        """Each version that came into force carries the lake's signature of what it says."""
        signed = [one for one in standing.proposals.values() if one.approved is not None]
        verifier = NoteVerifier([self.verifier_key]) if signed else None
        for one in signed:
            if verifier is None or verifier.open(one.note) != note_text(one.what):
                raise IntegrityError("a contract in force is not the one that was signed", hint="run 'lake doctor'")

    def _now(self) -> datetime:
        return self._home.clock().astimezone(UTC).replace(tzinfo=None)

    def _compare(self, connection: sa.Connection, standing: Standing, contract: Contract) -> Comparison:
        """What changes, in a version that may follow: read with all that landed, judged by what is in force."""
        stored = self._stored(connection, contract.dataset)
        in_force = standing.in_force(contract.dataset)
        if stored:
            newest = parse_contract(stored[max(stored)].text)
            # A catalog from before approvals: its contracts are approved as they are.
            if newest.digest != contract.digest or standing.version(contract.dataset, contract.version):
                check_successor(newest, contract)
        elif contract.version != 1:
            raise UsageError("the first contract of a dataset has version 1")
        before = parse_contract(in_force[max(in_force)].what.text) if in_force else None
        return compare(before, contract)

    def _stored(self, connection: sa.Connection, dataset: str) -> dict[int, Any]:
        query = sa.select(tables.contracts).where(tables.contracts.c.dataset == dataset)
        return {row.version: row for row in connection.execute(query)}

    def _alone(
        self, connection: sa.Connection, standing: Standing, contract: Contract, changes: Comparison, *, shortcut: bool
    ) -> Alone:
        if not changes.needs_second:
            return Alone.NARROWER
        if not (shortcut and standing.single):
            return Alone.NO
        where = (tables.batches.c.dataset == contract.dataset) & (tables.batches.c.rows > 0)
        landed = connection.execute(sa.select(tables.batches.c.seq).where(where).limit(1)).first()
        return Alone.NO if landed else Alone.SINGLE

    def _add(self, by: str, settled: Settled) -> Proposal:
        """Let an event happen; gives the proposal as it is then."""
        one = self._write(by, settled)
        return self.standing().proposals[one] if isinstance(one, str) else one

    def _write(self, by: str, settled: Settled) -> Proposal | str:
        self._home.catalog.check_anchor(*self._home.key_store.anchor("catalog"))
        actor = self._home.actor(by)
        with self._database.writing() as connection:
            standing = self.standing(connection, writing=True)
            event = settled(connection, standing)
            if isinstance(event, Proposal):
                return event
            one = rules.fold([*_history(standing, event.id), event]).proposals.get(event.id)
            self._record(event, one, actor)
            sys.audit("lake.step", "contract.recorded")
            if one is not None and one.in_force:
                self._store(connection, one.what)
            at = microseconds(event.at)
            _, committed = self._ledger.add(connection, event.kind, event.id, at, _document(event))
        sys.audit("lake.step", "contract.committed")
        committed()
        return event.id

    def _store(self, connection: sa.Connection, what: Proposed) -> None:
        stored = self._stored(connection, what.dataset).get(what.version)
        if stored is None:
            row = {"dataset": what.dataset, "version": what.version, "digest": what.digest, "text": what.text}
            self._home.catalog.append(connection, "contract", {tables.contracts: [row]})
        elif stored.digest != what.digest:
            raise UsageError("another contract has this version", hint="propose the next one")

    def _record(self, event: Event, one: Proposal | None, actor: Any) -> None:
        fields: dict[str, Any] = {"proposal": event.id}
        detail = None
        if one is not None:
            fields |= {"dataset": one.what.dataset, "version": one.what.version, "contract": one.what.digest}
        if event.proposed is not None:
            fields |= {"alone": str(event.proposed.alone), "changes": len(event.proposed.changes)}
        elif event.kind in {EventKind.REJECT, EventKind.WITHDRAW}:
            detail = {"reason": event.note}
        self._home.recorder.record(f"{entries.CONTRACT}.{event.kind}", actor, fields, detail)

    @contextmanager
    def _refusals(self, by: str, step: str, of: str) -> Iterator[None]:
        try:
            yield
        except DeniedError as error:
            named = of[:64].encode(errors="replace").decode()  # a command line may hold what is no text
            fields = {"step": step, "reason": error.code}
            detail = {"of": named, "message": error.message}
            self._home.recorder.record(f"{entries.CONTRACT}.deny", self._home.actor(by), fields, detail)
            raise


def note_text(what: Proposed) -> str:
    """What the lake signs of a version that comes into force; docs/formats.md."""
    return f"telemetry-lake contract\n{what.dataset}\n{what.version}\n{what.digest}\n"


def not_in_force(dataset: str, version: int) -> ContractBreachError:
    """The refusal of a batch whose contract version is not in force."""
    return ContractBreachError(
        f"version {version} of the contract of {dataset!r} is not in force", hint="'lake contract list' shows what is"
    )


def _history(standing: Standing, proposal: str) -> Sequence[Event]:
    """The events of a proposal before this one, and how the lake was made."""
    made = [Event("", EventKind.SINGLE, datetime.min, "")] if standing.single else []  # noqa: DTZ901 - naive UTC
    one = standing.proposals.get(proposal)
    return [*made, *([event for event in (one.proposed, one.approved, one.ended) if event] if one else [])]


def _document(event: Event) -> Mapping[str, Any]:
    document: dict[str, Any] = {"by": event.by, "note": event.note}
    if event.proposed is not None:
        what = event.proposed
        document |= {"dataset": what.dataset, "version": what.version, "digest": what.digest, "text": what.text}
        document |= {"changes": list(what.changes), "alone": str(what.alone)}
    return document


def _opened(event: ledger.Event) -> Event:
    words = event.document
    proposed = None
    if event.kind == EventKind.PROPOSE:
        named = {name: words[name] for name in ("dataset", "version", "digest", "text")}
        proposed = Proposed(**named, changes=tuple(words["changes"]), alone=Alone(words["alone"]))
    return Event(event.id, EventKind(event.kind), moment(event.at), words["by"], proposed, words["note"])


def _find(standing: Standing, proposal: str) -> Proposal:
    if proposal not in standing.proposals:
        raise UsageError("there is no such proposal", hint="'lake contract list' names them")
    return standing.proposals[proposal]


def _waiting(standing: Standing, proposal: str) -> Proposal:
    one = _find(standing, proposal)
    state = standing.state(one)
    if state not in {State.WAITING, State.IN_FORCE}:
        raise UsageError(f"this proposal is {state}", hint="it has to be made again")
    return one


def _reason(text: str) -> str:
    reason = " ".join(text.split())
    if not SHORTEST_REASON <= len(reason) <= rules.LONGEST_REASON or not reason.isprintable():
        raise UsageError(f"a reason has {SHORTEST_REASON} to {rules.LONGEST_REASON} printable characters")
    return reason
