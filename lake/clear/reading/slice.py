"""A slice: the rows and columns that a grant permits of one dataset, masked, as a stream that can be scanned again.

The policy's filter runs as files are decoded. A condition of the user's query is applied there only where the policy
hides no row of the files and masks no column; otherwise after both, so that it never meets a hidden row or value.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.compute as pc

from lake.clear.reading.codes import all_plain, carried
from lake.clear.reading.filter import FilterCompiler, columns_of
from lake.clear.reading.image.build import Image
from lake.clear.reading.image.images import Need
from lake.clear.reading.mask import apply_mask
from lake.clear.reading.nulls import cleared
from lake.clear.reading.plan import SUBJECT_COLUMN, FileToRead, SealedPlan, SliceKey, Source
from lake.clear.reading.scan import Scan, filtered, kept
from lake.errors import IntegrityError, LakeError
from lake.rules.masks import MaskKind
from lake.rules.model import EMPLOYEE_COLUMN, SENSITIVITY_COLUMN, TIME_COLUMN

_TEXT = 64
"""Bytes of a text that is not short, about."""


@dataclass(slots=True)
class Touched:
    """Whose rows have left the slice: employee numbers and rows by sensitivity."""

    numbers: dict[int, set[int]] = field(default_factory=dict)
    rows: dict[int, int] = field(default_factory=dict)

    def add(self, source: Source, rows: int) -> None:
        """Count rows of one employee and sensitivity."""
        self.numbers.setdefault(source.sensitivity, set()).add(source.number)
        self.rows[source.sensitivity] = self.rows.get(source.sensitivity, 0) + rows


@dataclass(frozen=True, slots=True)
class Shown:
    """Columns of an image that one query may read; it may have others, of earlier ones."""

    image: Image
    columns: Sequence[str]


class Slice:
    """The permitted rows of one sealed plan. ``failure`` keeps the typed error of a scan that broke off.

    ``whole`` tells that row groups were handed over whole, whatever of them the query needs. ``schema`` is what a
    reader sees, ``carried`` how its columns are handed over: short texts as dictionaries.

    Args:
        key: what the rows depend on, if a scan may be kept for a later query.
        need: what the query needs of it, if the engine may read an image.
        held: an image with all of that, made before of the same files; then the plan may be without their keys.
    """

    def __init__(
        self, plan: SealedPlan, key: SliceKey | None = None, need: Need | None = None, held: Image | None = None
    ) -> None:
        self.schema = plan.schema
        self._coded = plan.coded - plan.masks.keys()
        self.carried = carried(plan.schema, self._coded)
        self.key = key
        self.touched = Touched()
        self.failure: LakeError | None = None
        self.whole = False
        self._need = need
        self._held = held
        self._plan = plan
        self._lock = threading.Lock()
        self._policy = self._policy_filter()
        self._user_filter_in_scanner = plan.row_filter is None and not plan.masks
        self._unified = self._unified_schema()

    def _policy_filter(self) -> pc.Expression | None:
        plan = self._plan
        parts: list[pc.Expression] = []
        if plan.row_filter is not None:
            compiler = FilterCompiler(plan.stored, plan.attributes, plan.now)
            parts.append(compiler.compile(plan.row_filter))
        times = pc.field(TIME_COLUMN)
        if plan.first is not None:
            parts.append(times >= pa.scalar(plan.first, pa.timestamp("us")))
        if plan.last is not None:
            parts.append(times <= pa.scalar(plan.last, pa.timestamp("us")))
        combined: pc.Expression | None = None
        for part in parts:
            combined = part if combined is None else combined & part
        return combined

    def _unified_schema(self) -> pa.Schema:
        """Every column that a file or its partition can supply."""
        fields = list(self._plan.stored)
        if SENSITIVITY_COLUMN not in self._plan.stored.names:
            fields.append(pa.field(SENSITIVITY_COLUMN, pa.int8()))
        if EMPLOYEE_COLUMN in self._plan.schema.names:
            fields.append(pa.field(EMPLOYEE_COLUMN, pa.string()))
        fields.append(pa.field(SUBJECT_COLUMN, pa.int32()))
        return pa.schema(fields)

    def files(self) -> list[str]:
        """Ids of the files that it may read."""
        return [file.file_id for file in self._plan.files]

    def width(self, columns: Sequence[str]) -> int:
        """Bytes that these columns of all rows take in memory, about: texts that are not short may take far more."""
        kinds = [self.carried.field(name).type for name in dict.fromkeys(columns)]
        return sum(file.rows for file in self._plan.files) * sum(map(_width, kinds))

    def touched_so_far(self) -> dict[int, tuple[int, frozenset[int]]]:
        """Rows and employee numbers by sensitivity, of what has left the slice; a scan may go on meanwhile."""
        with self._lock:
            return {level: (self.touched.rows[level], frozenset(who)) for level, who in self.touched.numbers.items()}

    def touch(self, touched: Mapping[Source, int]) -> None:
        """Count rows that now leave the slice."""
        with self._lock:
            for source, rows in touched.items():
                self.touched.add(source, rows)

    def scan(self, columns: Sequence[str] | None, condition: pc.Expression | None) -> pa.RecordBatchReader:
        """A fresh stream of the slice.

        Args:
            columns: visible columns, in the order wanted; None means all.
            condition: constant comparisons of visible columns; only rows for which it is true are wanted.
        """
        wanted = list(self.schema.names if columns is None else columns)
        schema = self._chosen(wanted, self.carried)
        return pa.RecordBatchReader.from_batches(schema, self._leaving(wanted, condition))

    def image(self, go_on: Callable[[], None] = lambda: None) -> Shown | None:
        """What the query needs of the slice as a Parquet file in memory, all of whose rows now count as touched.

        Args:
            go_on: called now and then; what it raises is passed on.

        Returns:
            None where the policy hides a row of the files or masks a column, where files are not local, too small,
            together too large, or of different forms: then the slice is to be scanned.

        Raises:
            IntegrityError, UnavailableError: a file cannot be read; kept as ``failure``.
        """
        plan, need = self._plan, self._need
        if need is None or self._policy is not None or plan.location.part is not None or not plan.files:
            return None
        if not need.columns.isdisjoint(plan.masks):
            return None
        chosen = need.chosen(self.schema)
        try:
            image = self._held or need.images.image(plan, need, pa.schema(chosen), go_on)
        except LakeError as error:
            self.failure = error
            raise
        if image is None:
            return None
        self.whole = True
        self.touch(image.touched)
        return Shown(image, [field.name for field in chosen])

    def tagged(
        self, columns: Sequence[str], condition: pc.Expression | None, *, coded: bool = True
    ) -> Iterator[tuple[Source, pa.RecordBatch]]:
        """The same as ``scan``, each batch with whose rows it holds; they are not counted as having left.

        Args:
            coded: columns are as in ``carried``, otherwise as in ``schema``.
        """
        shown = self.carried if coded else self.schema
        schema = self._chosen(columns, shown)
        try:
            for file, batch in self._permitted(list(columns), condition, shown):
                if batch.num_rows:
                    arrays = [self._clean(batch[name], name) for name in columns]
                    rows = pa.RecordBatch.from_arrays(arrays, schema=schema) if arrays else batch.select([])
                    yield Source(file.number, file.sensitivity), rows
                    del arrays, rows  # while the next batch is decoded, this one is not kept
                del batch
        except LakeError as error:
            self.failure = error
            raise
        except (OSError, pa.ArrowException, ValueError):
            # The text may quote a path or bytes of a page; which file it was, the check of all files tells.
            self.failure = IntegrityError(
                f"a file of dataset {self._plan.dataset!r} is not what was written",
                hint="'lake doctor' lists every damaged file; restore it from a backup",
            )
            raise self.failure from None

    def _clean(self, column: pa.Array, name: str) -> pa.Array:
        """What a mask made; what was decoded is clean."""
        return cleared(column) if name in self._plan.masks else column

    def _chosen(self, columns: Sequence[str], shown: pa.Schema) -> pa.Schema:
        if not set(columns) <= set(self.schema.names):
            raise LakeError("a column outside the slice was asked for")
        return pa.schema([shown.field(name) for name in columns])

    def _leaving(self, columns: list[str], condition: pc.Expression | None) -> Iterator[pa.RecordBatch]:
        for source, batch in self.tagged(columns, condition):
            self.touch({source: batch.num_rows})
            yield batch
            del batch

    def _permitted(
        self, wanted: list[str], condition: pc.Expression | None, shown: pa.Schema
    ) -> Iterator[tuple[FileToRead, pa.RecordBatch]]:
        unified = carried(self._unified, self._coded) if shown is self.carried else self._unified
        if self._user_filter_in_scanner:
            yield from self._decoded(unified, wanted, _both(self._policy, condition))
            return
        needed = list(wanted)
        if condition is not None:
            needed += [name for name in columns_of(condition, self.schema.names) if name not in wanted]
        # A column that is masked to NULL is never decoded.
        emptied = {name for name in needed if name in self._plan.masks and self._is_emptied(name)}
        for file, batch in self._decoded(unified, [name for name in needed if name not in emptied], self._policy):
            masked = self._masked(batch, needed, emptied, shown)
            if condition is not None:
                judged = masked.select(columns_of(condition, needed))
                masked = filtered(masked, kept(condition, all_plain(judged)))
            yield file, masked

    def _is_emptied(self, name: str) -> bool:
        return self._plan.masks[name].kind is MaskKind.NULL

    def _masked(self, batch: pa.RecordBatch, needed: list[str], emptied: set[str], shown: pa.Schema) -> pa.RecordBatch:
        arrays: list[pa.Array] = []
        for name in needed:
            if name in emptied:
                arrays.append(pa.nulls(batch.num_rows, shown.field(name).type))
            elif name in self._plan.masks:
                arrays.append(apply_mask(batch[name], self._plan.masks[name], self._plan.mask_key))
            else:
                arrays.append(batch[name])
        if not needed:
            return batch
        return pa.RecordBatch.from_arrays(arrays, schema=pa.schema([shown.field(name) for name in needed]))

    def _decoded(
        self, unified: pa.Schema, columns: list[str], condition: pc.Expression | None
    ) -> Iterator[tuple[FileToRead, pa.RecordBatch]]:
        yield from Scan(self._plan.location, unified, columns, condition).rows(self._plan.files)


def _both(left: pc.Expression | None, right: pc.Expression | None) -> pc.Expression | None:
    if left is None or right is None:
        return left if right is None else right
    return left & right


def _width(kind: pa.DataType) -> int:
    """Bytes of a value, about."""
    if pa.types.is_dictionary(kind):
        kind = kind.index_type
    return -(-kind.bit_width // 8) if pa.types.is_primitive(kind) else _TEXT
