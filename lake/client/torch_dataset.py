"""Rows of a query as PyTorch takes them; imported only where PyTorch is installed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import torch  # type: ignore[import-not-found]
from torch.utils.data import IterableDataset, get_worker_info  # type: ignore[import-not-found]

from lake.client.columns import as_numbers
from lake.client.order import Shard

if TYPE_CHECKING:
    from lake.client.dataset import Dataset


class TorchDataset(IterableDataset):  # type: ignore[misc]
    """Runs its query for every epoch; workers of a DataLoader share the rows, so that each comes once.

    Args:
        batch_size: rows of each dictionary of tensors and lists; None gives rows one by one.
    """

    def __init__(self, dataset: Dataset, batch_size: int | None = None) -> None:
        super().__init__()
        self._dataset = dataset
        self._batch_size = batch_size
        # In shared memory, because workers that outlive an epoch must learn of the next one.
        self._epoch = torch.zeros((), dtype=torch.int64).share_memory_()

    def set_epoch(self, epoch: int) -> None:
        """Which order the next pass has; call it before each epoch, as with a DistributedSampler."""
        self._epoch.fill_(epoch)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        worker = get_worker_info()
        within = Shard(worker.id, worker.num_workers) if worker else None
        for batch in self._dataset.batches(int(self._epoch), rows=self._batch_size, within=within):
            columns = _columns(batch)
            if self._batch_size is not None:
                yield columns
            else:
                for row in range(batch.num_rows):
                    yield {name: values[row] for name, values in columns.items()}


def _columns(batch: pa.RecordBatch) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        numbers = as_numbers(name, column)
        found[name] = column.to_pylist() if numbers is None else torch.from_numpy(numbers)
    return found
