"""Row filters as Arrow expressions, with SQL's three-valued logic: only rows for which the filter is true remain."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import datetime
from operator import eq, ge, gt, le, lt, ne

import pyarrow as pa
import pyarrow.compute as pc

from lake.rules.row_filter import (
    And,
    Attribute,
    Compare,
    Expression,
    In,
    IsNull,
    Like,
    Literal,
    Not,
    Now,
    Or,
    Value,
)


class FilterCompiler:
    """Binds a filter to the principal's attributes and the time of the query."""

    def __init__(self, schema: pa.Schema, attributes: Mapping[str, str], now: datetime) -> None:
        self._schema = schema
        self._attributes = attributes
        self._now = now

    def compile(self, expression: Expression) -> pc.Expression:
        """The Arrow expression; null where SQL says NULL, which hides the row."""
        match expression:
            case And(left, right):
                return self.compile(left) & self.compile(right)
            case Or(left, right):
                return self.compile(left) | self.compile(right)
            case Not(operand):
                return ~self.compile(operand)
            case IsNull(column):
                return pc.field(column).is_null()
            case _:
                return self._predicate(expression)

    def _predicate(self, leaf: Like | In | Compare) -> pc.Expression:
        match leaf:
            case Like(column, pattern):
                return pc.match_substring_regex(pc.field(column), _like_regex(pattern))
            case In(column, values):
                return self._is_in(column, values)
            case Compare(column, operator, value):
                return _OPERATORS[operator](pc.field(column), self._scalar(column, value))

    def _scalar(self, column: str, value: Value) -> pa.Scalar:
        kind = self._schema.field(column).type
        match value:
            case Literal(constant):
                return pa.scalar(constant, kind)
            case Now(before):
                return pa.scalar(self._now - before, kind)
            case Attribute(name):
                return pa.scalar(self._attributes.get(name), kind)

    def _is_in(self, column: str, values: tuple[Value, ...]) -> pc.Expression:
        field = pc.field(column)
        kind = self._schema.field(column).type
        scalars = [self._scalar(column, value) for value in values]
        members = pa.array([scalar.as_py() for scalar in scalars if scalar.is_valid], kind)
        unknown = pa.scalar(None, pa.bool_())
        # A null on either side makes "not found" unknown, so that NOT IN hides the row as SQL does.
        not_found = unknown if len(members) < len(scalars) else pa.scalar(value=False)
        found = pc.if_else(field.isin(members), pa.scalar(value=True), not_found)
        return pc.if_else(field.is_valid(), found, unknown)


_OPERATORS: dict[str, Callable[[pc.Expression, pa.Scalar], pc.Expression]] = {
    "=": eq,
    "<>": ne,
    "<": lt,
    "<=": le,
    ">": gt,
    ">=": ge,
}


def _like_regex(pattern: str) -> str:
    """A LIKE pattern as an anchored RE2 expression; only % and _ are special."""
    parts = {"%": ".*", "_": "."}
    return "(?s)^" + "".join(parts.get(char) or re.escape(char) for char in pattern) + "$"


def columns_of(expression: pc.Expression, names: list[str]) -> list[str]:
    """Names that an expression may refer to: possibly too many (a constant can look like one), never too few."""
    words = set(re.findall(r"\w+", str(expression)))
    return [name for name in names if words.issuperset(re.findall(r"\w+", name))]
