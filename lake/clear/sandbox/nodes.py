"""Nodes of DuckDB's syntax tree, made by hand: the few that a rewritten query needs."""

from __future__ import annotations

from typing import Any

from lake.clear.sandbox.syntax import Tree
from lake.clear.sandbox.walk import POSITIONS


def column(*names: str) -> Tree:
    """A column, qualified or not."""
    return {"class": "COLUMN_REF", "type": "COLUMN_REF", "alias": "", "column_names": list(names)}


def number(text: str) -> Tree:
    """A constant number, from its digits."""
    kind = "INTEGER" if text.isdecimal() else "NUMERIC"
    return {"class": "CONSTANT", "type": "VALUE_CONSTANT", "alias": "", "literal": {"kind": kind, "text": text}}


def call(name: str, *arguments: Tree, distinct: bool = False, only_where: Tree | None = None) -> Tree:
    """A function call; ``only_where`` becomes FILTER (WHERE ...)."""
    return {
        "class": "FUNCTION",
        "type": "FUNCTION",
        "alias": "",
        "function_name": name,
        "schema": "",
        "filter": only_where,
        "order_bys": {"type": "ORDER_MODIFIER", "orders": []},
        "distinct": distinct,
        "is_operator": False,
        "export_state": False,
        "catalog": "",
        "arguments": [{"name": "", "expression": argument} for argument in arguments],
        "qualified_name": {"path": [name]},
    }


def operator(kind: str, *children: Tree, alias: str = "") -> Tree:
    """An operator such as OPERATOR_TRY."""
    return {"class": "OPERATOR", "type": kind, "alias": alias, "children": list(children)}


def at_least(left: Tree, right: Tree) -> Tree:
    """``left >= right``."""
    kind = "COMPARE_GREATERTHANOREQUALTO"
    return {"class": "COMPARISON", "type": kind, "alias": "", "left": left, "right": right}


def all_of(*children: Tree) -> Tree:
    """AND, flat as the parser has it; of one child, that child."""
    flat: list[Tree] = []
    for child in children:
        flat += child["children"] if child["type"] == "CONJUNCTION_AND" else [child]
    if len(flat) == 1:
        return flat[0]
    return {"class": "CONJUNCTION", "type": "CONJUNCTION_AND", "alias": "", "children": flat}


def same(left: Any, right: Any) -> bool:
    """Tell whether two trees are equal but for positions in the text and empty fields."""
    return bool(_bare(left) == _bare(right))


def _bare(node: Any) -> Any:
    if isinstance(node, dict):
        bare = {key: _bare(value) for key, value in node.items() if key not in POSITIONS}
        return {key: value for key, value in bare.items() if value not in (None, "", False, [], {})}
    return [_bare(item) for item in node] if isinstance(node, list) else node
