"""Ending a process by SIGKILL at its n-th step: around every commit and provider call, and at audit points."""

from __future__ import annotations

import json
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from keys.providers import KeyProvider
from lake.sealed.catalog.database import Database
from tests.keys.operations.keyside import Keys, opened
from tests.keys.operations.watched import Watched

PASSED, FAILED = "points.json", "failed.txt"


class Points:
    """Numbers the points that a process passes, once armed, and dies at the fatal one."""

    def __init__(self, fatal: int | None) -> None:
        self.fatal = fatal
        self.armed = False
        self.passed: list[str] = []

    def __call__(self, name: str) -> None:
        if not self.armed:
            return
        self.passed.append(name)
        if len(self.passed) == self.fatal:
            os.kill(os.getpid(), signal.SIGKILL)

    def audit(self, event: str, arguments: tuple[Any, ...]) -> None:
        """An audit hook."""
        if event == "lake.step":
            self(str(arguments[0]))

    def provider(self, inner: KeyProvider) -> KeyProvider:
        """The provider with a point before and after each call."""

        def after(name: str, answer: Any) -> Any:
            self(f"after {name}")
            return answer

        return Watched(inner, lambda name: self(f"before {name}"), after)

    def database(self) -> type[Database]:
        """Databases with a point before and after each commit."""
        point = self

        class Counted(Database):
            @contextmanager
            def writing(self) -> Iterator[sa.Connection]:
                with super().writing() as connection:
                    yield connection
                    point("before commit")
                point("after commit")

        return Counted


def run(place: Path, verb: Callable[[Keys], object], fatal: int | None = None, page: int = 8) -> list[str] | None:
    """Run a verb on a key store in a child of its own.

    Returns:
        The points that it passed; None if it was killed.

    Raises:
        AssertionError: it ended in any other way.
    """
    child = forked(lambda: _in_child(place, verb, Points(fatal), page), place / FAILED)
    if ended(child, place / FAILED) == -signal.SIGKILL:
        return None
    return list(json.loads((place / PASSED).read_text()))


def forked(work: Callable[[], object], report: Path) -> int:
    """A child that does this and ends; an exception's traceback goes to ``report``. Gives its process id."""
    child = os.fork()
    if not child:
        status = 1
        try:
            work()
            status = 0
        except BaseException:  # noqa: BLE001 - a child ends here whatever happens
            report.write_text(traceback.format_exc())
        finally:
            os._exit(status)
    return child


def ended(child: int, report: Path) -> int:
    """Wait for a child: 0, or the negative number of the signal that ended it.

    Raises:
        AssertionError: an exception ended it.
    """
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert code <= 0, report.read_text()
    return code


def in_halves(work: Callable[[int], object], items: Sequence[int], report: Path) -> None:
    """Do this for all items, every other one in a second process."""
    child = forked(lambda: [work(item) for item in items[1::2]], report)
    try:
        for item in items[::2]:
            work(item)
    finally:
        code = ended(child, report)
    assert code == 0


def _in_child(place: Path, verb: Callable[[Keys], object], points: Points, page: int) -> None:
    sys.addaudithook(points.audit)
    with opened(place, points.provider, points.database(), page) as keys:
        points.armed = True
        verb(keys)
        points.armed = False
    (place / PASSED).write_text(json.dumps(points.passed))
