"""Reads frozen from a sensitivity on: ordered by one person, ended by two. Keys of those levels open nothing meanwhile.

A pause stops what comes in, this what goes out: no key is released from the next query on, and a running query stops
at its next part. What is stored is not touched.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Collection

from keys.errors import KeyOperationError
from keys.operations import states
from keys.operations.journal import exclusive
from lake.errors import UsageError
from lake.gateway.collection.devices import Devices
from lake.gateway.collection.halts import Halts, frozen_levels
from lake.gateway.home import Home
from lake.gateway.keykeeping import KeyKeeping
from lake.gateway.recorder import Actor
from lake.rules.halt import EventKind, Halt, Order, Scope, ScopeKind
from lake.rules.model import SENSITIVITIES

PATIENCE = 60.0
"""Seconds for which an operation on keys that is under way is watched."""
_PAUSE = 0.05


class Freezing:
    """Freezes and unfreezes the reads of one lake whose key store is here."""

    def __init__(self, home: Home, actor: Actor, *, patience: float = PATIENCE) -> None:
        self._halts = Halts(home, Devices(home))
        self._keys = KeyKeeping(home, actor)
        self._patience = patience

    def freeze(self, by: str, level: int, reason: str) -> Halt:
        """Release no key of this sensitivity and above. The same again makes sure of it.

        Raises:
            UsageError: it is no sensitivity, or the reason is none.
            KeyOperationError: it is frozen, but an operation on keys goes on for long: run it again afterwards.
        """
        if level not in SENSITIVITIES:
            raise UsageError("this is no sensitivity", hint="1 to 4; what is rated as high or higher is frozen")
        halt = self._halts.order(by, Order(Scope(ScopeKind.READS, str(level)), reason), EventKind.FREEZE)
        sys.audit("lake.step", "freeze.ordered")
        self._suspend(frozen_levels([halt]))
        return halt

    def unfreeze(self, by: str, halt: str, reason: str = "") -> Halt:
        """Ask to end it, or, as a second person, end it. What another order freezes stays frozen.

        Raises:
            UsageError: there is no such order, or no reason is given by who asks.
        """
        one = self._halts.resume(by, halt, reason, reads=True)
        if one.ended is not None:
            sys.audit("lake.step", "freeze.ended")
            still = frozen_levels(self._halts.known().lasting())
            states.suspend_levels(self._keys.keeper, sorted(frozen_levels([one]) - still), disabled=False)
        return one

    def _suspend(self, levels: Collection[int]) -> None:
        """Now, whatever else is done to keys; and again once that is over, as it may have made a new version."""
        keeper, until = self._keys.keeper, time.monotonic() + self._patience
        while True:
            states.suspend_levels(keeper, sorted(levels), disabled=True)
            try:
                with exclusive(self._keys.folder):
                    states.suspend_levels(keeper, sorted(levels), disabled=True)
                    return
            except KeyOperationError:
                if time.monotonic() > until:
                    raise KeyOperationError(
                        "reads are frozen now, but an operation on keys is under way",
                        hint="run this again when it is over",
                    ) from None
            time.sleep(_PAUSE)
