"""Names in a query: tables, functions, types, columns and constants, each held against its list."""

from __future__ import annotations

import json
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
    """array bigint bignum binary bit bitstring blob bool boolean bpchar bytea char date datetime dec decimal double
    enum float float4 float8 guid hugeint int int1 int128 int16 int2 int32 int4 int64 int8 integer integral interval
    json list logical long map numeric nvarchar real row short signed smallint string struct text time time_ns
    timestamp timestamp_ms timestamp_ns timestamp_s timestamp_us timestamptz timestamptz_ns timetz tinyint tuple
    ubigint uhugeint uint128 uint16 uint32 uint64 uint8 uinteger union usmallint utinyint uuid varbinary varchar
    varint""".split()  # noqa: SIM905
) | {"time with time zone", "timestamp with time zone"}
"""Built-in types and their other names."""
REFUSED_TYPES = frozenset({"geometry", "null", "oid", "type", "variant"})
"""Types that the lake does not store, or that stand for parts of the engine. User types and POINTER are unknown."""
SCHEMAS = frozenset({"information_schema", "main", "memory", "pg_catalog", "system", "temp"})
"""Schemas and catalogs of an empty DuckDB."""
OPERATORS = frozenset(
    """array_extract array_slice compare_in compare_not_in grouping_function operator_coalesce operator_is_not_null
    operator_is_null operator_not operator_try operator_unpack struct_extract""".upper().split()
)
_CATALOG_VIEWS = ("duckdb_", "pg_", "pragma_", "sqlite_")
_PLAIN_NAME = re.compile(r"[\w./*-]{1,64}")
_TYPE_IN_TEXT = re.compile(r"([A-Za-z_0-9 ]+)(\(\d{1,3}(, ?\d{1,3})?\))?(\[\d{0,5}\])*", re.ASCII)
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
    _callable(walk, node, name, allowed)


def _callable(walk: Walk, node: Tree, name: str, allowed: frozenset[str]) -> None:
    if name not in allowed or node["qualified_name"]["path"][-1] != node["function_name"]:
        raise QueryRefusedError(f"the function {_shown(name)} is not available here")
    if name in functions.AGGREGATE_BY_NAME:
        _aggregate_by_name(node)
    if name in functions.TYPES_BY_NAME:
        _types_by_name(node)
    walk.functions.add(name)


def _second_text(node: Tree) -> str | None:
    """The second argument, if it is a constant text and the first one is surely the first."""
    arguments = [argument["expression"] for argument in node["arguments"]]
    literal = arguments[1].get("literal") if len(arguments) > 1 and not node.get("schema") else None
    return literal["text"] if literal and literal["kind"] == "STRING" else None


def _aggregate_by_name(node: Tree) -> None:
    text = _second_text(node)
    if text is None or fold(text) not in functions.AGGREGATES:
        raise QueryRefusedError(
            "the aggregate of a list must be named by a constant", hint="or call list_sum, list_avg"
        )


def _types_by_name(node: Tree) -> None:
    text = _second_text(node)
    try:
        types = [] if text is None else _leaves(json.loads(text, object_pairs_hook=lambda pairs: [v for _, v in pairs]))
    except ValueError:
        types = []
    if not types or not all(_is_type(name) for name in types):
        raise QueryRefusedError(
            "the types of JSON must be named by a constant", hint="""such as '{"a": "BIGINT", "b": ["VARCHAR"]}'"""
        )


def _leaves(node: object) -> list[object]:
    return [leaf for item in node for leaf in _leaves(item)] if isinstance(node, list) else [node]


def _is_type(name: object) -> bool:
    found = _TYPE_IN_TEXT.fullmatch(name) if isinstance(name, str) else None
    return found is not None and fold(found[1].strip()) in TYPES


def _function(walk: Walk, node: Tree) -> None:
    """A call, also of a column: DuckDB reads ``app.lower()`` as a schema's function, or else as ``lower(app)``."""
    chain = [name for name in (node.get("catalog"), node.get("schema")) if name]
    if not chain:
        call(walk, node, functions.CALLABLE)
        return
    if [*chain, node["function_name"]] != node["qualified_name"]["path"] or not SCHEMAS.isdisjoint(map(fold, chain)):
        raise QueryRefusedError("function names take no schema or catalog", hint="write f(column) for column.f()")
    _column_name(walk, chain[-1])
    _callable(walk, node, fold(node["function_name"]), functions.CALLABLE)


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
    _column_name(walk, node["column_names"][-1])


def _column_name(walk: Walk, shown: str) -> None:
    name = fold(shown)
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
