"""The two fixed costs of every answer: an audit entry on disk, and the keys of the files."""

from __future__ import annotations

import os
import shutil
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench import world
from bench.measure import Scale, check_equal, interleaved, say, seconds
from keys.refs import DekRequest, FileBinding, PartitionRef
from lake.gateway.home import Home
from lake.rules.layout import FORMAT_PME, FORMAT_PME_VERSION, object_key
from lake.rules.model import Partition
from lake.sealed.audit import entries

APPENDS = 200
ENTRY = b"x" * 700
"""About what an OUTCOME of a small query takes."""
MONTHS = ("2025-07", "2025-08", "2025-09", "2025-10", "2025-11")


def measure(scale: Scale, folder: Path, *, files: int) -> dict[str, Any]:
    """Durable appends a second beside bare ones, and milliseconds until the keys of ``files`` files are released."""
    store = folder / "lake"
    world.make_lake(store)
    with world.open_lake(store, scale.threads) as db:
        say("  durable appends")
        appends = _appends(db.home, folder / "bare", scale.repeat)
        say(f"  keys of {files:,} files")
        released = _release(db.home, files, scale.repeat)
    shutil.rmtree(folder)
    return {**appends, "release_files": files, **released}


def _appends(home: Home, bare: Path, repeat: int) -> dict[str, Any]:
    def logged() -> None:
        for _ in range(APPENDS):
            home.log.append([ENTRY])

    with bare.open("ab") as file:

        def synced() -> None:
            for _ in range(APPENDS):
                file.write(ENTRY)
                file.flush()
                os.fdatasync(file.fileno())

        medians = interleaved({"audit log": logged, "bare file": synced}, repeat)
    return {
        "appends_per_second": {name: APPENDS / taken for name, taken in medians.items()},
        "slower_than": {"bare file": medians["audit log"] / medians["bare file"]},
    }


def _release(home: Home, files: int, repeat: int) -> dict[str, float]:
    """Records an INTENT each time, as a receipt releases once."""
    requests, partitions, numbers = _requests(home, files)
    actor = home.actor("bench")
    scope: dict[str, dict[str, str]] = {}
    for partition in partitions:
        months = scope.setdefault(str(partition.sensitivity), {})
        months[partition.month] = entries.bitmap(numbers)
    fields = {"purpose": world.PURPOSE, "scope": {"partitions": {world.DATASET: scope}, "files": files}}

    def release() -> tuple[float, float]:
        shown = []

        def prove() -> None:
            recorded = home.recorder.record(entries.INTENT, actor, fields)
            shown.append(home.recorder.receipt(recorded, home.broker.anchor_size()))

        proving = seconds(prove)
        deks: list[bytes] = []
        releasing = seconds(lambda: deks.extend(home.broker.release(shown[0], requests)))
        check_equal("released keys", files, len(set(deks)))
        return proving, releasing

    samples = [release() for _ in range(repeat)]
    proving, releasing = (statistics.median(column) * 1000 for column in zip(*samples, strict=True))
    return {"intent_and_proof_ms": proving, "release_ms": releasing}


def _requests(home: Home, files: int) -> tuple[list[DekRequest], list[PartitionRef], list[int]]:
    """Wrapped DEKs of files that need not exist: the broker never looks at an object."""
    people = max(1, files // (4 * len(MONTHS)))
    subjects = home.directory.enter([f"E{number:05d}" for number in range(people)])
    partitions = [
        PartitionRef(world.DATASET, subject.id, level, month)
        for subject in subjects.values()
        for level in (1, 2, 3, 4)
        for month in MONTHS
    ]
    issue = home.broker.landing_keys(partitions)
    wanted = [_request(issue, partitions[number % len(partitions)]) for number in range(files)]
    return wanted, partitions, [subject.number for subject in subjects.values()]


def _request(issue: Callable[[PartitionRef], Any], partition: PartitionRef) -> DekRequest:
    key = issue(partition)
    place = Partition(partition.dataset, partition.subject, partition.sensitivity, partition.month)
    binding = FileBinding(
        partition=partition,
        file_id=key.file_id,
        object_key=object_key(place, key.file_id),
        format=FORMAT_PME,
        format_version=FORMAT_PME_VERSION,
        schema_version=1,
        length=1,
        sha256=bytes(32),
        rows=1,
        first_ts=world.START,
        last_ts=world.START,
    )
    return DekRequest(binding, key.wrap(binding))
