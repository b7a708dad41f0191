"""The cache of opened keys: as old, as many and of the epoch that it says, and no keys in what it shows."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keys.cache import MOST, TTL_SECONDS, KeyCache
from keys.names import BUCKETS, SENSITIVITIES

KEY = b"k" * 32


class Clock:
    """A monotonic clock that a test moves."""

    def __init__(self) -> None:
        self.seconds = 1_000.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def clock() -> Clock:
    """A clock that stands."""
    return Clock()


@pytest.fixture
def cache(clock: Clock) -> KeyCache:
    """A cache at epoch 1."""
    cache = KeyCache(clock)
    cache.follow(1)
    return cache


def test_a_key_is_found_by_blob_and_context(cache: KeyCache) -> None:
    """Neither the same blob with another context nor the other way round finds a key."""
    cache.put(1, b"blob", b"context", KEY)
    assert cache.get(b"blob", b"context") == KEY
    for blob, context in ((b"blob", b"other"), (b"other", b"context"), (b"blobc", b"ontext"), (b"context", b"blob")):
        assert cache.get(blob, context) is None


def test_a_key_lives_as_long_as_the_limit_and_use_does_not_prolong_it(cache: KeyCache, clock: Clock) -> None:
    """Up to five minutes after it was put, however often it is used meanwhile; then it is gone from memory too."""
    assert TTL_SECONDS <= 300
    cache.put(1, b"blob", b"context", KEY)
    for _ in range(10):
        clock.seconds += TTL_SECONDS / 10 - 0.01
        assert cache.get(b"blob", b"context") == KEY
    clock.seconds = 1_000.0 + TTL_SECONDS
    assert cache.get(b"blob", b"context") is None
    assert len(cache) == 0
    cache.put(1, b"blob", b"context", KEY)
    assert cache.get(b"blob", b"context") == KEY


def test_a_newer_epoch_drops_everything(cache: KeyCache) -> None:
    """What was opened for an older epoch is gone, and who still works with it neither finds nor leaves keys."""
    cache.put(1, b"blob", b"context", KEY)
    cache.follow(1)
    assert cache.get(b"blob", b"context") == KEY
    cache.follow(2)
    assert cache.get(b"blob", b"context") is None
    assert len(cache) == 0
    for epoch in (1, 3):  # late, and of a state that this cache has not heard of
        cache.put(epoch, b"blob", b"context", KEY)
        assert len(cache) == 0
    cache.put(2, b"blob", b"context", KEY)
    cache.follow(1)  # an older view changes nothing
    assert cache.get(b"blob", b"context") == KEY


def test_the_oldest_key_makes_room(clock: Clock) -> None:
    """The cache holds as many as it may, the newest; by default every bucket key of a lake fits."""
    cache = KeyCache(clock, most=3)
    for number in range(5):
        cache.put(0, b"%d" % number, b"", KEY)
    assert [cache.get(b"%d" % number, b"") is not None for number in range(5)] == [False, False, True, True, True]
    assert len(cache) == 3
    assert len(SENSITIVITIES) * BUCKETS <= MOST


def test_clearing_drops_everything(cache: KeyCache) -> None:
    """After clearing, keys must be opened again."""
    cache.put(1, b"blob", b"context", KEY)
    cache.clear()
    assert cache.get(b"blob", b"context") is None
    assert len(cache) == 0


_OPERATIONS = st.one_of(
    st.tuples(st.just("put"), st.integers(0, 5), st.integers(0, 3)),
    st.tuples(st.just("get"), st.integers(0, 5), st.just(0)),
    st.tuples(st.just("follow"), st.integers(0, 3), st.just(0)),
    st.tuples(st.just("wait"), st.integers(0, 6), st.just(0)),
)


@given(st.lists(_OPERATIONS, max_size=60))
def test_a_cache_behaves_as_a_list_of_what_was_put(operations: list[tuple[str, int, int]]) -> None:
    """Whatever the order: a key is given if it was put for this epoch, less than the limit ago, and not pushed out."""
    clock = Clock()
    cache = KeyCache(clock, ttl=10, most=3)
    epoch = 0
    held: dict[int, tuple[float, bytes]] = {}
    for turn, (what, number, of_epoch) in enumerate(operations):
        key = b"%d of turn %d" % (number, turn)
        match what:
            case "put":
                cache.put(of_epoch, b"%d" % number, b"", key)
                if of_epoch == epoch:
                    held[number] = (clock.seconds, key)
                    if len(held) > 3:
                        del held[next(iter(held))]
            case "follow":
                cache.follow(number)
                if number > epoch:
                    epoch = number
                    held.clear()
            case "wait":
                clock.seconds += number
            case _:
                at, expected = held.get(number, (0.0, None))
                young = clock.seconds - at < 10
                assert cache.get(b"%d" % number, b"") == (expected if young else None)
                if not young:
                    held.pop(number, None)
        assert len(cache) == len(held)
