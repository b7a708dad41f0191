"""Keeping a lease: asks, renews at half of its time, and stops at once when it ends or is refused.

Hooks are installed while a lease lives and at no other time. When it ends, what was recorded is destroyed, unless the
settings say to keep it until it can be sent.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from keys.signing import NoteVerifier
from lake.collector import leases as held
from lake.collector.answers import Answer, Asked, Lease, check_lease
from lake.collector.backoff import Backoff
from lake.collector.check import Checker
from lake.collector.client import Client
from lake.collector.clocks import Clocks
from lake.collector.settings import CollectorSettings
from lake.collector.spool import Spool
from lake.errors import ContractBreachError, IntegrityError, LakeError, UnavailableError, UsageError
from lake.rules.contract import Contract, parse_contract

EXPIRED, REFUSED, PAUSED = "lease.expired", "lease.refused", "paused"
"""Why recording ended, and the reason under which destroyed events are counted."""
UNTRUSTED = "lease.untrusted"
"""Answers to requests for a lease that are not the lake's own to this device and this request."""
SOONEST = 1.0
"""Seconds between two requests for a lease, at least."""
AFTER_REFUSAL = 30.0


class Hook(Protocol):
    """What listens to the machine. Neither call may block."""

    def install(self) -> None:
        """Begin to listen."""

    def remove(self) -> None:
        """Stop; nothing may come from it afterwards."""


class Keeper:
    """Holds the lease of one collector. ``step`` is called by one thread; the rest by any.

    Who records holds ``guard`` from looking for the lease until the event is in the spool, so that nothing comes into
    it after it was destroyed.
    """

    def __init__(
        self,
        settings: CollectorSettings,
        client: Client,
        spool: Spool,
        clocks: Clocks,
        hooks: Sequence[Hook] = (),
        *,
        verifier: NoteVerifier,
        backoff: Backoff | None = None,
    ) -> None:
        self._settings = settings
        self._client = client
        self._spool = spool
        self._clocks = clocks
        self._verifier = verifier
        self._hooks = tuple(hooks)
        self._backoff = backoff or Backoff(1.0, 30.0)
        self._lock = threading.RLock()
        self.guard = threading.RLock()
        self._next = clocks.boot()
        self._installed: list[Hook] = []
        self._halting = self._stopped = False
        self._unsaid: int | None = None
        self._say_at = 0.0
        self._saying = Backoff(1.0, 60.0)
        self.checker: Checker | None = None
        self.problem = ""
        if settings.contract is not None:
            self.checker = Checker(_pinned(settings.contract, settings))
        state, boot = spool.state, clocks.boot_id()
        same = bool(boot) and state.boot == boot
        self.leases = held.decode(state.leases) if same else held.Leases()
        if not same and state.leases:
            self._ended(EXPIRED)
        state.boot = boot

    def live(self) -> Lease | None:
        """The lease under which an event may be recorded now."""
        ready = self.checker is not None and not self._halting and not self._stopped
        return self.leases.live(self._clocks.boot()) if ready else None

    def step(self) -> float:
        """Do what is due; gives the seconds until something is."""
        with self._lock:
            clock = self._clocks.boot()
            newest = self.leases.newest
            if newest is not None and not newest.held.live(clock):
                self._ended(EXPIRED)
            if self._unsaid is not None and clock >= self._say_at:
                self._acknowledge(self._unsaid)
            if clock >= self._next:
                self._ask(self.leases.newest)
            return self._until()

    def stop(self) -> None:
        """Record nothing more; the lease is left to end by itself."""
        self._stopped = True
        with self._lock:
            self._remove()

    def halted(self, mark: int | None) -> None:
        """The server said of a batch that it was paused: record nothing until it grants a lease that knows of that."""
        self._halting = True
        with self._lock:
            newest = self.leases.newest
            if newest is not None and (mark is None or newest.mark < mark):
                self._ended(PAUSED)
            self._halting = False
            if mark is not None:
                self._acknowledge(mark)
            self._next = min(self._next, self._clocks.boot() + SOONEST)

    def refused(self, lease: str) -> None:
        """The server turned a batch's lease down; if that is the one held, it is worth nothing."""
        with self._lock:
            newest = self.leases.newest
            if newest is not None and newest.id == lease:
                self._ended(REFUSED)
                self._next = self._clocks.boot() + SOONEST

    def _ask(self, before: Lease | None) -> None:
        clock, settings = self._clocks.boot(), self._settings
        left = None if before is None else before.held.sent + before.held.seconds - clock
        try:
            checker = self.checker or self._fetch(settings.version)
            wanted = self._wanted(checker.contract)
            asked = Asked(settings.device, settings.employee, settings.dataset, wanted, settings.version, clock)
            answer = self._client.lease(asked, within=left)
            if answer.status != 200:
                self._turned_down(answer)
                return
            lease = check_lease(answer.document, self._verifier, asked)
            if lease.contract != checker.contract.digest:
                checker = self._other(lease)
        except UnavailableError as error:
            self.problem = error.message
            self._next = self._clocks.boot() + self._backoff.wait()
            return
        except LakeError as error:
            if isinstance(error, IntegrityError):
                self._spool.tally(UNTRUSTED, 1)
            self._ended(REFUSED)
            self.problem = error.message
            self._next = self._clocks.boot() + AFTER_REFUSAL
            return
        self._hold(lease, checker)

    def _hold(self, lease: Lease, checker: Checker) -> None:
        newest = self.leases.newest
        if newest is None or newest.id != lease.id:
            self.leases.add(lease)
            self._spool.state.leases = self.leases.encode()
            self._spool.change()
            self._spool.sync()
            sys.audit("lake.step", "collector.lease_saved")
        self.checker, self.problem = checker, ""
        self._backoff.reset()
        if self.live() is not None:
            self._install()
        if lease.mark > self._spool.state.acknowledged:
            # Under this lease nothing is recorded that a pause up to its mark forbids.
            self._acknowledge(lease.mark)
        now = self._clocks.boot()
        current = self.leases.newest or lease
        self._next = max(now + SOONEST, current.held.sent + current.held.seconds / 2)

    def _turned_down(self, answer: Answer) -> None:
        """No lease. What the server itself refuses ends recording at once; what may pass does not."""
        self.problem = str(answer.document.get("detail") or f"the server answered {answer.status}")[:200]
        if answer.code == "paused":
            self._ended(PAUSED)
            if answer.mark is not None:
                self._acknowledge(answer.mark)
        elif answer.refused:
            self._ended(REFUSED)
        waits = self._backoff.wait(answer.after)
        self._next = self._clocks.boot() + (max(waits, AFTER_REFUSAL / 2) if answer.refused else waits)

    def _ended(self, reason: str) -> None:
        with self.guard:
            self.leases.end()
        # Without the guard: a hook may wait here for what it is just recording, which is turned down by now.
        self._remove()
        with self.guard:
            self._spool.state.leases = []
            self._spool.change()
            if not self._settings.keep:
                self._spool.destroy(reason)
            self._spool.sync()
        sys.audit("lake.step", "collector.lease_ended")

    def _acknowledge(self, mark: int) -> None:
        """Said only after the hooks are gone; said again until the server has heard it."""
        self._unsaid = max(mark, self._unsaid or 0)
        try:
            answer = self._client.acknowledge(self._unsaid)
        except LakeError:
            answer = None
        if answer is None or not (answer.status == 204 or answer.refused):
            self._say_at = self._clocks.boot() + self._saying.wait(None if answer is None else answer.after)
            return
        self._saying.reset()
        self._spool.state.acknowledged = max(self._unsaid, self._spool.state.acknowledged)
        self._spool.change()
        self._unsaid = None

    def _install(self) -> None:
        if self._installed or self._stopped:
            return
        for hook in self._hooks:
            self._installed.append(hook)
            try:
                hook.install()
            except Exception:  # noqa: BLE001 - of others' making, and its text could say anything
                self._remove()
                self.problem = "a hook could not be installed"
                return

    def _remove(self) -> None:
        while self._installed:
            try:
                self._installed.pop().remove()
            except Exception:  # noqa: BLE001 - of others' making; what it still brings is turned down
                self.problem = "a hook could not be removed"

    def _until(self) -> float:
        clock, times = self._clocks.boot(), [self._next]
        newest = self.leases.newest
        if newest is not None:
            times.append(newest.held.sent + newest.held.seconds)
        if self._unsaid is not None:
            times.append(self._say_at)
        return max(0.0, min(times) - clock)

    def _wanted(self, contract: Contract) -> frozenset[str]:
        types = self._settings.types or frozenset(contract.events)
        if not types <= set(contract.events):
            raise UsageError("the contract does not name an event type that is to be recorded", hint="correct 'types'")
        return types

    def _fetch(self, version: int | None) -> Checker:
        answer = self._client.contract(self._settings.dataset, version)
        text, digest = answer.document.get("text"), answer.document.get("contract")
        if answer.status != 200 and answer.refused:
            raise ContractBreachError("the server has no such contract, or does not know this device")
        if answer.status != 200 or not isinstance(text, str):
            raise UnavailableError(f"the server gave no contract: {answer.status}")
        contract = parse_contract(text)
        if contract.digest != digest or contract.dataset != self._settings.dataset:
            raise UnavailableError("the server gave another contract than it said")
        return Checker(contract)

    def _other(self, lease: Lease) -> Checker:
        """The contract of a lease, if that is not the one that is known."""
        if self._settings.contract is not None:
            raise ContractBreachError(
                "the server's lease is for another contract than the one given here",
                hint="read the new contract before you name it in the device file",
            )
        checker = self._fetch(lease.version)
        if checker.contract.digest != lease.contract:
            raise UnavailableError("the server's contract is not the one of its lease")
        return checker


def _pinned(file: Path, settings: CollectorSettings) -> Contract:
    try:
        contract = parse_contract(file.read_text("utf-8"), str(file))
    except (OSError, UnicodeDecodeError):
        raise UsageError(f"{file} cannot be read as UTF-8 text") from None
    if contract.dataset != settings.dataset:
        raise UsageError(f"{file} is a contract of another dataset", hint="correct 'dataset' or 'contract'")
    return contract
