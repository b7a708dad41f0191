"""One delivery on its way in: conform, filter, split, encrypt. Gives encrypted files one by one; plaintext ends here.

Memory is bounded by the gathering budget, whatever the length of the delivery.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pyarrow as pa

from keys.broker import LandingKey
from keys.refs import FileBinding, PartitionRef
from lake.clear.arrow_schema import ready_schema
from lake.clear.landing.ahead import Ahead, in_order
from lake.clear.landing.conform import Conformer
from lake.clear.landing.encode import EncodedFile, encode
from lake.clear.landing.pipeline import Pipeline
from lake.clear.landing.split import Slice, gather, split
from lake.rules.contract import Contract
from lake.rules.layout import object_key
from lake.rules.model import DataFile, Partition, Subject

Enter = Callable[[Collection[str]], Mapping[str, Subject]]
Store = Callable[[str, memoryview], None]
Keys = Callable[[Collection[PartitionRef]], Callable[[PartitionRef], LandingKey]]
"""Fresh DEKs for these partitions: all that landing can ask of the broker."""
SLICES_AT_ONCE = 64


@dataclass(frozen=True, slots=True)
class Landing:
    """What landing needs from outside: pseudonyms, fresh DEKs, a place for ciphertext."""

    enter: Enter
    keys: Keys
    store: Store
    threads: int
    budget: int


def land_rows(
    batches: Iterable[pa.RecordBatch], contract: Contract, conformer: Conformer, pipeline: Pipeline, landing: Landing
) -> Iterator[tuple[DataFile, int]]:
    """Write the files of a delivery; yields each, with its employee's number, once its object is written.

    Raises:
        BatchRefusedError: the delivery may not land; objects written so far are the caller's to remove.
    """
    schema = ready_schema(contract)
    with (
        ThreadPoolExecutor(landing.threads, thread_name_prefix="landing") as pool,
        # Far enough ahead to go on while rows are split.
        Ahead(
            (conformer.conform(batch) for batch in batches if batch.num_rows), landing.budget // 2, _bytes
        ) as conforming,
        Ahead(_ready(rows, schema) for rows in gather(pipeline.run(conforming), landing.budget)) as gathered,
    ):
        for slices in gathered:
            subjects = landing.enter({part.employee for part in slices})
            partitions = [_partition(contract.dataset, part, subjects) for part in slices]
            issue = landing.keys({_ref(partition) for partition in partitions})

            def write(part: Slice, partition: Partition) -> DataFile:
                return _write(part.rows, partition, contract.version, issue(_ref(partition)), landing.store)  # noqa: B023

            numbers = [subjects[part.employee].number for part in slices]
            files = in_order(pool, write, zip(slices, partitions, strict=True), SLICES_AT_ONCE)
            yield from zip(files, numbers, strict=True)


def _bytes(rows: pa.RecordBatch) -> int:
    return int(rows.nbytes)


def _ready(rows: pa.Table, schema: pa.Schema) -> list[Slice]:
    return list(split(rows.select(schema.names).cast(schema)))


def _partition(dataset: str, part: Slice, subjects: Mapping[str, Subject]) -> Partition:
    return Partition(dataset, subjects[part.employee].id, part.sensitivity, part.month)


def _ref(partition: Partition) -> PartitionRef:
    return PartitionRef(partition.dataset, partition.subject, partition.sensitivity, partition.month)


def _write(rows: pa.Table, partition: Partition, schema_version: int, key: LandingKey, store: Store) -> DataFile:
    encoded = encode(rows, key)
    name = object_key(partition, key.file_id)
    store(name, encoded.content)
    return finished(encoded, partition, schema_version, key, name)


def finished(encoded: EncodedFile, partition: Partition, schema_version: int, key: LandingKey, name: str) -> DataFile:
    """The catalog's row; the DEK is wrapped only now, bound to the finished object's length and digest."""
    binding = FileBinding(
        partition=_ref(partition),
        file_id=key.file_id,
        object_key=name,
        format=encoded.format,
        format_version=encoded.format_version,
        schema_version=schema_version,
        length=encoded.length,
        sha256=encoded.sha256,
        rows=encoded.rows,
        first_ts=encoded.first_ts,
        last_ts=encoded.last_ts,
    )
    wrapped = key.wrap(binding)
    return DataFile(
        file_id=key.file_id,
        partition=partition,
        object_key=name,
        format=encoded.format,
        format_version=encoded.format_version,
        schema_version=schema_version,
        length=encoded.length,
        sha256=encoded.sha256,
        rows=encoded.rows,
        first_ts=encoded.first_ts,
        last_ts=encoded.last_ts,
        kek_id=wrapped.kek_id,
        kek_version=wrapped.kek_version,
        wrapped_dek=wrapped.blob,
    )
