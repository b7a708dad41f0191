"""Rotating every bucket key of a key store, beside the least that it could take: the same ciphers, one read, one write.

The module is also the program of the measured processes: ``python -m bench.key_sweeps TASK STORE``.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from bench import key_store
from bench.key_store import Held
from bench.measure import check_equal, child, say, timed
from bench.memory import peak_bytes
from keys import envelope
from keys.names import kek_context
from keys.operations.rotate import rotate_buckets
from keys.rows import KekRow, kek_row
from keys.tables import keks

_T = TypeVar("_T")
IDLE, ROTATE, REFERENCE = "idle", "rotate", "reference"
WALL, CPU = "wall", "processor"
CIPHERS = ENVELOPE, AES = "envelope", "aes-gcm"
UPDATE = "UPDATE keks SET bucket_version = ?, wrapped = ? WHERE kek_id = ? AND version = ?"


def measure(store: Path, wanted: int, repeat: int) -> dict[str, Any]:
    """Medians of rotation and references: each a process of its own on a copy of the store, taking turns."""
    say(f"  rotation of all bucket keys over {wanted:,} KEKs")
    copies = {task: store.with_name(f"{store.name}-{task}") for task in (ROTATE, REFERENCE)}
    for copy in copies.values():
        shutil.copytree(store, copy)
    found: dict[str, dict[str, list[float]]] = {WALL: {}, CPU: {}}
    peaks = {IDLE: _run(IDLE, copies[ROTATE])["peak_bytes"], ROTATE: 0}
    for turn in range(repeat):
        for task in (ROTATE, REFERENCE) if turn % 2 == 0 else (REFERENCE, ROTATE):
            ended = _run(task, copies[task])
            check_equal("KEKs that were wrapped again", wanted, ended["keks"])
            for name, taken in ended["taken"].items():
                for clock, samples in found.items():
                    samples.setdefault(name, []).append(taken[clock])
            if task == ROTATE:
                peaks[ROTATE] = max(peaks[ROTATE], ended["peak_bytes"])
    for copy in copies.values():
        shutil.rmtree(copy)
    return {
        "keks": wanted,
        "bucket_keys": len(key_store.PLACES),
        **{clock: _compared(samples) for clock, samples in found.items()},
        "peak_bytes": peaks,
    }


def _compared(found: dict[str, list[float]]) -> dict[str, Any]:
    """Medians, and the rotation beside the ciphers' seconds together with those of one read and one write."""
    medians = {name: statistics.median(samples) for name, samples in found.items()}
    least = {cipher: medians[cipher] + medians["read"] + medians["write"] for cipher in CIPHERS}
    slower = {cipher: medians[ROTATE] / taken for cipher, taken in least.items()}
    return {"seconds": medians, "least_seconds": least, "slower_than": slower}


def _run(task: str, store: Path) -> dict[str, Any]:
    ended: dict[str, Any] = json.loads(child(["-m", "bench.key_sweeps", task, str(store)]).output)
    return ended


def _main(task: str, store: Path) -> dict[str, Any]:
    with key_store.opened(store) as held:
        if task == ROTATE:
            operation, taken = _costed(lambda: rotate_buckets(held.keeper, key_store.PLACES))
            return {"keks": operation.detail["keks"], "taken": {ROTATE: taken}}
        return _reference(held) if task == REFERENCE else {}


def _reference(held: Held) -> dict[str, Any]:
    """The parts of a rotation, each as bare as can be: contexts ready, nothing checked, one transaction."""
    with held.database.reading() as connection:
        cursor = connection.connection.cursor()
        rows, reading = _costed(lambda: cursor.execute("SELECT * FROM keks").fetchall())
        cursor.close()
    ciphers = _ciphers(kek_row(rows[0]), len(rows))
    position = {column.name: number for number, column in enumerate(keks.columns)}
    number, wrapped, kek_id, version = (position[name] for name in ("bucket_version", "wrapped", "kek_id", "version"))
    changed = [(row[number] + 1, row[wrapped][::-1], row[kek_id], row[version]) for row in rows]

    def write() -> None:
        with held.database.writing() as connection:
            connection.exec_driver_sql(UPDATE, changed)
        held.database.checkpoint()

    return {"keks": len(rows), "taken": {**ciphers, "read": reading, "write": _costed(write)[1]}}


def _ciphers(row: KekRow, count: int) -> dict[str, dict[str, float]]:
    """Seconds to open and close as many wraps: as the project's format has it, and by AES-256-GCM alone."""
    before, after = kek_context(key_store.LAKE, row), kek_context(key_store.LAKE, row, 2)
    old, new = envelope.new_key(), envelope.new_key()
    sealed = envelope.seal(old, envelope.new_key(), before)
    nonce, opens, closes = os.urandom(12), AESGCM(old), AESGCM(new)
    bare = opens.encrypt(nonce, envelope.new_key(), before)

    def by_envelope() -> None:
        for _ in range(count):
            envelope.seal(new, envelope.unseal(old, sealed, before), after)

    def by_cipher() -> None:
        for _ in range(count):
            closes.encrypt(os.urandom(12), opens.decrypt(nonce, bare, before), after)

    return {ENVELOPE: _costed(by_envelope)[1], AES: _costed(by_cipher)[1]}


def _costed(work: Callable[[], _T]) -> tuple[_T, dict[str, float]]:
    """What one call gives, its wall seconds, and those of the processor: other people's work does not count there."""
    begin = time.process_time()
    found, wall = timed(work)
    return found, {WALL: wall, CPU: time.process_time() - begin}


if __name__ == "__main__":
    ended = _main(sys.argv[1], Path(sys.argv[2]))
    print(json.dumps({**ended, "peak_bytes": peak_bytes()}))
