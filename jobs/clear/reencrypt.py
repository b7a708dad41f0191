"""One data file as another: the same rows under a fresh DEK and a new id. Plaintext lives here, a row group at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pyarrow as pa
import pyarrow.dataset as ds

from keys.broker import LandingKey
from keys.refs import PartitionRef
from lake.clear.landing.batch import finished
from lake.clear.landing.encode import ROW_GROUP_ROWS, encode_parts
from lake.clear.reading.decode import fragment
from lake.clear.reading.plan import FileToRead
from lake.errors import IntegrityError, LakeError
from lake.rules.layout import object_key
from lake.rules.model import DataFile
from lake.sealed.objects import Location

Store = Callable[[str, memoryview], None]


def reencrypt(file: DataFile, source: FileToRead, location: Location, key: LandingKey, store: Store) -> DataFile:
    """Write a file's rows to a new object.

    Raises:
        IntegrityError: the file is not what was written; nothing of it is taken over.
    """
    try:
        found = fragment(source, location)
        schema = found.physical_schema
        encoded = encode_parts(schema, _row_groups(found, schema), key)
    except LakeError:
        raise
    except (OSError, pa.ArrowException, ValueError):
        raise _changed(file) from None
    if (encoded.rows, encoded.first_ts, encoded.last_ts) != (file.rows, file.first_ts, file.last_ts):
        raise _changed(file)
    name = object_key(file.partition, key.file_id)
    store(name, encoded.content)
    return finished(encoded, file.partition, file.schema_version, key, name)


def _row_groups(found: ds.Fragment, schema: pa.Schema) -> Iterator[pa.Table]:
    """Rows in whole row groups but for the last, as encoding asks for."""
    waiting: list[pa.RecordBatch] = []
    rows = 0
    scanner = ds.Scanner.from_fragment(found, schema=schema, batch_size=ROW_GROUP_ROWS, batch_readahead=1)
    for batch in scanner.to_batches():
        waiting.append(batch)
        rows += batch.num_rows
        if rows >= ROW_GROUP_ROWS:
            table = pa.Table.from_batches(waiting, schema)
            whole = rows - rows % ROW_GROUP_ROWS
            yield table.slice(0, whole)
            waiting, rows = table.slice(whole).to_batches(), rows - whole
    if rows:
        yield pa.Table.from_batches(waiting, schema)


def _changed(file: DataFile) -> IntegrityError:
    return IntegrityError(
        f"the object of file {file.file_id} is not what was written",
        hint="restore it from a backup; 'lake doctor' lists every damaged file",
    )


def ref(file: DataFile) -> PartitionRef:
    """The partition whose KEK wraps the file's DEK."""
    partition = file.partition
    return PartitionRef(partition.dataset, partition.subject, partition.sensitivity, partition.month)
