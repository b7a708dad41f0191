"""Conditions that a sandbox asks for, from data to an Arrow expression; ``sandbox/pushdown.py`` has their form.

They come from the process that runs user SQL, so nothing is believed: a column must be one of the slice's, a constant
of its type, and only comparisons with constants exist.
"""

from __future__ import annotations

from collections.abc import Callable
from operator import and_, eq, ge, gt, le, lt, ne, or_
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

MOST_NODES = 2_000
"""Arrow makes one chain of them and walks it recursively: at 10,000 its stack is used up, and the process ends."""
MOST_DEPTH = 200
MOST_MEMBERS = 1_000
_COMPARISONS: dict[str, Callable[[pc.Expression, pa.Scalar], pc.Expression]] = {
    "=": eq,
    "<>": ne,
    "<": lt,
    "<=": le,
    ">": gt,
    ">=": ge,
}
_PYTHON_TYPES: tuple[tuple[Callable[[pa.DataType], bool], type], ...] = (
    (pa.types.is_boolean, bool),
    (pa.types.is_integer, int),
    (pa.types.is_string, str),
)


_TIME = pa.timestamp("us")
_Joint = Callable[[pc.Expression, pc.Expression], pc.Expression]


class ConditionError(Exception):
    """What was asked for is not a condition over these columns."""


class ConditionSizeError(ConditionError):
    """It could be one, and is too large."""


def expression(tree: object, schema: pa.Schema) -> pc.Expression | None:
    """The expression of a tree, None of none.

    Raises:
        ConditionError: the tree is not one of the known form.
        ConditionSizeError: it has too many parts, or too many within each other.
    """
    return None if tree is None else _Builder(schema).build(tree, 0)


class _Builder:
    def __init__(self, schema: pa.Schema) -> None:
        self._schema = schema
        self._nodes = 0

    def build(self, tree: object, depth: int) -> pc.Expression:
        self._nodes += 1
        if self._nodes > MOST_NODES or depth > MOST_DEPTH:
            raise ConditionSizeError("a condition is too large")
        match tree:
            case [("and" | "or") as joint, first, second, *rest]:
                parts = [self.build(one, depth + 1) for one in (first, second, *rest)]
                return _joined(and_ if joint == "and" else or_, parts)
            case ["not", operand]:
                return ~self.build(operand, depth + 1)
            case ["null", str(column)]:
                return self._field(column)[0].is_null()
            case ["in", str(column), [*values]]:
                return self._is_in(column, values)
            case [str(comparison), str(column), value] if comparison in _COMPARISONS:
                field, kind = self._field(column)
                return _COMPARISONS[comparison](field, _scalar(value, kind))
        raise ConditionError("a condition has an unknown form")

    def _field(self, column: str) -> tuple[pc.Expression, pa.DataType]:
        if column not in self._schema.names:
            raise ConditionError("a condition names a column outside the slice")
        return pc.field(column), self._schema.field(column).type

    def _is_in(self, column: str, values: list[object]) -> pc.Expression:
        field, kind = self._field(column)
        if not 0 < len(values) <= MOST_MEMBERS:
            raise ConditionError("a condition has a list that is too long, or empty")
        members = pa.array([_scalar(value, kind) for value in values], kind)
        # NULL is neither in nor out of a list.
        return pc.if_else(field.is_valid(), field.isin(members), pa.scalar(None, pa.bool_()))


def _joined(joint: _Joint, parts: list[pc.Expression]) -> pc.Expression:
    """As a balanced tree: Arrow walks down its expressions recursively, in native code."""
    while len(parts) > 1:
        pairs = zip(parts[::2], parts[1::2], strict=False)
        parts = [joint(left, right) for left, right in pairs] + (parts[-1:] if len(parts) % 2 else [])
    return parts[0]


def _scalar(value: Any, kind: pa.DataType) -> pa.Scalar:
    try:
        if kind == _TIME and isinstance(value, dict) and value.keys() == {"us"} and type(value["us"]) is int:
            return pa.scalar(value["us"], kind)
        for fits, python in _PYTHON_TYPES:
            if fits(kind) and type(value) is python:
                return pa.scalar(value, kind)
    except (pa.ArrowException, OverflowError, ValueError, TypeError):
        pass
    raise ConditionError("a condition compares with a value of another type")
