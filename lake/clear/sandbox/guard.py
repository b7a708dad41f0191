"""Admission of one SELECT: every node, field, name, type and function must be on a list; unknown means refused.

The guard reads DuckDB's syntax tree and nothing else. It must never see row values, keys or paths, never run SQL, and
never let a field pass that it does not know. Decisions worth knowing:

* A table name is a granted dataset or a CTE in scope. A missing and a forbidden table give the same error. A CTE may
  not take the name of a granted dataset or of a view of the engine's catalog, so no name ever has two meanings.
* Names with a schema or catalog are refused, for tables, functions and types. ``app.lower()`` is allowed, as its left
  side is no schema that DuckDB has; a column called like one must be written ``lower(main)``.
* Samples are allowed: they are drawn from the caller's slice, which holds permitted rows only. Those that depend on
  how its rows came in batches are refused, for the size of a batch shows how many hidden rows it lost: samples by
  blocks, and a reservoir with a seed.
* ``now()``, ``random()`` and their kin are allowed: they make a result irreproducible but disclose nothing.
  ``current_user`` and the other session values, and ``rowid``, arrive as columns and are refused unless a granted
  dataset has such a column.
* DESCRIBE and SUMMARIZE are allowed of a granted dataset or a query; DuckDB makes them a query over a query. SHOW
  reads the catalog and is refused.
* PIVOT is allowed with its values spelled out; a PIVOT without IN is several statements and does not parse as one.
* EXPLAIN is allowed of a query that is itself admitted.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from lake.clear.sandbox.constraints import TableConstraints, constraints
from lake.clear.sandbox.divisible import divisible
from lake.clear.sandbox.fingerprint import fingerprint
from lake.clear.sandbox.grammar import query
from lake.clear.sandbox.names import MAX_LITERALS
from lake.clear.sandbox.needed import needed
from lake.clear.sandbox.projection import Projection, projection
from lake.clear.sandbox.syntax import Statement, fold
from lake.clear.sandbox.walk import Walk, unknown
from lake.errors import QueryRefusedError

__all__ = ["MAX_LITERALS", "AdmittedQuery", "admit"]


@dataclass(frozen=True, slots=True)
class AdmittedQuery:
    """What the gateway needs to know of a query that may run.

    Attributes:
        sql: the text of the SELECT, unchanged; with ``explain``, blanks stand where EXPLAIN stood.
        divisible: it may run over disjoint parts of the one dataset's files, the results put one after the other.
        projection: what it is if it gives rows of one dataset as they are, so that no engine is needed.
        explain: its plan is asked for, not its rows: run ``EXPLAIN `` and ``sql``.
        tables: granted datasets that it references, as the grant spells them.
        functions: names of the functions and operators that it calls.
        parameters: names of its prepared parameters (``"1"`` for ``?`` and ``$1``), sorted.
        constraints: per referenced dataset, bounds that every needed row fulfils.
        fingerprint: ``sha256:`` and hex; the same for queries that differ in literals alone.
        literals: texts of its constants in order of the tree, at most 64. They may be personal data.
        needed: per referenced dataset, the visible columns that it can need; None if that cannot be said.
    """

    sql: str
    tables: frozenset[str]
    functions: frozenset[str]
    parameters: tuple[str, ...]
    constraints: Mapping[str, TableConstraints]
    fingerprint: str
    literals: tuple[str, ...]
    divisible: bool
    projection: Projection | None
    explain: bool
    needed: Mapping[str, frozenset[str]] | None


def admit(statement: Statement, tables: Mapping[str, Collection[str]]) -> AdmittedQuery:
    """Admit a statement over the granted tables, or refuse it.

    Args:
        statement: from ``syntax.statement``; its tree may hold anything that JSON can.
        tables: granted dataset name -> names of its visible columns.

    Raises:
        QueryRefusedError: something in it is not on the lists. The message names at most an identifier that the
            caller typed.
    """
    walk = Walk({fold(name): name for name in tables}, frozenset(fold(c) for cols in tables.values() for c in cols))
    try:
        query(walk, statement.tree, frozenset())
        bounds = constraints(statement.tree, tables)
        digest = fingerprint(statement.tree)
        row_by_row = not statement.explain and divisible(statement.tree, frozenset(walk.granted))
        plain = None if statement.explain else projection(statement.tree, tables)
        columns = needed(statement.tree, {name: tables[name] for name in walk.tables})
    except RecursionError:
        raise QueryRefusedError("the query is nested too deeply") from None
    except (AttributeError, IndexError, KeyError, TypeError, ValueError):
        raise unknown("structure") from None
    return AdmittedQuery(
        sql=statement.sql,
        tables=frozenset(walk.tables),
        functions=frozenset(walk.functions),
        parameters=tuple(sorted(walk.parameters)),
        constraints=bounds,
        fingerprint=digest,
        literals=tuple(walk.literals),
        divisible=row_by_row,
        projection=plain,
        explain=statement.explain,
        needed=columns,
    )
