"""How many queries of one user a grant lets run at once, in this process."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable

from lake.errors import LimitExceededError
from lake.gateway.admission import Admission

Slot = tuple[str, str, str]
"""User, role and dataset."""


class Slots:
    """Counts queries under way; safe for many threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._taken: Counter[Slot] = Counter()

    def take(self, admission: Admission) -> Callable[[], None]:
        """Take a slot of each grant; what is returned gives them back, once however often it is called.

        Raises:
            LimitExceededError: one of the grants has none left.
        """
        user = admission.allowed.principal.user
        wanted = {
            (user, planned.grant.role, name): planned.grant.limits.concurrent
            for name, planned in admission.planned.items()
        }
        with self._lock:
            for slot, most in wanted.items():
                if most is not None and self._taken[slot] >= most:
                    raise LimitExceededError(f"you have {most} queries under way already", hint="wait for one to end")
            self._taken.update(wanted.keys())
        held = set(wanted)

        def give_back() -> None:
            with self._lock:
                self._taken.subtract(held)
                held.clear()
                self._taken += Counter()  # forgets the zeros

        return give_back
