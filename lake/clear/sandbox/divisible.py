"""Whether a query may run over disjoint parts of a dataset's files, its results simply put one after the other.

Yes only where every row of the result comes from one row of the table, by that row alone: whatever is not known to be
so is not divisible. The clock and chance are not, for the parts run at different times.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from lake.clear.sandbox import functions
from lake.clear.sandbox.syntax import Tree, fold

_ROW_BY_ROW = frozenset(
    {"BETWEEN", "CASE", "CAST", "COLLATE", "COLUMN_REF", "COMPARISON", "CONJUNCTION", "CONSTANT", "FUNCTION", "LAMBDA"}
    | {"OPERATOR", "PARAMETER", "STAR", "TYPE"}
)
_FUNCTIONS = functions.SCALARS - functions.VOLATILE - functions.ROW_MAKING - functions.AGGREGATE_BY_NAME
_MUST_BE_EMPTY = ("modifiers", "group_expressions", "group_sets", "having", "qualify", "sample")


def divisible(tree: Tree, granted: frozenset[str]) -> bool:
    """Tell whether this admitted query is one SELECT over one granted dataset, row by row.

    Args:
        tree: the query node, which the guard has admitted.
        granted: folded names of the granted datasets.
    """
    table = tree.get("from_table") or {}
    return (
        tree["type"] == "SELECT_NODE"
        and not any(tree.get(field) for field in _MUST_BE_EMPTY)
        and tree["aggregate_handling"] == "STANDARD_HANDLING"
        and not tree["cte_map"]["map"]
        and table.get("type") == "BASE_TABLE"
        and fold(table["table_name"]) in granted
        and not table["sample"]
        and all(map(_is_row_by_row, _expressions([tree["select_list"], tree["where_clause"]])))
    )


def _expressions(node: Any) -> Iterator[Tree]:
    pending = [node]
    while pending:
        current = pending.pop()
        if isinstance(current, dict):
            if "class" in current:
                yield current
            pending.extend(current.values())
        elif isinstance(current, list):
            pending.extend(current)


def _is_row_by_row(node: Tree) -> bool:
    if node["class"] == "FUNCTION":
        return fold(node["function_name"]) in _FUNCTIONS and not node["distinct"] and not node["filter"]
    if node["class"] == "COLUMN_REF":
        return fold(node["column_names"][-1]) not in functions.CLOCK_NAMES
    return node["class"] in _ROW_BY_ROW and node["type"] != "GROUPING_FUNCTION"
