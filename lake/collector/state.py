"""What a spool remembers beside its batches: counts, numbers, cursors and leases. One small sealed file.

Every closed batch has a copy of the state as it was when it was closed, so that neither a crash between the two files
nor one between two savings counts anything twice or forgets it.
"""

from __future__ import annotations

import json
import secrets
from collections import Counter
from dataclasses import dataclass, field, fields
from typing import Any

from lake.errors import IntegrityError

FORMAT = 1


@dataclass(slots=True)
class State:
    """The state of one spool.

    Attributes:
        spool: random; with a batch's number it is the batch's id.
        revision: grows with every change; of two copies the greater is the newer.
        number: of the newest batch.
        at: number of the open batch and how many of its frames are counted in here.
        events: how many events were numbered; ``keys`` how many key events.
        totals: since the spool was made: ``recorded``, ``landed``, ``sent`` batches, what was left out by reason.
        untold: what was left out and stands in no batch's header yet, by reason.
        marks: cursors of sources, by name.
        done: names of batches whose files are to be removed.
        leases: as lease.py writes them.
        boot: of which start of the machine the leases' clock is.
        acknowledged: the newest mark of pauses that the server was told of.
    """

    spool: str = field(default_factory=lambda: secrets.token_hex(8))
    revision: int = 0
    number: int = 0
    at: tuple[int, int] = (0, 0)
    events: int = 0
    keys: int = 0
    totals: Counter[str] = field(default_factory=Counter)
    untold: Counter[str] = field(default_factory=Counter)
    marks: dict[str, Any] = field(default_factory=dict)
    done: list[str] = field(default_factory=list)
    leases: list[dict[str, Any]] = field(default_factory=list)
    boot: str = ""
    acknowledged: int = 0

    def encode(self) -> bytes:
        """As JSON."""
        document = {one.name: getattr(self, one.name) for one in fields(self)}
        return json.dumps({"v": FORMAT, **document}, separators=(",", ":")).encode()


def decode(content: bytes) -> State:
    """A state as it was saved.

    Raises:
        IntegrityError: it opened and is none, so another version has written it.
    """
    try:
        document = json.loads(content)
        version = document.pop("v")
        state = State(**document)
    except (ValueError, TypeError, KeyError, AttributeError):
        version, state = None, State()
    if version != FORMAT:
        raise IntegrityError("the spool was written by another version", hint="use that one, or a new folder")
    state.at = (int(state.at[0]), int(state.at[1]))
    state.totals, state.untold = Counter(state.totals), Counter(state.untold)
    return state
