"""What running a query takes and gives, in this process or in another one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from lake.errors import QueryFailedError, QueryRefusedError

Parameters = Sequence[Any] | Mapping[str, Any]
"""Values of a query's parameters, by position or by name."""


@dataclass(frozen=True, slots=True)
class SandboxLimits:
    """What one query may use; memory in bytes, 0 for the engine's default."""

    threads: int
    memory: int
    seconds: float | None = None


@dataclass(slots=True)
class Running:
    """A query under way: its result's schema and its batches; ``cancel`` breaks it off from any thread."""

    schema: pa.Schema
    batches: Iterator[pa.RecordBatch]
    close: Callable[[], None] = field(repr=False)
    cancel: Callable[[], None] = field(repr=False)


MEANINGS = {
    "OutOfMemoryException": "out of memory: narrow the query or aggregate earlier",
    "ConversionException": "a value could not be converted: use TRY_CAST",
    "OutOfRangeException": "a number went out of its range",
    "InvalidInputException": "a function did not accept its input",
    "InterruptException": "it was interrupted",
}
"""What a class of the engine's errors means; all that is ever said of one."""


def misfit(text: str) -> QueryRefusedError:
    """A query that names or types do not fit, with the first line of what the engine said of it."""
    first = text.split("\n", 1)[0][:300]
    return QueryRefusedError(f"the query does not fit the tables: {first}", hint="check names and types")


def failed(kind: str) -> QueryFailedError:
    """A query that failed in the engine, by the class of the engine's error; an unknown class says nothing."""
    if kind in MEANINGS:
        return QueryFailedError(f"the query failed: {MEANINGS[kind]}", engine=kind)
    return QueryFailedError("the query failed in the engine")
