"""A slice whose scans are kept in this process, for the engine that runs in it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pyarrow as pa
import pyarrow.compute as pc

from lake.clear.serving.cache import SliceCache
from lake.clear.serving.handover import Handover, SliceSource
from lake.errors import LakeError


class RememberedSlice:
    """Scans a slice as :class:`~lake.clear.reading.slice.Slice` does; what was decoded before is taken from a cache.

    Args:
        cache: of this process alone; nothing in it is in shared memory.
    """

    def __init__(self, source: SliceSource, cache: SliceCache) -> None:
        self.carried = source.carried
        self._source = source
        self._cache = cache
        self._broken: LakeError | None = None

    @property
    def failure(self) -> LakeError | None:
        """The typed error of a scan that broke off."""
        return self._source.failure or self._broken

    def scan(self, columns: Sequence[str] | None, condition: pc.Expression | None) -> pa.RecordBatchReader:
        """See ``Slice.scan``."""
        wanted = list(self._source.schema.names if columns is None else columns)
        wording = "" if condition is None else _exactly(condition)
        scan = Handover(self._source, wanted, condition, wording, self._cache, shared=False)
        schema = pa.schema([self.carried.field(name) for name in wanted])
        return pa.RecordBatchReader.from_batches(schema, self._batches(scan, wanted))

    def _batches(self, scan: Handover, columns: list[str]) -> Iterator[pa.RecordBatch]:
        try:
            while (part := scan.next()) is not None:
                for batch in part.batches():  # of a part that was kept, with more columns
                    yield batch.select(columns)
                    del batch
                del part
        except LakeError as error:
            self._broken = error
            raise
        finally:
            scan.close()


def _exactly(condition: pc.Expression) -> str:
    """Arrow's own form of an expression, byte for byte; as text, values that differ can look alike."""
    _, (form,) = condition.__reduce__()
    return str(form.to_pybytes().hex())
