"""Shards and shuffles: every row once, the same order for the same seed and epoch, whatever the batches."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lake.client.order import Shard, every_nth, shuffled, sized
from lake.errors import UsageError

sizes = st.lists(st.integers(0, 40), max_size=12)


def batches(lengths: Iterable[int]) -> Iterator[pa.RecordBatch]:
    """Batches of these lengths over rows that are numbered through."""
    start = 0
    for length in lengths:
        yield pa.record_batch({"n": range(start, start + length), "text": [f"t{start + i}" for i in range(length)]})
        start += length


def numbers(found: Iterable[pa.RecordBatch]) -> list[int]:
    """The rows' numbers, after a look at their texts."""
    rows = [row for batch in found for row in batch.to_pylist()]
    assert all(row["text"] == f"t{row['n']}" for row in rows)
    return [row["n"] for row in rows]


def mix(lengths: Iterable[int], buffer: int, seed: int = 0, epoch: int = 0) -> list[int]:
    """Numbers after a shuffle."""
    return numbers(shuffled(batches(lengths), buffer, seed=seed, epoch=epoch))


@given(sizes, st.integers(1, 9))
def test_every_row_is_in_one_shard(lengths: list[int], count: int) -> None:
    """The shards together are the result; their sizes differ by one at most."""
    shards = [numbers(every_nth(batches(lengths), Shard(index, count))) for index in range(count)]
    assert sorted(chain(*shards)) == list(range(sum(lengths)))
    assert max(map(len, shards)) - min(map(len, shards)) <= 1


@given(sizes, sizes, st.integers(1, 5))
def test_a_shard_does_not_depend_on_batches(lengths: list[int], other: list[int], count: int) -> None:
    """The same rows in other batches give the same shard."""
    total = min(sum(lengths), sum(other))
    cut = numbers(every_nth(batches([total]), Shard(count - 1, count)))
    assert [n for n in numbers(every_nth(batches(lengths), Shard(count - 1, count))) if n < total] == cut
    assert [n for n in numbers(every_nth(batches(other), Shard(count - 1, count))) if n < total] == cut


@given(st.integers(1, 6), st.integers(1, 6))
def test_a_share_of_a_share_is_a_share(outer: int, inner: int) -> None:
    """Workers within ranks cover the whole, each part once."""
    parts = [Shard(o, outer).within(Shard(i, inner)) for o in range(outer) for i in range(inner)]
    assert sorted((part.index, part.count) for part in parts) == [(n, outer * inner) for n in range(outer * inner)]


@given(sizes, st.integers(2, 60), st.integers(-3, 2**70), st.integers(0, 5))
def test_a_shuffle_keeps_every_row(lengths: list[int], buffer: int, seed: int, epoch: int) -> None:
    """Each row comes once, in an order that the same call gives again."""
    found = mix(lengths, buffer, seed, epoch)
    assert sorted(found) == list(range(sum(lengths)))
    assert found == mix(lengths, buffer, seed, epoch)


@given(sizes, st.integers(2, 60), st.integers(1, 50))
def test_a_shuffle_does_not_depend_on_batches(lengths: list[int], buffer: int, step: int) -> None:
    """The same rows in other batches come in the same order."""
    total = sum(lengths)
    other = [min(step, total - start) for start in range(0, total, step)]
    assert mix(lengths, buffer) == mix(other, buffer)


def test_seed_and_epoch_change_the_order() -> None:
    """Neighbouring seeds and epochs, also crossed, give different orders."""
    orders = [mix([500], 100, seed, epoch) for seed in range(4) for epoch in range(4)]
    assert len({tuple(order) for order in orders}) == 16
    assert list(range(500)) not in orders


def test_the_order_is_fixed_for_ever() -> None:
    """What an experiment noted as its seed and epoch gives its order in later versions too."""
    assert mix([12], 8, seed=7, epoch=3) == [2, 4, 7, 3, 9, 6, 8, 0, 5, 10, 11, 1]


def test_the_buffer_bounds_what_is_read_ahead() -> None:
    """No row leaves before the buffer is full, and reading never runs further ahead than the buffer."""
    read = 0

    def counted() -> Iterator[pa.RecordBatch]:
        nonlocal read
        for batch in batches([10] * 100):
            read += batch.num_rows
            yield batch

    left = 0
    for batch in shuffled(counted(), 64, seed=1, epoch=0):
        assert read - left <= 64 + 10
        left += batch.num_rows
    assert left == 1000


@given(sizes, st.integers(1, 50))
def test_batches_of_one_size(lengths: list[int], rows: int) -> None:
    """All but the last have exactly as many rows as asked for, and the order stays."""
    found = list(sized(batches(lengths), rows))
    assert numbers(found) == list(range(sum(lengths)))
    assert all(batch.num_rows == rows for batch in found[:-1])
    assert all(0 < batch.num_rows <= rows for batch in found)


@pytest.mark.parametrize(("index", "count"), [(0, 0), (1, 1), (-1, 2), (5, 3)])
def test_a_shard_that_is_none(index: int, count: int) -> None:
    """Refused at once, and not with an empty result."""
    with pytest.raises(UsageError, match="there is no shard"):
        Shard(index, count)


def test_sizes_that_are_none() -> None:
    """A buffer that mixes nothing, a batch without rows."""
    with pytest.raises(UsageError, match="at least 2 rows"):
        list(shuffled(batches([3]), 1, seed=0, epoch=0))
    with pytest.raises(UsageError, match="at least 1 row"):
        list(sized(batches([3]), 0))
