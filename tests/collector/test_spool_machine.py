"""Any order of taking, sending, destroying and dying: the spool keeps what it said, once and in order."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from lake.collector.spool import Spool
from tests.collector.spools import LEASES, drain, flat, opened, put
from tests.collector.test_spool import STEPS


class Died(BaseException):
    """The process ends here."""


_fatal: list[tuple[str, int]] = []


def _watch(name: str, arguments: tuple[Any, ...]) -> None:
    if name != "lake.step" or not _fatal or not arguments or arguments[0] != _fatal[0][0]:
        return
    step, left = _fatal.pop()
    if left == 0:
        raise Died
    _fatal.append((step, left - 1))


sys.addaudithook(_watch)


class SpoolMachine(RuleBasedStateMachine):
    """Against a list of what was taken and neither sent nor destroyed, with the leases."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.spool = opened(self.folder / "s")
        self.kept: list[tuple[int, str]] = []
        self.last = 0

    def teardown(self) -> None:
        assert flat(drain(self.spool)) == [number for number, _ in self.kept]
        assert self.spool.size == 0
        self.spool.close()
        shutil.rmtree(self.folder)

    @rule(count=st.integers(1, 3), lease=st.sampled_from(LEASES))
    def take(self, count: int, lease: str) -> None:
        some = [self.last + step for step in range(1, count + 1)]
        assert put(self.spool, *some, lease=lease, marks={"c": some[-1]}, keys=count)
        self.last = some[-1]
        self.kept += [(number, lease) for number in some]

    @rule()
    def close_batch(self) -> None:
        self.spool.close_batch()

    @rule()
    def sync(self) -> None:
        self.spool.sync()

    @rule()
    def send(self) -> None:
        batch = self.spool.first()
        if batch is not None:
            sent, self.kept = self.kept[: batch.rows], self.kept[batch.rows :]
            assert {lease for _, lease in sent} == {batch.lease}
            self.spool.finish([batch.name], {"sent": batch.rows})

    @rule()
    def split(self) -> None:
        self._split_first()

    @rule(lease=st.sampled_from(LEASES))
    def destroy(self, lease: str) -> None:
        assert self.spool.destroy("paused", lease) == len([1 for _, of in self.kept if of == lease])
        self.kept = [(number, of) for number, of in self.kept if of != lease]

    @rule()
    def reopen(self) -> None:
        self.spool.close()
        self.spool = opened(self.folder / "s")

    @rule(
        step=st.sampled_from(STEPS),
        after=st.integers(0, 2),
        what=st.sampled_from(["take", "close", "send", "split", "destroy"]),
    )
    def die(self, step: str, after: int, what: str) -> None:
        """Begin something and end at a step of it; what was under way has happened wholly or not at all."""
        before, last = list(self.kept), self.last
        outcomes: list[list[tuple[int, str]]] = [before]
        acts: dict[str, Callable[[], object]] = {
            "take": lambda: put(self.spool, last + 1, lease=LEASES[0], marks={"c": last + 1}, keys=1),
            "close": self.spool.close_batch,
            "send": self._send_first,
            "split": self._split_first,
            "destroy": lambda: self.spool.destroy("paused", LEASES[1]),
        }
        if what == "take":
            outcomes.append([*before, (last + 1, LEASES[0])])
        if what == "destroy":
            outcomes.append([one for one in before if one[1] != LEASES[1]])
        if what == "send" and (batch := self.spool.first()) is not None:
            outcomes.append(before[batch.rows :])
        _fatal[:] = [(step, after)]
        try:
            acts[what]()
        except Died:
            pass
        finally:
            _fatal.clear()
        self._abandon()
        self.spool = opened(self.folder / "s")
        found = self.spool.waiting
        (self.kept,) = [some for some in outcomes if len(some) == found][:1]
        self.last = int(self.spool.state.marks.get("c", 0))
        assert self.last in {last, last + 1}

    @invariant()
    def agrees(self) -> None:
        state = self.spool.state
        assert self.spool.waiting == len(self.kept)
        assert state.totals["recorded"] == state.events == state.keys == self.last
        assert state.totals["sent"] + state.totals["paused"] + len(self.kept) == self.last

    def _send_first(self) -> None:
        batch = self.spool.first()
        if batch is not None:
            self.spool.finish([batch.name], {"sent": batch.rows})

    def _split_first(self) -> None:
        batch = self.spool.first()
        if batch is not None:
            assert self.spool.split(batch.name) == (batch.rows > 1)

    def _abandon(self) -> None:
        """As the kernel does with what a process leaves."""
        spool: Spool = self.spool
        if spool._open is not None:
            os.close(spool._open.descriptor)
        spool._folder.close()


TestSpool = SpoolMachine.TestCase
TestSpool.settings = settings(max_examples=40, stateful_step_count=25, deadline=None)
