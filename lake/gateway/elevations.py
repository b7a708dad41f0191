"""Break-glass on one lake: asked for, approved by a second person, in force for a while, revoked.

Every event is recorded in the audit log and then committed to the catalog, within one write transaction: of two that
race, the second sees what the first did. An event that was recorded and not committed did not count.
"""

from __future__ import annotations

import secrets
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy import exc

from lake.clock import timestamp
from lake.errors import DeniedError, UnavailableError, UsageError
from lake.gateway.elevation_events import open_event, seal_event
from lake.gateway.home import Home
from lake.gateway.recorder import Actor
from lake.rules import elevation as rules
from lake.rules.elevation import ENDINGS, Active, Asked, Door, Elevation, Event, EventKind, State, Wish
from lake.rules.policy import Policy
from lake.sealed.audit import entries
from lake.sealed.catalog import elevations as stored

Known = Mapping[str, Elevation]
Settled = Callable[[Known], Elevation | None]
"""Whether an event has no effect any more: the elevation as it is then; None if it is to happen."""


class Elevations:
    """The elevations of one lake; may be shared by threads. Times are naive UTC."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self._database = home.catalog.database
        self._unended: tuple[int, Known] = (0, {})

    def mark(self) -> int:
        """A number that grows with every event, quick to read."""
        with self._database.reading() as connection:
            return stored.newest(connection)

    def active(self, policy: Policy, user: str, purpose: str, now: datetime) -> tuple[Active, ...]:
        """What is in force for a user and a purpose, under the policy in force.

        What has run out by ``now`` is ended for good, so that a clock set back does not bring it back.

        Raises:
            IntegrityError, KeysError: an event was changed or removed behind the lake's back.
            UnavailableError: it cannot be read, or an end cannot be recorded.
        """
        known = self._known()
        self._end_expired(known, now)
        return rules.active(known.values(), policy.break_glass, user, purpose, now)

    def all(self) -> list[Elevation]:
        """Every elevation that was ever asked for, oldest first; what has run out is ended as in ``active``."""
        self._end_expired(self._known(), self._now())
        with self._database.reading() as connection:
            return list(self._read(connection, stored.read_rows(connection)).values())

    def request(self, policy: Policy | None, by: str, wish: Wish) -> Elevation:
        """Ask for a door. The same again, while it waits for an approval, is the same request.

        Raises:
            DeniedError: the policy has no such door for them.
            UsageError: purpose, reason or length is not one that the door takes.
        """
        with self._refusals(by, "request", wish.door):
            asked = _asked(policy, by, wish)
        now = self._now()

        def settled(known: Known) -> Elevation | None:
            waiting = (one for one in known.values() if one.state(now) is State.REQUESTED and one.approved is None)
            return next((one for one in waiting if one.asked == asked and one.requested.by == by), None)

        return self._add(Event(secrets.token_hex(16), EventKind.REQUEST, now, by, asked), settled)

    def approve(self, policy: Policy | None, by: str, elevation: str) -> Elevation:
        """Say yes as the second person; it is in force from then on. Saying it again changes nothing.

        Raises:
            DeniedError: they may not approve this, or the policy allows it no more.
            UsageError: there is no such request, or it has ended.
        """
        now = self._now()

        def settled(known: Known) -> Elevation | None:
            one = _find(known, elevation)
            door = _door_to_approve(policy, one, by)
            if one.ended is not None or one.state(now) is State.EXPIRED:
                raise UsageError("this request has ended", hint="it has to be made again")
            if not door.admits(one.asked, one.requested.by):
                raise DeniedError("the policy does not allow this any more", hint="it has to be asked for anew")
            return one if one.approved is not None else None

        with self._refusals(by, "approve", elevation):
            return self._add(Event(elevation, EventKind.APPROVE, now, by), settled)

    def revoke(self, policy: Policy | None, by: str, elevation: str, *, operator: bool = False) -> Elevation:
        """End it now, or withdraw the request. What has ended stays as it is.

        Args:
            operator: whether ``by`` operates the lake; otherwise who asked, gets it or may approve it.

        Raises:
            DeniedError: they may not.
            UsageError: there is no such request.
        """

        def settled(known: Known) -> Elevation | None:
            one = _find(known, elevation)
            door = policy.break_glass.get(one.asked.door) if policy else None
            if not (operator or one.involves(by) or (door is not None and by in door.approve)):
                raise _denied()
            return one if one.ended is not None else None

        with self._refusals(by, "revoke", elevation):
            return self._add(Event(elevation, EventKind.REVOKE, self._now(), by), settled)

    def _now(self) -> datetime:
        return self._home.clock().astimezone(UTC).replace(tzinfo=None)

    def _known(self) -> Known:
        """Elevations without an end; read anew only after an event."""
        with self._database.reading() as connection:
            mark = stored.newest(connection)
            if mark != self._unended[0]:
                rows = stored.read_rows(connection, ended_by=ENDINGS)
                self._unended = mark, self._read(connection, rows)
            return self._unended[1]

    def _read(self, connection: sa.Connection, rows: Sequence[stored.ElevationRow]) -> Known:
        found = rules.fold(open_event(self._home.control, row) for row in rows)
        unended = [row.seq for row in rows if row.id in found and found[row.id].ended is None]
        if unended:
            # A missing end would open it again.
            stored.check_since(connection, self._home.control.catalog_mac, min(unended))
        return found

    def _end_expired(self, known: Known, now: datetime) -> None:
        for one in known.values():
            if one.state(now) is State.EXPIRED:
                event = Event(one.id, EventKind.EXPIRE, now, one.asked.user)
                self._add(event, lambda fresh, of=one.id: fresh[of] if fresh[of].ended else None)  # type: ignore[misc]

    def _add(self, event: Event, settled: Settled) -> Elevation:
        self._home.catalog.check_anchor(*self._home.key_store.anchor("catalog"))
        actor = self._home.actor(event.by)
        if event.asked is not None:
            self._home.actor(event.asked.user)
        try:
            with self._database.writing() as connection:
                known = self._read(connection, stored.read_rows(connection))
                done = settled(known)
                if done is not None:
                    return done
                after = rules.fold([*_events(known.get(event.id)), event])[event.id]
                self._record(event, after, actor)
                sys.audit("lake.step", "break-glass.recorded")
                row = seal_event(self._home.control, event)
                head = stored.add_row(self._home.catalog, connection, row)
        except exc.IntegrityError:
            raise UnavailableError(
                "another process has just done this", hint="look at 'lake break-glass list'"
            ) from None
        sys.audit("lake.step", "break-glass.committed")
        self._home.advance(head)
        return after

    def _record(self, event: Event, after: Elevation, actor: Actor) -> None:
        asked = after.asked
        fields: dict[str, Any] = {
            "elevation": event.id,
            "door": asked.door,
            "role": asked.role,
            "purpose": asked.purpose,
            "for": self._home.control.actor_tag(asked.user),
        }
        detail = None
        if event.kind is EventKind.REQUEST:
            fields["seconds"] = int(asked.lasting.total_seconds())
            detail = {"reason": asked.reason}
        if event.kind is EventKind.APPROVE:
            fields["until"] = timestamp(after.expires.replace(tzinfo=UTC))
        self._home.recorder.record(f"{entries.BREAK_GLASS}.{event.kind}", actor, fields, detail)

    @contextmanager
    def _refusals(self, by: str, step: str, of: str) -> Iterator[None]:
        try:
            yield
        except DeniedError as error:
            named = of[:64].encode(errors="replace").decode()  # a command line may hold what is no text
            detail = {"of": named, "message": error.message}
            fields = {"step": step, "reason": error.code}
            self._home.recorder.record(f"{entries.BREAK_GLASS}.deny", self._home.actor(by), fields, detail)
            raise


def _events(one: Elevation | None) -> list[Event]:
    return [] if one is None else [event for event in (one.requested, one.approved, one.ended) if event is not None]


def _find(known: Known, elevation: str) -> Elevation:
    if elevation not in known:
        raise UsageError("there is no such request", hint="'lake break-glass list' names them")
    return known[elevation]


def _denied() -> DeniedError:
    return DeniedError("access denied", hint="ask the owner of the lake for a grant")


def _door_to_approve(policy: Policy | None, one: Elevation, by: str) -> Door:
    if one.involves(by):
        raise DeniedError("a second person has to approve this", hint="neither who asked for it nor who gets it")
    door = policy.break_glass.get(one.asked.door) if policy else None
    if door is None or not rules.may_approve(one, door, by):
        raise _denied()
    return door


def _asked(policy: Policy | None, by: str, wish: Wish) -> Asked:
    """What a wish amounts to under the policy."""
    user = by if wish.user is None else wish.user
    door = policy.break_glass.get(wish.door) if policy else None
    if door is None or not {by, user} <= door.request:
        raise _denied()
    if wish.purpose not in door.purposes:
        raise UsageError("the door is not for this purpose", hint=f"one of: {', '.join(sorted(door.purposes))}")
    reason = " ".join(wish.reason.split())
    if not rules.SHORTEST_REASON <= len(reason) <= rules.LONGEST_REASON or not reason.isprintable():
        raise UsageError(f"a reason has {rules.SHORTEST_REASON} to {rules.LONGEST_REASON} printable characters")
    seconds = wish.lasting // timedelta(seconds=1)
    asked = Asked(user, door.name, door.role, wish.purpose, reason, timedelta(seconds=seconds))
    if not door.admits(asked, by):
        minutes = int(door.at_most.total_seconds()) // 60
        raise UsageError(f"the door opens for at most {minutes} minutes", hint="ask again when they are over")
    return asked
