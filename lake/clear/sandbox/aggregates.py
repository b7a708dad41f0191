"""Queries under an aggregate-only grant: figures over groups of people, and no group smaller than the grant says.

Such a query must be of a small, closed grammar in which nothing can raise on any value, so that neither an error nor
its absence says anything about a row: a comparison with a constant is wrapped in TRY, and no function is called that
fails. The query is then written anew with one more HAVING: at least N different people in the group, and at least N who
have a value in every column that is aggregated, for a sum over a group of many may be the value of one.

It does not stop two queries from being subtracted from each other, and a person with many rows weighs more than one
with few. The text that comes out is made by DuckDB from the tree, parsed again and compared with the tree.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

from lake.clear.sandbox import nodes, syntax
from lake.clear.sandbox.syntax import Statement, Tree, fold
from lake.clear.sandbox.walk import RESERVED_PREFIX
from lake.errors import QueryRefusedError

_STATISTICS = frozenset(
    "approx_count_distinct avg count mean stddev stddev_pop stddev_samp sum var_pop var_samp variance".split()  # noqa: SIM905
)
_GROUPING = frozenset({"date_part", "date_trunc"})
_UNITS = frozenset(
    """century day dayofmonth dayofweek dayofyear decade dow doy hour isodow isoyear minute month quarter second week
    weekday weekofyear year yearweek""".split()  # noqa: SIM905
)
_BUCKET = re.compile(r"[1-9]\d{0,3} (second|minute|hour|day|week|month|quarter|year)s?", re.ASCII | re.IGNORECASE)
_BUCKET_FUNCTIONS = frozenset(f"to_{unit}s" for unit in "second minute hour day week month quarter year".split())  # noqa: SIM905
_WIDTH = re.compile(r"[1-9]\d{0,3}", re.ASCII)
_FIGURE = re.compile(r"-?\d{1,15}(\.\d{1,6})?", re.ASCII)
"""A number that compares with every sum and mean without overflow."""
_SHARE = re.compile(r"0?\.([1-8]\d{0,3}|90{0,3})", re.ASCII)
"""From 0.1 to 0.9: the ends of a distribution are single people."""
_PATTERN_OPERATORS = frozenset({"~~", "!~~", "~~*", "!~~*"})
_CONSTANTS = frozenset({"BOOLEAN", "INTEGER", "NULL_LITERAL", "NUMERIC", "STRING"})
_HINT = "counts, sums and means over groups; see docs/sql.md"


def restrict(statement: Statement, table: str, visible_columns: Collection[str], smallest: int, hidden: str) -> str:
    """Return the SQL to run in place of a query under an aggregate-only grant. Runs native code.

    Args:
        statement: an admitted query; of an EXPLAIN, its SELECT is rewritten.
        table: the one granted dataset.
        visible_columns: names of its columns.
        smallest: the fewest different people that a row of the result may rest on.
        hidden: a column of the slice that tells people apart; its name begins with ``__lake_``.

    Raises:
        QueryRefusedError: the query is outside the grammar.
    """
    tree = restricted(statement, table, visible_columns, smallest, hidden)
    sql = syntax.deserialize(tree)
    if not nodes.same(syntax.parse(sql).tree, tree):
        raise QueryRefusedError("the query cannot be written anew", hint=_HINT)
    return sql


def restricted(statement: Statement, table: str, visible_columns: Collection[str], smallest: int, hidden: str) -> Tree:
    """The tree of ``restrict``; pure Python."""
    if smallest < 1 or not hidden.startswith(RESERVED_PREFIX):
        raise ValueError("a smallest group needs a number of people and a reserved column")
    try:
        source = statement.tree["from_table"]
        shown = source.get("alias") or table
        columns = {fold(name): name for name in visible_columns}
        if fold(shown) in columns or fold(source.get("table_name", "")) != fold(table):
            raise _refused("this FROM")
        return _Query(shown, columns, statement.tree).rewritten(smallest, hidden)
    except (AttributeError, IndexError, KeyError, TypeError, ValueError, RecursionError):
        raise _refused("this form") from None


def _refused(what: str) -> QueryRefusedError:
    return QueryRefusedError(f"{what} is not allowed under an aggregate-only grant", hint=_HINT)


@dataclass(slots=True)
class _Query:
    """One query on its way: every part is checked and returned as it is to be written."""

    shown: str
    columns: dict[str, str]
    tree: Tree
    aggregated: dict[str, Tree] = field(default_factory=dict)

    def rewritten(self, smallest: int, hidden: str) -> Tree:
        tree, source = self.tree, self.tree["from_table"]
        if tree["type"] != "SELECT_NODE" or tree["cte_map"]["map"] or tree["sample"] or tree["qualify"]:
            raise _refused("WITH, QUALIFY, a sample or a set operation")
        if source["type"] != "BASE_TABLE" or source["sample"] or source["column_name_alias"] or source["at_clause"]:
            raise _refused("this FROM")
        if tree["group_sets"] not in ([], [list(range(len(tree["group_expressions"])))]):
            raise _refused("ROLLUP, CUBE or GROUPING SETS")
        grouped = tree["group_expressions"] or tree["aggregate_handling"] == "FORCE_AGGREGATES"
        if not grouped and any(map(self._is_grouping, tree["select_list"])):
            raise _refused("a column without GROUP BY")
        selected = [self._selected(item) for item in tree["select_list"]]
        having = [self._having(tree["having"])] if tree["having"] else []
        modifiers = [self._modifier(item) for item in tree["modifiers"]]
        return tree | {
            "select_list": selected,
            "where_clause": self._condition(tree["where_clause"]) if tree["where_clause"] else None,
            "group_expressions": [self._group(item) for item in tree["group_expressions"]],
            "having": nodes.all_of(*having, *self._enough(smallest, hidden)),
            "modifiers": modifiers,
        }

    def _enough(self, smallest: int, hidden: str) -> list[Tree]:
        """At least so many people in the group, and with a value in each aggregated column."""
        person, number = nodes.column(self.shown, hidden), nodes.number(str(smallest))
        present = [nodes.operator("OPERATOR_IS_NOT_NULL", column) for column in self.aggregated.values()]
        return [
            nodes.at_least(nodes.call("count", person, distinct=True, only_where=where), number)
            for where in (None, *present)
        ]

    def _selected(self, node: Tree) -> Tree:
        if node["class"] == "CONSTANT":
            return self._constant(node)
        return self._grouped(node) if self._is_grouping(node) else self._aggregate(node)

    def _group(self, node: Tree) -> Tree:
        """GROUP BY a column, a function of one, or a position or alias of either in the SELECT list."""
        item = self._item(node)
        if item is None:
            return self._grouped(node) | {"alias": ""}
        if not self._is_grouping(item):
            raise _refused("GROUP BY a figure")
        return node

    def _item(self, node: Tree) -> Tree | None:
        """The item of the SELECT list that a position or an alias means."""
        items = self.tree["select_list"]
        if node["class"] == "CONSTANT" and node["literal"]["kind"] == "INTEGER":
            position = int(node["literal"]["text"])
            return items[position - 1] if 1 <= position <= len(items) else None
        if node["class"] == "COLUMN_REF" and len(node["column_names"]) == 1:
            name = fold(node["column_names"][0])
            named = [item for item in items if fold(item["alias"]) == name]
            return named[0] if len(named) == 1 and name not in self.columns else None
        return None

    def _modifier(self, node: Tree) -> Tree:
        if node["type"] == "ORDER_MODIFIER":
            orders = [order | {"expression": self._ordered(order["expression"])} for order in node["orders"]]
            return {**node, "orders": orders}
        numbers = [node[key] for key in ("limit", "offset") if node.get(key)]
        if node["type"] != "LIMIT_MODIFIER" or node["limit_type"] != "ROW_COUNT":
            raise _refused("DISTINCT or a share of rows")
        if not all(number["class"] == "CONSTANT" and number["literal"]["kind"] == "INTEGER" for number in numbers):
            raise _refused("a computed LIMIT")
        return node

    def _ordered(self, node: Tree) -> Tree:
        everything = node["class"] == "STAR" and node["columns"] and not node["expr"] and not node["exclude_list"]
        if everything or self._item(node) is not None:
            return node
        made = self._grouped(node) if self._is_grouping(node) else self._aggregate(node)
        return made | {"alias": ""}

    def _is_grouping(self, node: Tree) -> bool:
        return node["class"] == "COLUMN_REF" or node.get("function_name") in {*_GROUPING, "time_bucket"}

    def _grouped(self, node: Tree) -> Tree:
        """A column, or the date or bucket of one."""
        if node["class"] == "COLUMN_REF":
            return self._column(node) | {"alias": node["alias"]}
        name, (first, second) = self._call(node), _arguments(node)
        if name == "time_bucket" and _is_width(first):
            pass
        elif name not in _GROUPING or _text(first) not in _UNITS:
            raise _refused("this grouping")
        made = nodes.call(name, first, self._column(second))
        return nodes.operator("OPERATOR_TRY", made, alias=node["alias"] or name)

    def _column(self, node: Tree) -> Tree:
        """A visible column, with the table's name before it, so that no alias can stand in its place."""
        *qualifier, name = node["column_names"] if node["class"] == "COLUMN_REF" else [""]
        if fold(name) not in self.columns or [fold(part) for part in qualifier] not in ([], [fold(self.shown)]):
            raise _refused("anything but a column of the dataset here")
        return nodes.column(self.shown, self.columns[fold(name)])

    def _call(self, node: Tree) -> str:
        """The name of a plain call."""
        if node["class"] != "FUNCTION" or node["filter"] or node["order_bys"]["orders"] or node.get("schema"):
            raise _refused("this expression")
        return fold(node["function_name"])

    def _aggregate(self, node: Tree) -> Tree:
        name, arguments = self._call(node), _arguments(node)
        if name == "count_star" and not arguments:
            return nodes.call(name) | {"alias": node["alias"]}
        if not arguments or (node["distinct"] and name != "count"):
            raise _refused("this aggregate")
        column = self._column(arguments[0])
        made = self._statistic(name, column, arguments[1:], distinct=node["distinct"])
        plain = column["column_names"][1]
        self.aggregated[fold(plain)] = column
        inner = f"DISTINCT {plain}" if node["distinct"] else plain
        return made | {"alias": node["alias"] or f"{name}({inner})"}

    @staticmethod
    def _statistic(name: str, column: Tree, rest: list[Tree], *, distinct: bool) -> Tree:
        if name in _STATISTICS and not rest:
            return nodes.call(name, column, distinct=distinct)
        if name == "median" and not rest:
            # Of numbers and times it is the same, and it does not accept texts, of which a median shows one.
            return nodes.call("quantile_cont", column, nodes.number("0.5"))
        if name == "approx_quantile" and len(rest) == 1 and _SHARE.fullmatch(_number(rest[0])):
            return nodes.call(name, column, rest[0])
        raise _refused("this aggregate")

    def _condition(self, node: Tree) -> Tree:
        kind, type_ = node["class"], node["type"]
        if kind == "CONJUNCTION" or type_ == "OPERATOR_NOT":
            return node | {"children": [self._condition(child) for child in node["children"]]}
        if type_ in {"OPERATOR_IS_NULL", "OPERATOR_IS_NOT_NULL"}:
            return nodes.operator(type_, self._column(node["children"][0]))
        return nodes.operator("OPERATOR_TRY", self._predicate(node) | {"alias": ""})

    def _predicate(self, node: Tree) -> Tree:
        if node["class"] == "COMPARISON":
            if node["left"]["class"] == "COLUMN_REF":
                return node | {"left": self._column(node["left"]), "right": self._constant(node["right"])}
            return node | {"left": self._constant(node["left"]), "right": self._column(node["right"])}
        if node["class"] == "BETWEEN":
            bounds = {key: self._constant(node[key]) for key in ("lower", "upper")}
            return node | {"input": self._column(node["input"])} | bounds
        if node["type"] == "COMPARE_IN":
            first, *options = node["children"]
            return node | {"children": [self._column(first), *map(self._constant, options)]}
        if self._call(node) in _PATTERN_OPERATORS:
            column, pattern = _arguments(node)
            made = nodes.call(node["function_name"], self._column(column), self._constant(pattern))
            return made | {"is_operator": True}
        raise _refused("this condition")

    def _having(self, node: Tree) -> Tree:
        if node["class"] == "CONJUNCTION" or node["type"] == "OPERATOR_NOT":
            return node | {"children": [self._having(child) for child in node["children"]]}
        if node["class"] == "BETWEEN":
            return node | {key: self._figure(node[key]) for key in ("input", "lower", "upper")}
        if node["class"] != "COMPARISON":
            raise _refused("this HAVING")
        return node | {key: self._figure(node[key]) for key in ("left", "right")}

    def _figure(self, node: Tree) -> Tree:
        """An aggregate, also by its alias, or a plain number."""
        if node["class"] == "CONSTANT":
            if _FIGURE.fullmatch(_number(node)):
                return node
            raise _refused("anything but a plain number here")
        return self._aggregate(self._item(node) or node) | {"alias": ""}

    def _constant(self, node: Tree) -> Tree:
        if node["class"] == "PARAMETER" or (node["class"] == "CONSTANT" and node["literal"]["kind"] in _CONSTANTS):
            return node
        if node["class"] == "CAST" and fold(node["type_expr"]["type_name"]) in {"date", "timestamp"}:
            _text(node["child"])
            return node
        raise _refused("anything but a constant here")


def _arguments(node: Tree) -> list[Any]:
    return [argument["expression"] for argument in node["arguments"]]


def _text(node: Tree) -> str:
    if node["class"] != "CONSTANT" or node["literal"]["kind"] != "STRING":
        raise _refused("anything but a constant text here")
    return fold(node["literal"]["text"])


def _number(node: Tree) -> str:
    known = node["class"] == "CONSTANT" and node["literal"]["kind"] in {"INTEGER", "NUMERIC"}
    return str(node["literal"]["text"]) if known else ""


def _is_width(node: Tree) -> bool:
    """``INTERVAL 6 HOURS`` or ``INTERVAL '6 hours'``: positive, and of one unit."""
    if node["class"] == "CAST":
        return fold(node["type_expr"]["type_name"]) == "interval" and bool(_BUCKET.fullmatch(_text(node["child"])))
    if node["class"] != "FUNCTION" or fold(node["function_name"]) not in _BUCKET_FUNCTIONS:
        return False
    while node["class"] in {"CAST", "FUNCTION"}:
        if node["class"] == "FUNCTION" and fold(node["function_name"]) not in {*_BUCKET_FUNCTIONS, "trunc"}:
            return False
        node = node["child"] if node["class"] == "CAST" else _arguments(node)[0]
    return bool(_WIDTH.fullmatch(_number(node)))
