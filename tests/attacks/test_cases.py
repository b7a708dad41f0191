"""Every attack through every door: one decision, and the rows of a lake that has no hidden ones."""

# ruff: noqa: DTZ001 - capture times are naive UTC
from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from datetime import datetime, timedelta
from typing import Any

import duckdb
import pyarrow as pa
import pytest

from tests import world as w
from tests.attacks import cases
from tests.attacks.cases import SAME, Case
from tests.attacks.doors import Answer, Door, Prepared, Service, Statement, embedded
from tests.gateway.flight.doors import opened
from tests.gateway.served import serving

PURPOSE = "study"
COLUMNS = "columns: [sensitivity, ts, type, app, n, said], employee_id: absent"
POLICY = f"""
purposes: {{study: Studies, incident: Incidents}}
roles:
  by_people:
    grants:
      - {{dataset: events, purposes: [study], sensitivity: 4, {COLUMNS}, employees: {{list: [{w.ADA}, {w.CLEO}]}}}}
  by_filter:
    grants:
      - {{dataset: events, purposes: [study], sensitivity: 4, {COLUMNS}, row_filter: "app = 'Editor-QX'"}}
  by_level:
    grants: [{{dataset: events, purposes: [study], sensitivity: 3, {COLUMNS}}}]
users:
  anna: {{roles: [by_people]}}
  finn: {{roles: [by_filter]}}
  levi: {{roles: [by_level]}}
"""
USERS = ("anna", "finn", "levi")


def _sent(index: int) -> dict[str, Any]:
    """Every other row is hidden from each of the users: by whose it is, by its program, and by its rating."""
    hidden = index % 2
    return w.row(
        w.EMPLOYEES[index % 4],
        datetime(2026, 7, 1) + timedelta(hours=index),
        "say",
        said=f"bobsecret{index}" if hidden else str(index),
        n=0 if hidden else index + 1,
        app="Vault-QX" if hidden else "Editor-QX",
        sensitivity=4 if hidden else None,
    )


SENT = [_sent(index) for index in range(64)]
VISIBLE = pa.Table.from_pylist(
    [one | {"sensitivity": 3} for one in SENT if one["n"]],
    pa.schema(
        [
            ("sensitivity", pa.int8()),
            *[(name, w.SCHEMA.field(name).type) for name in ("ts", "type", "app", "n", "said")],
        ]
    ),
)

ENGINE = duckdb.connect(config={"enable_external_access": "false"})


@pytest.fixture(scope="module")
def attacked(tmp_path_factory: pytest.TempPathFactory) -> w.World:
    """A lake of which each user may read half."""
    return w.make(tmp_path_factory.mktemp("attacked"), rows=SENT, policy=POLICY)


@pytest.fixture(scope="module")
def doors(attacked: w.World) -> Iterator[list[Door]]:
    """Every way in."""
    with ExitStack() as stack:
        service = stack.enter_context(serving(attacked, slice_cache=64 << 20))
        flight = stack.enter_context(opened(service))
        first = stack.enter_context(embedded(attacked))
        yield [first, Service(service), Statement(flight), Prepared(flight, 1), Prepared(flight, 2)]


def oracle(sql: str) -> Answer:
    """DuckDB over what the users may read, and nothing else; the SQL of the attacks that may run."""
    with ENGINE.cursor() as engine:
        engine.register("events", VISIBLE)
        try:
            return Answer(engine.sql(sql).to_arrow_table())
        except duckdb.Error:
            return Answer(None, "query_failed")


def named(case: Case) -> str:
    """What a test is called."""
    return f"{case.number}: {case.tries}"


@pytest.mark.parametrize("case", cases.ALL, ids=named)
def test_no_attack_shows_or_reaches_anything_through_any_door(doors: list[Door], case: Case) -> None:
    """The rows are those of the oracle, or the refusal is the same everywhere, and no word of a hidden row is said."""
    sql = case.sql.replace("{t}", "events").replace("{T}", "EVENTS")
    expected = oracle(sql) if case.expect == SAME else Answer(None, case.expect)
    for user in USERS:
        # What stands before a user's own policy is the same for each of them; gRPC carries text alone.
        carried = doors if user == USERS[0] and case.tries != "half of a character" else doors[:2]
        answers = {door.name: door.ask(user, PURPOSE, sql) for door in carried}
        for name, found in answers.items():
            assert found.error == expected.error, (name, user, found)
            assert found.rows() == expected.rows(), (name, user)
            assert "bobsecret" not in found.words
            assert "Traceback" not in found.words
        words = {found.words for found in answers.values()}
        assert len(words) == 1, words
