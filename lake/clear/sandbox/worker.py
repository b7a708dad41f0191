"""The process that runs user SQL: one query, then it is gone. It holds the slice that it is sent, and nothing else.

It has no key, no path, no hidden row, and one end of an unnamed pair of sockets. It answers ``parse``, ``restrict`` and
``describe`` any number of times, ``run`` once. Memory, time and system calls are fenced in before it sees any SQL.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator, Sequence
from typing import Any

import duckdb
import pyarrow as pa

from lake.clear.sandbox import aggregates, databases, execute, fences, pushdown, syntax
from lake.clear.sandbox.answers import Parameters
from lake.clear.sandbox.channel import Channel, ChannelError, Message
from lake.clear.sandbox.mapping import mapped
from lake.errors import QueryRefusedError

MOST_BATCH = 16 << 20
"""Bytes beyond which a batch of the result is sent in pieces."""


def serve(connection: duckdb.DuckDBPyConnection, channel: Channel, memory: int, seconds: int) -> None:
    """Serve one session on a database that is open already; see ``databases.opened``."""
    channel.send({"ready": fences.raised(memory, seconds)})
    while True:
        message = channel.receive()
        match message.fields["do"]:
            case "parse":
                channel.send(*_parsed(str(message.fields["sql"])))
            case "restrict":
                channel.send(*_restricted(message.fields))
            case "describe":
                channel.send(*_described(connection, message))
            case "run":
                _run(connection, channel, message)
                return


def _parsed(sql: str) -> tuple[dict[str, Any], bytes]:
    try:
        return {"is": "parsed"}, syntax.serialize(sql).encode()
    except QueryRefusedError as refusal:
        return _refusal(refusal), b""


def _restricted(fields: Any) -> tuple[dict[str, Any], bytes]:
    wanted = (fields["table"], fields["columns"], fields["smallest"], fields["hidden"])
    try:
        return {"is": "restricted"}, aggregates.restrict(syntax.parse(fields["sql"]), *wanted).encode()
    except QueryRefusedError as refusal:
        return _refusal(refusal), b""


def _refusal(refusal: QueryRefusedError) -> dict[str, Any]:
    return {"is": "refused", "message": refusal.message, "hint": refusal.hint, "details": refusal.details}


def _described(connection: duckdb.DuckDBPyConnection, message: Message) -> tuple[dict[str, Any], Any]:
    schemas = _schemas(message)
    try:
        for name, schema in schemas.items():
            connection.register(name, schema.empty_table())
        found = execute.shape(connection, str(message.fields["sql"]), parameters_of(message.fields, message.payload))
    except Exception as error:  # noqa: BLE001 - whatever the engine raises
        return _failure(error), b""
    finally:
        for name in schemas:
            connection.unregister(name)
    return {"is": "schema"}, found.serialize()


def _run(connection: duckdb.DuckDBPyConnection, channel: Channel, message: Message) -> None:
    fields = message.fields
    feed = _Feed(channel)
    for name, schema in _schemas(message).items():
        connection.register(name, execute.SliceTable(schema, _Scans(feed, name, schema).scan))
    databases.settled(connection, int(fields["threads"]), int(fields["memory"]))
    try:
        reader = execute.started(connection, str(fields["sql"]), parameters_of(fields, message.payload))
        feed.send({"is": "schema"}, reader.schema.serialize())
        for batch in reader:
            for piece in _pieces(batch):
                feed.send({"is": "batch"}, _stream(piece))
    except ChannelError:
        raise
    except Exception as error:  # noqa: BLE001 - whatever the engine raises
        feed.send(_failure(error))
        return
    feed.send({"is": "done"})


def _failure(error: Exception) -> dict[str, Any]:
    """What went wrong: the class of the engine's error; its text counts only if no row was handed over."""
    failure = execute.failure_of(error, untouched=True)
    if isinstance(failure, QueryRefusedError):
        return {"is": "misfit", "text": str(error)[:1000]}
    return {"is": "failed", "engine": failure.details.get("engine", "")}


def _schemas(message: Message) -> dict[str, pa.Schema]:
    """Schemas of the tables, each in the form of an empty stream."""
    return {
        name: pa.ipc.read_schema(pa.py_buffer(bytes.fromhex(text))) for name, text in message.fields["tables"].items()
    }


def parameters_of(fields: Any, payload: pa.Buffer) -> Parameters:
    """Parameters as they are bound; they come as one row, whole numbers beyond 64 bits marked."""
    if not payload.size:
        return ()
    with pa.ipc.open_stream(payload) as reader:
        (batch,) = reader
    values = [column[0].as_py() for column in batch.columns]
    values = [int(value) if field.metadata else value for field, value in zip(batch.schema, values, strict=True)]
    return dict(zip(batch.schema.names, values, strict=True)) if fields["named"] else values


def _pieces(batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
    rows = batch.num_rows
    step = max(1, rows * MOST_BATCH // max(batch.nbytes, 1))
    for start in range(0, rows, step):
        yield batch.slice(start, step)


def _stream(batch: pa.RecordBatch) -> pa.Buffer:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    return sink.getvalue()


class _Feed:
    """The channel as DuckDB's threads share it: a question and its answer are not parted."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._lock = threading.Lock()

    def send(self, fields: dict[str, Any], payload: Any = b"") -> None:
        """Say something."""
        with self._lock:
            self._channel.send(fields, payload)

    def ask(self, fields: dict[str, Any]) -> Message:
        """Say something and wait for the answer."""
        with self._lock:
            self._channel.send(fields)
            return self._channel.receive()


class _Scans:
    """Scans of one table, whose rows lie in memory shared with the reading side, and are not copied."""

    _numbers = itertools.count()

    def __init__(self, feed: _Feed, table: str, schema: pa.Schema) -> None:
        self._feed = feed
        self._table = table
        self._schema = schema

    def scan(self, columns: Sequence[str] | None, condition: pushdown.Condition | None) -> pa.RecordBatchReader:
        """A fresh stream of the table's rows."""
        wanted = list(self._schema.names if columns is None else columns)
        number = next(self._numbers)
        tree = None if condition is None else condition.tree
        self._feed.send({"is": "scan", "scan": number, "table": self._table, "columns": wanted, "condition": tree})
        schema = pa.schema([self._schema.field(name) for name in wanted])
        return pa.RecordBatchReader.from_batches(schema, self._batches(number, wanted))

    def _batches(self, number: int, wanted: list[str]) -> Iterator[pa.RecordBatch]:
        try:
            while (answer := self._feed.ask({"is": "next", "scan": number})).descriptor >= 0:
                with pa.ipc.open_stream(mapped(answer.descriptor, int(answer.fields["size"]))) as reader:
                    for batch in reader:  # which may have more columns: it was made for another scan
                        yield batch if batch.schema.names == wanted else batch.select(wanted)
        finally:
            self._feed.send({"is": "close", "scan": number})
