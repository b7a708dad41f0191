"""Whether a query is a plain projection: rows of one dataset as they are, some columns of them, under plain conditions.

Such rows need no engine. What is found here is data, column names and comparisons with constants, which the reading
side holds against the slice like any other wish of a sandbox. Whatever is not surely plain is for the engine: the
answer must be the engine's own in every column, type and row.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import pyarrow as pa

from lake.clear.sandbox.constraints import moment_of
from lake.clear.sandbox.syntax import Tree, fold

_MUST_BE_EMPTY = ("modifiers", "group_expressions", "group_sets", "having", "qualify", "sample")
_OF_TABLE = ("sample", "column_name_alias", "at_clause", "schema_name", "catalog_name")
_OF_STAR = ("exclude_list", "replace_list", "qualified_exclude_list", "rename_list", "columns", "expr", "alias")
_COMPARISONS = {
    "COMPARE_EQUAL": ("=", "="),
    "COMPARE_NOTEQUAL": ("<>", "<>"),
    "COMPARE_LESSTHAN": ("<", ">"),
    "COMPARE_GREATERTHAN": (">", "<"),
    "COMPARE_LESSTHANOREQUALTO": ("<=", ">="),
    "COMPARE_GREATERTHANOREQUALTO": (">=", "<="),
}
"""With the column on the left, and on the right."""
_NEGATED = {"COMPARE_NOT_IN", "COMPARE_NOT_BETWEEN", "OPERATOR_IS_NOT_NULL"}
_INTEGER = re.compile(r"-?\d{1,18}", re.ASCII)
_BOOLEANS = {"true": True, "false": False}
_MOST_CHARACTERS, _MOST_MEMBERS = 1_000, 1_000
_EPOCH, _MICROSECOND = datetime(1970, 1, 1), timedelta(microseconds=1)  # noqa: DTZ001 - capture times are naive UTC


class NotPlainError(Exception):
    """Something is not surely plain: the engine takes the query."""


@dataclass(frozen=True, slots=True)
class Projection:
    """A query that is one.

    Attributes:
        table: the dataset.
        columns: of each column of the result, in order, whose values it has: columns that are granted.
    """

    table: str
    columns: tuple[str, ...]
    _where: Tree | None
    _names: _Names

    def condition(self, schema: pa.Schema) -> list[Any] | None:
        """The WHERE over columns of these types, in the form of ``pushdown.py``; None without one.

        Raises:
            NotPlainError: it has no such form.
        """
        if self._where is None:
            return None
        try:
            return _Conditions(self._names, schema).of(self._where)
        except (AttributeError, IndexError, KeyError, RecursionError, TypeError, ValueError):
            raise NotPlainError from None


def projection(tree: Tree, tables: Mapping[str, Collection[str]]) -> Projection | None:
    """Tell whether an admitted query is a plain projection, and of what.

    Args:
        tree: the query node, which the guard has admitted.
        tables: granted dataset name -> names of its visible columns.
    """
    table = tree.get("from_table") or {}
    plain = (
        tree["type"] == "SELECT_NODE"
        and not any(tree.get(field) for field in _MUST_BE_EMPTY)
        and not tree["cte_map"]["map"]
        and tree["aggregate_handling"] == "STANDARD_HANDLING"
        and table.get("type") == "BASE_TABLE"
        and not any(table[field] for field in _OF_TABLE)
    )
    name = {fold(name): name for name in tables}.get(fold(table["table_name"])) if plain else None
    if name is None:
        return None
    names = _Names({fold(column): column for column in tables[name]}, fold(table["alias"] or table["table_name"]))
    try:
        columns = [column for node in tree["select_list"] for column in _chosen(node, names)]
    except NotPlainError:
        return None
    # The engine renames one of two columns of one name.
    if len(names.columns) < len(tables[name]) or len({shown for _, shown in columns}) < len(columns):
        return None
    return Projection(name, tuple(column for column, _ in columns), tree["where_clause"], names)


@dataclass(frozen=True, slots=True)
class _Names:
    """How the columns of the table may be written: by their folded names, alone or after ``qualifier``."""

    columns: Mapping[str, str]
    qualifier: str

    def resolve(self, node: Tree) -> str:
        """The column, spelled as the grant does."""
        if node["class"] == "COLUMN_REF":
            *qualifier, name = map(fold, node["column_names"])
            if name in self.columns and self.qualifies(qualifier):
                return self.columns[name]
        raise NotPlainError

    def qualifies(self, qualifier: list[str]) -> bool:
        """Whether this may stand before a column. After a column's own name a field of it would stand."""
        return not qualifier or (qualifier == [self.qualifier] and self.qualifier not in self.columns)


def _chosen(node: Tree, names: _Names) -> list[tuple[str, str]]:
    """Columns of an item of the SELECT list, each with the folded name that it gets."""
    if node["class"] == "STAR":
        relation = node["relation_name"]
        if any(node[field] for field in _OF_STAR) or not names.qualifies([fold(relation)] if relation else []):
            raise NotPlainError
        return [(column, folded) for folded, column in names.columns.items()]
    column = names.resolve(node)
    shown = fold(node["alias"] or column)
    if shown != fold(column) and shown in names.columns:
        raise NotPlainError  # a name with two meanings
    return [(column, shown)]


class _Conditions:
    """A WHERE as data. Constants are taken where they have the type of the column, and no conversion has a say."""

    def __init__(self, names: _Names, schema: pa.Schema) -> None:
        self._names = names
        self._schema = schema

    def of(self, node: Tree) -> list[Any]:
        kind = node["type"]
        found = self._of(node)
        return ["not", found] if kind in _NEGATED else found

    def _of(self, node: Tree) -> list[Any]:
        match node["class"], node["type"]:
            case "CONJUNCTION", ("CONJUNCTION_AND" | "CONJUNCTION_OR") as kind:
                return [kind.removeprefix("CONJUNCTION_").lower(), *map(self.of, node["children"])]
            case "OPERATOR", "OPERATOR_NOT":
                (operand,) = node["children"]
                return ["not", self.of(operand)]
            case "OPERATOR", ("OPERATOR_IS_NULL" | "OPERATOR_IS_NOT_NULL"):
                (operand,) = node["children"]
                return ["null", self._names.resolve(operand)]
            case "OPERATOR", ("COMPARE_IN" | "COMPARE_NOT_IN"):
                operand, *members = node["children"]
                if 0 < len(members) <= _MOST_MEMBERS:
                    column = self._names.resolve(operand)
                    return ["in", column, [self._value(column, member) for member in members]]
            case "BETWEEN", ("COMPARE_BETWEEN" | "COMPARE_NOT_BETWEEN"):
                column = self._names.resolve(node["input"])
                low, high = (self._value(column, node[side]) for side in ("lower", "upper"))
                return ["and", [">=", column, low], ["<=", column, high]]
            case "COMPARISON", kind if kind in _COMPARISONS:
                return self._comparison(node, *_COMPARISONS[kind])
        raise NotPlainError

    def _comparison(self, node: Tree, straight: str, flipped: str) -> list[Any]:
        if node["left"]["class"] == "COLUMN_REF":
            column = self._names.resolve(node["left"])
            return [straight, column, self._value(column, node["right"])]
        column = self._names.resolve(node["right"])
        return [flipped, column, self._value(column, node["left"])]

    def _value(self, column: str, node: Tree) -> Any:
        kind = self._schema.field(column).type
        for fits, read in _CONSTANTS:
            if fits(kind):
                value = read(node)
                if value is not None:
                    return value
        raise NotPlainError


def _literal(node: Tree, kind: str) -> str | None:
    literal = node["literal"] if node["class"] == "CONSTANT" else None
    return literal["text"] if literal and literal["kind"] == kind else None


def _text(node: Tree) -> str | None:
    text = _literal(node, "STRING")
    return text if text is not None and len(text) <= _MOST_CHARACTERS else None


def _integer(node: Tree) -> int | None:
    text = _literal(node, "INTEGER")
    return int(text) if text is not None and _INTEGER.fullmatch(text) else None


def _boolean(node: Tree) -> bool | None:
    return _BOOLEANS.get(_literal(node, "BOOLEAN") or "")


def _time(node: Tree) -> dict[str, int] | None:
    found = moment_of(node)
    return None if found is None else {"us": (found - _EPOCH) // _MICROSECOND}


_CONSTANTS: tuple[tuple[Callable[[pa.DataType], bool], Callable[[Tree], Any]], ...] = (
    (pa.types.is_string, _text),
    (pa.types.is_integer, _integer),
    (pa.types.is_boolean, _boolean),
    (pa.types.is_timestamp, _time),
)
