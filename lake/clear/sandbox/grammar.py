"""The node kinds of DuckDB's syntax tree that a query may hold, and the fields that each of them may fill."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from lake.clear.sandbox import functions
from lake.clear.sandbox.names import CHECKS, base_table, call, cte_name
from lake.clear.sandbox.walk import Parts, Rule, Scope, Walk, kind, many, never, only, parts, plain, text, unknown
from lake.errors import QueryRefusedError


def query(walk: Walk, node: Any, scope: Scope) -> None:
    """A query node; its CTEs come into scope one after the other."""
    if node is None:
        return
    shape = _shape(QUERIES, node, "type")
    for entry in node["cte_map"]["map"]:
        name = cte_name(walk, entry["key"])
        _CTE(walk, entry["value"], scope)
        scope = scope | {name}
    if node["type"] == "RECURSIVE_CTE_NODE":
        # The first arm does not see the name: there DuckDB looks it up in the catalog.
        query(walk, node["left"], scope)
        query(walk, node["right"], scope | {cte_name(walk, node["cte_name"])})
    shape(walk, node, scope)


def table(walk: Walk, node: Any, scope: Scope) -> None:
    """A table reference."""
    if node is None:
        return
    shape = _shape(TABLES, node, "type")
    if node["type"] == "BASE_TABLE":
        base_table(walk, node, scope)
    shape(walk, node, scope)


def expression(walk: Walk, node: Any, scope: Scope) -> None:
    """An expression."""
    if node is None:
        return
    shape = _shape(EXPRESSIONS, node, "class")
    check = CHECKS.get(node["class"])
    if check is not None:
        check(walk, node)
    shape(walk, node, scope)


def modifier(walk: Walk, node: Any, scope: Scope) -> None:
    """ORDER BY, LIMIT or DISTINCT."""
    _shape(MODIFIERS, node, "type")(walk, node, scope)


def table_function(walk: Walk, node: Any, scope: Scope) -> None:
    """A call in FROM."""
    if not isinstance(node, dict) or node.get("class") != "FUNCTION":
        raise unknown("table function")
    call(walk, node, functions.TABLE_FUNCTIONS)
    EXPRESSIONS["FUNCTION"](walk, node, scope)


def _described(walk: Walk, node: Any, scope: Scope) -> None:
    """The query that DESCRIBE or SUMMARIZE speaks of."""
    if node is None:
        raise QueryRefusedError("SHOW is not allowed", hint="DESCRIBE or SUMMARIZE a granted dataset or a query")
    query(walk, node, scope)


def _sampled(walk: Walk, node: Any, scope: Scope) -> None:
    """A sample whose rows do not depend on how the rows came in batches, for batches show where hidden rows were."""
    if node is None:
        return
    _sample(walk, node, scope)
    if node["method"] == "System":
        raise QueryRefusedError("a sample by blocks is not allowed", hint="write USING SAMPLE 10% (bernoulli)")
    if node["method"] != "Bernoulli" and (node["repeatable"] or node["seed"] != -1):
        raise QueryRefusedError(
            "a number of rows cannot be sampled with a seed", hint="sample a share by bernoulli, or ORDER BY hash(...)"
        )


def _walked(_walk: Walk, _value: object, _scope: Scope) -> None:
    """Already checked by ``query``, in the scope that holds there."""


def _shape(kinds: Mapping[str, Parts], node: Any, key: str) -> Rule:
    kind = node.get(key) if isinstance(node, dict) else None
    shape = kinds.get(kind) if isinstance(kind, str) else None
    if shape is None:
        named = f"{kind} is" if isinstance(kind, str) and re.fullmatch(r"[A-Z_]{1,40}", kind) else "This construct is"
        raise QueryRefusedError(f"{named} not allowed in a query", hint="one SELECT over the granted datasets")
    return shape


_expressions = many(expression)
_orders = many(parts(type=kind("OrderType"), null_order=kind("OrderByNullType"), expression=expression))
_arguments = many(parts(name=plain, expression=expression))
_path = parts(path=plain)
_sample = parts(
    sample_size=parts(type=parts(id=kind("LogicalTypeId")), is_null=never("an empty sample size"), value=plain),
    is_percentage=plain,
    method=kind("SampleMethod"),
    seed=plain,
    repeatable=plain,
    sample_rate=plain,
)
_NAMED: dict[str, Rule] = {"class": plain, "type": kind("ExpressionType"), "alias": plain}
_SOURCE: dict[str, Rule] = {"type": plain, "alias": plain, "sample": _sampled}
_NAMED_SOURCE: dict[str, Rule] = {**_SOURCE, "column_name_alias": plain}
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
    materialized=kind("CTEMaterialize"),
    key_targets=_expressions,
    payload_aggregates=_expressions,
    query_node=query,
)
_QUERY: dict[str, Rule] = {"type": plain, "modifiers": many(modifier), "cte_map": _walked}

QUERIES: Mapping[str, Parts] = {
    "SELECT_NODE": parts(
        **_QUERY,
        select_list=_expressions,
        from_table=table,
        where_clause=expression,
        group_expressions=_expressions,
        group_sets=plain,
        aggregate_handling=kind("AggregateHandling"),
        having=expression,
        qualify=expression,
        sample=_sampled,
    ),
    "SET_OPERATION_NODE": parts(
        **_QUERY, setop_type=kind("SetOperationType"), setop_all=plain, left=query, right=query, children=many(query)
    ),
    "RECURSIVE_CTE_NODE": parts(
        **_QUERY,
        cte_name=plain,
        union_all=plain,
        aliases=plain,
        key_targets=_expressions,
        left=_walked,
        right=_walked,
    ),
}
MODIFIERS: Mapping[str, Parts] = {
    "ORDER_MODIFIER": parts(type=plain, orders=_orders),
    "LIMIT_MODIFIER": parts(type=plain, limit=expression, offset=expression, limit_type=kind("LimitValueType")),
    "DISTINCT_MODIFIER": parts(type=plain, distinct_on_targets=_expressions),
}
TABLES: Mapping[str, Parts] = {
    "BASE_TABLE": parts(**_NAMED_SOURCE, table_name=plain, qualified_name=_path, at_clause=never("AT")),
    "EMPTY": parts(**_SOURCE),
    "EXPRESSION_LIST": parts(**_SOURCE, expected_names=plain, values=many(_expressions)),
    "JOIN": parts(
        **_SOURCE,
        left=table,
        right=table,
        condition=expression,
        join_type=kind("JoinType"),
        ref_type=kind("JoinRefType"),
        using_columns=plain,
        is_implicit=plain,
        nearest_count=only(1),
        nearest_order_type=only("ASCENDING"),
    ),
    "PIVOT": parts(
        **_NAMED_SOURCE,
        source=table,
        aggregates=_expressions,
        unpivot_names=plain,
        pivots=many(_pivot),
        groups=plain,
        include_nulls=plain,
    ),
    "SHOW_REF": parts(
        **_SOURCE,
        # Of a query, never of a name: names lead into the engine's catalog.
        query=_described,
        show_type=kind("ShowType"),
        table_name=never("SHOW"),
        qualified_name=parts(path=never("SHOW")),
    ),
    "SUBQUERY": parts(**_NAMED_SOURCE, subquery=_subquery),
    "TABLE_FUNCTION": parts(**_NAMED_SOURCE, function=table_function, with_ordinality=kind("OrdinalityType")),
}
EXPRESSIONS: Mapping[str, Parts] = {
    "BETWEEN": parts(**_NAMED, input=expression, lower=expression, upper=expression),
    "CASE": parts(**_NAMED, case_checks=many(parts(when_expr=expression, then_expr=expression)), else_expr=expression),
    "CAST": parts(**_NAMED, child=expression, type_expr=expression, try_cast=plain),
    "COLLATE": parts(**_NAMED, child=expression, collation=plain),
    "COLUMN_REF": parts(**_NAMED, column_names=plain),
    "COMPARISON": parts(**_NAMED, left=expression, right=expression),
    "CONJUNCTION": parts(**_NAMED, children=_expressions),
    "CONSTANT": parts(**_NAMED, literal=parts(kind=kind("LiteralKind"), text=text)),
    "FUNCTION": parts(
        **_NAMED,
        **_CALL,
        schema=plain,
        catalog=plain,
        filter=expression,
        order_bys=parts(type=plain, orders=_orders),
        is_operator=plain,
    ),
    "LAMBDA": parts(**_NAMED, lhs=expression, expr=expression, syntax_type=kind("LambdaSyntaxType")),
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
    "SUBQUERY": parts(
        **_NAMED,
        subquery_type=kind("SubqueryType"),
        subquery=_subquery,
        child=expression,
        comparison_type=kind("ExpressionType"),
    ),
    "TYPE": parts(**_NAMED, type_name=plain, qualified_name=_path, children=_expressions),
    "WINDOW": parts(
        **_NAMED,
        **_CALL,
        partitions=_expressions,
        orders=_orders,
        arg_orders=_orders,
        start=kind("WindowBoundary"),
        end=kind("WindowBoundary"),
        start_expr=expression,
        end_expr=expression,
        offset_expr=expression,
        default_expr=expression,
        filter_expr=expression,
        ignore_nulls=plain,
        has_ignore_nulls=plain,
        exclude_clause=kind("WindowExcludeMode"),
    ),
}
