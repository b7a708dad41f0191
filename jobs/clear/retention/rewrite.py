"""A file written anew without the rows that go: captured up to a moment, and not held. One row group at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from lake.clear.landing.encode import ROW_GROUP_ROWS
from lake.clear.reading.decode import fragment
from lake.clear.reading.plan import FileToRead
from lake.errors import IntegrityError, LakeError
from lake.rules.hold import Spared
from lake.rules.model import TIME_COLUMN, DataFile
from lake.sealed.objects import Location


@dataclass(frozen=True, slots=True)
class Going:
    """Which rows of a file go: captured at ``cut`` or before (None: all), but for those that holds spare."""

    cut: datetime | None
    spared: Sequence[Spared]

    def everything(self, first: datetime, last: datetime) -> bool:
        """Whether all rows between two times do, whatever they are."""
        return (self.cut is None or last <= self.cut) and not any(one.touches(first, last) for one in self.spared)

    def nothing(self, first: datetime, last: datetime) -> bool:
        """Whether none does, whatever they are."""
        until = last if self.cut is None else min(last, self.cut)
        return first > until or any(one.covers(first, until) for one in self.spared)

    def stays(self, times: pa.ChunkedArray | pa.Array) -> pa.ChunkedArray | pa.Array:
        """For each row whether it stays."""

        def at(moment: datetime) -> pa.Scalar:
            return pa.scalar(moment, times.type)

        late = pc.greater(times, at(self.cut)) if self.cut is not None else pc.less(times, times)
        for one in self.spared:
            held = pc.greater_equal(times, times)
            if one.first is not None:
                held = pc.and_(held, pc.greater_equal(times, at(one.first)))
            if one.last is not None:
                held = pc.and_(held, pc.less(times, at(one.last)))
            late = pc.or_(late, held)
        return late


class Remaining:
    """The rows of a file that stay, in whole row groups but for the last; counts what it has read and kept."""

    def __init__(self, file: DataFile, source: FileToRead, location: Location, going: Going) -> None:
        self._file = file
        self._source = source
        self._location = location
        self._going = going
        self.read = self.kept = 0

    def open(self) -> tuple[pa.Schema, Iterator[pa.Table]]:
        """The schema, and the rows.

        Raises:
            IntegrityError: the file is not what was written.
        """
        try:
            found = fragment(self._source, self._location)
            schema = found.physical_schema
        except LakeError:
            raise
        except (OSError, pa.ArrowException, ValueError):
            raise self._changed() from None
        return schema, self._tables(found, schema)

    def _tables(self, found: ds.Fragment, schema: pa.Schema) -> Iterator[pa.Table]:
        waiting: list[pa.RecordBatch] = []
        rows = 0
        try:
            scanner = ds.Scanner.from_fragment(found, schema=schema, batch_size=ROW_GROUP_ROWS, batch_readahead=1)
            for batch in scanner.to_batches():
                self.read += batch.num_rows
                left = batch.filter(self._going.stays(batch[TIME_COLUMN]))
                waiting.append(left)
                rows += left.num_rows
                if rows >= ROW_GROUP_ROWS:
                    table = pa.Table.from_batches(waiting, schema)
                    whole = rows - rows % ROW_GROUP_ROWS
                    self.kept += whole
                    yield table.slice(0, whole)
                    waiting, rows = table.slice(whole).to_batches(), rows - whole
        except LakeError:
            raise
        except (OSError, pa.ArrowException, ValueError):
            raise self._changed() from None
        if self.read != self._file.rows:
            raise self._changed()
        if rows:
            self.kept += rows
            yield pa.Table.from_batches(waiting, schema)

    def _changed(self) -> IntegrityError:
        return IntegrityError(
            f"the object of file {self._file.file_id} is not what was written",
            hint="restore it from a backup; 'lake doctor' lists every damaged file",
        )
