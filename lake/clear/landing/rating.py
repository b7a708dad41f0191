"""The sensitivity of rows as their contract rates them: the highest of event type and every field with a value."""

from __future__ import annotations

from collections.abc import Collection

import pyarrow as pa
import pyarrow.compute as pc

from lake.rules.contract import Contract
from lake.rules.model import SENSITIVITY_COLUMN, TYPE_COLUMN

ONE = pa.scalar(1, pa.int8())


class Rating:
    """Rates rows that the filter has made of other rows."""

    def __init__(self, contract: Contract) -> None:
        self._fields = [spec for spec in contract.fields.values() if spec.sensitivity > 1]
        self._types = pa.array(list(contract.events))
        self._levels = pa.array([event.sensitivity for event in contract.events.values()], pa.int8())

    def declared(self, rows: pa.RecordBatch) -> pa.Array:
        """What the contract says of each row."""
        levels = [pc.take(self._levels, pc.index_in(rows[TYPE_COLUMN], value_set=self._types))]
        for spec in self._fields:
            if rows[spec.name].null_count < rows.num_rows:
                here = rows[spec.name].is_valid()
                levels.append(pc.if_else(here, pa.scalar(spec.sensitivity, pa.int8()), ONE))
        return pc.max_element_wise(*levels)

    def differs(self, before: pa.RecordBatch, after: pa.RecordBatch, names: Collection[str]) -> bool:
        """Whether the contract can rate rows otherwise after some of their columns were changed."""
        return any(
            pc.xor(before[spec.name].is_valid(), after[spec.name].is_valid()).true_count
            for spec in self._fields
            if spec.name in names
        )

    def stated(self, rows: pa.RecordBatch) -> pa.Array:
        """What the sender said of each row beyond its contract, 1 if nothing; it holds for what is made of the row."""
        given = rows[SENSITIVITY_COLUMN].cast(pa.int8())
        return pc.if_else(pc.greater(given, self.declared(rows)), given, ONE)

    def rated(self, rows: pa.RecordBatch, at_least: pa.Array | pa.ChunkedArray) -> pa.RecordBatch:
        """The rows with their sensitivity, which is no lower than given."""
        if isinstance(at_least, pa.ChunkedArray):
            at_least = at_least.combine_chunks()
        found = pc.max_element_wise(self.declared(rows), at_least.cast(pa.int8()))
        index = rows.schema.get_field_index(SENSITIVITY_COLUMN)
        return rows.set_column(index, SENSITIVITY_COLUMN, found)
