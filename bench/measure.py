"""Timing side by side. A ratio is only ever made of two figures of one run, whose repetitions took turns."""

from __future__ import annotations

import gc
import math
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

_T = TypeVar("_T")
ROOT = Path(__file__).resolve().parent.parent


class BenchError(Exception):
    """The measurement is void: two sides did not do the same work."""


@dataclass(frozen=True, slots=True)
class Scale:
    """How much to measure.

    Attributes:
        rows: rows that are queried; what other sections use follows from it.
        repeat: repetitions of each measurement; the median counts.
        threads: threads of either side.
    """

    rows: int = 5_000_000
    employees: int = 50
    repeat: int = 3
    threads: int = 2
    seed: int = 7

    @property
    def ingest_rows(self) -> int:
        """Rows that the ingest section lands at a time."""
        return min(self.rows, 2_000_000)

    @property
    def keks(self) -> int:
        """KEKs of the larger key store."""
        return max(1, min(self.rows // 5, 1_000_000))

    @property
    def wide(self) -> int:
        """Employees with a dozen small files each."""
        return max(5, min(self.rows // 2_500, 1_000))

    @property
    def files(self) -> int:
        """Files of a query whose keys are looked at."""
        return max(10, min(self.rows // 100, 10_000))


@dataclass(frozen=True, slots=True)
class Process:
    """A child process that has ended: wall seconds, process start included, and what it printed."""

    wall: float
    output: str


def say(text: str) -> None:
    """Progress, for who waits."""
    print(text, file=sys.stderr, flush=True)


def seconds(work: Callable[[], object]) -> float:
    """Wall seconds of one call, after a collection so that garbage of the other side is not paid for here."""
    gc.collect()
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def timed(work: Callable[[], _T]) -> tuple[_T, float]:
    """What one call gives, and its wall seconds."""
    found: list[_T] = []
    taken = seconds(lambda: found.append(work()))
    return found[0], taken


def interleaved(sides: Mapping[str, Callable[[], object]], repeat: int, *, warm: bool = True) -> dict[str, float]:
    """Median wall seconds of each side, the sides taking turns, which of them begins changing each time.

    Args:
        warm: call each side once before, untimed.
    """
    samples: dict[str, list[float]] = {name: [] for name in sides}
    for work in sides.values() if warm else ():
        work()
    names = list(sides)
    for turn in range(repeat):
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            samples[name].append(seconds(sides[name]))
    return {name: statistics.median(found) for name, found in samples.items()}


def geometric_mean(ratios: Iterable[float]) -> float:
    """The mean of ratios."""
    return math.exp(statistics.fmean(math.log(ratio) for ratio in ratios))


def child(arguments: Sequence[str], options: Sequence[str] = ()) -> Process:
    """Run Python with arguments in a process of its own, from the project's root.

    Raises:
        BenchError: it failed; its complaint goes to stderr.
    """
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    start = time.perf_counter()
    ended = subprocess.run(
        [sys.executable, *options, *arguments],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    wall = time.perf_counter() - start
    if ended.returncode:
        raise BenchError(f"a measured process ended with {ended.returncode}")
    return Process(wall, ended.stdout)


def check_equal(what: str, expected: object, found: Any) -> None:
    """Refuse to compare what is not alike.

    Raises:
        BenchError: it differs. The values stay out of the message.
    """
    if expected != found:
        raise BenchError(f"{what}: the two sides do not give the same answer")
