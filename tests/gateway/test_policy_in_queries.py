"""Groups, denies, consents, teams and masks as queries meet them: the rows that come, held against the known ones."""

# ruff: noqa: S608 - the texts are this file's own
from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from lake.errors import DeniedError, QueryRefusedError
from lake.gateway.contracts import Contracts
from lake.gateway.policies import Policies
from lake.gateway.query import QueryGateway, Request
from lake.rules.model import Identity
from lake.sealed.audit import entries
from tests.world import ADA, BEN, CLEO, DORA, EMPLOYEES, World, copy, known_rows, landed

ROWS = landed(known_rows())
ALL = "{dataset: events, purposes: [study, incident], sensitivity: 4, employee_id: real%s}"
POLICY = f"""
purposes: {{study: Studies, incident: Incidents}}
consents: {{study: [{ADA}, {CLEO}], incident: []}}
teams: {{red: [{ADA}, {BEN}], "blue team": [{DORA}]}}
roles:
  all: {{grants: [{ALL % ""}]}}
  no_ada: {{deny: [{{dataset: events, employees: {{list: [{ADA}, EMP-UNKNOWN]}}}}]}}
  no_high: {{deny: [{{dataset: events, sensitivity: 3}}]}}
  no_high_ben: {{deny: [{{dataset: events, sensitivity: 3, employees: {{list: [{BEN}]}}}}]}}
  no_self: {{deny: [{{dataset: events, employees: self}}]}}
  no_team: {{deny: [{{dataset: events, employees: team, purposes: [study]}}]}}
  no_names: {{deny: [{{dataset: events, columns: [employee, said]}}]}}
  consented: {{grants: [{ALL % ", employees: consented"}]}}
  team: {{grants: [{ALL % ", employees: team"}]}}
  masked:
    grants:
      - dataset: events
        purposes: [study]
        sensitivity: 4
        masks: {{app: hash, title: {{keep_last: 3}}, n: {{bucket: [-10, 0, 20]}}, score: {{bucket: [2.5, 10]}}}}
users:
  ann: {{roles: [all]}}
  ben: {{roles: [all, no_self], employee: {BEN}}}
  tia: {{roles: [team], attributes: {{team: "blue team"}}}}
  out: {{roles: [all], deny: [{{dataset: events, purposes: [incident]}}]}}
  max: {{roles: [masked]}}
groups:
  no_ada: {{roles: [no_ada]}}
  no_high: {{roles: [no_high]}}
  no_high_ben: {{roles: [no_high_ben]}}
  no_self: {{roles: [no_self]}}
  no_team: {{roles: [no_team]}}
  no_names: {{roles: [no_names]}}
  readers: {{roles: [all]}}
  consented: {{roles: [consented]}}
  team: {{roles: [team]}}
"""


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory, template: World) -> World:
    """The known lake under this policy."""
    world = copy(template, tmp_path_factory.mktemp("policy"))
    with world.open() as opened:
        opened.apply_policy(POLICY)
    return world


def query(world: World, who: Identity, sql: str, purpose: str = "study") -> list[dict[str, Any]]:
    """Rows of a query of an identity."""
    with world.open() as opened:
        contracts = Contracts(opened.home)
        gateway = QueryGateway(opened.home, contracts, Policies(opened.home, contracts))
        stream = gateway.run(Request(who, purpose, sql))
        return [row for batch in stream for row in batch.to_pylist()]


def counted(keep: Callable[[dict[str, Any]], bool]) -> dict[tuple[str, int], int]:
    """Known rows by employee and sensitivity."""
    found: dict[tuple[str, int], int] = {}
    for row in filter(keep, ROWS):
        key = (row["employee"], row["sensitivity"])
        found[key] = found.get(key, 0) + 1
    return found


COUNTS = "SELECT employee, sensitivity, count(*) AS n FROM events GROUP BY ALL"


def team(name: str) -> tuple[tuple[str, str], ...]:
    """A claim of a team."""
    return (("team", name),)


@pytest.mark.parametrize(
    ("who", "keep"),
    [
        (Identity("ann"), lambda _: True),
        (Identity("zoe", ("readers",)), lambda _: True),
        (Identity("ann", ("no_ada",)), lambda row: row["employee"] != ADA),
        (Identity("zoe", ("no_ada", "readers")), lambda row: row["employee"] != ADA),
        (Identity("ann", ("no_high",)), lambda row: row["sensitivity"] < 3),
        (Identity("ann", ("no_high_ben",)), lambda row: row["employee"] != BEN or row["sensitivity"] < 3),
        (
            Identity("ann", ("no_high_ben", "no_ada")),
            lambda row: row["employee"] != ADA and (row["employee"] != BEN or row["sensitivity"] < 3),
        ),
        (Identity("ben"), lambda row: row["employee"] != BEN),
        (Identity("ben", employee=CLEO), lambda row: row["employee"] != BEN),
        (Identity("ann", ("no_self",), DORA), lambda row: row["employee"] != DORA),
        (Identity("ann", ("no_team",), None, team("red")), lambda row: row["employee"] in {CLEO, DORA}),
        (Identity("zoe", ("consented",)), lambda row: row["employee"] in {ADA, CLEO}),
        (Identity("zoe", ("team",), None, team("red")), lambda row: row["employee"] in {ADA, BEN}),
        (Identity("tia"), lambda row: row["employee"] == DORA),
        (Identity("tia", (), None, team("red")), lambda row: row["employee"] == DORA),
        (Identity("zoe", ("team", "no_ada"), None, team("red")), lambda row: row["employee"] == BEN),
    ],
)
def test_the_rows_are_those_that_the_policy_leaves(
    lake: World, who: Identity, keep: Callable[[dict[str, Any]], bool]
) -> None:
    """By employee and sensitivity, no row more and none less; also where the query names an employee itself."""
    expected = counted(keep)
    found = query(lake, who, COUNTS)
    assert {(row["employee"], row["sensitivity"]): row["n"] for row in found} == expected
    for employee in EMPLOYEES:
        sql = f"SELECT sensitivity, count(*) AS n FROM events WHERE employee = '{employee}' GROUP BY ALL"
        wanted = {level: n for (name, level), n in expected.items() if name == employee}
        assert {row["sensitivity"]: row["n"] for row in query(lake, who, sql)} == wanted


@pytest.mark.parametrize(
    ("who", "purpose"),
    [
        (Identity("zoe"), "study"),
        (Identity("zoe", ("Readers", "unknown")), "study"),
        (Identity("zoe", ("consented",)), "incident"),
        (Identity("zoe", ("team",)), "study"),
        (Identity("zoe", ("team",), None, team("green")), "study"),
        (Identity("ann", ("no_self",)), "study"),
        (Identity("ann", ("no_team",)), "study"),
        (Identity("out"), "incident"),
    ],
)
def test_who_is_left_nothing_is_denied(lake: World, who: Identity, purpose: str) -> None:
    """Nobody consented, no team, or a deny whose people are not known: one answer for all."""
    with pytest.raises(DeniedError, match="access denied"):
        query(lake, who, "SELECT count(*) FROM events", purpose)


def test_files_of_denied_people_are_never_opened(lake: World) -> None:
    """The scope of the INTENT, which is what keys are given for, does not hold them."""
    with lake.open() as opened:
        ada = opened.home.directory.find([ADA])[ADA].number
    query(lake, Identity("ann", ("no_ada",)), "SELECT count(*) FROM events")
    intent = lake.entries("query.intent")[-1]
    numbers = {
        number
        for months in intent["scope"]["partitions"]["events"].values()
        for text in months.values()
        for number in entries.members(text)
    }
    assert numbers
    assert ada not in numbers


def test_denied_columns_do_not_exist(lake: World) -> None:
    """Neither the employee's id nor the other column can be named; the rest is there."""
    who = Identity("ann", ("no_names",))
    (row,) = query(lake, who, "SELECT * FROM events LIMIT 1")
    assert {"employee", "said"}.isdisjoint(row)
    assert "note" in row
    for name in ("employee", "said"):
        with pytest.raises(QueryRefusedError):
            query(lake, who, f"SELECT {name} FROM events")


def test_new_masks_hold_in_every_clause(lake: World) -> None:
    """Shown, filtered and grouped by the masked values alone."""
    rows = query(lake, Identity("max"), "SELECT app, title, n, score FROM events")
    assert len(rows) == len(ROWS)
    edges = {-10, 0, 20, None}
    assert {row["n"] for row in rows} <= edges
    assert {row["score"] for row in rows} <= {2.5, 10.0, None}
    assert {len(row["app"]) for row in rows if row["app"] is not None} == {64}
    titles = [row["title"] for row in ROWS if row["title"] is not None]
    assert sorted(row["title"] for row in rows if row["title"] is not None) == sorted(text[-3:] for text in titles)
    assert query(lake, Identity("max"), "SELECT count(*) AS n FROM events WHERE n > 20") == [{"n": 0}]
    assert query(lake, Identity("max"), "SELECT count(*) AS n FROM events WHERE app = 'Editor-QX'") == [{"n": 0}]
    known = sum(row["n"] is not None and row["n"] >= 20 for row in ROWS)
    assert query(lake, Identity("max"), "SELECT count(*) AS n FROM events WHERE n = 20") == [{"n": known}]
