"""A query to train on: it runs anew for every epoch, whole or one share of it, in order or shuffled."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Protocol

import pyarrow as pa

from lake.client.order import Shard, every_nth, shuffled, sized
from lake.client.result import Result
from lake.errors import UsageError

if TYPE_CHECKING:
    from datasets import IterableDataset as HuggingFaceDataset  # type: ignore[import-not-found]

    from lake.client.torch_dataset import TorchDataset

_ORDER = re.compile(r"\border\s+by\b", re.IGNORECASE)


class Source(Protocol):
    """A query that can be run again."""

    @property
    def sql(self) -> str:
        """What it says."""

    def schema(self) -> pa.Schema:
        """Columns of the result; nothing is read."""

    def whole(self) -> Iterator[pa.RecordBatch]:
        """Run it."""

    def share(self, shard: Shard) -> Iterator[pa.RecordBatch] | None:
        """Run it over this share of its files only; None if it cannot be divided."""


@dataclass(frozen=True, slots=True)
class LocalSource:
    """A query on an embedded lake; it stays in the process that opened the lake."""

    sql: str
    run: Callable[[], Result]
    describe: Callable[[], pa.Schema]
    process: int = field(default_factory=os.getpid)

    def __reduce__(self) -> Any:
        """Never goes to another process.

        Raises:
            UsageError: always.
        """
        raise _elsewhere()

    def schema(self) -> pa.Schema:
        """Columns of the result."""
        self._check()
        return self.describe()

    def whole(self) -> Iterator[pa.RecordBatch]:
        """Run it."""
        self._check()
        return self.run().batches()

    def share(self, _shard: Shard) -> None:
        """An embedded lake does not divide queries."""

    def _check(self) -> None:
        if os.getpid() != self.process:
            raise _elsewhere()


@dataclass(frozen=True, slots=True)
class Dataset:
    """Rows of a query for training.

    Each row is in exactly one shard: by the files it comes from if the gateway can divide the query, else by its number
    in a result with an ORDER BY, which must tell all rows apart. Both hold as long as nothing lands in, or leaves, what
    the query reads.

    Attributes:
        columns: those to keep, all by default.
        shuffle: rows of the buffer in which they are mixed; None keeps the query's order.
        seed: with the epoch, decides the shuffled order.
        shard: which share of the rows.
    """

    source: Source
    columns: tuple[str, ...] | None = None
    shuffle: int | None = None
    seed: int = 0
    shard: Shard = field(default_factory=Shard)

    def schema(self) -> pa.Schema:
        """Columns as they come from here: dictionaries are decoded."""
        schema = self.source.schema()
        fields = [schema.field(number) for number in self._numbers(schema)]
        return pa.schema([field.with_type(_plain(field.type)) for field in fields])

    def batches(
        self, epoch: int = 0, *, rows: int | None = None, within: Shard | None = None
    ) -> Iterator[pa.RecordBatch]:
        """Run the query and give its rows, those of ``within`` of this shard if it is given.

        Args:
            epoch: decides the shuffled order, with the seed.
            rows: of each batch but the last; as they come by default.

        Raises:
            UsageError: the query cannot be divided, and its order is not defined.
        """
        found = self._shared(self.shard.within(within) if within else self.shard)
        found = (self._kept(batch) for batch in found)
        if self.shuffle is not None:
            found = shuffled(found, self.shuffle, seed=self.seed, epoch=epoch)
        return found if rows is None else sized(found, rows)

    def to_torch(self, batch_size: int | None = None) -> TorchDataset:
        """As a ``torch.utils.data.IterableDataset`` of dictionaries: of whole batches, or of single rows.

        Raises:
            UsageError: PyTorch is not installed.
        """
        _need("torch")
        from lake.client.torch_dataset import TorchDataset  # noqa: PLC0415 - an optional library

        return TorchDataset(self, batch_size)

    def to_datasets(self, shards: int = 1, epoch: int = 0) -> HuggingFaceDataset:
        """As an ``IterableDataset`` of Hugging Face's ``datasets``, of so many shards.

        Raises:
            UsageError: ``datasets`` is not installed.
        """
        _need("datasets")
        from lake.client.huggingface import iterable  # noqa: PLC0415 - an optional library

        return iterable(self, shards, epoch)

    def with_shard(self, index: int, count: int) -> Dataset:
        """The same rows, another share of them."""
        return replace(self, shard=Shard(index, count))

    def _shared(self, shard: Shard) -> Iterator[pa.RecordBatch]:
        if shard.count == 1:
            return self.source.whole()
        divided = self.source.share(shard)
        if divided is not None:
            return divided
        if not _ORDER.search(self.source.sql):
            hint = "add an ORDER BY over columns that tell all rows apart"
            raise UsageError("shards of this query could overlap: it has no order and cannot be divided", hint=hint)
        return every_nth(self.source.whole(), shard)

    def _kept(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        numbers = self._numbers(batch.schema)
        arrays = [batch.column(number) for number in numbers]
        arrays = [array.dictionary_decode() if pa.types.is_dictionary(array.type) else array for array in arrays]
        return pa.record_batch(arrays, names=[batch.schema.names[number] for number in numbers])

    def _numbers(self, schema: pa.Schema) -> Sequence[int]:
        wanted = self.columns if self.columns is not None else tuple(schema.names)
        for name in wanted:
            if schema.names.count(name) != 1:
                raise UsageError(f"the result has not exactly one column {name!r}", hint="name each column once")
        return [schema.names.index(name) for name in wanted]


def _plain(kind: Any) -> Any:
    return kind.value_type if pa.types.is_dictionary(kind) else kind


def _elsewhere() -> UsageError:
    hint = "read it in this process (num_workers=0), or connect to a gateway"
    return UsageError("an embedded lake is read only in the process that opened it", hint=hint)


def _need(module: str) -> None:
    if find_spec(module) is None:
        raise UsageError(f"{module} is not installed", hint=f"pip install {module}")
