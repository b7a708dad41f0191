"""One item ahead, in a thread."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from lake.clear.landing.ahead import Ahead


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
