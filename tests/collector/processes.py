"""Collectors as processes of their own, on the machine's clocks, which a test kills, stops or lets be."""

from __future__ import annotations

import json
import os
import select
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from lake.collector import Collector, CollectorSettings
from lake.collector.backoff import Backoff
from lake.collector.clocks import since_boot


def packed(settings: CollectorSettings) -> str:
    """Settings as an argument of a process."""
    document = asdict(settings)
    plain = {name: str(value) if isinstance(value, Path) else value for name, value in document.items()}
    plain["types"] = sorted(settings.types or ())
    return json.dumps(plain)


def unpacked(text: str) -> CollectorSettings:
    """The other way."""
    document: dict[str, Any] = json.loads(text)
    for name in ("ca", "folder", "token_file", "certificate", "key", "spool_key", "contract"):
        document[name] = None if document[name] is None else Path(document[name])
    document["types"] = frozenset(document["types"])
    return CollectorSettings(**document)


def arm(step: str, turn: int) -> None:
    """Die at a step, the turn-th time that it comes."""
    left = [turn]

    def watch(name: str, arguments: tuple[Any, ...]) -> None:
        if name == "lake.step" and arguments and arguments[0] == step:
            left[0] -= 1
            if left[0] == 0:
                os.kill(os.getpid(), 9)

    sys.addaudithook(watch)


def step_through(settings: CollectorSettings, said: Path, numbers: range) -> None:
    """Record some numbers, send after every second; write down what was taken."""
    collector = Collector(settings, backoff=lambda: Backoff(0.01, 0.01))
    collector.keeper.step()
    with said.open("a", buffering=1) as file:
        for number in numbers:
            if collector.record({"type": "focus", "app": "Sent-QX", "n": number}):
                file.write(f"{number}\n")
            if number % 2:
                collector.spool.close_batch()
                collector.sender.step()
    collector.stop()


def run_until_told(settings: CollectorSettings, app: str, *, obeys: bool) -> None:
    """Record ten events a second with the time of their capture in them; print counts at the end of stdin."""
    with Collector(settings, backoff=lambda: Backoff(0.05, 0.1)) as collector:
        if not obeys:
            ignore(collector)
        told = False
        while not select.select([sys.stdin], [], [], 0.1)[0]:
            clock = since_boot()
            collector.record({"type": "focus", "app": app, "score": None, "big": int(_now_us()), "n": 1})
            if not told and collector.counts.get("landed", 0):
                print("sending", flush=True)
                told = True
            assert since_boot() >= clock
        counts = collector.counts
    print(json.dumps(counts), flush=True)


def ignore(collector: Collector) -> None:
    """One that goes on whatever the server says: it keeps its lease for ever and acknowledges nothing."""
    keeper = collector.keeper
    keeper._ended = lambda _: None  # type: ignore[method-assign]
    keeper._acknowledge = lambda _: None  # type: ignore[method-assign]
    keeper.live = lambda: keeper.leases.newest if keeper.checker else None  # type: ignore[method-assign]


def _now_us() -> float:
    from lake.clock import utc_now

    return utc_now().timestamp() * 1e6
