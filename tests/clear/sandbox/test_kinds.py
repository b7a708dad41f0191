"""Every node kind, value and field of the installed DuckDB's syntax tree has been looked at, by what DuckDB says."""

from __future__ import annotations

import copy
import importlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest

from lake.clear.sandbox import grammar
from lake.clear.sandbox.kinds import ENUMS
from lake.clear.sandbox.names import REFUSED_TYPES, SCHEMAS, TYPES
from lake.clear.sandbox.syntax import parse
from lake.clear.sandbox.walk import POSITIONS, Parts
from tests.clear.sandbox.corpus import HONEST, VOLATILE

OTHERS = ("SELECT * FROM events AT (VERSION => 1)", "SELECT sum(n) EXPORT_STATE FROM events", "SHOW TABLES", "SELECT ?")
CORPUS = (*HONEST, *VOLATILE, *OTHERS)
LEFT_EMPTY = {
    "at_clause": "time travel",
    "catalog": "names with a catalog",
    "catalog_name": "names with a catalog",
    "delim_flipped": "the planner's joins",
    "duplicate_eliminated_columns": "the planner's joins",
    "expected_types": "VALUES whose types were bound",
    "export_state": "aggregate states",
    "nearest_approx": "joins by distance",
    "pivot_enum": "a type of the catalog",
    "ranking_expression": "joins by distance",
    "schema": "names with a schema",
    "schema_name": "names with a schema",
}
"""Fields that no rule knows, so that the guard wants them empty, and what they would hold."""


class Deserializer:
    """What DuckDB says of a tree that was changed."""

    def __init__(self) -> None:
        self._connection = duckdb.connect()

    def complaint(self, document: Any) -> str:
        """Its error, or nothing."""
        try:
            self._connection.execute("SELECT json_deserialize_sql(?::JSON)", [json.dumps(document)])
        except (duckdb.Error, RuntimeError) as error:
            return str(error)
        return ""


def dictionaries(node: Any) -> Iterator[dict[str, Any]]:
    if isinstance(node, dict):
        yield node
        node = list(node.values())
    if isinstance(node, list):
        for child in node:
            yield from dictionaries(child)


def enum_places(deserializer: Deserializer) -> dict[str, tuple[Any, dict[str, Any], str]]:
    """Enumeration -> a document of it, the dictionary in it, and the field, found by writing nonsense everywhere."""
    found: dict[str, tuple[Any, dict[str, Any], str]] = {}
    seen: set[tuple[str, ...]] = set()
    for sql in sorted(CORPUS, key=len):
        document = {"error": False, "statements": [{"node": parse(sql).tree, "named_param_map": []}]}
        for node in dictionaries(document):
            for field, value in node.items():
                place = (*sorted(node), field)
                if not isinstance(value, str) or place in seen:
                    continue
                seen.add(place)
                node[field] = "NONSENSE"
                enum = re.search(r'for enum "(\w+)"', deserializer.complaint(document))
                node[field] = value
                if enum and enum[1] not in found:
                    whole = copy.deepcopy((document, node))
                    found[enum[1]] = (*whole, field)
    return found


def words_of_the_library() -> list[str]:
    """Every text in the shipped library that has the form of an enumeration's value."""
    library = Path(str(importlib.import_module("_duckdb").__file__)).read_bytes()
    pattern = rb"(?<=\0)(?:[A-Z][A-Z0-9_ ]{1,40}|[A-Z][a-z]{2,20})(?=\0)"
    return sorted({word.decode() for word in re.findall(pattern, library)})


@pytest.mark.parametrize("every", [10, pytest.param(1, marks=pytest.mark.soak)])
def test_every_value_of_every_enumeration_is_classified(every: int) -> None:
    """DuckDB's deserializer accepts no value, and has no enumeration, that kinds.py does not list; and no fewer.

    Of the words that no enumeration lists, each is tried with one enumeration in ten, or with all.
    """
    deserializer = Deserializer()
    words = words_of_the_library()
    assert len(words) > 2_000
    places = enum_places(deserializer)
    assert sorted(places) == sorted(ENUMS)
    listed = {word.upper() for kinds in ENUMS.values() for word in kinds.allowed | kinds.refused}
    for turn, (enum, (document, node, field)) in enumerate(sorted(places.items())):
        known = {word.upper() for word in ENUMS[enum].allowed | ENUMS[enum].refused}
        accepted = set()
        for number, word in enumerate(words):
            if word.upper() not in listed and (number + turn) % every:
                continue
            node[field] = word
            complaint = deserializer.complaint(document)
            if not ("unrecognized value" in complaint and f'"{enum}"' in complaint):
                accepted.add(word.upper())
        assert accepted == known, enum


def test_allowed_and_refused_values_are_disjoint_and_reasoned() -> None:
    """No value is both, and a refusal says why."""
    for enum, kinds in ENUMS.items():
        assert not kinds.allowed & kinds.refused, enum
        assert bool(kinds.refused) == bool(kinds.reason), enum
    assert set(grammar.QUERIES) == ENUMS["QueryNodeType"].allowed
    assert set(grammar.TABLES) == ENUMS["TableReferenceType"].allowed
    assert set(grammar.EXPRESSIONS) == ENUMS["ExpressionClass"].allowed
    assert set(grammar.MODIFIERS) == ENUMS["ResultModifierType"].allowed


def shapes() -> Iterator[tuple[str, str, dict[str, Any], Parts]]:
    """Each node of the corpus with its kind and rule."""
    for sql in CORPUS:
        for node in dictionaries(parse(sql).tree):
            if "class" in node and node["class"] in grammar.EXPRESSIONS:
                yield sql, node["class"], node, grammar.EXPRESSIONS[node["class"]]
            for rules in (grammar.QUERIES, grammar.TABLES, grammar.MODIFIERS):
                kind = node.get("type")
                if "class" not in node and isinstance(kind, str) and kind in rules:
                    yield sql, kind, node, rules[kind]


def test_every_field_of_every_node_is_known() -> None:
    """Each field that DuckDB writes has a rule, or is one of those that stay empty."""
    unknown = {
        (kind, field)
        for _, kind, node, rule in shapes()
        for field in node.keys() - rule.rules.keys() - POSITIONS - LEFT_EMPTY.keys()
    }
    assert unknown == set()


def test_no_rule_is_for_a_field_that_does_not_exist() -> None:
    """Each field that a rule names is written by DuckDB, so the rules describe this version."""
    written: dict[int, set[str]] = {}
    rules: dict[int, tuple[str, Parts]] = {}
    for _, kind, node, rule in shapes():
        written.setdefault(id(rule), set()).update(node)
        rules[id(rule)] = (kind, rule)
    assert {(kind, f) for key, (kind, rule) in rules.items() for f in rule.rules.keys() - written[key]} == set()
    kinds = {kind for kind, _ in rules.values()}
    every = [grammar.QUERIES, grammar.TABLES, grammar.MODIFIERS, grammar.EXPRESSIONS]
    assert kinds == {kind for table in every for kind in table}


def test_every_type_is_classified() -> None:
    """Each type name of the installed DuckDB is allowed or refused."""
    rows = duckdb.connect().execute("SELECT DISTINCT lower(type_name) FROM duckdb_types()").fetchall()
    assert sorted({name for (name,) in rows} - TYPES - REFUSED_TYPES) == []
    assert not TYPES & REFUSED_TYPES


@pytest.mark.parametrize(
    "what", ["SELECT schema_name FROM duckdb_schemas()", "SELECT database_name FROM duckdb_databases()"]
)
def test_every_schema_and_catalog_is_known(what: str) -> None:
    """A name left of a dot that is no column would be one of these."""
    assert {name for (name,) in duckdb.connect().execute(what).fetchall()} <= SCHEMAS
