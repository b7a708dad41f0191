"""Which columns a query can need, so that the others are not even decrypted. Never too few.

A column that is needed is named somewhere in the query, unless a form stands for columns without naming them. Such
forms are looked for here; a query that has one needs all.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from lake.clear.sandbox.syntax import Tree, fold

_ALL = ("STAR", "POSITIONAL_REFERENCE", "PIVOT", "SHOW_REF")
"""Classes of expressions, and types of table references, that speak of whatever columns there are."""


def needed(tree: Tree, tables: Mapping[str, Collection[str]]) -> dict[str, frozenset[str]] | None:
    """Columns by granted dataset, as the grant spells them, that the query can need.

    Args:
        tree: an admitted query node.
        tables: granted dataset name -> names of its visible columns.

    Returns:
        None if it draws a sample, which depends on more than on columns.
    """
    if any(isinstance(node, dict) and node.get("sample") for node in _nodes(tree)):
        return None
    words = set(_words(tree))
    everything = _speaks_of_all(tree)
    return {
        name: frozenset(column for column in columns if everything or fold(column) in words)
        for name, columns in tables.items()
    }


def _nodes(node: Any) -> Iterator[Any]:
    pending = [node]
    while pending:
        current = pending.pop()
        yield current
        if isinstance(current, dict):
            pending.extend(current.values())
        elif isinstance(current, list):
            pending.extend(current)


def _words(tree: Tree) -> Iterator[str]:
    """Every text of the tree, whatever it means: names, constants, aliases."""
    for node in _nodes(tree):
        if isinstance(node, str):
            yield fold(node)


def _speaks_of_all(tree: Tree) -> bool:
    """Whether a form stands for columns that it does not name: a star, a position, a row as a whole."""
    sources: set[str] = set()
    references: set[str] = set()
    for node in _nodes(tree):
        if not isinstance(node, dict):
            continue
        if node.get("class") in _ALL or node.get("type") in _ALL or node.get("ref_type") == "NATURAL":
            return True
        if node.get("column_name_alias"):
            return True
        if node.get("class") == "COLUMN_REF":
            references.add(fold(node["column_names"][-1]))
        elif node.get("class") == "FUNCTION":
            references.add(fold(node["schema"]))  # ``e.f()`` is ``f(e)``
        elif node.get("table_name"):
            sources.add(fold(node["table_name"]))
        sources.update(_alias(node))
    # ``SELECT e FROM events e`` gives rows as a whole, and so does a reference to what a subquery is called.
    return not references.isdisjoint(sources)


def _alias(node: Tree) -> list[str]:
    """What a table reference is called; expressions have a class, table references none."""
    alias = node.get("alias")
    return [fold(alias)] if isinstance(alias, str) and alias and "class" not in node else []
