"""What key operations cost, and how little of it depends on how many employees there are."""

from __future__ import annotations

import shutil
import statistics
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from bench import key_path, key_store, key_sweeps
from bench.measure import Scale, check_equal, say, seconds, timed
from keys.names import BUCKETS, ROOT_NAMES
from keys.operations.rotate import rotate_roots
from keys.operations.shred import shred

FEW = 100
"""Employees of the smaller lake whose roots are rotated; the larger has a hundred times as many."""


def measure(scale: Scale, folder: Path) -> dict[str, Any]:
    """Rotating roots and bucket keys, shredding, and the keys of a query."""
    people = max(1, min(FEW, scale.rows // 10_000))
    roots = {str(number): _roots(folder / f"roots-{number}", number, scale.repeat) for number in (people, 100 * people)}
    calls = [found["provider_calls"] for found in roots.values()]
    check_equal("provider calls of a rotation of roots", *calls)
    sweeps, shreds = _stores(scale, folder)
    return {
        "roots": roots,
        "buckets": sweeps,
        "memory_growth": _growth([found["peak_bytes"][key_sweeps.ROTATE] for found in sweeps.values()]),
        "shred": shreds,
        "query": key_path.measure(scale, folder / "query"),
    }


def _roots(place: Path, employees: int, repeat: int) -> dict[str, Any]:
    say(f"  rotation of the roots of {employees:,} employees")
    key_store.make(place, employees, months=key_store.MONTHS[:1])
    samples: list[float] = []
    with key_store.opened(place) as held:
        for _ in range(repeat):
            held.provider.reset()
            samples.append(seconds(lambda: rotate_roots(held.keeper, ROOT_NAMES)))
        calls, passed = dict(held.provider.calls), dict(held.provider.keys)
    shutil.rmtree(place)
    return {
        "seconds": statistics.median(samples),
        "provider_calls": sum(calls.values()),
        "calls": calls,
        "keys_passed": {name: count for name, count in passed.items() if count},
    }


def _stores(scale: Scale, folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Rotation of bucket keys and shredding, in a key store and in one with ten times the KEKs."""
    fewer = key_store.employees_for(max(1, scale.keks // 10))
    # One bucket of the larger store is as full as any of the smaller one.
    quiet = max(2 * scale.repeat, fewer // BUCKETS)
    sweeps: dict[str, Any] = {}
    shreds: dict[str, Any] = {}
    few = max(fewer, quiet + scale.repeat)
    for employees in (few, 10 * few):
        store = folder / f"store-{employees}"
        say(f"  a key store of {employees:,} employees")
        wanted = key_store.make(store, employees, quiet=quiet)
        sweeps[str(wanted)] = key_sweeps.measure(store, wanted, scale.repeat)
        say(f"  shredding among {employees:,} employees")
        ordinary = [quiet + number for number in range(scale.repeat)]
        shreds[str(wanted)] = {
            "employees": employees,
            **_shreds(store, {"any": ordinary, "quiet": range(scale.repeat)}),
        }
        shutil.rmtree(store)
    small, large = shreds.values()
    growth = {
        "any bucket": large["any"]["seconds"] / small["any"]["seconds"],
        "equal bucket": large["quiet"]["seconds"] / small["quiet"]["seconds"],
    }
    return sweeps, {**shreds, "growth": growth}


def _shreds(store: Path, chosen: dict[str, Sequence[int]]) -> dict[str, Any]:
    """Median seconds to shred one of these employees, one after the other, once there is a tested backup."""
    found: dict[str, Any] = {}
    with key_store.opened(store) as held:
        place = store / key_store.BACKUPS
        first = seconds(lambda: held.keeper.proven_backup(place))
        for kind, numbers in chosen.items():
            samples: list[float] = []
            swept: list[int] = []
            for number in numbers:
                names = [key_store.pseudonym(number)]
                held.provider.reset()
                operation, taken = timed(partial(shred, held.keeper, names, place))
                samples.append(taken)
                swept.append(operation.detail["swept"])
            found[kind] = {
                "seconds": statistics.median(samples),
                "survivors": statistics.median(swept),
                "provider_calls": held.provider.calls.total(),
            }
    return {"first_backup_seconds": first, **found}


def _growth(figures: Sequence[float]) -> float:
    return max(figures) / min(figures)
