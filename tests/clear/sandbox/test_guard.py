# ruff: noqa: S608 - the SQL of these tests is made of their own constants
from __future__ import annotations

import copy
import datetime as dt
import random
from typing import Any

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lake.clear.sandbox.guard import AdmittedQuery, admit
from lake.clear.sandbox.syntax import Statement, parse
from lake.errors import DeniedError, LakeError, QueryRefusedError
from tests.clear.sandbox.corpus import HONEST
from tests.clear.sandbox.refused import ATTACKS, OTHERS

TABLES = {
    "events": ["ts", "employee", "sensitivity", "app", "title", "n", "x", "tags", "meta", "doc"],
    "people": ["employee", "team", "joined"],
    "v": ["k", "employee", "sens", "txt", "num", "n"],
}


def admitted(sql: str) -> AdmittedQuery:
    return admit(parse(sql), TABLES)


def refusal(sql: str) -> LakeError:
    with pytest.raises((QueryRefusedError, DeniedError)) as caught:
        admitted(sql)
    return caught.value


@pytest.mark.parametrize(("case", "sql"), ATTACKS, ids=[f"{case}: {sql[:50]}" for case, sql in ATTACKS])
def test_every_attack_statement_is_refused(case: str, sql: str) -> None:
    """Each statement of the attack tables that the guard can judge is refused, and no literal comes back."""
    message = str(refusal(sql))
    assert "passwd" not in message or "FROM '/etc/passwd'" in sql, case
    assert "bob" not in message


@pytest.mark.parametrize("sql", OTHERS)
def test_forms_outside_the_lists_are_refused(sql: str) -> None:
    """A form, name, type or function off the lists is refused wherever in the query it stands."""
    refusal(sql)


def test_report_names_what_the_query_uses() -> None:
    """The admitted query lists its tables as granted, its functions, parameters and literals."""
    query = admitted("SELECT UPPER(app), sum(n) FROM EVENTS WHERE app = 'zoo' AND n > $low AND n < 7 GROUP BY 1")
    assert query.tables == {"events"}
    assert query.functions == {"upper", "sum"}
    assert query.parameters == ("low",)
    assert sorted(query.literals) == ["1", "7", "zoo"]
    assert admitted("SELECT ?, ?").parameters == ("1", "2")


def test_no_catalog_view_can_be_a_with_name() -> None:
    """A WITH name never hides or reveals a view of the engine's own catalog."""
    views = (
        duckdb.connect()
        .execute("SELECT view_name FROM duckdb_views() WHERE internal AND schema_name <> 'information_schema'")
        .fetchall()
    )
    assert len(views) > 20
    for (view,) in views:
        refusal(f"WITH {view} AS (SELECT 1) FROM {view}")
        refusal(f"FROM {view}")


def test_names_in_messages_are_short_and_plain() -> None:
    """A name that could forge a log line, or is very long, is not repeated."""
    for name in ("x\ny", "a" * 500, "bob's secret"):
        assert refusal(f'SELECT * FROM "{name}"').message == "no table of this name is available here"


def test_a_malformed_tree_is_refused() -> None:
    """A tree with parts missing is refused, not a crash."""
    for tree in ({}, {"type": "SELECT_NODE"}, {"type": "SELECT_NODE", "cte_map": {"map": [{}]}}, {"type": []}):
        with pytest.raises(QueryRefusedError):
            admit(Statement("", tree), TABLES)


def test_a_visible_column_may_be_called_user() -> None:
    """A session value's name is an ordinary column where a granted dataset has it."""
    statement = parse("SELECT user FROM logins")
    assert admit(statement, {"logins": ["user"]}).tables == {"logins"}
    with pytest.raises(QueryRefusedError):
        admit(statement, {"logins": ["name"]})


def test_missing_and_forbidden_tables_look_alike() -> None:
    """A table that exists but is not granted gives the very error of one that does not exist."""
    statement = parse("SELECT * FROM payroll")
    with pytest.raises(DeniedError) as without:
        admit(statement, {"events": ["ts"]})
    assert without.value.message == "no table payroll is available here"
    assert refusal("SELECT * FROM nothing").message == "no table nothing is available here"


@pytest.mark.parametrize("spelling", ["events", "EVENTS", '"events"', '"Events"', "events /* x */", "(events)"])
def test_spellings_of_a_name_give_one_decision(spelling: str) -> None:
    """Quotes, case and comments do not change what a name means."""
    assert admitted(f"SELECT * FROM {spelling}").tables == {"events"}


def test_literals_are_capped() -> None:
    """At most 64 literals are kept, however many the query has."""
    assert len(admitted("SELECT [" + ",".join(map(str, range(500))) + "]").literals) == 64


def _places(node: Any, found: list[tuple[dict[str, Any], str]]) -> list[tuple[dict[str, Any], str]]:
    if isinstance(node, dict):
        kinds = {"SELECT_NODE", "SET_OPERATION_NODE", "RECURSIVE_CTE_NODE", "BASE_TABLE", "JOIN", "SUBQUERY"}
        found.extend((node, key) for key in ("class", "function_name", "type_name") if key in node)
        if "class" not in node and isinstance(node.get("type"), str) and node["type"] in kinds:
            found.append((node, "type"))
        for child in node.values():
            _places(child, found)
    elif isinstance(node, list):
        for child in node:
            _places(child, found)
    return found


@settings(max_examples=150, deadline=None)
@given(sql=st.sampled_from(HONEST), seed=st.integers(0, 2**32), word=st.sampled_from(["NEW_KIND", "stats", "x", ""]))
def test_unknown_kinds_and_names_are_refused(sql: str, seed: int, word: str) -> None:
    """A tree in which one kind, function or type is unknown is refused, wherever it is."""
    tree = copy.deepcopy(parse(sql).tree)
    node, key = random.Random(seed).choice(_places(tree, []))
    node[key] = word
    with pytest.raises(QueryRefusedError):
        admit(Statement(sql, tree), TABLES)


@settings(max_examples=150, deadline=None)
@given(sql=st.sampled_from(HONEST), seed=st.integers(0, 2**32))
def test_unknown_fields_are_refused_unless_empty(sql: str, seed: int) -> None:
    """A field that the guard does not know is refused when it holds anything."""
    tree = copy.deepcopy(parse(sql).tree)
    node, _ = random.Random(seed).choice(_places(tree, []))
    node["new_field"] = None
    admit(Statement(sql, tree), TABLES)
    node["new_field"] = {"class": "FUNCTION"}
    with pytest.raises(QueryRefusedError):
        admit(Statement(sql, tree), TABLES)


def test_constraints_and_fingerprint_are_part_of_the_report() -> None:
    """The report carries the bounds per dataset and a fingerprint."""
    query = admitted("SELECT * FROM events WHERE ts >= '2026-01-01'")
    assert query.constraints["events"].time_from == dt.datetime(2026, 1, 1)  # noqa: DTZ001
    assert query.fingerprint.startswith("sha256:")
