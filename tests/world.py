"""A small lake whose every row is known, for tests: contract, rows, policies, and children killed at a step."""

# ruff: noqa: DTZ001 - capture times are naive UTC
from __future__ import annotations

import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa

import lake
from lake.api import Connection, Lake
from lake.clear.arrow_schema import incoming_schema
from lake.gateway.recorder import parse_entry
from lake.rules.contract import parse_contract
from lake.settings import Settings
from tests import forking

ROOT = Path(__file__).resolve().parent.parent
NOW = datetime(2026, 9, 15, 12, tzinfo=UTC)
EMPLOYEES = ("EMP-ADA-7741", "EMP-BEN-7742", "EMP-CLEO-7743", "EMP-DORA-7744")
ADA, BEN, CLEO, DORA = EMPLOYEES
PURPOSES = ("study", "incident", "own_data")

CONTRACT = """
dataset: events
version: 1
title: Known events
notice: Made up for tests.
purposes: [study, incident, own_data]
retention: {"1": 365d, "2": 180d, "3": 90d, "4": 30d}
fields:
  app: {type: string, sensitivity: 1, max_length: 40, notice: A program.}
  n: {type: int32, sensitivity: 1, minimum: -500, maximum: 500, notice: A number.}
  big: {type: int64, sensitivity: 1, notice: A large number.}
  score: {type: float64, sensitivity: 1, minimum: -1000, maximum: 1000, notice: A fraction.}
  flag: {type: boolean, sensitivity: 1, notice: Yes or no.}
  at: {type: timestamp, sensitivity: 1, notice: Another time.}
  title: {type: string, sensitivity: 2, max_length: 80, notice: A title.}
  said: {type: string, sensitivity: 3, max_length: 80, notice: A sentence.}
  note: {type: string, sensitivity: 4, max_length: 80, notice: A note.}
events:
  focus:
    {sensitivity: 1, notice: A window., fields: [app, n, big, score, flag, at, title], required: [app]}
  say: {sensitivity: 3, notice: Words., fields: [app, n, said], required: [said]}
  judge: {sensitivity: 4, notice: A note., fields: [n, note], required: [note]}
filter:
  fields: {app: app, title: title}
  apps: {editor-qx: a, mail-qx: a, vault-qx: a, new-qx: a, late-qx: a, kept-qx: a, ahead-qx: a, many-qx: a, store-qx: a,
    sent-qx: a, first-qx: a, second-qx: a, one-qx: a, two-qx: a, three-qx: a, a-qx: a, b-qx: a, x: a}
"""
MOODS = """
dataset: moods
version: 1
title: Moods
notice: Made up for tests.
purposes: [study, incident]
retention: {"1": 365d, "2": 180d, "3": 90d, "4": 30d}
fields:
  mood: {type: string, sensitivity: 1, notice: A mood.}
events:
  mood: {sensitivity: 1, notice: A mood., fields: [mood], required: [mood]}
"""
SCHEMA = incoming_schema(parse_contract(CONTRACT, "contract"))
COLUMNS = ("app", "n", "big", "score", "flag", "at", "title", "said", "note")
APPS = ("Editor-QX", "Mail-QX", "Vault-QX", None)


def row(employee: str, ts: datetime, kind: str, **values: Any) -> dict[str, Any]:
    """One row as it is sent, every column there; what was said was said in a program that is listed."""
    given = {"employee": employee, "ts": ts, "type": kind} | ({"app": "Mail-QX"} if kind == "say" else {})
    return dict.fromkeys(SCHEMA.names) | given | values


def known_rows() -> list[dict[str, Any]]:
    """144 rows: four people, three months, all levels; texts that do not cast, nulls, unicode."""
    rows: list[dict[str, Any]] = []
    for index in range(144):
        employee = EMPLOYEES[index % 4]
        ts = datetime(2026, 7, 1, 8) + timedelta(hours=12 * index, microseconds=index)
        match index // 4 % 3:
            case 0 | 1 if index % 9 != 7:
                values: dict[str, Any] = {
                    "app": APPS[index // 4 % 3],
                    "n": index % 50 - 20,
                    "big": index * 10_000_000_000,
                    "score": index / 8,
                    "flag": index % 3 == 0 if index % 5 else None,
                    "at": ts - timedelta(minutes=index),
                }
                if index % 2:
                    values["title"] = f"Ünterlage {index} Canaryfolio"
                rows.append(row(employee, ts, "focus", **values))
            case 2:
                said = f"saidcanary {index}" if index % 8 else "12"
                rows.append(row(employee, ts, "say", said=said, app=APPS[index % 3], n=index))
            case _:
                rows.append(row(employee, ts, "judge", note=f"notecanary {index}", n=-index))
    return rows


def table(rows: Sequence[Mapping[str, Any]]) -> pa.Table:
    """Rows as they are sent."""
    return pa.Table.from_pylist(list(rows), schema=SCHEMA)


def level(sent: Mapping[str, Any]) -> int:
    """The sensitivity that a sent row must land with, from the contract's words."""
    found = {"focus": 1, "say": 3, "judge": 4}[sent["type"]]
    for name, rating in (("title", 2), ("said", 3), ("note", 4)):
        if sent[name] is not None:
            found = max(found, rating)
    return max(found, sent["sensitivity"] or 1)


def landed(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Rows as the lake holds them."""
    return [dict(sent) | {"sensitivity": level(sent)} for sent in rows]


GRANT_ALL = "{dataset: events, purposes: [incident], sensitivity: 4, employee_id: real}"
POLICY = f"""
purposes: {{study: Studies, incident: Incidents, own_data: Own rows, unused: Nothing}}
cohorts: {{two: [{ADA}, {CLEO}]}}
roles:
  all: {{grants: [{GRANT_ALL}, {{dataset: moods, purposes: [incident], sensitivity: 4, employee_id: real}}]}}
  student:
    grants:
      - dataset: events
        purposes: [study, incident]
        sensitivity: 2
        except: [flag]
        masks: {{title: {{truncate: 4}}, ts: {{truncate_time: day}}, n: {{round: 10}}, app: pseudonym, big: 'null'}}
        row_filter: "n >= -10 AND (app IS NULL OR app NOT LIKE 'Vault%')"
        employee_id: pseudonym
  cohort:
    grants:
      - {{dataset: events, purposes: [study], sensitivity: 3, employees: {{cohort: two}}, employee_id: pseudonym}}
  windowed:
    grants:
      - {{dataset: events, purposes: [study], sensitivity: 4, window: {{from: 2026-07-10, to: 2026-08-05}}}}
  recent:
    grants:
      - {{dataset: events, purposes: [study], sensitivity: 4, employee_id: real, window: {{last: 20d}}}}
  own:
    grants: [{{dataset: events, purposes: [own_data], sensitivity: 4, employees: self, employee_id: real}}]
  few_rows:
    grants: [{{dataset: events, purposes: [study], sensitivity: 4, limits: {{rows: 10}}}}]
  few_bytes:
    grants: [{{dataset: events, purposes: [study], sensitivity: 4, limits: {{bytes: 2000}}}}]
  quick:
    grants: [{{dataset: events, purposes: [study], sensitivity: 4, limits: {{seconds: 1}}}}]
  mine:
    grants:
      - {{dataset: events, purposes: [study], sensitivity: 4, row_filter: "app = principal.app", employee_id: absent}}
users:
  vera-canary: {{roles: [all]}}
  stu: {{roles: [student]}}
  coco: {{roles: [cohort]}}
  wim: {{roles: [windowed]}}
  remy: {{roles: [recent]}}
  olga: {{roles: [own], employee: {BEN}}}
  noemi: {{roles: [own]}}
  rolf: {{roles: [few_rows]}}
  bill: {{roles: [few_bytes]}}
  quin: {{roles: [quick]}}
  mina: {{roles: [mine], attributes: {{app: Mail-QX}}}}
  milo: {{roles: [mine]}}
  dual: {{roles: [student, cohort]}}
  none: {{roles: []}}
"""
VERA = "vera-canary"


@dataclass(frozen=True, slots=True)
class World:
    """A lake of its own for one test; the clock stands at ``NOW``."""

    root: Path
    key: Path

    def open(self, **options: Any) -> Lake:
        """As an operator."""
        return lake.open(self.root, key_file=self.key, **{"clock": clock} | options)

    def connect(
        self, user: str = VERA, purpose: str = "incident", role: str | None = None, **options: Any
    ) -> Connection:
        """As a user."""
        return lake.connect(
            self.root,
            user=user,
            purpose=purpose,
            role=role,
            key_file=self.key,
            # Its files are smaller than those of which an image is made otherwise.
            **{"clock": clock, "settings": Settings(image_rows=0)} | options,
        )

    def rows(self, sql: str = "SELECT * FROM events", user: str = VERA, purpose: str = "incident") -> list[Any]:
        """Rows of one query, as dictionaries."""
        with self.connect(user, purpose) as connection:
            return list(connection.sql(sql).arrow().to_pylist())

    def objects(self) -> list[Path]:
        """Every object of the store."""
        return sorted(path for path in (self.root / "data").rglob("*") if path.is_file())

    def entries(self, kind: str | None = None) -> list[dict[str, Any]]:
        """Entries of the audit log, of one type or all, each with its ``index``."""
        with self.open() as opened:
            found = [parse_entry(content) | {"index": index} for index, content in opened.home.log.entries()]
        return [entry for entry in found if kind is None or entry["type"] == kind]


def clock() -> datetime:
    """The time of the tests."""
    return NOW


def small_settings(**values: int) -> Settings:
    """Settings with some values of a test's own."""
    return Settings(**{"threads": 2} | values)


def make(folder: Path, *, rows: Sequence[Mapping[str, Any]] | None = None, policy: str = POLICY) -> World:
    """A new lake with the known rows under the policy."""
    folder.mkdir(exist_ok=True)
    world = World(folder / "lake", folder / "lake.key")
    lake.create(world.root, key_file=world.key, single_approver=True)
    with world.open() as opened:
        opened.add_contract(CONTRACT)
        opened.add_contract(MOODS)
        opened.apply_policy(policy)
        opened.ingest("events", table(known_rows() if rows is None else rows), batch_id="first-batch")
    return world


def copy(template: World, folder: Path) -> World:
    """A copy of a lake that a test may break."""
    shutil.copytree(template.root, folder / "lake")
    shutil.copy2(template.key, folder / "lake.key")
    return World(folder / "lake", folder / "lake.key")


def key_of(sent: Mapping[str, Any], names: Sequence[str] = ("employee", "ts", "type", "sensitivity", *COLUMNS)) -> str:
    """A row as a text that sorts and compares, whatever its types."""
    return repr([sent[name] for name in names])


def same_rows(found: Sequence[Mapping[str, Any]], expected: Sequence[Mapping[str, Any]], *names: str) -> bool:
    """Whether two sets of rows are equal, the order aside."""
    wanted = names or ("employee", "ts", "type", "sensitivity", *COLUMNS)
    return sorted(key_of(sent, wanted) for sent in found) == sorted(key_of(sent, wanted) for sent in expected)


PRELUDE = """
import os, signal, sys
from pathlib import Path
from tests import world as w

world = w.World(Path(sys.argv[1]), Path(sys.argv[2]))
step, turn = sys.argv[3], int(sys.argv[4])
seen = 0

def act():
    os.kill(os.getpid(), signal.SIGKILL)

def hook(event, arguments):
    global seen
    if event == "lake.step" and arguments[0] == step:
        seen += 1
        if seen == turn:
            act()
"""


def child(world: World, source: str, step: str = "", turn: int = 1, *arguments: object) -> subprocess.Popen[str]:
    """Start Python source that knows ``w``, ``world``, ``step`` and ``turn``; ``sys.addaudithook(hook)`` arms it."""
    return forking.python(
        PRELUDE + source,
        *(world.root, world.key, step, turn, *arguments),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finished(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    """Exit status, stdout and stderr of a child."""
    out, err = process.communicate(timeout=120)
    return process.returncode, out, err
