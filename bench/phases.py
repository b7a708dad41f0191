"""Where the time of a job goes: seconds between its named steps, by what was done in them."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

_watching: dict[str, Any] = {}
_hooked: list[bool] = []


def _hook(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "lake.step" and _watching:
        now = time.perf_counter()
        found, names = _watching["found"], _watching["names"]
        if name := names.get(arguments[0]):
            found[name] = found.get(name, 0.0) + now - _watching["last"]
            _watching["last"] = now


@contextmanager
def phases(names: Mapping[str, str]) -> Iterator[dict[str, float]]:
    """Seconds by what was done; ``names`` says what a step ends. The hook cannot be taken away, and is silent later."""
    if not _hooked:
        _hooked.append(True)
        sys.addaudithook(_hook)
    found: dict[str, float] = {}
    _watching.update(found=found, names=names, last=time.perf_counter())
    try:
        yield found
    finally:
        _watching.clear()


def shares(found: Mapping[str, float]) -> dict[str, float]:
    """Each as a part of the whole."""
    total = sum(found.values()) or 1.0
    return {name: spent / total for name, spent in sorted(found.items())}
