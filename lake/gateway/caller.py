"""Who is at the door, as a door has established it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from lake.rules.model import Identity


@dataclass(frozen=True, slots=True)
class Caller:
    """An authenticated caller.

    Attributes:
        purpose: what for, as the credential allows it.
        role: the one of their roles that they chose, if they chose one.
        expires: when the credential ends (UTC); a result under way then stops.
    """

    identity: Identity
    purpose: str
    role: str | None = None
    expires: datetime | None = None
