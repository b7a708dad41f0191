"""The collector SDK: ``with Collector(settings) as collector: collector.record({"type": ..., ...})``.

An event is stamped, checked against the contract and the context rules, and appended to the encrypted spool; two
threads keep the lease and send. Nothing is recorded without a lease that lives at that moment.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from types import TracebackType
from typing import Any, Self

from keys.signing import NoteVerifier
from lake.collector.answers import Lease
from lake.collector.backoff import Backoff
from lake.collector.check import Checker
from lake.collector.client import Client
from lake.collector.clocks import Clocks
from lake.collector.folder import ensure_key
from lake.collector.keeper import Hook, Keeper
from lake.collector.sender import Sender
from lake.collector.settings import CollectorSettings
from lake.collector.spool import Spool
from lake.rules.model import EMPLOYEE_COLUMN, TIME_COLUMN, TYPE_COLUMN

FULL, NO_LEASE, NOT_LEASED = "spool.full", "no_lease", "type_not_leased"
STOP_SECONDS = 10.0
"""How long stopping goes on sending."""


class Collector:
    """Records events of one employee on one device. Use it as a context manager; ``record`` may be called by threads.

    Args:
        hooks: what listens to the machine; installed while a lease lives, and at no other time.
        key: of the spool, 32 bytes, if it does not lie in the file that the settings name.

    Raises:
        LakeError, KeysError: settings, key or spool cannot be used.
    """

    def __init__(
        self,
        settings: CollectorSettings,
        hooks: Sequence[Hook] = (),
        *,
        key: bytes | None = None,
        clocks: Clocks | None = None,
        backoff: Callable[[], Backoff] = Backoff,
    ) -> None:
        self.settings = settings
        self.clocks = clocks or Clocks()
        verifier = NoteVerifier([settings.verifier])
        client = Client(settings)
        settings.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.spool = Spool(settings.folder, key or ensure_key(settings.key_file), most=settings.spool_bytes)
        try:
            self.keeper = Keeper(settings, client, self.spool, self.clocks, hooks, verifier=verifier, backoff=backoff())
        except BaseException:
            self.spool.close()
            raise
        self.sender = Sender(client, self.spool, self.keeper, self.clocks, verifier, backoff())
        self._lock = self.keeper.guard
        self._begun = self._synced = self.clocks.boot()
        self._ending = threading.Event()
        self._threads: list[threading.Thread] = []
        self.failure = ""

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def recording(self) -> bool:
        """Whether events are taken now."""
        return self.keeper.live() is not None

    def record(self, event: Mapping[str, Any]) -> bool:
        """Record one event that happens now: its ``type`` and its fields, as the contract names them.

        What the contract does not name is left out; who it is about and when is filled in. An event that may not be
        recorded is counted by reason (:attr:`counts`) and forgotten.

        Returns:
            Whether it was taken. It then outlasts this process at once, and the machine within ``flush_seconds``.
        """
        with self._lock:
            clock = self.clocks.boot()
            lease, checker = self.keeper.live(), self.keeper.checker
            if lease is None or checker is None:
                self.spool.count(NO_LEASE)
                return False
            row = self._checked(checker, lease, event)
            if row is None:
                return False
            taken = self.append(lease, [row | stamped(lease.held.stamp(clock))])
            if not taken:
                self.spool.count(FULL)
            return taken

    def append(self, lease: Lease, rows: Sequence[Mapping[str, Any]], marks: Mapping[str, Any] | None = None) -> bool:
        """Add checked rows with their times, and cursors of their source, in one step.

        Returns:
            False if there is no room, or recording under the lease was ended; nothing was added or counted.
        """
        with self._lock:
            checker, filled, keys = self.keeper.checker, list[Mapping[str, Any]](), 0
            if checker is None or not self.keeper.leases.holds(lease.id):
                return False
            for row in rows:
                seq = checker.unnumbered(row)
                number = {} if seq is None else {seq: self.spool.state.keys + (keys := keys + 1)}
                filled.append({EMPLOYEE_COLUMN: self.settings.employee, **row, **number})
            if self.spool.filling == (0, 0):
                self._begun = self.clocks.boot()
            return self.spool.append(lease.id, self._header(lease), filled, marks=marks, keys=keys)

    def check(self, lease: Lease, event: Mapping[str, Any]) -> dict[str, Any] | None:
        """What of an event may be recorded under a lease; None if nothing may. Counts what was left out."""
        checker = self.keeper.checker
        return None if checker is None else self._checked(checker, lease, event)

    def carries(self, kind: str, name: str) -> bool:
        """Whether an event type may carry a field."""
        spec = None if self.keeper.checker is None else self.keeper.checker.contract.events.get(kind)
        return spec is not None and name in spec.fields

    @property
    def counts(self) -> dict[str, int]:
        """Since the spool was made: recorded, sent, landed, and what was left out by reason."""
        return dict(self.spool.state.totals)

    def start(self) -> None:
        """Begin to ask for a lease and to send."""
        self._ending.clear()
        for name, step in (("keeper", self.keeper.step), ("sender", self.send)):
            thread = threading.Thread(target=self._run, args=(step,), name=f"collector-{name}", daemon=True)
            self._threads.append(thread)
            thread.start()

    def send(self) -> float:
        """Close the open batch if it is old or large enough, and send one; gives seconds until the next step."""
        with self._lock:
            events, size = self.spool.filling
            now, settings = self.clocks.boot(), self.settings
            if events and (size >= settings.batch_bytes or now - self._begun >= settings.batch_seconds):
                self.spool.close_batch()
            if now - self._synced >= settings.flush_seconds:
                self.spool.sync()
                self._synced = now
        return min(self.sender.step(), self.settings.flush_seconds)

    def stop(self, seconds: float = STOP_SECONDS) -> None:
        """Stop recording, send what can be sent in some seconds, and close the spool. What is left stays sealed."""
        self.keeper.stop()
        self._ending.set()
        for thread in self._threads:
            thread.join()
        self._threads.clear()
        with self._lock:
            self.spool.close_batch()
        until = self.clocks.boot() + seconds
        while self.spool.first() is not None and self.clocks.boot() < until:
            if self.sender.step() > 0:
                break
        self.spool.close()

    def _run(self, step: Callable[[], float]) -> None:
        while not self._ending.is_set():
            try:
                wait = step()
            except OSError as error:  # a full disk: what does not go in is counted, and it is tried again
                self.failure, wait = os.strerror(error.errno or 0), 1.0
            except Exception as error:  # noqa: BLE001 - a thread that ends silently would leave hooks installed
                self.failure, wait = type(error).__name__, 1.0
                self.keeper.stop()
            self._ending.wait(max(0.01, min(wait, 1.0)))

    def _checked(self, checker: Checker, lease: Lease, event: Mapping[str, Any]) -> dict[str, Any] | None:
        if lease.contract != checker.contract.digest:
            self.spool.count(NO_LEASE)
            return None
        row, dropped = checker.check(event)
        if row is not None and row[TYPE_COLUMN] not in lease.types:
            row = None
            dropped[NOT_LEASED] += 1
        for reason, events in dropped.items():
            self.spool.count(reason, events)
        return row

    def _header(self, lease: Lease) -> dict[str, Any]:
        return {
            "device": self.settings.device,
            "employee": self.settings.employee,
            "dataset": self.settings.dataset,
            "version": lease.version,
            "contract": lease.contract,
            "lease": lease.token,
        }


def stamped(moment: datetime) -> dict[str, str]:
    """A capture time (naive UTC of the lake) as it is sent."""
    return {TIME_COLUMN: f"{moment.isoformat(timespec='microseconds')}+00:00"}
