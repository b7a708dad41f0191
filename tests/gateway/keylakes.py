"""Lakes in an operator's hands, for the tests of key operations: what is asked of them, and what is on record."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from keys import broker
from lake.api import Lake
from lake.gateway.doctor import DAMAGE, Doctor, verify_audit
from lake.gateway.keykeeping import KeyKeeping
from lake.rules import layout
from tests import world as w
from tests.keys.operations.watched import Watched
from tests.world import World, make

QUESTIONS = (
    (w.VERA, "incident", "SELECT * FROM events ORDER BY ts, n"),
    (w.VERA, "incident", "SELECT employee, sensitivity, count(*) AS rows, sum(n) AS n FROM events GROUP BY ALL"),
    (w.VERA, "incident", f"SELECT note FROM events WHERE employee = '{w.ADA}' AND sensitivity = 4 ORDER BY ts"),  # noqa: S608
    ("stu", "study", "SELECT * FROM events ORDER BY ts, n, score"),
    ("coco", "study", "SELECT employee, said, ts FROM events ORDER BY ts"),
    ("wim", "study", "SELECT count(*) AS rows, max(n) AS n FROM events WHERE sensitivity >= 3"),
    ("olga", "own_data", "SELECT * FROM events ORDER BY ts"),
)
Answers = list[list[str]]


def later() -> datetime:
    """An hour after the lake's rows landed."""
    return w.NOW + timedelta(hours=1)


def keeping(lake: Lake) -> KeyKeeping:
    """The keys of an opened lake."""
    return KeyKeeping(lake.home, lake.actor)


def counted(lake: Lake) -> Counter[str]:
    """Counts the calls that operations and queries make to the lake's provider from here on."""
    calls: Counter[str] = Counter()
    lake.home.hierarchy.provider = Watched(lake.home.hierarchy.provider, lambda name: calls.update([name]))
    return calls


def answers(world: World, questions: Sequence[tuple[str, str, str]] = QUESTIONS, **options: Any) -> Answers:
    """Every question's rows, each asked by a process that has just started."""
    found: Answers = []
    for user, purpose, sql in questions:
        with world.connect(user, purpose, **options) as connection:
            found.append(sorted(repr(row) for row in connection.sql(sql).arrow().to_pylist()))
    return found


def without(rows: list[dict[str, Any]], *employees: str) -> list[dict[str, Any]]:
    """Rows of everybody else."""
    return [row for row in rows if row["employee"] not in employees]


def operations(world: World, **options: Any) -> list[dict[str, Any]]:
    """What the log says of operations on keys, oldest first."""
    with world.open(**options) as lake:
        found = [json.loads(content) for _, content in lake.home.log.entries()]
    return [entry for entry in found if entry["type"] == "key.operation"]


def sound(world: World, **options: Any) -> bool:
    """Whether every key, row, object and entry is what it should be, nothing is unfinished, and the log verifies."""
    with world.open(**options) as lake:
        assert [finding for finding in Doctor(lake.home).examine_lake() if finding.state == DAMAGE] == []
        assert keeping(lake).status()["unfinished"] == []
    verify_audit(world.root)
    return True


def rows_of(path: Path) -> dict[str, list[Any]]:
    """Everything that a SQLite file says, table by table."""
    engine = sa.create_engine(f"sqlite:///{path}")
    metadata = sa.MetaData()
    metadata.reflect(engine)
    with engine.connect() as connection:
        found = {
            name: [tuple(row) for row in connection.execute(sa.select(table).order_by(*table.columns))]
            for name, table in metadata.tables.items()
        }
    engine.dispose()
    return found


def key_folder(world: World) -> Path:
    """Where the key store lies."""
    return world.root / layout.KEYS


def state_of(world: World) -> tuple[dict[str, list[Any]], dict[str, bytes], list[Any]]:
    """Rows of the key store, the provider's files, and the files of the catalog: what an operation may change."""
    folder = key_folder(world)
    rows = rows_of(folder / layout.KEY_STORE)
    rows.pop("anchors")  # opening a lake records that, and moves them
    files = {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.suffix in {".bin", ".secret"}}
    return rows, files, rows_of(world.root / layout.CATALOG)["files"]


def crowded(folder: Path, rows: list[dict[str, Any]] | None = None) -> World:
    """The known lake with everybody in the same bucket, so that there are survivors at every level."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(broker, "BUCKETS", 1)
        return make(folder, rows=rows)
