"""One file under other filter rules: which sensitivity each row then has, and the rows of one of them, masked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from lake.clear.landing.encode import ROW_GROUP_ROWS
from lake.clear.landing.pipeline import Screen
from lake.rules.contract import Contract, FieldType

Read = Callable[[], Iterator[pa.RecordBatch]]
"""The file's rows from the beginning, the same batches each time."""
BATCH_ROWS = ROW_GROUP_ROWS


@dataclass(slots=True)
class Judgement:
    """What the rules make of a file.

    Attributes:
        levels: of each row, in order; never below the file's own.
        counts: ``found.<category>``, ``masked`` (texts), ``above_ceiling`` (texts that the contract does not allow).
    """

    levels: npt.NDArray[np.int8]
    counts: Counter[str] = field(default_factory=Counter)

    @property
    def masks(self) -> bool:
        """Whether a text becomes another one."""
        return bool(self.counts["masked"] or self.counts["above_ceiling"])


class Rescanner:
    """Applies a screen to the texts of files that landed under one contract."""

    def __init__(self, contract: Contract, screen: Screen) -> None:
        self._screen = screen
        self._ceilings = contract.rules.ceilings
        self._strings = [spec.name for spec in contract.fields.values() if spec.type is FieldType.STRING]

    def judge(self, read: Read, sensitivity: int) -> Judgement:
        """Look at a whole file, a batch at a time; one byte a row is kept."""
        found: list[npt.NDArray[np.int8]] = []
        counts: Counter[str] = Counter()
        for batch in read():
            _, levels = self._screened(batch, sensitivity, counts)
            found.append(levels)
        return Judgement(np.concatenate(found) if found else np.empty(0, np.int8), counts)

    def rows(self, read: Read, sensitivity: int, judged: Judgement, level: int) -> Iterator[pa.Table]:
        """The rows that were judged to be of one sensitivity, masked."""
        start = 0
        for batch in read():
            chosen = judged.levels[start : start + batch.num_rows] == level
            start += batch.num_rows
            if chosen.any():
                masked, _ = self._screened(batch, sensitivity, Counter())
                yield pa.Table.from_batches([masked.filter(pa.array(chosen))])

    def _screened(
        self, batch: pa.RecordBatch, sensitivity: int, counts: Counter[str]
    ) -> tuple[pa.RecordBatch, npt.NDArray[np.int8]]:
        levels = np.full(batch.num_rows, sensitivity, np.int8)
        present = set(batch.schema.names)
        strings = {
            name: batch[name] for name in self._strings if name in present and batch[name].null_count < batch.num_rows
        }
        if not strings:
            return batch, levels
        screened = self._screen.apply(strings)
        counts.update({f"found.{category}": number for category, number in screened.counts.items()})
        for name, before in strings.items():
            text, level = screened.columns[name], _levels(screened.sensitivities[name])
            if len(text) != batch.num_rows or len(level) != batch.num_rows:
                raise ValueError("a screen gives one text and one sensitivity for each row")
            above = level > self._ceilings.get(name, 4)
            if above.any():
                counts["above_ceiling"] += int(above.sum())
                text = pc.if_else(pa.array(above), pa.scalar(None, text.type), text)
                level = np.where(above, np.int8(1), level)
            counts["masked"] += _changed(before, text) - int(above.sum())
            index = batch.schema.get_field_index(name)
            batch = batch.set_column(index, batch.schema.field(index), text.cast(before.type))
            levels = np.maximum(levels, level)
        return batch, levels


def _levels(column: pa.Array) -> npt.NDArray[np.int8]:
    return np.asarray(pc.fill_null(column, 1).to_numpy(zero_copy_only=False), np.int8)


def _changed(before: pa.Array, after: pa.Array) -> int:
    """Texts that are not what they were; a text stays a text or becomes null."""
    same = pc.fill_null(pc.equal(before, after), False)
    both_null = pc.and_(before.is_null(), after.is_null())
    return len(before) - int(pc.sum(pc.or_(same, both_null)).as_py() or 0)
