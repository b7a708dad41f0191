"""Structured logs of jobs: one JSON object a line on stderr. Ids, counts and codes; no names, values or keys."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any

from lake.clock import Clock, timestamp, utc_now


class Log:
    """Writes lines; made with :meth:`to_stderr` or :meth:`silent`."""

    def __init__(self, write: Callable[[str], None] | None, clock: Clock = utc_now) -> None:
        self._write = write
        self._clock = clock

    @classmethod
    def to_stderr(cls, clock: Clock = utc_now) -> Log:
        """Lines on stderr, as a daemon and ``--log`` want them."""
        return cls(lambda line: print(line, file=sys.stderr, flush=True), clock)  # noqa: T201 - this is the log

    @classmethod
    def silent(cls) -> Log:
        """None."""
        return cls(None)

    def __call__(self, event: str, **fields: Any) -> None:
        """Write one line."""
        if self._write is not None:
            line = {"time": timestamp(self._clock()), "event": event, **fields}
            self._write(json.dumps(line, ensure_ascii=False, separators=(",", ":")))
