"""Sending closed batches, oldest first, each under its one id until the lake has signed for it or refused it."""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass

from keys.errors import KeyIntegrityError
from keys.signing import NoteVerifier
from lake.collector.answers import Answer, check_receipt
from lake.collector.backoff import Backoff
from lake.collector.client import TOO_LARGE, Client
from lake.collector.clocks import Clocks
from lake.collector.keeper import PAUSED, Keeper
from lake.collector.spool import Batch, Spool
from lake.errors import IntegrityError, LakeError

IDLE = 1.0
_CODE = re.compile(r"[a-z][a-z_]{0,40}")
"""Of a problem, as a header may name it."""


@dataclass(slots=True)
class Sender:
    """The sending side of one collector; ``step`` is called by one thread."""

    client: Client
    spool: Spool
    keeper: Keeper
    clocks: Clocks
    verifier: NoteVerifier
    backoff: Backoff
    problem: str = ""
    _next: float = 0.0
    _again: int = 0

    def step(self) -> float:
        """Send one batch, if there is one and it is time; gives the seconds until the next step."""
        clock = self.clocks.boot()
        if clock < self._next:
            return self._next - clock
        batch = self.spool.first()
        if batch is None:
            return IDLE
        try:
            header, answer = self.client.send(batch.header, batch.body)
            sys.audit("lake.step", "collector.answered")
            if answer.status == 200:
                self._landed(batch, answer, header)
            else:
                self._refused(batch, answer)
        except LakeError as error:
            self._later(error.message)
        return max(0.0, self._next - self.clocks.boot())

    def _landed(self, batch: Batch, answer: Answer, header: dict[str, object]) -> None:
        try:
            receipt = check_receipt(answer.document, self.verifier, header)
        except IntegrityError as error:
            self.spool.tally("receipt.refused", 1)
            self._later(error.message)
            return
        self.spool.finish([batch.name], {"batches": 1, "sent": batch.rows, "landed": int(receipt["rows"])})
        sys.audit("lake.step", "collector.acknowledged")
        self._worked()

    def _refused(self, batch: Batch, answer: Answer) -> None:
        """What the answer to a batch means: docs/formats.md, "Errors"."""
        if answer.code == "paused" and (answer.mark is not None or self._again):
            # Stop first: the answer may be about this very moment.
            self.keeper.halted(answer.mark)
            self.spool.destroy(PAUSED, batch.lease)
            self._worked()
        elif answer.code == "paused":
            self._again = 1
        elif answer.code == "lease_refused":
            self.keeper.refused(batch.lease)
            self.spool.destroy("lease.refused", batch.lease)
            self._worked()
        elif answer.status == TOO_LARGE and self._split(batch):
            self._worked()
        elif answer.refused and answer.status != 401:
            self._give_up(batch, answer.code)
        else:
            self._later(f"the server answered {answer.status} {answer.code}".strip(), answer)

    def _give_up(self, batch: Batch, code: str) -> None:
        """A batch that can never land is not kept; only that it was there is."""
        if code == "batch_conflict":
            # Somebody uses this spool's ids: a copy of this machine. Batches from now on have others.
            self.spool.rename()
        self.spool.give_up(batch, f"refused.{code}" if _CODE.fullmatch(code) else "refused.other")
        self._worked()

    def _split(self, batch: Batch) -> bool:
        """Send a batch that is too large, for the server or for what is before it, as two."""
        try:
            return self.spool.split(batch.name)
        except KeyIntegrityError:  # damaged or destroyed meanwhile, which the next step sees
            return True

    def _later(self, problem: str, answer: Answer | None = None) -> None:
        self.problem = problem
        self._next = self.clocks.boot() + self.backoff.wait(None if answer is None else answer.after)

    def _worked(self) -> None:
        self.problem, self._next, self._again = "", 0.0, 0
        self.backoff.reset()
