"""Where user SQL runs: in this process (embedded), or in a sandbox of its own (behind a gateway). One interface."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Mapping

import pyarrow as pa

from lake.clear.reading.slice import Shown, Slice
from lake.clear.sandbox import aggregates, execute, syntax
from lake.clear.sandbox.answers import Parameters, Running, SandboxLimits
from lake.clear.sandbox.databases import Databases
from lake.clear.sandbox.execute import SliceLike
from lake.clear.sandbox.projection import Projection
from lake.clear.serving import exports
from lake.clear.serving.cache import SliceCache
from lake.clear.serving.pool import Pool
from lake.clear.serving.recall import Recall, RecallingSession, Session
from lake.clear.serving.remembered import RememberedSlice
from lake.clear.serving.session import SandboxSession
from lake.errors import QueryCancelledError

Engine = Callable[[str], Session]
"""A session for one query of a user."""


class InProcess:
    """User SQL runs in the caller's process, which is the operator's own.

    Args:
        cache: keeps scans of slices between queries.
        databases: for this one and the next.
    """

    def __init__(self, cache: SliceCache, databases: Databases) -> None:
        self._cache = cache
        self._databases = databases
        self._cancelled = False
        self._running: Running | None = None

    def parse(self, sql: str) -> syntax.Statement:
        """See ``syntax.parse``."""
        return syntax.parse(sql)

    def restrict(
        self, statement: syntax.Statement, table: str, columns: Collection[str], smallest: int, hidden: str
    ) -> str:
        """See ``aggregates.restrict``."""
        return aggregates.restrict(statement, table, columns, smallest, hidden)

    def describe(self, sql: str, schemas: Mapping[str, pa.Schema], parameters: Parameters) -> pa.Schema:
        """See ``execute.described``."""
        return execute.described(sql, schemas, parameters, self._databases)

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
        """See ``execute.run``; rows of a plain projection that are decoded here are not shown to the engine."""
        self._running = None
        export = plain if not parameters and shape is not None else None
        if export is not None and self._keeps(sql, slices[export.table], export):
            self._running = self._export(slices, export, shape, limits)
        if self._running is None:
            images = self._images(slices)
            if export is not None and not images:
                self._running = self._export(slices, export, shape, limits)
        if self._running is None:
            tables = {name: self._table(source) for name, source in slices.items()}
            self._running = execute.run(sql, tables, parameters, limits, images=images, databases=self._databases)
        if self._cancelled:
            self._running.cancel()
        return self._running

    def _images(self, slices: Mapping[str, Slice]) -> dict[str, Shown]:
        """What the engine can read by itself."""
        found = {name: source.image(self._check) for name, source in slices.items()}
        return {name: image for name, image in found.items() if image is not None}

    def _keeps(self, sql: str, source: Slice, plain: Projection) -> bool:
        """Whether its rows are kept as they are: what is asked again is asked often, as by the epochs of a training."""
        fits = source.width(plain.columns) <= self._cache.most_of_one()
        question = hashlib.sha256(sql.encode()).hexdigest()
        return fits and source.key is not None and self._cache.again(source.key, question)

    def _table(self, source: Slice) -> SliceLike:
        keep = source.key is not None and self._cache.most_bytes > 0
        return RememberedSlice(source, self._cache) if keep else source

    def _check(self) -> None:
        if self._cancelled:
            raise QueryCancelledError("the query was cancelled")

    def _export(
        self, slices: Mapping[str, Slice], plain: Projection, shape: pa.Schema, limits: SandboxLimits
    ) -> Running | None:
        export = exports.started(plain, slices, shape, self._cache, limits.seconds, shared=False)
        return None if export is None else Running(shape, export.batches(), export.close, export.close)

    def cancel(self) -> None:
        """The engine is interrupted, which it heeds when it can."""
        self._cancelled = True
        if self._running is not None:
            self._running.cancel()

    def close(self) -> None:
        """Nothing is held."""


def in_process(cache: SliceCache | None = None) -> Engine:
    """User SQL runs in this process; without a cache, every query decodes anew."""
    kept, databases, recall = cache or SliceCache(0, 0), Databases(), Recall()
    return lambda user: RecallingSession(lambda: InProcess(kept, databases), recall, user)


def sandboxed(pool: Pool, cache: SliceCache, longest: float) -> Engine:
    """User SQL runs in sandboxes; ``longest`` is in seconds, for queries whose grant has no limit of its own."""
    recall = Recall()
    return lambda user: RecallingSession(lambda: SandboxSession(pool, cache, longest), recall, user)
