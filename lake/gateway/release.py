"""Asking the broker for DEKs with the proof that the asking is recorded."""

from __future__ import annotations

from collections.abc import Sequence

from keys.errors import ReceiptRefusedError
from keys.refs import DekRequest
from lake.gateway.home import Home
from lake.gateway.recorder import Recorded

TRIES = 5


def release(home: Home, intent: Recorded, requests: Sequence[DekRequest]) -> list[bytes]:
    """The DEKs of files whose partitions the recorded INTENT names, in the order asked.

    Raises:
        KeysError: none is released.
    """
    # One after the other in this process: a proof is from where the broker stands, and each release moves it on.
    with home.releasing:
        for attempt in range(TRIES):
            seen = home.broker.anchor_size()
            try:
                return home.broker.release(home.recorder.receipt(intent, seen), requests)
            except ReceiptRefusedError:
                # Another process was served between asking for the proof and showing it: prove from there.
                if home.broker.anchor_size() == seen or attempt == TRIES - 1:
                    raise
    raise ReceiptRefusedError("the broker is busy")
