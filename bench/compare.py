"""This run beside an earlier one: which ratios got worse by more than machines differ from hour to hour."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

NOISE = 0.25
"""Ratios of one run move by as much on a busy machine of two cores; less than that says nothing."""
_RATIOS = ("ratios", "kept ratios", "gateway ratios", "slower_than", "filter off, slower_than")


def worse(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Ratios of the lake to a reference that both have and that rose by more than noise, as sentences."""
    old, new = dict(_ratios(before, ())), dict(_ratios(now, ()))
    return [
        f"{' / '.join(name)}: {old[name]:.2f} before, {new[name]:.2f} now"
        for name in sorted(old.keys() & new.keys())
        if new[name] > old[name] * (1 + NOISE)
    ]


def _ratios(value: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], float]]:
    if isinstance(value, Mapping):
        for name, inner in value.items():
            yield from _ratios(inner, (*path, str(name)))
    elif isinstance(value, int | float) and any(name in path for name in _RATIOS):
        yield path, float(value)
