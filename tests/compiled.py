"""SQL that is compiled once for all SQLite files of a process of tests.

Every lake that a test opens has engines of its own, and an engine begins with an empty cache: thousands of lakes would
compile the same statements anew, which is a tenth of the time.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, Engine, event


class _Compiled(dict[Any, Any]):
    """A cache of statements whose keys name the kind of dialect: engines for SQLite have equal ones, each its own."""

    def get(self, key: Any, default: Any = None) -> Any:
        return super().get(_of_any_engine(key), default)

    def __setitem__(self, key: Any, value: Any) -> None:
        super().__setitem__(_of_any_engine(key), value)


def _of_any_engine(key: Any) -> Any:
    dialect, *rest = key
    return (type(dialect), *rest) if dialect.name == "sqlite" else key


_compiled = _Compiled()


def share() -> None:
    """Give every engine that is made from now on the one cache."""
    event.listen(Engine, "engine_connect", _use)


def _use(connection: Connection) -> None:
    connection.execution_options(compiled_cache=_compiled)
