"""CSV files read through a mapping of their columns to the contract's fields."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import pyarrow as pa

from lake.clear.arrow_schema import TIMESTAMP, incoming_schema
from lake.clear.landing.readers.convert import Rows, assemble, times
from lake.clear.landing.readers.csv_rows import Table, tables
from lake.clear.landing.readers.inputs import Input
from lake.clear.landing.readers.mapping import PLAIN
from lake.errors import UsageError
from lake.rules.contract import Contract


class CsvSource:
    """Rows of a CSV file; a column that is not mapped keeps its name and, where unknown, its text."""

    def __init__(self, source: Input, contract: Contract) -> None:
        self._source = source
        self._contract = contract
        self._mapping = source.options.mapping or PLAIN
        self.schema = incoming_schema(contract)
        self.dropped: Counter[str] = Counter()
        for field in [*self._mapping.columns.values(), *self._mapping.constants]:
            if field not in self.schema.names:
                raise UsageError(
                    f"the mapping fills {field!r}, which dataset {contract.dataset!r} does not collect",
                    hint="leave that column out of the mapping; it is then counted as unknown and does not land",
                )

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        with self._source.text() as data:
            form = self._mapping
            for table in tables(self._source, data, delimiter=form.delimiter, nulls=form.nulls):
                yield self._batch(table)

    def _batch(self, table: Table) -> pa.RecordBatch:
        count = len(table.numbers)
        named = [(self._mapping.columns.get(name, name), column) for name, column in table.columns.items()]
        constants = {name: pa.repeat(text, count) for name, text in self._mapping.constants.items()}
        texts = constants | dict(named)
        if len(texts) != len(named) + len(constants):
            raise self._source.malformed("two columns fill one field", hint="map each to a field of its own", line=1)
        places = Rows(self._source, table.numbers)
        for field, form in self._mapping.timestamps.items():
            if field in texts:
                texts[field] = places.fit(texts[field], field, TIMESTAMP, times(form))
        return assemble(places, texts, self._contract, count)
