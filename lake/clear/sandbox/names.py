"""Names in a query: tables, functions, types, columns and constants, each held against its list."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from lake.clear.sandbox import functions
from lake.clear.sandbox.syntax import Tree, fold
from lake.clear.sandbox.walk import Scope, Walk, unknown
from lake.errors import DeniedError, QueryRefusedError

MAX_LITERALS = 64

SESSION_COLUMNS = frozenset(
    {"current_catalog", "current_role", "current_schema", "current_user", "rowid", "session_user", "user"}
)
TYPES = frozenset(
    """array bigint binary bit bitstring blob bool boolean bpchar bytea date datetime dec decimal double enum float
    float4 float8 guid hugeint int1 int128 int2 int4 int64 int8 integer interval json list long map numeric real short
    signed smallint string struct text time timestamp timestamp_ms timestamp_ns timestamp_s timestamp_us timestamptz
    timetz tinyint ubigint uhugeint uinteger union usmallint utinyint uuid varbinary varchar""".split()  # noqa: SIM905
) | {"time with time zone", "timestamp with time zone"}
"""Built-in types and their other names. No user type, POINTER, VARIANT, GEOMETRY or OID."""
OPERATORS = frozenset(
    """array_extract array_slice compare_in compare_not_in grouping_function operator_coalesce operator_is_not_null
    operator_is_null operator_not operator_try operator_unpack struct_extract""".upper().split()
)
_CATALOG_VIEWS = ("duckdb_", "pg_", "pragma_", "sqlite_")
_PLAIN_NAME = re.compile(r"[\w./*-]{1,64}")
_COLLATION = re.compile(r"[a-z]+([._][a-z]+)*", re.IGNORECASE)


def _shown(name: str) -> str:
    """The caller's own identifier, if it is short and plain enough for a log line."""
    return name if _PLAIN_NAME.fullmatch(name) else "of this name"


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise unknown("value")
    return value


def _unqualified(node: Tree, *, schema: str, catalog: str, what: str) -> None:
    if node.get(schema) or node.get(catalog) or len(node["qualified_name"]["path"]) != 1:
        raise QueryRefusedError(f"{what} names take no schema or catalog")


def cte_name(walk: Walk, name: str) -> str:
    """The folded name of a CTE, which may not be that of a granted dataset or of a catalog view."""
    folded = fold(name)
    if folded in walk.granted or folded.startswith(_CATALOG_VIEWS):
        raise QueryRefusedError(f"the WITH name {_shown(name)} is also a table", hint="choose another name")
    return folded


def base_table(walk: Walk, node: Tree, scope: Scope) -> None:
    """A table by name: a granted dataset or a CTE in scope."""
    name = node["table_name"]
    _unqualified(node, schema="schema_name", catalog="catalog_name", what="table")
    if fold(name) in scope:
        return
    if fold(name) not in walk.granted or node["qualified_name"]["path"] != [name]:
        # Denied, whether it exists or not: the two must look the same.
        raise DeniedError(f"no table {_shown(name)} is available here", hint="ask the owner of the lake for a grant")
    walk.tables.add(walk.granted[fold(name)])


def call(walk: Walk, node: Tree, allowed: frozenset[str]) -> None:
    """A function by name, which must be one of ``allowed``."""
    name = fold(node["function_name"])
    _unqualified(node, schema="schema", catalog="catalog", what="function")
    if name not in allowed or node["qualified_name"]["path"] != [node["function_name"]]:
        raise QueryRefusedError(f"the function {_shown(name)} is not available here")
    if name in functions.AGGREGATE_BY_NAME:
        _aggregate_by_name(node)
    walk.functions.add(name)


def _aggregate_by_name(node: Tree) -> None:
    arguments = [argument["expression"] for argument in node["arguments"]]
    literal = arguments[1].get("literal", {}) if len(arguments) > 1 else {}
    if literal.get("kind") != "STRING" or fold(literal["text"]) not in functions.AGGREGATES:
        raise QueryRefusedError(
            "the aggregate of a list must be named by a constant", hint="or call list_sum, list_avg"
        )


def _function(walk: Walk, node: Tree) -> None:
    call(walk, node, functions.CALLABLE)


def _window(walk: Walk, node: Tree) -> None:
    call(walk, node, functions.OVER_WINDOW)


def _operator(_walk: Walk, node: Tree) -> None:
    if node["type"] not in OPERATORS:
        raise unknown("operator")


def _type(_walk: Walk, node: Tree) -> None:
    _unqualified(node, schema="schema", catalog="catalog", what="type")
    if fold(node["type_name"]) not in TYPES or node["qualified_name"]["path"] != [node["type_name"]]:
        raise QueryRefusedError("a cast uses a type that is not available here")


def _collate(_walk: Walk, node: Tree) -> None:
    if not _COLLATION.fullmatch(node["collation"]):
        raise QueryRefusedError("the collation is not available here")


def _column(walk: Walk, node: Tree) -> None:
    names = node["column_names"]
    name = fold(names[-1])
    if name in SESSION_COLUMNS and name not in walk.columns:
        raise QueryRefusedError(f"the name {name} is not available here")


def _parameter(walk: Walk, node: Tree) -> None:
    walk.parameters.add(_text(node["identifier"]))


def _constant(walk: Walk, node: Tree) -> None:
    text = _text(node["literal"]["text"])
    if text and len(walk.literals) < MAX_LITERALS:
        walk.literals.append(text)


CHECKS: Mapping[str, Callable[[Walk, Tree], None]] = {
    "COLLATE": _collate,
    "COLUMN_REF": _column,
    "CONSTANT": _constant,
    "FUNCTION": _function,
    "OPERATOR": _operator,
    "PARAMETER": _parameter,
    "TYPE": _type,
    "WINDOW": _window,
}
