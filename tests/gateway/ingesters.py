"""Many ingesters at once, each a process that sends its batches in order and is killed now and then; and the reckoning.

An ingester that was killed starts again with the first batch that was not acknowledged to it, as a real sender does.
What a batch holds follows from its name, so that afterwards every row can be told: there, missing, or there twice.
"""

# ruff: noqa: DTZ001 - capture times are naive UTC
from __future__ import annotations

import random
import signal
import subprocess
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from lake.errors import LakeError
from tests.world import World, child, row, small_settings, table

SENDING = """
from tests.gateway import ingesters
ingesters.send(world, *map(int, sys.argv[5:8]))
"""
ROWS = 3
TRIES = 400
LONGEST_WAIT = 0.15
"""Seconds until a kill."""
SPREAD = 1_000_000
"""Between the row numbers of two ingesters."""


def rows_of(ingester: int, batch: int) -> list[dict[str, Any]]:
    """The rows of a batch; those of different ingesters belong to the same few people."""
    return [
        row(
            f"EMP-MANY-{(ingester + batch + number) % 5}",
            datetime(2026, 8, 1) + timedelta(minutes=batch),
            "focus",
            app="Many-QX",
            big=ingester * SPREAD + batch * ROWS + number,
        )
        for number in range(ROWS)
    ]


@dataclass
class Tally:
    """What came of it, in batches but for ``kills`` and ``seconds``.

    Attributes:
        sent: attempts that were begun, repetitions included.
        partial: of which some rows are there, and some not.
    """

    wanted: int
    sent: int = 0
    acknowledged: int = 0
    visible: int = 0
    doubled: int = 0
    partial: int = 0
    lost: int = 0
    strange: int = 0
    kills: int = 0
    seconds: float = 0.0
    errors: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        return (
            f"{self.wanted} batches: {self.sent} sent, {self.acknowledged} acknowledged, {self.visible} visible,"
            f" {self.doubled} doubled, {self.partial} partial, {self.lost} lost; {self.kills} kills,"
            f" {self.seconds:.1f} s, {self.wanted / self.seconds:.1f} batches/s"
        )


@dataclass(frozen=True, slots=True)
class Load:
    """How many of what; ``kills`` of each ingester, at batches that ``seed`` decides."""

    ingesters: int = 8
    batches: int = 200
    kills: int = 5
    seed: int = 1


def run(world: World, load: Load) -> Tally:
    """Send everything, killing on the way, and count what the lake then shows."""
    return Run(world, load).whole()


class Run:
    """One thread beside each ingester."""

    def __init__(self, world: World, load: Load) -> None:
        self._world = world
        self._load = load
        self._tally = Tally(load.ingesters * load.batches)
        self.acknowledged: set[tuple[int, int]] = set()
        self._lock = threading.Lock()

    def whole(self) -> Tally:
        """Everything in turn."""
        began = time.monotonic()
        numbers = range(self._load.ingesters)
        threads = [threading.Thread(target=self._drive, args=(number,), daemon=True) for number in numbers]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self._tally.seconds = time.monotonic() - began
        return self.reckon()

    def _drive(self, number: int) -> None:
        load = self._load
        dice = random.Random(load.seed * 1_000 + number)
        deadly = set(dice.sample(range(load.batches), min(load.kills, load.batches)))
        while (following := self._following(number)) < load.batches:
            with child(self._world, SENDING, "", 1, number, following, load.batches) as process:
                text = self._watch(process, number, deadly, dice)
            if process.returncode not in {0, -signal.SIGKILL}:
                with self._lock:
                    self._tally.errors.append(text[-2_000:])
                return

    def _watch(self, process: subprocess.Popen[str], number: int, deadly: set[int], dice: random.Random) -> str:
        """Count what it says until it ends, and kill it at batches that are to be deadly; what it complains of."""
        assert process.stdout is not None
        assert process.stderr is not None
        for line in process.stdout:
            word, batch = line.split()
            self._count(word, number, int(batch))
            if word == "sent" and int(batch) in deadly:
                deadly.discard(int(batch))
                time.sleep(dice.uniform(0, LONGEST_WAIT))  # anywhere between the first step and the answer
                process.send_signal(signal.SIGKILL)
                self._count("killed", number, int(batch))
        return process.stderr.read()

    def _following(self, number: int) -> int:
        with self._lock:
            return sum(ingester == number for ingester, _ in self.acknowledged)

    def _count(self, word: str, number: int, batch: int) -> None:
        with self._lock:
            self._tally.sent += word == "sent"
            self._tally.kills += word == "killed"
            if word == "acknowledged":
                self.acknowledged.add((number, batch))

    def reckon(self) -> Tally:
        """What the lake shows, against what was acknowledged."""
        tally = self._tally
        found = Counter(seen["big"] for seen in self._world.rows("SELECT big FROM events WHERE app = 'Many-QX'"))
        tally.acknowledged = len(self.acknowledged)
        for ingester in range(self._load.ingesters):
            for batch in range(self._load.batches):
                counts = [found.pop(sent["big"], 0) for sent in rows_of(ingester, batch)]
                tally.visible += all(counts)
                tally.doubled += max(counts) > 1
                tally.partial += any(counts) and not all(counts)
                tally.lost += not all(counts) and (ingester, batch) in self.acknowledged
        tally.strange = len(found)
        return tally


def send(world: World, ingester: int, first: int, count: int) -> None:
    """What an ingester's process does: one batch after the other, each until it is acknowledged."""
    with world.open(settings=small_settings(threads=1)) as lake:
        for batch in range(first, count):
            for again in range(TRIES):
                print(f"sent {batch}", flush=True)
                try:
                    lake.ingest("events", table(rows_of(ingester, batch)), batch_id=f"many-{ingester}-{batch}")
                except LakeError as error:
                    if error.exit_code != 5 or again == TRIES - 1:
                        raise
                    time.sleep(random.uniform(0, 0.2))
                else:
                    break
            print(f"acknowledged {batch}", flush=True)
