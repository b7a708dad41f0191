"""The meeting place of readers and the one who takes: order, bounds, the first error, and nobody left waiting."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from itertools import chain

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lake.client.intake import ClosedIntakeError, Intake
from lake.errors import DeniedError, LakeError, QueryCancelledError, UnavailableError

SOON, LATE = 0.01, 30.0


def batch(number: int, rows: int = 1) -> pa.RecordBatch:
    """A batch that can be told apart."""
    return pa.record_batch({"n": [number] * rows})


def started(work: Callable[[], object]) -> threading.Thread:
    """A thread under way."""
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread


def fill(intake: Intake, lane: int, values: Iterable[int]) -> None:
    """What a reader does."""
    for number in values:
        intake.put(lane, batch(number))
    intake.end(lane)


def drained(intake: Intake, *, ordered: bool) -> list[int]:
    """Everything, as it is taken."""
    found = []
    while (taken := intake.take(LATE, ordered=ordered)) is not None:
        found.append(taken.column("n")[0].as_py())
    return found


@settings(deadline=None)
@given(st.lists(st.integers(0, 9), min_size=1, max_size=4), st.booleans(), st.integers(1, 40))
def test_every_batch_comes_once(lengths: list[int], ordered: bool, limit: int) -> None:
    """Whatever the lanes' lengths and the limit; in the order of lanes, or in each lane's own."""
    lanes = [[100 * lane + n for n in range(length)] for lane, length in enumerate(lengths)]
    intake = Intake(len(lanes), limit)
    threads = [started(lambda lane=lane, own=own: fill(intake, lane, own)) for lane, own in enumerate(lanes)]
    found = drained(intake, ordered=ordered)
    for thread in threads:
        thread.join(LATE)
    assert intake.finished
    if ordered:
        assert found == list(chain(*lanes))
    else:
        assert [[n for n in found if n // 100 == lane] for lane in range(len(lanes))] == lanes


def test_a_full_lane_makes_its_reader_wait() -> None:
    """Bytes that wait stay within the limit, and each lane has its own."""
    intake = Intake(2, batch(0, 4).nbytes)
    for _ in range(4):
        intake.put(0, batch(0))
    waiting = started(lambda: intake.put(0, batch(1)))
    intake.put(1, batch(2))
    waiting.join(SOON)
    assert waiting.is_alive()
    assert intake.take(LATE, ordered=True) == batch(0)
    waiting.join(LATE)
    assert not waiting.is_alive()


def test_a_batch_above_the_limit_passes_alone() -> None:
    """It may wait if nothing else does, or it would never come."""
    intake = Intake(1, 1)
    intake.put(0, batch(1, 1000))
    assert intake.take(LATE, ordered=True) == batch(1, 1000)


def test_the_first_error_is_told_and_stops_all() -> None:
    """Whichever lane it comes from; readers that wait are sent away."""
    intake = Intake(2, 1)
    caught: list[type[BaseException]] = []

    def read() -> None:
        try:
            fill(intake, 0, range(9))
        except ClosedIntakeError as error:
            caught.append(type(error))

    reader = started(read)
    intake.fail(DeniedError("first"))
    intake.fail(LakeError("second"))
    with pytest.raises(DeniedError, match="first"):
        intake.take(LATE, ordered=True)
    reader.join(LATE)
    assert caught == [ClosedIntakeError]


def test_an_error_wakes_who_takes() -> None:
    """Nobody waits for a lane that has failed."""
    intake = Intake(1, 1)
    errors: list[LakeError] = []

    def take() -> None:
        try:
            intake.take(LATE, ordered=True)
        except LakeError as error:
            errors.append(error)

    taker = started(take)
    intake.fail(QueryCancelledError("stop"))
    taker.join(LATE)
    assert [type(error) for error in errors] == [QueryCancelledError]


def test_what_has_come_wholly_does_not_fail_any_more() -> None:
    """A cancellation after the last batch changes nothing."""
    intake = Intake(1, 1)
    fill(intake, 0, [7])
    assert intake.take(LATE, ordered=True) == batch(7)
    intake.fail(QueryCancelledError("too late"))
    assert intake.take(LATE, ordered=True) is None


def test_patience_ends() -> None:
    """Silence is an error that may pass; so are columns that never come."""
    intake = Intake(1, 1)
    with pytest.raises(UnavailableError, match="sent nothing"):
        intake.take(SOON, ordered=True)
    with pytest.raises(UnavailableError, match="sent nothing"):
        intake.schemas(SOON)


def test_columns_of_every_lane() -> None:
    """In the order of lanes, once all are known."""
    intake = Intake(2, 1)
    intake.opened(1, pa.schema({"b": pa.int8()}))
    intake.opened(0, pa.schema({"a": pa.int8()}))
    assert [schema.names for schema in intake.schemas(LATE)] == [["a"], ["b"]]


def test_closing_sends_everybody_away() -> None:
    """Readers stop, whoever takes is told, and what waited is let go."""
    intake = Intake(1, 1)
    intake.put(0, batch(1))
    intake.close()
    with pytest.raises(ClosedIntakeError):
        intake.put(0, batch(2))
    with pytest.raises(ClosedIntakeError):
        intake.opened(0, pa.schema([]))
    with pytest.raises(UnavailableError, match="closed"):
        intake.take(LATE, ordered=True)
