"""Flight servers that do nothing else, for comparison: ``python -m bench.bare_flight batches FILE | files FOLDER``.

One has batches in memory. The other has what the export of the benchmark reads as plaintext Parquet, and scans it.
"""

from __future__ import annotations

import sys
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
from pyarrow import flight

FOLDERS = pa.schema([("employee", pa.string()), ("sensitivity", pa.int8()), ("month", pa.string())])
COLUMNS = ["employee", "ts", "type", "session", "x", "y", "app", "window_title", "duration_ms"]
TYPES = ["mouse", "window_focus"]
"""The export of bench/queries.py, as pyarrow is told of it."""


class InMemory(flight.FlightServerBase):  # type: ignore[misc]
    """Sends the same batches to whoever asks."""

    def __init__(self, batches: list[pa.RecordBatch]) -> None:
        super().__init__("grpc://127.0.0.1:0")
        self._batches = batches

    def do_get(self, _context: Any, _ticket: Any) -> Any:
        """The batches."""
        return flight.GeneratorStream(self._batches[0].schema, iter(self._batches))


class Plaintext(flight.FlightServerBase):  # type: ignore[misc]
    """Reads the rows from plaintext files for whoever asks."""

    def __init__(self, folder: str) -> None:
        super().__init__("grpc://127.0.0.1:0")
        self._rows = ds.dataset(folder, format="parquet", partitioning=ds.partitioning(FOLDERS, flavor="hive"))

    def do_get(self, _context: Any, _ticket: Any) -> Any:
        """The rows."""
        scanner = self._rows.scanner(columns=COLUMNS, filter=pc.field("type").isin(pa.array(TYPES)))
        return flight.RecordBatchStream(scanner.to_reader())


def main(kind: str, path: str) -> None:
    """Serve; prints the port."""
    if kind == "files":
        server: flight.FlightServerBase = Plaintext(path)
    else:
        with pa.OSFile(path) as file:
            server = InMemory(list(pa.ipc.open_stream(file)))
    print(server.port, flush=True)
    server.serve()


if __name__ == "__main__":
    main(*sys.argv[1:])
