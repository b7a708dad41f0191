"""``lake jobs daemon``: runs each job when it is due, one after another, until it is asked to end.

What was missed, while another job ran or the clock was put forward, is done once. A job that has to be tried again is,
after a pause; one that fails waits for its next time.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

from jobs.runner.logs import Log
from jobs.runner.registry import make
from jobs.runner.run import AGAIN, Options, Runner, for_cron
from jobs.runner.schedule import Schedule
from keys.errors import KeysError
from lake.errors import LakeError
from lake.gateway.home import Home
from lake.gateway.recorder import Actor

AGAIN_AFTER = timedelta(minutes=5)
LONGEST_WAIT = 60.0
"""Seconds after which the clock is looked at again, as it may be set."""

Wait = Callable[[float], bool]
"""Waits for some seconds at most; whether the process was asked to end."""


class Daemon:
    """Runs jobs of one opened lake on a schedule.

    Args:
        options: of every run; ``stopping`` ends the daemon too.
    """

    def __init__(self, home: Home, actor: Actor, schedule: Schedule, options: Options, wait: Wait) -> None:
        self._home = home
        self._actor = actor
        self._schedule = schedule
        self._options = options
        self._wait = wait

    def serve(self) -> None:
        """Run until asked to end."""
        now = self._home.clock()
        due = self._schedule.next(now)
        log = self._options.log
        log("daemon.ready", schedule=self._schedule.crons)
        while not self._options.stopping():
            former, now = now, self._home.clock()
            if now < former:
                due = self._schedule.next(now)  # the clock was put back
            ready = sorted((moment, name) for name, moment in due.items() if moment <= now)
            if not ready:
                first = min(due.values(), default=now + timedelta(days=1))
                self._wait(min(LONGEST_WAIT, max(0.001, (first - now).total_seconds())))
                continue
            name = ready[0][1]
            again = self._run(name, log)
            due[name] = self._next(name, again=again)
        log("daemon.stopped")

    def _next(self, name: str, *, again: bool) -> datetime:
        now = self._home.clock()
        regular = self._schedule.next(now)[name]
        return min(regular, now + AGAIN_AFTER) if again else regular

    def _run(self, name: str, log: Log) -> bool:
        """Run a job; whether it should be tried again soon."""
        try:
            Runner(self._home, self._options).run(make(name, self._home, self._actor))
            self._home.anchor_log()
        except (LakeError, KeysError) as error:
            log("job.failed", job=name, error=error.code, message=error.message)
            return for_cron(error).exit_code == AGAIN
        return False
