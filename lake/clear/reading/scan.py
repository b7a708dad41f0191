"""Files decoded to rows: several at a time, a bounded number of rows ahead, handed on in the order of the files.

Where rows are filtered, the columns that the filter needs are decoded first, and the others only where a row is left.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import acero

from lake.clear.reading.codes import CODED, all_plain, clean, compacted, repeated
from lake.clear.reading.decode import Decoding, RowGroups
from lake.clear.reading.filter import columns_of
from lake.clear.reading.nulls import cleared
from lake.clear.reading.plan import SUBJECT_COLUMN, FileToRead
from lake.rules.model import EMPLOYEE_COLUMN, SENSITIVITY_COLUMN
from lake.sealed.objects import Location

BATCH_ROWS = 122_880
"""A row group of our writer."""
ROWS_AHEAD = 3 * BATCH_ROWS
"""Rows that are decoded or being decoded before they are asked for; with a row group's width, what a scan may hold."""
SHARE_ROWS = BATCH_ROWS // 4
"""Small files of a local store are decoded together up to here: handing over a task costs as much as a small file."""
REQUESTS_AT_ONCE = 16
"""Objects of a store that are read together: each costs a round trip or two."""
_KEEP = "keep"

Rows = tuple[FileToRead, pa.RecordBatch]
Constants = dict[str, pa.Scalar]


@dataclass(frozen=True, slots=True)
class _Part:
    """A share of one file's row groups: ``index`` of ``of``, so that together all are read whatever their number."""

    file: FileToRead
    decoding: Decoding
    index: int
    of: int


@dataclass(slots=True)
class Scan:
    """What is wanted of some files.

    Attributes:
        schema: every column that a file or its partition can supply; of one that a file lacks, NULLs. Texts whose
            type is ``CODED`` come as dictionaries.
        columns: wanted, in this order.
        condition: only rows for which it is true are wanted.
    """

    location: Location
    schema: pa.Schema
    columns: Sequence[str]
    condition: pc.Expression | None
    _types: dict[str, pa.DataType] = field(init=False, repr=False)
    _first: frozenset[str] = field(init=False, repr=False)
    _wanted: pa.Schema = field(init=False, repr=False)
    _rest: pa.Schema = field(init=False, repr=False)
    _coded: list[str] = field(init=False, repr=False)
    _judged: pa.Schema = field(init=False, repr=False)

    def __post_init__(self) -> None:
        names = self.schema.names
        self._types = dict(zip(names, self.schema.types, strict=True))
        self._first = frozenset(() if self.condition is None else columns_of(self.condition, names))
        self._wanted = pa.schema([self.schema.field(name) for name in self.columns])
        self._rest = pa.schema([field for field in self._wanted if field.name not in self._first])
        self._judged = pa.schema([self._for_judgement(name) for name in names if name in self._first])
        self._coded = [field.name for field in (*self._judged, *self._rest) if field.type == CODED]

    def _for_judgement(self, name: str) -> pa.Field:
        """A column that only the condition needs is needed with its texts in place."""
        field = self.schema.field(name)
        return field if name in self.columns else field.with_type(_plain(field.type))

    def rows(self, files: Sequence[FileToRead]) -> Iterator[Rows]:
        """The rows of the files in their order, none of them empty.

        Raises:
            IntegrityError: an object is missing, or not what was written.
            OSError, ArrowException: the same, as Arrow says it.
        """
        local = self.location.part is None
        threads = pa.cpu_count() if local else REQUESTS_AT_ONCE
        pool = ThreadPoolExecutor(threads, thread_name_prefix="decoding")
        waiting: deque[tuple[int, Future[deque[Rows]]]] = deque()
        ahead = 0
        try:
            for task in self._tasks(files, SHARE_ROWS if local else 0):
                count = sum(min(part.file.rows, BATCH_ROWS) for part in task)
                while waiting and (ahead + count > ROWS_AHEAD or waiting[0][1].done()):
                    done, future = waiting.popleft()
                    yield from _emptied(future)
                    ahead -= done
                waiting.append((count, pool.submit(self._decoded, task)))
                ahead += count
            while waiting:
                yield from _emptied(waiting.popleft()[1])
        finally:
            pool.shutdown(cancel_futures=True)

    def _tasks(self, files: Sequence[FileToRead], together: int) -> Iterator[list[_Part]]:
        """What one thread decodes at a time: a row group of a large file, or some small files."""
        task: list[_Part] = []
        rows = 0
        for file in files:
            decoding = Decoding(file, self.location)
            shares = max(1, -(-file.rows // BATCH_ROWS))
            if task and (shares > 1 or rows + file.rows > together):
                yield task
                task, rows = [], 0
            if shares > 1:
                for index in range(shares):
                    yield [_Part(file, decoding, index, shares)]
            else:
                task.append(_Part(file, decoding, 0, 1))
                rows += file.rows
        if task:
            yield task

    def _decoded(self, task: list[_Part]) -> deque[Rows]:
        found: deque[Rows] = deque()
        for part in task:
            constants = self._constants(part.file)
            condition = self.condition
            if condition is not None and self._first <= constants.keys():
                # It is about the file, all of whose rows it keeps or none.
                if not _true_of(condition, constants):
                    continue
                condition = None
            groups = part.decoding.open(self._coded)
            for group in range(part.index * len(groups) // part.of, (part.index + 1) * len(groups) // part.of):
                batch = self._group(groups, group, constants, condition)
                if batch.num_rows:
                    found.append((part.file, batch))
        return found

    def _group(
        self, groups: RowGroups, group: int, constants: Constants, condition: pc.Expression | None
    ) -> pa.RecordBatch:
        """The wanted rows and columns of one row group."""
        rows = groups.rows(group)
        if condition is None:
            return _batch(self._arrays(groups, group, constants, self._wanted, rows), self._wanted, rows)
        judged = _batch(self._arrays(groups, group, constants, self._judged, rows), self._judged, rows)
        keep = kept(condition, all_plain(judged))
        if keep.true_count == 0:
            return judged.slice(0, 0)
        rest = _batch(self._arrays(groups, group, constants, self._rest, rows), self._rest, rows)
        if keep.true_count < rows:
            judged, rest = filtered(judged, keep), filtered(rest, keep)
        arrays = [(judged if name in self._first else rest)[name] for name in self.columns]
        return _batch(arrays, self._wanted, keep.true_count)

    def _arrays(
        self, groups: RowGroups, group: int, constants: Constants, schema: pa.Schema, rows: int
    ) -> list[pa.Array]:
        stored = [name for name in schema.names if name not in constants and name in groups.names]
        decoded = dict(zip(stored, groups.read(group, stored).columns, strict=True)) if stored else {}
        return [
            _clean(_whole(decoded[name], kind))
            if name in decoded
            else repeated(constants[name], kind, rows)
            if name in constants
            else pa.nulls(rows, kind)
            for name, kind in zip(schema.names, schema.types, strict=True)
        ]

    def _constants(self, file: FileToRead) -> Constants:
        """What all rows of a file have in common."""
        values = {SENSITIVITY_COLUMN: file.sensitivity, SUBJECT_COLUMN: file.number, EMPLOYEE_COLUMN: file.label}
        return {
            name: pa.scalar(value, _plain(self._types[name]))
            for name, value in values.items()
            if value is not None and name in self._types
        }


def _emptied(future: Future[deque[Rows]]) -> Iterator[Rows]:
    """What a task found; nothing is kept of what has been handed on."""
    found = future.result()
    del future
    while found:
        yield found.popleft()


def _true_of(condition: pc.Expression, constants: Constants) -> bool:
    schema = pa.schema([(name, value.type) for name, value in constants.items()])
    found = kept(condition, _batch([pa.repeat(value, 1) for value in constants.values()], schema, 1))
    return bool(found.true_count == 1)


def kept(condition: pc.Expression, batch: pa.RecordBatch) -> pa.BooleanArray:
    """For each row whether the condition is true; NULL where it is NULL. Texts are in place."""
    source = acero.Declaration("table_source", acero.TableSourceNodeOptions(pa.Table.from_batches([batch])))
    judged = acero.Declaration("project", acero.ProjectNodeOptions([condition], [_KEEP]), inputs=[source])
    return _whole(judged.to_table(use_threads=False)[_KEEP], pa.bool_())


def filtered(batch: pa.RecordBatch, keep: pa.BooleanArray) -> pa.RecordBatch:
    """The rows for which it is true; dictionaries hold their texts alone."""
    left = batch.filter(keep)
    arrays = [compacted(column) if pa.types.is_dictionary(column.type) else column for column in left.columns]
    return _batch(arrays, left.schema, left.num_rows)


def _plain(kind: pa.DataType) -> pa.DataType:
    return kind.value_type if pa.types.is_dictionary(kind) else kind


def _whole(column: pa.ChunkedArray, kind: pa.DataType) -> pa.Array:
    array = column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()
    return array if array.type.equals(kind) else array.cast(kind)


def _clean(column: pa.Array) -> pa.Array:
    """Decoding leaves no text under a NULL, but numbers of what the memory held before."""
    if pa.types.is_dictionary(column.type):
        return clean(column)
    return column if pa.types.is_string(column.type) else cleared(column)


def _batch(arrays: list[pa.Array], schema: pa.Schema, rows: int) -> pa.RecordBatch:
    if not arrays:  # rows without columns
        return pa.RecordBatch.from_arrays([pa.nulls(rows)], ["rows"]).select([])
    return pa.RecordBatch.from_arrays(arrays, schema=schema)
