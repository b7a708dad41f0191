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
        self._state = threading.Condition()
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
                            self._state.notify_all()
                            return sandbox
                        sandbox.close()
                    self._state.notify_all()
                    left = end - time.monotonic()
                    if left <= 0:
                        raise UnavailableError("every sandbox is in use", hint="try again in a moment")
                    self._state.wait(left)
            finally:
                self._waiting -= 1

    def discard(self, sandbox: Sandbox) -> int | None:
        """End a sandbox that was taken; how it ended, None if that is not known."""
        status = sandbox.close()
        with self._state:
            self._used.discard(sandbox)
            self._state.notify_all()
        return status

    def retire(self, sandbox: Sandbox) -> None:
        """The same without waiting until it is gone."""
        sandbox.kill()
        with self._state:
            if sandbox in self._used:
                self._used.discard(sandbox)
                self._retired.append(sandbox)
            self._state.notify_all()

    def close(self) -> None:
        """End every sandbox."""
        with self._state:
            self._closed = True
            self._state.notify_all()
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
                late = [box for box in self._used if box.deadline is not None and box.deadline < time.monotonic()]
            for sandbox in retired:
                sandbox.close()
            for sandbox in late:
                if not sandbox.timed_out:
                    self.killed += 1
                    with suppress(OSError):
                        sandbox.expire()
