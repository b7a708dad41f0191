"""Admission of one SELECT: every node, field, name, type and function must be on a list; unknown means refused.

The guard reads DuckDB's syntax tree and nothing else. It must never see row values, keys or paths, never run SQL, and
never let a field pass that it does not know. Decisions worth knowing:

* A table name is a granted dataset or a CTE in scope. A missing and a forbidden table give the same error. A CTE may
  not take the name of a granted dataset or of a view of the engine's catalog, so no name ever has two meanings.
* Names with a schema or catalog are refused, for tables, functions and types. So is the chain ``a.b.f()``, which
  DuckDB reads as such a name; ``f(a.b)`` says the same.
* Sampling is refused: its result is not reproducible, and ``WHERE hash(key) % 10 = 0`` samples reproducibly.
* ``now()`` and its kin are allowed: they make a result irreproducible but disclose nothing. ``current_user`` and the
  other session values, and ``rowid``, arrive as columns and are refused unless a granted dataset has such a column.
* PIVOT is allowed with its values spelled out; a PIVOT without IN is several statements and does not parse as one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from lake.clear.sandbox import functions
from lake.clear.sandbox.constraints import TableConstraints, constraints
from lake.clear.sandbox.fingerprint import fingerprint
from lake.clear.sandbox.syntax import Statement, Tree, fold
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


@dataclass(frozen=True, slots=True)
class AdmittedQuery:
    """What the gateway needs to know of a query that may run.

    Attributes:
        sql: the text, unchanged.
        tables: granted datasets that it references, as the grant spells them.
        functions: names of the functions and operators that it calls.
        parameters: names of its prepared parameters (``"1"`` for ``?`` and ``$1``), sorted.
        constraints: per referenced dataset, bounds that every needed row fulfils.
        fingerprint: ``sha256:`` and hex; the same for queries that differ in literals alone.
        literals: texts of its constants in order of the tree, at most 64. They may be personal data.
    """

    sql: str
    tables: frozenset[str]
    functions: frozenset[str]
    parameters: tuple[str, ...]
    constraints: Mapping[str, TableConstraints]
    fingerprint: str
    literals: tuple[str, ...]


def admit(statement: Statement, tables: Mapping[str, Collection[str]]) -> AdmittedQuery:
    """Admit a statement over the granted tables, or refuse it.

    Args:
        statement: from ``syntax.parse``.
        tables: granted dataset name -> names of its visible columns.

    Raises:
        QueryRefusedError: something in it is not on the lists. The message names at most an identifier that the
            caller typed.
    """
    walk = _Walk({fold(name): name for name in tables}, frozenset(fold(c) for cols in tables.values() for c in cols))
    try:
        query(walk, statement.tree, frozenset())
        bounds = constraints(statement.tree, tables)
        digest = fingerprint(statement.tree)
    except RecursionError:
        raise QueryRefusedError("the query is nested too deeply") from None
    except (AttributeError, IndexError, KeyError, TypeError):
        raise _unknown("structure") from None
    return AdmittedQuery(
        sql=statement.sql,
        tables=frozenset(walk.tables),
        functions=frozenset(walk.functions),
        parameters=tuple(sorted(walk.parameters)),
        constraints=bounds,
        fingerprint=digest,
        literals=tuple(walk.literals),
    )


@dataclass(slots=True)
class _Walk:
    granted: Mapping[str, str]
    columns: frozenset[str]
    tables: set[str] = field(default_factory=set)
    functions: set[str] = field(default_factory=set)
    parameters: set[str] = field(default_factory=set)
    literals: list[str] = field(default_factory=list)


Scope = frozenset[str]
Rule = Callable[[_Walk, Any, Scope], None]


def plain(_walk: _Walk, value: object, _scope: Scope) -> None:
    """A scalar, or lists of scalars: names and flags that cannot reach anything by themselves."""
    if isinstance(value, list):
        for item in value:
            plain(_walk, item, _scope)
    elif isinstance(value, dict):
        raise _unknown("value")


def _walked(_walk: _Walk, _value: object, _scope: Scope) -> None:
    """Already checked by ``query``, in the scope that holds there."""


def only(*allowed: object) -> Rule:
    """One of these values."""

    def check(_walk: _Walk, value: object, _scope: Scope) -> None:
        if value not in allowed:
            raise QueryRefusedError("the query uses a form that is not allowed here")

    return check


def never(what: str) -> Rule:
    """Must be empty."""

    def check(_walk: _Walk, value: object, _scope: Scope) -> None:
        if value:
            raise QueryRefusedError(f"{what} is not allowed")

    return check


def many(rule: Rule) -> Rule:
    """A list, each item by the rule."""

    def check(walk: _Walk, value: Any, scope: Scope) -> None:
        if not isinstance(value, list):
            raise _unknown("list")
        for item in value:
            rule(walk, item, scope)

    return check


def parts(**rules: Rule) -> Rule:
    """A dictionary with these fields; any other field must be empty."""

    def check(walk: _Walk, value: Any, scope: Scope) -> None:
        if value is None:
            return
        if not isinstance(value, dict):
            raise _unknown("structure")
        for name, child in value.items():
            rule = rules.get(name)
            if rule is not None:
                rule(walk, child, scope)
            elif name not in _POSITIONS and child not in _EMPTY:
                raise _unknown("field")

    return check


def query(walk: _Walk, node: Any, scope: Scope) -> None:
    """A query node; its CTEs come into scope one after the other."""
    if node is None:
        return
    shape = _shape(QUERIES, node, "type")
    for entry in node["cte_map"]["map"]:
        name = _cte_name(walk, entry["key"])
        _CTE(walk, entry["value"], scope)
        scope = scope | {name}
    if node["type"] == "RECURSIVE_CTE_NODE":
        # The first arm does not see the name: there DuckDB looks it up in the catalog.
        query(walk, node["left"], scope)
        query(walk, node["right"], scope | {_cte_name(walk, node["cte_name"])})
    shape(walk, node, scope)


def table(walk: _Walk, node: Any, scope: Scope) -> None:
    """A table reference."""
    if node is None:
        return
    shape = _shape(TABLES, node, "type")
    if node["type"] == "BASE_TABLE":
        _base_table(walk, node, scope)
    shape(walk, node, scope)


def expression(walk: _Walk, node: Any, scope: Scope) -> None:
    """An expression."""
    if node is None:
        return
    shape = _shape(EXPRESSIONS, node, "class")
    check = _CHECKS.get(node["class"])
    if check is not None:
        check(walk, node)
    shape(walk, node, scope)


def modifier(walk: _Walk, node: Any, scope: Scope) -> None:
    """ORDER BY, LIMIT or DISTINCT."""
    _shape(MODIFIERS, node, "type")(walk, node, scope)


def table_function(walk: _Walk, node: Any, scope: Scope) -> None:
    """A call in FROM."""
    if not isinstance(node, dict) or node.get("class") != "FUNCTION":
        raise _unknown("table function")
    _call(walk, node, functions.TABLE_FUNCTIONS)
    EXPRESSIONS["FUNCTION"](walk, node, scope)


def _unknown(what: str) -> QueryRefusedError:
    return QueryRefusedError(f"the query holds an unknown {what}", hint="only plain SELECT queries are allowed")


def _shape(kinds: Mapping[str, Rule], node: Any, key: str) -> Rule:
    kind = node.get(key) if isinstance(node, dict) else None
    shape = kinds.get(kind) if isinstance(kind, str) else None
    if shape is None:
        named = f"{kind} is" if isinstance(kind, str) and re.fullmatch(r"[A-Z_]{1,40}", kind) else "This construct is"
        raise QueryRefusedError(f"{named} not allowed in a query", hint="one SELECT over the granted datasets")
    return shape


def _shown(name: str) -> str:
    """The caller's own identifier, if it is short and plain enough for a log line."""
    return name if _PLAIN_NAME.fullmatch(name) else "of this name"


def _unqualified(node: Tree, *, schema: str, catalog: str, what: str) -> None:
    if node.get(schema) or node.get(catalog) or len(node["qualified_name"]["path"]) != 1:
        raise QueryRefusedError(f"{what} names take no schema or catalog")


def _cte_name(walk: _Walk, name: str) -> str:
    folded = fold(name)
    if folded in walk.granted or folded.startswith(_CATALOG_VIEWS):
        raise QueryRefusedError(f"the WITH name {_shown(name)} is also a table", hint="choose another name")
    return folded


def _base_table(walk: _Walk, node: Tree, scope: Scope) -> None:
    name = node["table_name"]
    _unqualified(node, schema="schema_name", catalog="catalog_name", what="table")
    if fold(name) in scope:
        return
    if fold(name) not in walk.granted or node["qualified_name"]["path"] != [name]:
        # Denied, whether it exists or not: the two must look the same.
        raise DeniedError(f"no table {_shown(name)} is available here", hint="ask the owner of the lake for a grant")
    walk.tables.add(walk.granted[fold(name)])


def _call(walk: _Walk, node: Tree, allowed: frozenset[str]) -> None:
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


def _function(walk: _Walk, node: Tree) -> None:
    _call(walk, node, functions.CALLABLE)


def _window(walk: _Walk, node: Tree) -> None:
    _call(walk, node, functions.OVER_WINDOW)


def _operator(_walk: _Walk, node: Tree) -> None:
    if node["type"] not in OPERATORS:
        raise _unknown("operator")


def _type(_walk: _Walk, node: Tree) -> None:
    _unqualified(node, schema="schema", catalog="catalog", what="type")
    if fold(node["type_name"]) not in TYPES or node["qualified_name"]["path"] != [node["type_name"]]:
        raise QueryRefusedError("a cast uses a type that is not available here")


def _collate(_walk: _Walk, node: Tree) -> None:
    if not _COLLATION.fullmatch(node["collation"]):
        raise QueryRefusedError("the collation is not available here")


def _column(walk: _Walk, node: Tree) -> None:
    names = node["column_names"]
    name = fold(names[-1])
    if name in SESSION_COLUMNS and name not in walk.columns:
        raise QueryRefusedError(f"the name {name} is not available here")


def _parameter(walk: _Walk, node: Tree) -> None:
    walk.parameters.add(node["identifier"])


def _constant(walk: _Walk, node: Tree) -> None:
    text = node["literal"]["text"]
    if text and len(walk.literals) < MAX_LITERALS:
        walk.literals.append(text)


_CHECKS: Mapping[str, Callable[[_Walk, Tree], None]] = {
    "COLLATE": _collate,
    "COLUMN_REF": _column,
    "CONSTANT": _constant,
    "FUNCTION": _function,
    "OPERATOR": _operator,
    "PARAMETER": _parameter,
    "TYPE": _type,
    "WINDOW": _window,
}
_POSITIONS = frozenset({"query_location", "query_location_length"})
_EMPTY: tuple[object, ...] = (None, "", False, [], {})

_expressions = many(expression)
_orders = many(parts(type=plain, null_order=plain, expression=expression))
_arguments = many(parts(name=plain, expression=expression))
_path = parts(path=plain)
_no_sample = never("sampling")
_NAMED: dict[str, Rule] = {"class": plain, "type": plain, "alias": plain}
_SOURCE: dict[str, Rule] = {"type": plain, "alias": plain, "sample": _no_sample, "column_name_alias": plain}
_CALL: dict[str, Rule] = {
    "function_name": plain,
    "qualified_name": _path,
    "distinct": plain,
    "arguments": _arguments,
}
_column_name = parts(catalog=never("a catalog"), schema=never("a schema"), table=plain, column=plain)
_subquery = parts(node=query, named_param_map=many(parts(key=plain, value=plain)))
_pivot = parts(
    pivot_expressions=_expressions,
    unpivot_names=plain,
    entries=many(parts(star_expr=expression, alias=plain, values=_expressions)),
    pivot_enum=never("PIVOT over an enum"),
)
_CTE = parts(
    aliases=plain,
    materialized=plain,
    key_targets=_expressions,
    payload_aggregates=_expressions,
    query_node=query,
)
_QUERY: dict[str, Rule] = {"type": plain, "modifiers": many(modifier), "cte_map": _walked}

QUERIES: Mapping[str, Rule] = {
    "SELECT_NODE": parts(
        **_QUERY,
        select_list=_expressions,
        from_table=table,
        where_clause=expression,
        group_expressions=_expressions,
        group_sets=plain,
        aggregate_handling=plain,
        having=expression,
        qualify=expression,
        sample=_no_sample,
    ),
    "SET_OPERATION_NODE": parts(
        **_QUERY, setop_type=plain, setop_all=plain, left=query, right=query, children=many(query)
    ),
    "RECURSIVE_CTE_NODE": parts(
        **_QUERY,
        cte_name=plain,
        union_all=plain,
        aliases=plain,
        key_targets=_expressions,
        payload_aggregates=_expressions,
        left=_walked,
        right=_walked,
    ),
}
MODIFIERS: Mapping[str, Rule] = {
    "ORDER_MODIFIER": parts(type=plain, orders=_orders),
    "LIMIT_MODIFIER": parts(type=plain, limit=expression, offset=expression, limit_type=plain),
    "DISTINCT_MODIFIER": parts(type=plain, distinct_on_targets=_expressions),
}
TABLES: Mapping[str, Rule] = {
    "BASE_TABLE": parts(**_SOURCE, table_name=plain, qualified_name=_path, at_clause=never("AT")),
    "EMPTY": parts(**_SOURCE),
    "EXPRESSION_LIST": parts(**_SOURCE, expected_names=plain, values=many(_expressions)),
    "JOIN": parts(
        **_SOURCE,
        left=table,
        right=table,
        condition=expression,
        join_type=only("INNER", "LEFT", "RIGHT", "FULL", "SEMI", "ANTI"),
        ref_type=only("REGULAR", "NATURAL", "CROSS", "POSITIONAL", "ASOF"),
        using_columns=plain,
        is_implicit=plain,
        nearest_count=only(1),
        nearest_order_type=only("ASCENDING"),
    ),
    "PIVOT": parts(
        **_SOURCE,
        source=table,
        aggregates=_expressions,
        unpivot_names=plain,
        pivots=many(_pivot),
        groups=plain,
        include_nulls=plain,
    ),
    "SUBQUERY": parts(**_SOURCE, subquery=_subquery),
    "TABLE_FUNCTION": parts(**_SOURCE, function=table_function, with_ordinality=plain),
}
EXPRESSIONS: Mapping[str, Rule] = {
    "BETWEEN": parts(**_NAMED, input=expression, lower=expression, upper=expression),
    "CASE": parts(**_NAMED, case_checks=many(parts(when_expr=expression, then_expr=expression)), else_expr=expression),
    "CAST": parts(**_NAMED, child=expression, type_expr=expression, try_cast=plain),
    "COLLATE": parts(**_NAMED, child=expression, collation=plain),
    "COLUMN_REF": parts(**_NAMED, column_names=plain),
    "COMPARISON": parts(**_NAMED, left=expression, right=expression),
    "CONJUNCTION": parts(**_NAMED, children=_expressions),
    "CONSTANT": parts(**_NAMED, literal=parts(kind=plain, text=plain)),
    "FUNCTION": parts(
        **_NAMED, **_CALL, filter=expression, order_bys=parts(type=plain, orders=_orders), is_operator=plain
    ),
    "LAMBDA": parts(**_NAMED, lhs=expression, expr=expression, syntax_type=plain),
    "OPERATOR": parts(**_NAMED, children=_expressions),
    "PARAMETER": parts(**_NAMED, identifier=plain),
    "POSITIONAL_REFERENCE": parts(**_NAMED, index=plain),
    "STAR": parts(
        **_NAMED,
        relation_name=plain,
        exclude_list=plain,
        qualified_exclude_list=many(_column_name),
        replace_list=many(parts(key=plain, value=expression)),
        rename_list=many(parts(key=_column_name, value=plain)),
        columns=plain,
        expr=expression,
    ),
    "SUBQUERY": parts(**_NAMED, subquery_type=plain, subquery=_subquery, child=expression, comparison_type=plain),
    "TYPE": parts(**_NAMED, type_name=plain, qualified_name=_path, children=_expressions),
    "WINDOW": parts(
        **_NAMED,
        **_CALL,
        partitions=_expressions,
        orders=_orders,
        arg_orders=_orders,
        start=plain,
        end=plain,
        start_expr=expression,
        end_expr=expression,
        offset_expr=expression,
        default_expr=expression,
        filter_expr=expression,
        ignore_nulls=plain,
        has_ignore_nulls=plain,
        exclude_clause=plain,
    ),
}
