"""One query in a sandbox: its text goes there to be parsed, then its slices as they are asked for; rows come back.

Whatever comes from a sandbox is held against what may come: a scan is of a table of this query, over its columns; the
result is well-formed Arrow. A sandbox that does anything else is killed.
"""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any

import pyarrow as pa

from lake.clear.sandbox import syntax
from lake.clear.sandbox.answers import Parameters, Running, SandboxLimits, failed, misfit
from lake.clear.sandbox.channel import Channel, ChannelError, ChannelTimeoutError, Message
from lake.clear.serving.cache import SliceCache
from lake.clear.serving.conditions import ConditionError, expression
from lake.clear.serving.handover import Handover, SliceSource
from lake.clear.serving.pool import Pool
from lake.errors import (
    LakeError,
    LimitExceededError,
    QueryCancelledError,
    QueryFailedError,
    QueryRefusedError,
    UsageError,
)

PARSE_SECONDS = 10.0
MOST_SCANS = 1_000
"""Scans of one query that are open at a time."""


class SandboxSession:
    """A sandbox for one query; close it."""

    def __init__(self, pool: Pool, cache: SliceCache, longest: float) -> None:
        self._pool = pool
        self._cache = cache
        self._longest = longest
        self._sandbox = pool.take()
        self._channel: Channel = self._sandbox.channel
        self._cancelled = self._closed = self._handed_over = False
        self._seconds = 0.0
        self._limit: float | None = None
        self._scans: dict[int, Handover] = {}

    def parse(self, sql: str) -> syntax.Statement:
        """See ``syntax.parse``."""
        self._allow(PARSE_SECONDS)
        reply = self._ask({"do": "parse", "sql": sql})
        match reply.fields.get("is"):
            case "parsed":
                text = reply.payload.to_pybytes().decode(errors="replace")
                return syntax.statement(sql, text)
            case "refused":
                raise _refusal(reply.fields)
        raise self._broken()

    def restrict(
        self, statement: syntax.Statement, table: str, columns: Collection[str], smallest: int, hidden: str
    ) -> str:
        """See ``aggregates.restrict``."""
        self._allow(PARSE_SECONDS)
        wanted = {"table": table, "columns": list(columns), "smallest": smallest, "hidden": hidden}
        reply = self._ask({"do": "restrict", "sql": statement.sql, **wanted})
        match reply.fields.get("is"):
            case "restricted":
                return str(reply.payload.to_pybytes(), "utf-8", "replace")
            case "refused":
                raise _refusal(reply.fields)
        raise self._broken()

    def describe(self, sql: str, schemas: Mapping[str, pa.Schema], parameters: Parameters) -> pa.Schema:
        """See ``execute.described``."""
        self._allow(PARSE_SECONDS)
        self._send({"do": "describe", "sql": sql, **_tables(schemas)}, parameters)
        reply = self._receive()
        if reply.fields.get("is") == "schema":
            return self._schema(reply)
        raise self._complaint(reply)

    def run(
        self, sql: str, slices: Mapping[str, SliceSource], parameters: Parameters, limits: SandboxLimits
    ) -> Running:
        """Start an admitted query; see ``execute.run``."""
        self._limit = limits.seconds
        self._allow(min(limits.seconds or self._longest, self._longest))
        schemas = {name: source.schema for name, source in slices.items()}
        ask = {"do": "run", "sql": sql, "threads": limits.threads, "memory": limits.memory, **_tables(schemas)}
        self._send(ask, parameters)
        schema = self._schema(self._expected("schema", slices))
        return Running(schema, self._batches(schema, slices), self.close, self.cancel)

    def cancel(self) -> None:
        """Break the query off, from any thread."""
        self._cancelled = True
        self._sandbox.kill()
        for scan in list(self._scans.values()):
            scan.close()

    def close(self) -> None:
        """End the sandbox."""
        if not self._closed:
            self._closed = True
            for scan in list(self._scans.values()):
                scan.close()
            self._pool.retire(self._sandbox)

    def _batches(self, schema: pa.Schema, slices: Mapping[str, SliceSource]) -> Iterator[pa.RecordBatch]:
        try:
            while (message := self._expected("batch", slices)).fields["is"] == "batch":
                yield from self._checked(message.payload, schema)
        finally:
            self.close()

    def _expected(self, kind: str, slices: Mapping[str, SliceSource]) -> Message:
        """Serve scans until the sandbox has something to say: what is expected, or that it is done."""
        while True:
            message = self._receive()
            match message.fields.get("is"):
                case "scan":
                    self._open(message.fields, slices)
                case "next":
                    self._hand_over(message.fields.get("scan"))
                case "close":
                    scan = self._scans.pop(_number(message.fields.get("scan")), None)
                    if scan is not None:
                        scan.close()
                case said if said == kind or (said == "done" and kind == "batch"):
                    return message
                case _:
                    raise self._complaint(message)

    def _open(self, fields: Mapping[str, Any], slices: Mapping[str, SliceSource]) -> None:
        source, number, columns = slices.get(fields.get("table", "")), _number(fields.get("scan")), fields["columns"]
        known = source is not None and isinstance(columns, list) and set(columns) <= set(source.schema.names)
        if source is None or not known or number in self._scans or len(self._scans) >= MOST_SCANS:
            raise self._broken()
        try:
            condition = expression(fields.get("condition"), source.schema)
        except ConditionError:
            raise self._broken() from None
        wording = json.dumps(fields.get("condition"))
        self._scans[number] = Handover(source, columns, condition, wording, self._cache)

    def _hand_over(self, number: object) -> None:
        scan = self._scans.get(_number(number))
        if scan is None:
            raise self._broken()
        try:
            chunk = scan.next()
        except LakeError:
            self.close()
            raise
        if self._cancelled:
            raise self._gone()
        if chunk is None:
            self._send({"end": True})
            return
        self._handed_over = True
        self._send({"size": chunk.size}, descriptor=chunk.descriptor)

    def _checked(self, payload: pa.Buffer, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
        """Batches of a payload, if their buffers are as long as they claim."""
        try:
            with pa.ipc.open_stream(payload) as reader:
                batches = list(reader)
                if reader.schema != schema:
                    raise self._broken()
            for batch in batches:
                batch.validate()
        except (pa.ArrowException, OSError, ValueError):
            raise self._broken() from None
        yield from batches

    def _schema(self, message: Message) -> pa.Schema:
        try:
            return pa.ipc.read_schema(message.payload)
        except (pa.ArrowException, OSError, ValueError):
            raise self._broken() from None

    def _allow(self, seconds: float) -> None:
        self._seconds = seconds
        deadline = time.monotonic() + seconds
        self._sandbox.deadline = deadline
        self._channel.deadline = deadline + 1.0  # the watcher kills first, and then it is known why

    def _ask(self, fields: Mapping[str, Any]) -> Message:
        self._send(fields)
        return self._receive()

    def _send(self, fields: Mapping[str, Any], parameters: Parameters | None = None, descriptor: int = -1) -> None:
        payload: Any = b""
        if parameters is not None:
            fields = {**fields, "named": isinstance(parameters, Mapping)}
            payload = encoded(parameters)
        try:
            self._channel.send(fields, payload, descriptor)
        except ChannelError as error:
            raise self._gone(error) from None

    def _receive(self) -> Message:
        try:
            return self._channel.receive()
        except ChannelError as error:
            raise self._gone(error) from None

    def _gone(self, error: ChannelError | None = None) -> LakeError:
        """Why there is no sandbox any more."""
        timed_out = self._sandbox.timed_out or isinstance(error, ChannelTimeoutError)
        if not self._closed:
            self._closed = True
            status = self._pool.discard(self._sandbox)
        else:
            status = None
        if self._cancelled:
            return QueryCancelledError("the query was cancelled")
        if timed_out or (status is not None and status & 0x7F == signal.SIGXCPU):
            if self._limit is None and self._seconds == PARSE_SECONDS:
                return QueryRefusedError("the query takes too long to parse", hint="make it shorter or simpler")
            return LimitExceededError(f"the query ran longer than {self._seconds:g} s", hint="narrow it")
        return failed("OutOfMemoryException") if status is not None else failed("")

    def _complaint(self, message: Message) -> LakeError:
        """What the sandbox says went wrong; its words count only while it has seen no row."""
        fields = message.fields
        self.close()
        match fields.get("is"):
            case "misfit" if not self._handed_over and isinstance(fields.get("text"), str):
                return misfit(fields["text"])
            case "failed":
                return failed(str(fields.get("engine")))
        return failed("")

    def _broken(self) -> QueryFailedError:
        """It did what no sandbox of ours does."""
        self.close()
        return failed("")


def encoded(parameters: Parameters) -> pa.Buffer | bytes:
    """Parameters as one row of Arrow.

    Raises:
        UsageError: a value has no form in SQL.
    """
    if not parameters:
        return b""
    named = parameters.items() if isinstance(parameters, Mapping) else ((str(i), v) for i, v in enumerate(parameters))
    names, values = zip(*named, strict=True)
    try:
        arrays = [pa.array([_plain(value)]) for value in values]
        batch = pa.RecordBatch.from_arrays(arrays, names=list(names))
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, batch.schema) as writer:
            writer.write_batch(batch)
    except (pa.ArrowException, OverflowError, TypeError, ValueError):
        raise UsageError("a parameter is not a value that SQL knows") from None
    return sink.getvalue()


def _plain(value: Any) -> Any:
    """Whole numbers beyond 64 bits travel as exact fractions."""
    large = isinstance(value, int) and not isinstance(value, bool) and not -(1 << 63) <= value < 1 << 63
    return Decimal(value) if large else value


def _tables(schemas: Mapping[str, pa.Schema]) -> dict[str, Any]:
    return {"tables": {name: schema.serialize().to_pybytes().hex() for name, schema in schemas.items()}}


def _number(value: object) -> int:
    return value if isinstance(value, int) else -1


def _refusal(fields: Mapping[str, Any]) -> QueryRefusedError:
    """The parser's refusal; it has seen nothing but the query."""
    raw = fields.get("details")
    details: Sequence[tuple[str, Any]] = list(raw.items()) if isinstance(raw, dict) else []
    kept = {name: value for name, value in details if name in {"line", "column"} and isinstance(value, int)}
    return QueryRefusedError(str(fields.get("message"))[:300], hint=str(fields.get("hint"))[:300], **kept)
