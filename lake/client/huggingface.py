"""Rows of a query as Hugging Face's ``datasets`` takes them; imported only where that is installed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from datasets import Features, IterableDataset  # type: ignore[import-not-found]

from lake.client.order import Shard

if TYPE_CHECKING:
    from lake.client.dataset import Dataset


def iterable(dataset: Dataset, shards: int, epoch: int) -> IterableDataset:
    """A streaming dataset; nothing is written to a cache."""
    parts = [Shard(index, shards) for index in range(shards)]
    return IterableDataset.from_generator(
        _examples,
        features=Features.from_arrow_schema(dataset.schema()),
        gen_kwargs={"dataset": dataset, "epoch": epoch, "parts": parts},
    )


def _examples(dataset: Dataset, epoch: int, parts: list[Shard]) -> Iterator[dict[str, Any]]:
    for part in parts:
        for batch in dataset.batches(epoch, within=part):
            yield from batch.to_pylist()
