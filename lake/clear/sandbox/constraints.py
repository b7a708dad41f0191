"""Constant bounds that hold for every row that a query can need, so that the catalog can leave files out.

The bounds must never be narrower than what the query can return: whatever is not understood bounds nothing. Only a
WHERE directly over plain or inner-joined tables counts, and none where a sample is drawn before it. Bounds speak of
the columns that the query sees, so they are of use only where ``ts``, ``employee`` and ``sensitivity`` are not masked.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import reduce
from typing import Any, TypeVar

from lake.clear.sandbox.syntax import Tree, fold

TIME_COLUMN = "ts"
EMPLOYEE_COLUMN = "employee"
SENSITIVITY_COLUMN = "sensitivity"
LEVELS = frozenset({1, 2, 3, 4})

_DATE = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
_TIMESTAMP = re.compile(r"\d{4}-\d{2}-\d{2}([ T]\d{2}:\d{2}:\d{2}(\.\d{1,6})?)?", re.ASCII)
_INTEGER = re.compile(r"-?\d{1,9}", re.ASCII)
_FLIPPED = {
    "COMPARE_EQUAL": "COMPARE_EQUAL",
    "COMPARE_LESSTHAN": "COMPARE_GREATERTHAN",
    "COMPARE_GREATERTHAN": "COMPARE_LESSTHAN",
    "COMPARE_LESSTHANOREQUALTO": "COMPARE_GREATERTHANOREQUALTO",
    "COMPARE_GREATERTHANOREQUALTO": "COMPARE_LESSTHANOREQUALTO",
}
_LEVEL_TESTS: Mapping[str, Callable[[int, int], bool]] = {
    "COMPARE_EQUAL": int.__eq__,
    "COMPARE_LESSTHAN": int.__lt__,
    "COMPARE_GREATERTHAN": int.__gt__,
    "COMPARE_LESSTHANOREQUALTO": int.__le__,
    "COMPARE_GREATERTHANOREQUALTO": int.__ge__,
}
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class TableConstraints:
    """Bounds on the rows of one dataset; None bounds nothing, an empty set means that no row is needed.

    Attributes:
        time_from, time_to: capture time, inclusive, naive UTC, rounded outwards to whole seconds.
        employees: the only values of ``employee``.
        sensitivities: the only levels, of 1 to 4.
    """

    time_from: datetime | None = None
    time_to: datetime | None = None
    employees: frozenset[str] | None = None
    sensitivities: frozenset[int] | None = None

    def both(self, other: TableConstraints) -> TableConstraints:
        """Rows that satisfy both (AND)."""
        return TableConstraints(
            _known(max, self.time_from, other.time_from),
            _known(min, self.time_to, other.time_to),
            _known(frozenset.intersection, self.employees, other.employees),
            _known(frozenset.intersection, self.sensitivities, other.sensitivities),
        )

    def either(self, other: TableConstraints) -> TableConstraints:
        """A bound around the rows that satisfy one of them (OR)."""
        return TableConstraints(
            _if_both(min, self.time_from, other.time_from),
            _if_both(max, self.time_to, other.time_to),
            _if_both(frozenset.union, self.employees, other.employees),
            _if_both(frozenset.union, self.sensitivities, other.sensitivities),
        )


UNBOUNDED = TableConstraints()


def constraints(tree: Tree, tables: Mapping[str, Collection[str]]) -> dict[str, TableConstraints]:
    """Return the bounds of every granted table that the tree references; several references are united.

    Args:
        tree: an admitted query node: each base table is a granted one or a CTE of another name.
        tables: granted dataset name -> names of its visible columns.
    """
    granted = {fold(name): (name, frozenset(map(fold, columns))) for name, columns in tables.items()}
    bounds: dict[int, TableConstraints] = {}
    found: dict[str, TableConstraints] = {}
    for node in _nodes(tree):
        if node.get("type") == "SELECT_NODE":
            bounds.update(_select_bounds(node, {name: columns for name, (_, columns) in granted.items()}))
        elif node.get("type") == "BASE_TABLE" and fold(node["table_name"]) in granted:
            # A SELECT comes before the tables of its FROM, so its bounds are known by now.
            name = granted[fold(node["table_name"])][0]
            bound = bounds.get(id(node), UNBOUNDED)
            found[name] = found[name].either(bound) if name in found else bound
    return found


def _nodes(node: Any) -> Iterator[Tree]:
    pending = [node]
    while pending:
        current = pending.pop()
        if isinstance(current, dict):
            yield current
            pending.extend(current.values())
        elif isinstance(current, list):
            pending.extend(current)


def _select_bounds(select: Tree, visible: Mapping[str, frozenset[str]]) -> dict[int, TableConstraints]:
    """Bounds by identity of the BASE_TABLE node, from one SELECT's WHERE."""
    where, leaves = select.get("where_clause"), _inner_leaves(select["from_table"])
    if where is None or select.get("sample"):
        return {}
    names = Counter(_leaf_name(leaf) for leaf in leaves)
    bounds = {}
    for leaf in leaves:
        columns = visible.get(fold(leaf["table_name"])) if leaf["type"] == "BASE_TABLE" else None
        if columns is None or leaf["column_name_alias"]:
            continue
        name = _leaf_name(leaf)
        # A column named like the table could make "name.ts" a field of that column.
        qualifier = name if names[name] == 1 and not any(name in c for c in visible.values()) else None
        bounds[id(leaf)] = _bound(where, _Columns(columns, qualifier, alone=len(leaves) == 1))
    return bounds


def _inner_leaves(node: Tree) -> list[Tree]:
    """The tables of a FROM if only inner joins connect them; of any other FROM, nothing."""
    leaves, pending = [], [node]
    while pending:
        current = pending.pop()
        if current.get("sample"):
            return []
        if current["type"] != "JOIN":
            leaves.append(current)
        elif current["join_type"] == "INNER" and current["ref_type"] in {"REGULAR", "CROSS", "NATURAL"}:
            pending += [current["left"], current["right"]]
        else:
            return []
    return leaves


def _leaf_name(leaf: Tree) -> str:
    function = leaf.get("function") or {}
    return fold(leaf["alias"] or leaf.get("table_name") or function.get("function_name") or "")


@dataclass(frozen=True, slots=True)
class _Columns:
    """How the columns of one table may be written in a WHERE."""

    columns: frozenset[str]
    qualifier: str | None
    alone: bool

    def resolve(self, node: Tree) -> str | None:
        """The folded name of the column, if the node surely is a column of this table."""
        if node.get("class") != "COLUMN_REF":
            return None
        *qualifier, name = map(fold, node["column_names"])
        ours = self.alone if not qualifier else self.qualifier is not None and qualifier == [self.qualifier]
        return name if ours and name in self.columns else None


def _bound(node: Tree, columns: _Columns) -> TableConstraints:
    kind, type_ = node["class"], node["type"]
    if kind == "CONJUNCTION":
        join = TableConstraints.both if type_ == "CONJUNCTION_AND" else TableConstraints.either
        return reduce(join, (_bound(child, columns) for child in node["children"]))
    if kind == "COMPARISON" and type_ in _FLIPPED:
        left, right = columns.resolve(node["left"]), columns.resolve(node["right"])
        if left is not None:
            return _compare(left, type_, node["right"])
        return UNBOUNDED if right is None else _compare(right, _FLIPPED[type_], node["left"])
    if kind == "BETWEEN":
        name = columns.resolve(node["input"])
        if name is not None:
            lower = _compare(name, "COMPARE_GREATERTHANOREQUALTO", node["lower"])
            return lower.both(_compare(name, "COMPARE_LESSTHANOREQUALTO", node["upper"]))
    if kind == "OPERATOR" and type_ == "COMPARE_IN":
        name = columns.resolve(node["children"][0])
        if name is not None:
            options = (_compare(name, "COMPARE_EQUAL", option) for option in node["children"][1:])
            return reduce(TableConstraints.either, options)
    return UNBOUNDED


def _compare(name: str, comparison: str, value: Tree) -> TableConstraints:
    if name == TIME_COLUMN:
        moment = moment_of(value)
        if moment is not None:
            return _time_bound(comparison, moment)
    elif name == EMPLOYEE_COLUMN:
        text = _literal(value, "STRING")
        if text is not None and comparison == "COMPARE_EQUAL":
            return TableConstraints(employees=frozenset({text}))
    elif name == SENSITIVITY_COLUMN:
        text = _literal(value, "INTEGER")
        if text is not None and _INTEGER.fullmatch(text):
            test = _LEVEL_TESTS[comparison]
            return TableConstraints(sensitivities=frozenset(level for level in LEVELS if test(level, int(text))))
    return UNBOUNDED


def _time_bound(comparison: str, moment: datetime) -> TableConstraints:
    """Whole seconds, outwards: right for a column of any precision, whichever way the engine rounds the constant."""
    second = moment.replace(microsecond=0)
    up = second + timedelta(seconds=1) if moment.microsecond else second
    lower = comparison in {"COMPARE_EQUAL", "COMPARE_GREATERTHAN", "COMPARE_GREATERTHANOREQUALTO"}
    upper = comparison in {"COMPARE_EQUAL", "COMPARE_LESSTHAN", "COMPARE_LESSTHANOREQUALTO"}
    return TableConstraints(time_from=second if lower else None, time_to=up if upper else None)


def moment_of(node: Tree) -> datetime | None:
    """A constant time without an offset: a string, or a string cast to DATE or TIMESTAMP."""
    pattern = _TIMESTAMP
    if node["class"] == "CAST":
        type_name = fold(node["type_expr"]["type_name"])
        if type_name not in {"date", "timestamp"} or node["type_expr"]["children"]:
            return None
        pattern = _DATE if type_name == "date" else _TIMESTAMP
        node = node["child"]
    text = _literal(node, "STRING")
    if text is None or not pattern.fullmatch(text):
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return moment if datetime(2, 1, 1) <= moment <= datetime(9998, 1, 1) else None  # noqa: DTZ001


def _literal(node: Tree, kind: str) -> str | None:
    literal = node.get("literal") if node["class"] == "CONSTANT" else None
    return literal["text"] if literal and literal["kind"] == kind else None


def _known(pick: Callable[[_T, _T], _T], left: _T | None, right: _T | None) -> _T | None:
    if left is None or right is None:
        return right if left is None else left
    return pick(left, right)


def _if_both(pick: Callable[[_T, _T], _T], left: _T | None, right: _T | None) -> _T | None:
    return None if left is None or right is None else pick(left, right)
