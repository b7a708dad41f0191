"""Many rows through one statement, without the object-relational detour: for sweeps over a whole key store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from operator import itemgetter
from typing import Any

import sqlalchemy as sa


def execute_many(connection: sa.Connection, statement: sa.Update, rows: Sequence[Mapping[str, Any]]) -> int:
    """Run a statement with bind parameters for every row; gives how many rows of the table it changed."""
    if not rows:
        return 0
    compiled = statement.compile(dialect=connection.dialect)
    assert isinstance(compiled, sa.sql.compiler.SQLCompiler)  # noqa: S101 - for the type checker
    parameters: list[Any] = list(rows)
    if compiled.positiontup:
        parameters = list(map(itemgetter(*compiled.positiontup), rows))
    return connection.exec_driver_sql(compiled.string, parameters).rowcount
