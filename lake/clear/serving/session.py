"""One query in a sandbox: its text goes there to be parsed, then its slices as they are asked for; rows come back.

Whatever comes from a sandbox is held against what may come: a scan is of a table of this query, over its columns; the
result is well-formed Arrow. A sandbox that does anything else is killed.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa

from lake.clear.sandbox import syntax
from lake.clear.sandbox.answers import Parameters, Running, SandboxLimits, failed, misfit
from lake.clear.sandbox.channel import Channel, ChannelError, ChannelFormError, ChannelTimeoutError, Message
from lake.clear.sandbox.projection import Projection
from lake.clear.serving import exports, results
from lake.clear.serving.cache import SliceCache
from lake.clear.serving.handover import SliceSource
from lake.clear.serving.parameters import encoded
from lake.clear.serving.pool import Pool
from lake.clear.serving.scans import ScanError, Scans
from lake.errors import LakeError, LimitExceededError, QueryCancelledError, QueryFailedError, QueryRefusedError

PARSE_SECONDS = 10.0


_OUT_OF_MEMORY = frozenset({signal.SIGKILL, signal.SIGABRT, 1 << 8})
"""How a sandbox ends that gets no more memory: by the system, by the engine, by its own exit."""


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
        self._scans: Scans | None = None
        self._export: exports.Export | None = None

    def parse(self, sql: str) -> syntax.Statement:
        """See ``syntax.parse``."""
        if len(sql) > syntax.MAX_CHARACTERS:
            wanted = f"the query has {len(sql)} characters, at most {syntax.MAX_CHARACTERS} are allowed"
            raise QueryRefusedError(wanted, hint="join a table instead of a long list")
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
        reply = self._ask({"do": "describe", "sql": sql, **_tables(schemas)}, parameters)
        if reply.fields.get("is") == "schema":
            return self._schema(reply)
        raise self._complaint(reply)

    def run(
        self,
        sql: str,
        slices: Mapping[str, SliceSource],
        parameters: Parameters,
        limits: SandboxLimits,
        plain: Projection | None = None,
        *,
        shape: pa.Schema | None = None,
    ) -> Running:
        """Start an admitted query; see ``execute.run``.

        Args:
            plain: what the query is, if it is a plain projection: then the sandbox only says what columns it gives.
            shape: these columns, if they are known.
        """
        seconds = min(limits.seconds or self._longest, self._longest)
        schemas = {name: source.schema for name, source in slices.items()}
        if plain is not None and not parameters:
            shape = shape or self.describe(sql, schemas, parameters)
            self._export = exports.started(plain, slices, shape, self._cache, seconds)
            if self._export is not None:
                if self._cancelled:
                    self._export.close()
                return Running(shape, self._exported(self._export), self.close, self.cancel)
        self._limit = limits.seconds
        carried = {name: source.carried for name, source in slices.items()}
        self._allow(seconds)
        ask = {"do": "run", "sql": sql, "threads": limits.threads, "memory": limits.memory, **_tables(carried)}
        self._send(ask, parameters)
        self._scans = scans = Scans(slices, self._cache, limits.threads)
        schema = self._schema(self._expected("schema", scans))
        return Running(schema, self._batches(schema, scans), self.close, self.cancel)

    def cancel(self) -> None:
        """Break the query off, from any thread."""
        self._cancelled = True
        self._sandbox.kill()
        if self._scans is not None:
            self._scans.close_all()
        if self._export is not None:
            self._export.close()

    def close(self) -> None:
        """End the sandbox."""
        if not self._closed:
            self._closed = True
            if self._scans is not None:
                self._scans.close_all()
            if self._export is not None:
                self._export.close()
            self._pool.retire(self._sandbox)

    def _exported(self, export: exports.Export) -> Iterator[pa.RecordBatch]:
        """The sandbox is held meanwhile, for how many there are bounds how much is decoded at a time."""
        try:
            yield from export.batches()
        finally:
            self.close()

    def _batches(self, schema: pa.Schema, scans: Scans) -> Iterator[pa.RecordBatch]:
        try:
            while (message := self._expected("batch", scans)).fields["is"] == "batch":
                yield self._batch(message, schema)
        finally:
            self.close()

    def _expected(self, kind: str, scans: Scans) -> Message:
        """Serve scans until the sandbox has something to say: what is expected, or that it is done."""
        while True:
            message = self._receive()
            said = message.fields.get("is")
            try:
                if said == "scan":
                    scans.open(message.fields)
                elif said == "next":
                    self._hand_over(scans, message.fields.get("scan"))
                elif said == "close":
                    scans.close(message.fields.get("scan"))
                elif said == kind or (said == "done" and kind == "batch"):
                    return message
                else:
                    raise self._complaint(message)
            except ScanError:
                raise self._broken() from None
            except QueryRefusedError:
                self.close()
                raise

    def _hand_over(self, scans: Scans, number: object) -> None:
        try:
            # Whoever cancels closes the scans that are open.
            chunk = None if self._cancelled else scans.next(number, self._channel.deadline)
        except TimeoutError:
            raise self._gone(ChannelTimeoutError()) from None
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

    def _schema(self, message: Message) -> pa.Schema:
        try:
            return results.schema_of(message.payload)
        except results.ResultError:
            raise self._broken() from None

    def _batch(self, message: Message, schema: pa.Schema) -> pa.RecordBatch:
        try:
            return results.batch_of(message.payload, schema)
        except results.ResultError:
            raise self._broken() from None

    def _allow(self, seconds: float) -> None:
        self._seconds = seconds
        deadline = time.monotonic() + seconds
        self._sandbox.deadline = deadline
        self._channel.deadline = deadline + 1.0  # the watcher kills first, and then it is known why

    def _ask(self, fields: Mapping[str, Any], parameters: Parameters | None = None) -> Message:
        """A question that is answered at once; between questions no time runs."""
        self._send(fields, parameters)
        reply = self._receive()
        self._sandbox.deadline = None
        return reply

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
        if isinstance(error, ChannelFormError):
            return self._broken()
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
        return failed("OutOfMemoryException" if status in _OUT_OF_MEMORY else "")

    def _complaint(self, message: Message) -> LakeError:
        """What the sandbox says went wrong; its words count only while it has seen no row."""
        fields = message.fields
        self.close()
        match fields.get("is"):
            case "misfit" if not self._handed_over and (text := _text(fields.get("text"))):
                return misfit(text)
            case "failed":
                return failed(_text(fields.get("engine")))
        return failed("")

    def _broken(self) -> QueryFailedError:
        """It did what no sandbox of ours does."""
        self.close()
        return failed("")


def _tables(schemas: Mapping[str, pa.Schema]) -> dict[str, Any]:
    return {"tables": {name: schema.serialize().to_pybytes().hex() for name, schema in schemas.items()}}


def _refusal(fields: Mapping[str, Any]) -> QueryRefusedError:
    """The parser's refusal; it has seen nothing but the query."""
    raw = fields.get("details")
    details: Sequence[tuple[str, Any]] = list(raw.items()) if isinstance(raw, dict) else []
    kept = {name: value for name, value in details if name in {"line", "column"} and type(value) is int}
    return QueryRefusedError(_text(fields.get("message")), hint=_text(fields.get("hint")), **kept)


def _text(value: object) -> str:
    """A text that can be shown anywhere, none for what is no text."""
    return value[:300].encode(errors="replace").decode() if isinstance(value, str) else ""
