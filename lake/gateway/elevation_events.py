"""Events of break-glass as the catalog holds them: sealed, because they name people and say why."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

from keys.control import POLICY, ControlKeys
from lake.errors import IntegrityError
from lake.rules.elevation import Asked, Event, EventKind
from lake.sealed.audit.entries import canonical
from lake.sealed.catalog.elevations import ElevationRow
from lake.sealed.catalog.rows import microseconds, moment


def _name(row_id: str, kind: str) -> str:
    return f"break-glass/{row_id}/{kind}"


def seal_event(control: ControlKeys, event: Event) -> ElevationRow:
    """The row of an event; its ``seq`` is not known yet (0)."""
    at = microseconds(event.at)
    document: dict[str, Any] = {"v": 1, "at": at, "by": event.by}
    if event.asked is not None:
        asked = event.asked
        document |= {"user": asked.user, "door": asked.door, "role": asked.role, "purpose": asked.purpose}
        document |= {"reason": asked.reason, "seconds": asked.lasting // timedelta(seconds=1)}
    sealed = control.seal_document(POLICY, _name(event.id, event.kind), canonical(document))
    return ElevationRow(event.id, event.kind, sealed, at, 0)


def open_event(control: ControlKeys, row: ElevationRow) -> Event:
    """The event of a row.

    Raises:
        KeyIntegrityError: what is sealed is not what was sealed for this id and kind.
        IntegrityError: the time beside it is another one, or a newer version wrote it.
    """
    document: dict[str, Any] = json.loads(control.open_document(POLICY, _name(row.id, row.kind), row.sealed))
    if document["at"] != row.at or document["v"] != 1 or row.kind not in set(EventKind):
        raise IntegrityError("an event of break-glass is not what was written", hint="run 'lake doctor'")
    asked = None
    if row.kind == EventKind.REQUEST:
        words = {name: document[name] for name in ("user", "door", "role", "purpose", "reason")}
        asked = Asked(**words, lasting=timedelta(seconds=document["seconds"]))
    return Event(row.id, EventKind(row.kind), moment(row.at), document["by"], asked)
