from __future__ import annotations

import copy
import json
import random
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lake.clear.sandbox import aggregates, syntax
from lake.clear.sandbox.guard import admit
from lake.errors import DeniedError, QueryRefusedError
from tests.clear.sandbox.corpus import HONEST, tables

COLUMNS = {name: table.schema.names for name, table in tables().items()}
REFUSALS = (QueryRefusedError, DeniedError)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from(["SELECT_NODE", "FUNCTION"]),
    lambda children: st.lists(children) | st.dictionaries(st.text() | st.sampled_from(["type", "node"]), children),
    max_leaves=10,
)


def judged(sql: str, serialized: str) -> None:
    """All that the gateway does with a tree that it was sent."""
    statement = syntax.statement(sql, serialized)
    admit(statement, COLUMNS)
    aggregates.restricted(statement, "events", COLUMNS["events"], 5, "__lake_person")


@pytest.mark.parametrize("sql", HONEST[::7])
def test_parse_is_serialize_and_statement(sql: str) -> None:
    """The two steps are the one."""
    assert syntax.statement(sql, syntax.serialize(sql)) == syntax.parse(sql)


@pytest.mark.parametrize(
    "serialized",
    [
        "",
        "null",
        "[]",
        "{}",
        '"x"',
        "{",
        "NaN",
        '{"error": false}',
        '{"error": 0, "statements": []}',
        '{"error": false, "statements": {}}',
        '{"error": false, "statements": []}',
        '{"error": false, "statements": [1]}',
        '{"error": false, "statements": [{}]}',
        '{"error": false, "statements": [{"node": []}]}',
        '{"error": false, "statements": [{"node": {}}]}',
        '{"error": false, "statements": [{"node": {"type": NaN}}]}',
        '{"error": false, "statements": [{"node": {"type": Infinity}}]}',
        '{"error": false, "statements": [{"node": {"type": "\\ud800"}}]}',
        '{"error": false, "statements": [{"node": {"\\udfff": 1}}]}',
        '{"error": false, "statements": [{"node": {"type": ' + "9" * 5_000 + "}}]}",
        '{"error": true}',
        '{"error": true, "position": "-1"}',
        '{"error": true, "position": []}',
        '{"error": true, "position": "99999999"}',
        '{"error": true, "position": "' + "9" * 5_000 + '"}',
        '{"error": true, "error_message": {"x": "secret"}, "error_type": ["secret"]}',
        "[" * 100_000,
        '{"error": false, "statements": [{"node": ' + '{"left": ' * 300 + "1" + "}" * 300 + "}]}",
        " " * (syntax.MAX_TREE_CHARACTERS + 1),
    ],
    ids=lambda text: text[:60],
)
def test_json_that_duckdb_never_writes_is_refused(serialized: str) -> None:
    """Whatever comes in the place of the parser's answer is refused, and none of it is repeated."""
    with pytest.raises(QueryRefusedError) as caught:
        judged("SELECT 1", serialized)
    assert "secret" not in str(caught.value)


@settings(max_examples=200, deadline=None)
@given(node=JSON)
def test_any_json_as_a_tree_is_refused(node: Any) -> None:
    """Random JSON is no query, and does no more than be refused."""
    with pytest.raises(REFUSALS):
        judged("SELECT 1", json.dumps({"error": False, "statements": [{"node": node}]}))


def _changed(node: Any, rng: random.Random, value: Any) -> Any:
    """A tree in which one part, wherever, is another value or missing."""
    tree = copy.deepcopy(node)
    places: list[tuple[Any, Any]] = []
    pending = [tree]
    while pending:
        current = pending.pop()
        keys = list(current) if isinstance(current, dict) else list(range(len(current)))
        places += [(current, key) for key in keys]
        pending += [current[key] for key in keys if isinstance(current[key], dict | list)]
    holder, key = rng.choice(places)
    if isinstance(holder, dict) and rng.random() < 0.2:
        del holder[key]
    else:
        holder[key] = value
    return tree


@settings(max_examples=500, deadline=None)
@given(
    sql=st.sampled_from([*HONEST, "SELECT app, sum(n) AS s FROM events WHERE n IN (1, 2) GROUP BY app HAVING s > 1"]),
    seed=st.integers(0, 2**32),
    value=JSON | st.sampled_from([[], {}, "", None, -1, [[]], {"type": {}}, {"class": []}, "FUNCTION", "BASE_TABLE"]),
)
def test_a_tree_with_one_part_exchanged_is_judged_or_refused(sql: str, seed: int, value: Any) -> None:
    """A parser that lies about one part causes a refusal or a decision, and no other error."""
    tree = _changed(syntax.parse(sql).tree, random.Random(seed), value)
    document = json.dumps({"error": False, "statements": [{"node": tree}]})
    with suppress(*REFUSALS):
        judged(sql, document)
