"""Being asked to end: SIGTERM and SIGINT set a flag, and work stops at its next safe point."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Stop:
    """Whether to end; may be asked from any thread."""

    def __init__(self) -> None:
        self._event = threading.Event()

    def __call__(self) -> bool:
        """Whether it was asked for."""
        return self._event.is_set()

    def ask(self) -> None:
        """Ask for it."""
        self._event.set()

    def wait(self, seconds: float) -> bool:
        """Wait until it is asked for, at most for some seconds; whether it was."""
        return self._event.wait(seconds)


@contextmanager
def stop_signals() -> Iterator[Stop]:
    """SIGTERM and SIGINT ask to end inside the block; a second one ends the process as it always does."""
    stop = Stop()
    former = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}

    def asked(_number: int, _frame: FrameType | None) -> None:
        stop.ask()
        for number, handler in former.items():
            signal.signal(number, handler)

    for number in former:
        signal.signal(number, asked)
    try:
        yield stop
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)
