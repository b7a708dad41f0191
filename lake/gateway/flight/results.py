"""Results on their way to clients: batches of a bounded size, one at a time, as the client takes them."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pyarrow as pa

from lake.gateway.cancellation import Cancellation
from lake.gateway.flight.calls import GONE, OK, Call
from lake.gateway.flight.handles import Owner
from lake.gateway.observe.metrics import Metrics
from lake.gateway.observe.tracing import begin
from lake.gateway.service import QueryStream


def sliced(batch: pa.RecordBatch, most: int) -> Iterator[pa.RecordBatch]:
    """The rows of a batch in order, in batches of at most ``most`` bytes or of one row."""
    if batch.num_rows <= 1 or batch.nbytes <= most:
        yield batch
        return
    half = batch.num_rows // 2
    yield from sliced(batch.slice(0, half), most)
    yield from sliced(batch.slice(half), most)


def leaving(stream: QueryStream, call: Call, metrics: Metrics, most: int) -> Iterator[pa.RecordBatch]:
    """The batches of a result; what goes wrong is told as the caller may see it.

    Raises:
        FlightError: the query failed, or may not go on.
    """
    span = begin("stream")
    call.when_over(span.end)
    batches = 0
    call.code = GONE  # unless all leaves, or something else happens
    try:
        for batch in stream:
            for part in sliced(batch, most):
                call.handing()
                yield part
                call.handed(part.num_rows, part.nbytes)
                metrics.sent(part.num_rows, part.nbytes)
                batches += 1
        call.code = OK
    except Exception as error:  # noqa: BLE001 - pyarrow would send it with a traceback
        raise call.failed(error) from None
    finally:
        span.say(rows=call.rows, bytes=call.size, batches=batches, code=call.code)


class Running:
    """Queries under way, by the ticket that started each; their owner may cancel them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: dict[bytes, tuple[Owner, Cancellation]] = {}

    def start(self, handle: bytes, owner: Owner) -> Cancellation:
        """A query starts."""
        wish = Cancellation()
        with self._lock:
            self._running[handle] = (owner, wish)
        return wish

    def end(self, handle: bytes) -> None:
        """It is over."""
        with self._lock:
            self._running.pop(handle, None)

    def cancel(self, handle: bytes, owner: Owner) -> bool:
        """Break it off; False if this owner has none with this handle."""
        with self._lock:
            found, wish = self._running.get(handle, (None, None))
        if wish is None or found != owner:
            return False
        wish.cancel()
        return True
