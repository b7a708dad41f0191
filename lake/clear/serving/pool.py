"""Sandboxes ready for use: started before they are needed, used once, never more than a number of them at a time."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from contextlib import suppress

from lake.clear.sandbox.channel import ChannelError
from lake.clear.serving.processes import Sandbox, SandboxShape, Zygote
from lake.errors import UnavailableError

_LOG = logging.getLogger(__name__)
_WATCH_SECONDS = 0.1
_SHORT_SECONDS = 1.0
"""A query that has run for longer lets the others go first."""


class Pool:
    """The sandboxes of one gateway; safe for many threads.

    Args:
        ready: how many wait for use.
        most: how many are used at a time.
        patience: seconds that a query waits for one.

    Raises:
        UnavailableError: no sandbox can be started.
    """

    def __init__(self, shape: SandboxShape, *, ready: int, most: int, patience: float) -> None:
        self._shape = shape
        self._ready_wanted = ready
        self.most = most
        self._patience = patience
        lock = threading.RLock()
        self._state = threading.Condition(lock)
        """What the keepers wait for."""
        self._free = threading.Condition(lock)
        """What queries wait for: one is woken for each sandbox that becomes free."""
        self._idle: deque[Sandbox] = deque()
        self._used: set[Sandbox] = set()
        self._retired: deque[Sandbox] = deque()
        self._waiting = 0
        self._closed = False
        self.killed = 0
        """Sandboxes that were killed for their time."""
        self._zygote = Zygote(shape)
        try:
            first = self._started()
        except BaseException:
            self._zygote.close()
            raise
        self.fences = {**self._zygote.fences, **first.fences}
        self._idle.append(first)
        self._keepers = [
            threading.Thread(target=self._fill, name="sandbox-starter", daemon=True),
            threading.Thread(target=self._watch, name="sandbox-watcher", daemon=True),
        ]
        for keeper in self._keepers:
            keeper.start()

    @property
    def idle(self) -> int:
        """Sandboxes that wait for use."""
        return len(self._idle)

    @property
    def used(self) -> int:
        """Sandboxes in use."""
        return len(self._used)

    def take(self) -> Sandbox:
        """A sandbox for one session, to be given back by :meth:`discard`.

        Raises:
            UnavailableError: all are in use, and stayed so.
        """
        end = time.monotonic() + self._patience
        with self._state:
            self._waiting += 1
            try:
                while True:
                    if self._closed:
                        raise UnavailableError("the gateway is closing")
                    while self._idle and len(self._used) < self.most:
                        sandbox = self._idle.popleft()
                        if sandbox.is_alive:
                            self._used.add(sandbox)
                            sandbox.since = time.monotonic()
                            return sandbox
                        sandbox.close()
                    self._state.notify_all()
                    left = end - time.monotonic()
                    if left <= 0:
                        raise UnavailableError("every sandbox is in use", hint="try again in a moment")
                    self._free.wait(left)
            finally:
                self._waiting -= 1
                # Whoever was woken and leaves without one, or leaves some, wakes the next.
                if self._idle and len(self._used) < self.most:
                    self._free.notify()
                self._state.notify_all()

    def discard(self, sandbox: Sandbox) -> int | None:
        """End a sandbox that was taken; how it ended, None if that is not known."""
        status = sandbox.close()
        with self._state:
            self._used.discard(sandbox)
            self._freed()
        return status

    def retire(self, sandbox: Sandbox) -> None:
        """The same without waiting until it is gone."""
        sandbox.kill()
        with self._state:
            if sandbox in self._used:
                self._used.discard(sandbox)
                self._retired.append(sandbox)
            self._freed()

    def close(self) -> None:
        """End every sandbox."""
        with self._state:
            self._closed = True
            self._state.notify_all()
            self._free.notify_all()
        for keeper in self._keepers:
            keeper.join()
        self._zygote.close()
        with self._state:
            for sandbox in [*self._idle, *self._used, *self._retired]:
                sandbox.close()
            self._idle.clear()
            self._used.clear()
            self._retired.clear()

    def _started(self) -> Sandbox:
        sandbox = self._zygote.fork()
        try:
            sandbox.wait_ready()
        except (ChannelError, KeyError, TypeError):
            sandbox.close()
            raise UnavailableError("a sandbox did not start", hint="try again; see the gateway's log") from None
        return sandbox

    def _fill(self) -> None:
        """Keep the wanted number ready, and one for everybody who waits."""
        pause = 0.0
        while True:
            with self._state:
                self._state.wait_for(lambda: self._closed or len(self._idle) < self._wanted(), None)
                if self._closed:
                    return
                if pause:
                    self._state.wait(pause)
            try:
                if not self._zygote.is_alive:
                    _LOG.error("the process that starts sandboxes has ended: starting another")
                    self._zygote.close()
                    self._zygote = Zygote(self._shape)
                sandbox = self._started()
            except UnavailableError as error:
                _LOG.error("%s", error.message)
                pause = min(pause * 2 or 0.1, 5.0)
                continue
            pause = 0.0
            with self._state:
                self._idle.append(sandbox)
                self._freed()

    def _freed(self) -> None:
        self._free.notify()
        self._state.notify_all()

    def _wanted(self) -> int:
        free = self.most - len(self._used)
        return min(free, max(self._ready_wanted, self._waiting))

    def _watch(self) -> None:
        """Kill what has used up its time, however busy or slow its reader is; bury what has been retired."""
        while True:
            with self._state:
                self._state.wait_for(lambda: self._closed or self._retired, _WATCH_SECONDS)
                if self._closed:
                    return
                retired = list(self._retired)
                self._retired.clear()
                now = time.monotonic()
                late = [box for box in self._used if box.deadline is not None and box.deadline < now]
                long = [box for box in self._used if box.since is not None and box.since < now - _SHORT_SECONDS]
            for sandbox in retired:
                sandbox.close()
            for sandbox in long:
                sandbox.yield_to_others()
            for sandbox in late:
                if not sandbox.timed_out:
                    self.killed += 1
                    with suppress(OSError):
                        sandbox.expire()
