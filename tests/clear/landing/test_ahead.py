"""One item ahead, in a thread; some at once, in their order."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from lake.clear.landing.ahead import Ahead, in_order


def _names() -> set[str]:
    return {thread.name for thread in threading.enumerate()}


def test_every_item_comes_in_order() -> None:
    """Nothing is lost, doubled or reordered, and the thread is gone afterwards."""
    with Ahead(iter(range(100))) as items:
        assert list(items) == list(range(100))
    assert "landing-ahead" not in _names()


def test_an_error_comes_where_its_item_would_have() -> None:
    """What came before the error is delivered, then the error itself is raised."""

    def broken() -> Iterator[int]:
        yield 1
        raise LookupError("third")

    with Ahead(broken()) as items:
        arriving = iter(items)
        assert next(arriving) == 1
        with pytest.raises(LookupError, match="third"):
            next(arriving)


def test_leaving_early_stops_the_thread() -> None:
    """A consumer that stops leaves no thread behind, however many items were left."""
    made: list[int] = []

    def endless() -> Iterator[int]:
        number = 0
        while True:
            made.append(number)
            yield number
            number += 1

    with Ahead(endless()) as items:
        assert next(iter(items)) == 0
    assert "landing-ahead" not in _names()
    assert len(made) < 100


def test_results_come_in_the_order_of_items() -> None:
    """Whichever is done first, and never with more of them begun than are allowed."""
    begun: list[int] = []
    last = threading.Event()

    def work(number: int, square: int) -> int:
        begun.append(number)
        if number == 0:
            assert last.wait(10)  # the first is done after another
        if number == 3:
            last.set()
        return square

    with ThreadPoolExecutor(4) as pool:
        found = in_order(pool, work, ((number, number**2) for number in range(10)), 4)
        assert next(found) == 0
        assert set(begun) <= {0, 1, 2, 3}
        assert list(found) == [number**2 for number in range(1, 10)]


def test_what_has_not_begun_when_one_fails_never_does() -> None:
    """The error comes in its place, after the results before it."""
    begun: list[int] = []
    over = threading.Event()

    def work(number: int) -> int:
        begun.append(number)
        if number == 2:
            raise ValueError("third")
        assert number < 2 or over.wait(10)
        return number

    with ThreadPoolExecutor(1) as pool:
        found = in_order(pool, work, ((number,) for number in range(100)), 8)
        assert [next(found), next(found)] == [0, 1]
        with pytest.raises(ValueError, match="third"):
            next(found)
        over.set()
    assert begun in ([0, 1, 2], [0, 1, 2, 3])


@pytest.mark.parametrize(("room", "waiting"), [(1, 1), (10, 1), (29, 2), (30, 3), (1000, 20)])
def test_items_wait_as_far_as_there_is_room(room: int, waiting: int) -> None:
    """So many of a size of ten; one at least, however large it is. The next is made, and waits to be handed over."""
    made: list[int] = []
    full = threading.Event()

    def numbers() -> Iterator[int]:
        for number in range(20):
            made.append(number)
            if len(made) == min(waiting + 1, 20):
                full.set()
            yield number

    with Ahead(numbers(), room, lambda _: 10) as items:
        assert full.wait(10)
        assert len(made) == min(waiting + 1, 20)
        assert list(items) == list(range(20))
    with Ahead(numbers(), room, lambda _: 10) as items:
        assert next(iter(items)) is not None
    assert "landing-ahead" not in _names()
