"""A contract and a policy that use everything the documents know."""

from __future__ import annotations

import pytest

from lake.rules.contract import Contract, parse_contract

CONTRACT = """\
dataset: desktop
version: 1
title: Desktop work
notice: We record which programs are in front.
purposes: [security, ergonomics]
retention: {1: 365d, 2: 180d, 3: 90d, 4: 30d}
fields:
  app: {type: string, sensitivity: 2, notice: The program., max_length: 200}
  title: {type: string, sensitivity: 4, notice: The window's title.}
  idle: {type: boolean, sensitivity: 1, notice: Whether nobody works.}
  count: {type: int32, sensitivity: 1, notice: How many., minimum: 0, maximum: 1000}
  total: {type: int64, sensitivity: 1, notice: How many in all.}
  speed: {type: float64, sensitivity: 3, notice: How fast., minimum: 0.5}
  since: {type: timestamp, sensitivity: 1, notice: Since when.}
events:
  focus:
    sensitivity: 2
    notice: A window came to the front.
    fields: [app, title, since]
    required: [app]
  pulse:
    sensitivity: 1
    notice: A minute has passed.
    fields: [idle, count, total, speed]
"""

POLICY = """\
purposes:
  security: Find intruders.
  ergonomics: Better chairs.
  payroll: Never told to anybody.
cohorts:
  night: [mk-1, mk-2]
roles:
  analyst:
    description: Looks for intruders.
    grants:
      - dataset: desktop
        purposes: [security]
        sensitivity: 4
        masks: {app: pseudonym, title: {truncate: 8}, since: {truncate_time: day}, count: {round: 10}}
        row_filter: app <> 'bank' AND (idle = FALSE OR ts >= now() - INTERVAL 7 DAYS)
        employees: {cohort: night}
        employee_id: pseudonym
        window: {from: 2026-01-01, to: 2026-03-31, last: 90d}
        limits: {rows: 1000, bytes: 1000000, seconds: 30}
      - dataset: desktop
        purposes: [ergonomics]
        sensitivity: 1
        except: [type]
  member:
    grants:
      - dataset: desktop
        purposes: [ergonomics]
        sensitivity: 2
        columns: [app, ts]
        employees: self
        employee_id: real
  lister:
    grants:
      - {dataset: desktop, purposes: [security], sensitivity: 2, employees: {list: [mk-9]}}
users:
  ann@example.org: {roles: [analyst], attributes: {team: red}}
  bob: {roles: [member, analyst], employee: mk-1}
  eve: {roles: [member]}
  two: {roles: [analyst, lister], employee: mk-2}
  idle: {roles: []}
  tim: {roles: [lister], deny: [{dataset: desktop, columns: [title, employee]}]}
groups:
  "CN=Staff": {roles: [member, lister]}
consents:
  ergonomics: [mk-1, mk-3]
teams:
  red: [mk-1, mk-2]
"""


@pytest.fixture(scope="session")
def contract_text() -> str:
    """A valid contract."""
    return CONTRACT


@pytest.fixture(scope="session")
def policy_text() -> str:
    """A valid policy for that contract."""
    return POLICY


@pytest.fixture(scope="session")
def contracts() -> dict[str, Contract]:
    """The contracts in force."""
    return {"desktop": parse_contract(CONTRACT)}
