"""Rows of a query as Hugging Face's ``datasets`` takes them; imported only where that is installed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pyarrow as pa
from datasets import DatasetInfo, Features, IterableDataset  # type: ignore[import-not-found]
from datasets.iterable_dataset import ArrowExamplesIterable  # type: ignore[import-not-found]

from lake.client.order import Shard

if TYPE_CHECKING:
    from lake.client.dataset import Dataset


def iterable(dataset: Dataset, shards: int, epoch: int) -> IterableDataset:
    """A streaming dataset; unlike with ``from_generator``, nothing is pickled or put in a cache for it."""
    parts = [Shard(index, shards) for index in range(shards)]
    tables = ArrowExamplesIterable(_tables, {"dataset": dataset, "epoch": epoch, "parts": parts})
    return IterableDataset(tables, info=DatasetInfo(features=Features.from_arrow_schema(dataset.schema())))


def _tables(dataset: Dataset, epoch: int, parts: list[Shard]) -> Iterator[tuple[tuple[int, int], pa.Table]]:
    for part in parts:
        for number, batch in enumerate(dataset.batches(epoch, within=part)):
            yield (part.index, number), pa.Table.from_batches([batch])
