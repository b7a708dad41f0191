"""Batches over Arrow Flight: ``DoPut`` with the same header, judgement, limits and receipt as over HTTP.

Devices show tokens here: pyarrow names the certificate of a peer by its subject only, and devices are enrolled with a
digest of theirs. How slowly rows come is not limited either, as a read of pyarrow's cannot be broken off.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import contextmanager
from typing import Any

import pyarrow as pa
import pyarrow.flight as fl

from lake.errors import LakeError, MalformedInputError, UnauthenticatedError, UsageError
from lake.gateway.collection.interface import Device
from lake.gateway.flight.door import Address
from lake.gateway.flight.failures import Failure, NotOfferedError, as_flight
from lake.gateway.identity.reasons import Reason, refused
from lake.gateway.ingest import HashedBatches
from lake.gateway.receiving.arrow_guard import check_schema, check_size
from lake.gateway.receiving.bodies import ARROW, Form, open_body, within
from lake.gateway.receiving.budget import Budget, Upload
from lake.gateway.receiving.desk import Admitted, Desk
from lake.gateway.receiving.failures import StoppingError, problem
from lake.gateway.receiving.header import parse_header

_KEY = "lake"


class _Caller(fl.ServerMiddleware):  # type: ignore[misc]
    def __init__(self, device: Device) -> None:
        super().__init__()
        self.device = device


class _Arrivals(fl.ServerMiddlewareFactory):  # type: ignore[misc]
    """Who calls is known before anything but the headers of a call is looked at."""

    def __init__(self, desk: Desk) -> None:
        super().__init__()
        self._desk = desk

    def start_call(self, _info: Any, headers: Mapping[str, Sequence[str | bytes]]) -> _Caller:
        """See pyarrow.flight.ServerMiddlewareFactory."""
        try:
            return _Caller(self._desk.device(_bearer(headers)))
        except Exception as error:  # noqa: BLE001 - pyarrow would send a traceback
            if isinstance(error, UnauthenticatedError):
                self._desk.metrics.unauthenticated(error.reason)
            raise _out(error) from None


class BulkServer(fl.FlightServerBase):  # type: ignore[misc]
    """Listens at one address, in threads of its own, until it is closed.

    Args:
        landing: where batches land; shared with other ways that they come by.

    Attributes:
        address: where it listens.
        stopping: set once nothing more is taken.
    """

    def __init__(self, address: Address, desk: Desk, budget: Budget, landing: Executor) -> None:
        self._desk = desk
        self._budget = budget
        self._landing = landing
        self.stopping = False
        try:
            super().__init__(address.location(), middleware={_KEY: _Arrivals(desk)}, **address.tls())
        except (pa.ArrowException, OSError, ValueError):
            where = f"{address.host}:{address.port}"
            hint = "is the port in use? are certificate and key a pair, in PEM?"
            raise UsageError(f"the ingest server cannot listen at {where}", hint=hint) from None
        self.address = f"{address.location().rpartition(':')[0]}:{self.port}"

    def do_put(self, context: Any, descriptor: Any, reader: Any, writer: Any) -> None:
        """Take one batch; its receipt is written as metadata."""
        with self._answered("bulk"):
            device: Device = context.get_middleware(_KEY).device
            if self.stopping:
                raise StoppingError("the server is stopping", hint="send it again in a moment")
            with self._budget.enter(device.tag) as upload:
                receipt = self._take(device, descriptor.command or b"", reader, upload)
            writer.write(pa.py_buffer(json.dumps(receipt, ensure_ascii=False, separators=(",", ":")).encode()))

    def list_flights(self, *_: Any) -> Any:
        """Nothing is listed."""
        raise _out(NotOfferedError("batches are put here, and nothing else"))

    def get_flight_info(self, *_: Any) -> Any:
        """Nothing is read here."""
        raise _out(NotOfferedError("batches are put here, and nothing else"))

    def do_get(self, *_: Any) -> Any:
        """Nothing is read here."""
        raise _out(NotOfferedError("batches are put here, and nothing else"))

    def do_exchange(self, *_: Any) -> Any:
        """Nothing is exchanged."""
        raise _out(NotOfferedError("batches are put here, and nothing else"))

    def do_action(self, *_: Any) -> Any:
        """There are no actions; leases are asked for over HTTP."""
        raise _out(NotOfferedError("batches are put here, and nothing else"))

    def list_actions(self, *_: Any) -> Any:
        """There are none."""
        return []

    def close(self, seconds: float) -> bool:
        """Stop listening; False if a call holds it for longer than that."""
        parting = threading.Thread(target=self.shutdown, name="ingest-parting", daemon=True)
        parting.start()
        parting.join(seconds + 1.0)
        return not parting.is_alive()

    def _take(self, device: Device, command: bytes, reader: Any, upload: Upload) -> dict[str, Any]:
        dataset = "unknown"
        try:
            if len(command) > self._desk.limits.header:
                raise UsageError(f"the batch header is longer than {self._desk.limits.header} bytes")
            header = parse_header(command)
            dataset = header.dataset
        except LakeError as error:
            self._desk.note(device, dataset, error)
            raise
        admitted = self._desk.admit(device, header)
        with self._desk.recorded(device, dataset):
            body, digest = self._read(reader, upload)
            if f"sha256:{digest.hexdigest()}" != header.content:
                raise MalformedInputError("the rows are not those whose digest the header has", hint="send them again")
        return self._landing.submit(self._land, admitted, body, digest).result()

    def _read(self, reader: Any, upload: Upload) -> tuple[pa.Buffer, HashedBatches]:
        """All rows as a stream in memory, and their digest; as large as a batch may be, and not larger."""
        rows = size = 0
        try:
            schema = reader.schema
            check_schema(schema)
            held: list[pa.RecordBatch] = []
            while True:
                try:
                    chunk = reader.read_chunk()
                except StopIteration:
                    break
                if chunk.data is None:
                    continue
                before = size
                rows, size = check_size(chunk.data, rows, size, self._desk.limits)
                upload.add(size - before)
                held.append(chunk.data)
            self._desk.metrics.received(size)
            digest = HashedBatches(schema, held)
            sink = pa.BufferOutputStream()
            with pa.ipc.new_stream(sink, schema) as stream:
                for batch in digest:
                    stream.write_batch(batch)
        except (pa.ArrowException, OSError, ValueError, OverflowError, MemoryError):
            raise MalformedInputError("the rows could not be read to their end", hint="send them again") from None
        return sink.getvalue(), digest

    def _land(self, admitted: Admitted, body: pa.Buffer, digest: HashedBatches) -> dict[str, Any]:
        with self._desk.recorded(admitted.device, admitted.header.dataset):
            source = open_body(body, Form.of(ARROW, ""), admitted.contract, self._desk.limits)
        return self._desk.land(admitted, within(iter(source), admitted.header, self._desk.limits), digest, "flight")

    @contextmanager
    def _answered(self, kind: str) -> Iterator[None]:
        """Count a call, and let only errors of Flight out of it."""
        started, code = time.monotonic(), "ok"
        try:
            yield
        except Exception as error:  # noqa: BLE001 - pyarrow would send a traceback
            out = _out(error)
            code = str(json.loads(out.extra_info)["code"])
            raise out from None
        finally:
            self._desk.metrics.ended(kind, code, time.monotonic() - started)


def _out(error: Exception) -> fl.FlightError:
    """An error as Flight's, with the problem that HTTP would answer with as its details."""
    document = problem(error).document
    found = Failure(document["code"], document["detail"], document["hint"], document["id"], document["retryable"])
    plain = as_flight(found, error)
    return type(plain)(found.text(), json.dumps(document, ensure_ascii=False).encode())


def _bearer(headers: Mapping[str, Sequence[str | bytes]]) -> str:
    values = headers.get("authorization", ())
    value = values[0] if len(values) == 1 else None
    if not isinstance(value, str):
        raise refused(Reason.MISSING)
    scheme, _, token = value.partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise refused(Reason.MALFORMED)
    return token.strip()
