"""A Flight server that has batches in memory and does nothing else: ``python -m bench.bare_flight FILE``."""

from __future__ import annotations

import sys
from typing import Any

import pyarrow as pa
from pyarrow import flight


class InMemory(flight.FlightServerBase):  # type: ignore[misc]
    """Sends the same batches to whoever asks."""

    def __init__(self, batches: list[pa.RecordBatch]) -> None:
        super().__init__("grpc://127.0.0.1:0")
        self._batches = batches

    def do_get(self, _context: Any, _ticket: Any) -> Any:
        """The batches."""
        return flight.GeneratorStream(self._batches[0].schema, iter(self._batches))


def main(path: str) -> None:
    """Serve the batches of an Arrow file; prints the port."""
    with pa.OSFile(path) as file:
        batches = list(pa.ipc.open_stream(file))
    server = InMemory(batches)
    print(server.port, flush=True)
    server.serve()


if __name__ == "__main__":
    main(sys.argv[1])
