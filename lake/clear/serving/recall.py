"""What engines have said of queries before, so that asking the same again takes no engine until rows are read.

A query's tree and the columns of its answer follow from its text and from the columns of its tables; no row has a part
in them. They are remembered for the one who asked alone: whoever took a sandbox over would deceive nobody else.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Collection, Hashable, Mapping
from typing import Any, Protocol, TypeVar, cast

import pyarrow as pa

from lake.clear.reading.slice import Slice
from lake.clear.sandbox import syntax
from lake.clear.sandbox.answers import Parameters, Running, SandboxLimits
from lake.clear.sandbox.projection import Projection
from lake.errors import QueryCancelledError

LONGEST = 10_000
"""Characters of a query, and of its parameters, beyond which it is not remembered."""
MOST = 1 << 20
"""Characters of all that is remembered; a tree takes some fifty bytes for each."""
_OVERHEAD = 200

T = TypeVar("T")


class Recall:
    """The newest answers, bounded; safe for many threads."""

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._known: OrderedDict[Hashable, tuple[int, Any]] = OrderedDict()
        self._size = 0

    def answer(self, key: Hashable, size: int, ask: Callable[[], T]) -> T:
        """What is known, or what asking gives; of whatever fails nothing is kept.

        Args:
            size: characters in the key.
        """
        with self._lock:
            found = self._known.get(key)
            if found is not None:
                self._known.move_to_end(key)
                return cast(T, found[1])
        said = ask()
        cost = size + _OVERHEAD
        if size <= LONGEST:
            with self._lock:
                if self._known.setdefault(key, (cost, said))[1] is said:
                    self._size += cost
                while self._size > self._most:
                    self._size -= self._known.popitem(last=False)[1][0]
        return said

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            self._known.clear()
            self._size = 0


class Session(Protocol):
    """What one query needs of an engine."""

    def parse(self, sql: str) -> syntax.Statement:
        """See ``syntax.parse``."""

    def restrict(
        self, statement: syntax.Statement, table: str, columns: Collection[str], smallest: int, hidden: str
    ) -> str:
        """See ``aggregates.restrict``."""

    def describe(self, sql: str, schemas: Mapping[str, pa.Schema], parameters: Parameters) -> pa.Schema:
        """See ``execute.described``."""

    def run(
        self,
        sql: str,
        slices: Mapping[str, Slice],
        parameters: Parameters,
        limits: SandboxLimits,
        plain: Projection | None = None,
    ) -> Running:
        """See ``execute.run``; ``plain`` is what the query is, if it is a plain projection."""

    def cancel(self) -> None:
        """Break off what it does now or next, from any thread."""

    def close(self) -> None:
        """Give everything back; closing what runs breaks it off."""


class Asked(Session, Protocol):
    """One that is told what is known already."""

    def run(
        self,
        sql: str,
        slices: Mapping[str, Slice],
        parameters: Parameters,
        limits: SandboxLimits,
        plain: Projection | None = None,
        *,
        shape: pa.Schema | None = None,
    ) -> Running:
        """The same; ``shape`` is what ``describe`` says, if it was asked."""


class RecallingSession:
    """An engine for one query, taken when it is needed; close it.

    Args:
        take: gives a session of the engine.
        asker: for whom it is.
    """

    def __init__(self, take: Callable[[], Asked], recall: Recall, asker: str) -> None:
        self._take = take
        self._recall = recall
        self._asker = asker
        self._lock = threading.Lock()
        self._session: Asked | None = None
        self._cancelled = False

    def parse(self, sql: str) -> syntax.Statement:
        """See ``syntax.parse``."""
        return self._known(("parse", sql), len(sql), lambda: self._open().parse(sql))

    def restrict(
        self, statement: syntax.Statement, table: str, columns: Collection[str], smallest: int, hidden: str
    ) -> str:
        """See ``aggregates.restrict``."""
        key = ("restrict", statement.sql, table, tuple(columns), smallest, hidden)
        return self._known(
            key,
            len(statement.sql),
            lambda: self._open().restrict(statement, table, columns, smallest, hidden),
        )

    def describe(self, sql: str, schemas: Mapping[str, pa.Schema], parameters: Parameters) -> pa.Schema:
        """See ``execute.described``."""
        tables = tuple((name, schema.serialize().to_pybytes()) for name, schema in sorted(schemas.items()))
        # Values of one text and two types give two answers.
        bound = repr(parameters)
        return self._known(
            ("describe", sql, tables, bound),
            len(sql) + len(bound) + sum(len(schema) for _, schema in tables),
            lambda: self._open().describe(sql, schemas, parameters),
        )

    def run(
        self,
        sql: str,
        slices: Mapping[str, Slice],
        parameters: Parameters,
        limits: SandboxLimits,
        plain: Projection | None = None,
    ) -> Running:
        """Start an admitted query; see ``execute.run``."""
        shape = None
        if plain is not None and not parameters:
            shape = self.describe(sql, {name: source.schema for name, source in slices.items()}, parameters)
        return self._open().run(sql, slices, parameters, limits, plain, shape=shape)

    def cancel(self) -> None:
        """Break the query off, from any thread."""
        with self._lock:
            self._cancelled = True
            session = self._session
        if session is not None:
            session.cancel()

    def close(self) -> None:
        """Give the engine back, if there is one."""
        if self._session is not None:
            self._session.close()

    def _known(self, key: tuple[Hashable, ...], size: int, ask: Callable[[], T]) -> T:
        return self._recall.answer((self._asker, *key), size, ask)

    def _open(self) -> Asked:
        if self._session is None:
            session = self._take()
            with self._lock:
                self._session, cancelled = session, self._cancelled
            if cancelled:
                session.cancel()
                raise QueryCancelledError("the query was cancelled")
        return self._session
