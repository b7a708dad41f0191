"""Handles: for one owner, for some time, in a bounded number; what is not good looks the same, whatever is wrong."""

from __future__ import annotations

import threading

import pytest

from lake.errors import DeniedError
from lake.gateway.flight.failures import BusyError
from lake.gateway.flight.handles import Handles, Owner, Room

VERA, STU = Owner("vera", "incident", None), Owner("stu", "study", None)


class Clock:
    """Seconds that a test sets."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        """The time."""
        return self.now


def made(clock: Clock, *, each: int = 10, size_each: int = 1000, size: int = 2000) -> Handles[str]:
    """Handles that are good for a minute."""
    return Handles("ticket", Room(each, size_each, size), 60.0, clock)


def test_what_is_not_good_looks_the_same() -> None:
    """Guessed, used, another's, another purpose's and too old: one text."""
    clock = Clock()
    handles = made(clock)
    used, old, other = (handles.put(VERA, name, 1) for name in ("used", "old", "other"))
    assert handles.take(used, VERA) == "used"
    texts = set()
    for handle, owner in (
        (b"\x00" * 32, VERA),
        (b"", VERA),
        (used, VERA),
        (other, STU),
        (other, Owner("vera", "study", None)),
        (other, Owner("vera", "incident", "all")),
    ):
        for way in (handles.take, handles.use):
            with pytest.raises(DeniedError) as caught:
                way(handle, owner)
            texts.add(str(caught.value))
    clock.now = 60.0
    with pytest.raises(DeniedError) as caught:
        handles.take(old, VERA)
    assert {str(caught.value)} == texts
    assert len(texts) == 1


def test_another_who_tries_a_handle_does_not_use_it_up() -> None:
    """Its owner can still use it."""
    handles = made(Clock())
    handle = handles.put(VERA, "value", 1)
    with pytest.raises(DeniedError):
        handles.take(handle, STU)
    assert not handles.drop(handle, STU)
    assert handles.take(handle, VERA) == "value"


def test_use_makes_it_last() -> None:
    """A statement that is used is not idle."""
    clock = Clock()
    handles = made(clock)
    kept, idle = handles.put(VERA, "kept", 1), handles.put(VERA, "idle", 1)
    for clock.now in (50.0, 100.0, 150.0):
        assert handles.use(kept, VERA) == "kept"
    with pytest.raises(DeniedError):
        handles.use(idle, VERA)
    assert len(handles) == 1


def test_there_is_room_for_so_many() -> None:
    """Of one user and of all, by number and by size; what is gone makes room."""
    clock = Clock()
    handles = made(clock, each=2)
    first = handles.put(VERA, "a", 1)
    handles.put(Owner("vera", "study", None), "b", 1)
    with pytest.raises(BusyError, match="you have too many tickets"):
        handles.put(VERA, "c", 1)
    handles.put(STU, "d", 1)
    handles.drop(first, VERA)
    handles.put(VERA, "e", 1)
    clock.now = 60.0
    handles.put(VERA, "f", 1000)
    with pytest.raises(BusyError, match="you have"):
        handles.put(VERA, "g", 1)
    handles.put(STU, "h", 999)
    with pytest.raises(BusyError, match="there are"):
        handles.put(Owner("third", "study", None), "i", 2)


def test_what_grows_needs_room() -> None:
    """And what shrinks gives it back."""
    handles = made(Clock())
    handle = handles.put(VERA, "a", 500)
    handles.resize(handle, VERA, 1000)
    with pytest.raises(BusyError):
        handles.resize(handle, VERA, 1001)
    handles.resize(handle, VERA, 10)
    handles.put(VERA, "b", 990)
    with pytest.raises(DeniedError):
        handles.resize(handle, STU, 1)


def test_handles_are_long_and_not_alike() -> None:
    """32 bytes each, all different."""
    handles = made(Clock(), each=1000)
    found = {handles.put(VERA, "v", 0) for _ in range(500)}
    assert len(found) == 500
    assert {len(handle) for handle in found} == {32}


def test_a_handle_is_good_once_however_many_try() -> None:
    """Eight threads take the same 200 handles: each is had once."""
    handles = made(Clock(), each=1000)
    names = [handles.put(VERA, str(number), 0) for number in range(200)]
    had: list[str] = []

    def take() -> None:
        for name in names:
            try:
                had.append(handles.take(name, VERA))
            except DeniedError:
                continue

    threads = [threading.Thread(target=take) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(had, key=int) == [str(number) for number in range(200)]
