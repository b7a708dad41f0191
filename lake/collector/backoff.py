"""When to try again: twice as long after every failure, and at random within that, so that a fleet spreads out."""

from __future__ import annotations

import random
from collections.abc import Callable

_DICE = random.SystemRandom()


class Backoff:
    """Full jitter: a random part of ``first * 2 ** failures``, at most ``most`` seconds; ``Retry-After`` wins."""

    def __init__(self, first: float = 1.0, most: float = 300.0, chance: Callable[[], float] = _DICE.random) -> None:
        self._first = first
        self._most = most
        self._chance = chance
        self._failures = 0

    def reset(self) -> None:
        """It worked."""
        self._failures = 0

    def wait(self, asked: float | None = None) -> float:
        """Seconds until the next try, after one more failure.

        Args:
            asked: what the server asked for; it is never less, and a little more so that not all come at once.
        """
        self._failures += 1
        span: float = min(self._most, self._first * 2.0 ** min(self._failures - 1, 30))
        drawn = self._chance() * span
        return max(drawn, self._first / 2) if asked is None else min(asked, 3600.0) + self._chance() * self._first
