"""Which rows a shard gets, and in what order: the same for the same seed and epoch, whatever the batches' sizes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from lake.errors import UsageError


@dataclass(frozen=True, slots=True)
class Shard:
    """One of ``count`` shares of a result.

    Raises:
        UsageError: there is no such share.
    """

    index: int = 0
    count: int = 1

    def __post_init__(self) -> None:
        if not 0 <= self.index < self.count:
            raise UsageError(f"there is no shard {self.index} of {self.count}", hint="shards count from 0")

    def within(self, inner: Shard) -> Shard:
        """The share that ``inner`` is of this share, as a share of the whole."""
        return Shard(self.index * inner.count + inner.index, self.count * inner.count)


def every_nth(batches: Iterable[pa.RecordBatch], shard: Shard) -> Iterator[pa.RecordBatch]:
    """The rows whose number in the result leaves ``shard.index`` when divided by ``shard.count``."""
    seen = 0
    for batch in batches:
        first = (shard.index - seen) % shard.count
        seen += batch.num_rows
        if shard.count == 1:
            yield batch
        elif first < batch.num_rows:
            yield batch.take(pa.array(np.arange(first, batch.num_rows, shard.count)))


def shuffled(batches: Iterable[pa.RecordBatch], buffer: int, *, seed: int, epoch: int) -> Iterator[pa.RecordBatch]:
    """Rows in another order, mixed within a buffer of ``buffer`` rows.

    Whenever the buffer is full, half of it leaves, drawn at random. The order is a function of seed, epoch, buffer and
    the rows' own order alone.

    Raises:
        UsageError: the buffer holds fewer than two rows.
    """
    if buffer < 2:
        raise UsageError("a shuffle needs a buffer of at least 2 rows")
    # Raw bits and a stable sort: unlike numpy's shuffles, they are promised never to change between its versions.
    bits = np.random.PCG64(np.random.SeedSequence((seed % 2**64, epoch)))
    held: list[pa.RecordBatch] = []
    count = 0
    for batch in batches:
        rest = batch
        while rest.num_rows:
            part = rest.slice(0, buffer - count)
            rest = rest.slice(part.num_rows)
            held.append(part)
            count += part.num_rows
            if count == buffer:
                mixed = _mixed(held, bits)
                yield mixed.slice(0, buffer // 2)
                # Combined again by the next mix, which lets go of the rows that have left.
                held, count = [mixed.slice(buffer // 2)], buffer - buffer // 2
    if count:
        yield _mixed(held, bits)


def _mixed(held: list[pa.RecordBatch], bits: np.random.PCG64) -> pa.RecordBatch:
    whole = pa.concat_batches(held) if len(held) > 1 else held[0]
    return whole.take(pa.array(np.argsort(bits.random_raw(whole.num_rows), kind="stable")))


def sized(batches: Iterable[pa.RecordBatch], rows: int) -> Iterator[pa.RecordBatch]:
    """The same rows in batches of exactly ``rows``, the last one shorter.

    Raises:
        UsageError: ``rows`` is not at least 1.
    """
    if rows < 1:
        raise UsageError("a batch has at least 1 row")
    held: list[pa.RecordBatch] = []
    count = 0
    for batch in batches:
        rest = batch
        while rest.num_rows:
            part = rest.slice(0, rows - count)
            rest = rest.slice(part.num_rows)
            held.append(part)
            count += part.num_rows
            if count == rows:
                yield pa.concat_batches(held)
                held, count = [], 0
    if held:
        yield pa.concat_batches(held)
