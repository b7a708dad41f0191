"""Conditions that DuckDB would have the reading side apply, as data: a tree of lists, texts and numbers.

``["and", a, b, ...]``, ``["or", a, b, ...]``, ``["not", a]``, ``["null", column]``, ``["=", column, value]`` and the
other five comparisons, ``["in", column, [values]]``. A time is ``{"us": n}``, microseconds since 1970 without a zone.
What is not exactly one of these is not handed over; DuckDB then applies it itself.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from duckdb._sources import pyarrow as seam
from duckdb._sources.nodes import Binary, Col, In, Lit, Node, Postfix, Unary, Untranslatable, exact_value

COMPARISONS = {"=": "=", "!=": "<>", "<": "<", "<=": "<=", ">": ">", ">=": ">="}
MOST_MEMBERS = 1_000
MOST_OPERANDS = 500
"""Of a chain; a longer one is for DuckDB."""
MOST_CHARACTERS = 1_000
"""Of a text; a longer one is compared where it is."""
_TYPES = frozenset({"BOOLEAN", "TINYINT", "SMALLINT", "INTEGER", "BIGINT", "VARCHAR", "TIMESTAMP"})
"""Of constants. No fractions: DuckDB and Arrow order NaN differently."""
_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 - capture times are naive UTC
_MICROSECOND = timedelta(microseconds=1)

Tree = list[Any]


class Condition:
    """A tree that DuckDB's own code can join with others, in place of the Arrow expression that it would make."""

    def __init__(self, *parts: Tree) -> None:
        self._parts = parts

    def __and__(self, other: Condition) -> Condition:
        return Condition(*self._parts, *other._parts)

    @property
    def tree(self) -> Tree:
        """All of it."""
        return self._parts[0] if len(self._parts) == 1 else ["and", *self._parts]


def install() -> None:
    """From now on in this process, tables over pyarrow datasets are asked for conditions as data."""
    vars(seam)["to_arrow"] = translated


def translated(node: Node, _schema: object) -> Condition:
    """The condition of a node.

    Raises:
        Untranslatable: it has no such form.
    """
    try:
        return Condition(_tree(node))
    except RecursionError:
        raise Untranslatable(node) from None


def _tree(node: Node) -> Tree:
    match node:
        case Binary(op=("AND" | "OR") as op):
            operands = _operands(node, op)
            if len(operands) <= MOST_OPERANDS:
                return [op.lower(), *map(_tree, operands)]
        case Binary(op=op) if op in COMPARISONS:
            return [COMPARISONS[op], _column(node.left), _value(node.right)]
        case Unary(op="NOT"):
            return ["not", _tree(node.operand)]
        case Postfix(op="IS NULL"):
            return ["null", _column(node.operand)]
        case Postfix(op="IS NOT NULL"):
            return ["not", ["null", _column(node.operand)]]
        case In() if 0 < len(node.values) <= MOST_MEMBERS:
            return ["in", _column(node.operand), [_value(value) for value in node.values]]
    raise Untranslatable(node)


def _operands(node: Node, op: str) -> list[Node]:
    """Operands of a chain of one operator, which is as deep as it is long."""
    found: list[Node] = []
    waiting = [node]
    while waiting:
        one = waiting.pop()
        if isinstance(one, Binary) and one.op == op:
            waiting += [one.right, one.left]
        else:
            found.append(one)
    return found


def _column(node: Node) -> str:
    if isinstance(node, Col) and len(node.parts) == 1:
        return node.parts[0]
    raise Untranslatable(node)


def _value(node: Node) -> Any:
    if not isinstance(node, Lit) or node.type not in _TYPES or not exact_value(node):
        raise Untranslatable(node)
    if isinstance(node.value, str) and len(node.value) > MOST_CHARACTERS:
        raise Untranslatable(node)
    if isinstance(node.value, datetime):
        return {"us": (node.value - _EPOCH) // _MICROSECOND}
    return node.value
