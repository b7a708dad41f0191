"""Rotation, rekey and shredding while others land and read: nobody else fails, and no row is lost or doubled."""

# ruff: noqa: S608 - the statements are the tests' own
from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from jobs.clear import rekey
from keys.names import ROOT_NAMES
from lake.api import Lake
from lake.gateway.doctor import DAMAGE, Doctor
from lake.gateway.keykeeping import KeyKeeping
from lake.gateway.keyplans import KeyScope
from lake.gateway.reconcile import reconcile
from lake.sealed.catalog.upkeep import FileScope
from tests import world as w
from tests.world import ADA, DORA, World, child

COMMON = """
import json
from datetime import UTC, datetime, timedelta

stop, mine = Path(sys.argv[5]), sys.argv[6]
start = datetime.fromisoformat(sys.argv[7])
clock = lambda: w.NOW + (datetime.now(UTC) - start)
print("ready", flush=True)
"""
INGEST = (
    COMMON
    + """
landed = 0
with world.open(clock=clock) as lake:
    while not stop.exists():
        who = [f"EMP-{mine}-{landed % 3}", w.ADA]
        ts = datetime(2026, 7, 2) + timedelta(minutes=landed)
        rows = [w.row(name, ts, "focus", app="Editor-QX", n=1, title=f"{mine}") for name in who]
        rows += [w.row(name, ts, "judge", note=f"{mine} {landed}", n=2) for name in who]
        report = lake.ingest("events", w.table(rows), batch_id=f"{mine}-{landed}")
        assert report.rows == 4, report
        landed += 1
print(json.dumps(landed))
"""
)
READ = (
    COMMON
    + """
asked, before = 0, {}
while not stop.exists():
    with world.connect(clock=clock) as connection:
        for _ in range(5):
            rows = connection.sql("SELECT employee, note, count(*) AS n FROM events GROUP BY ALL").arrow().to_pylist()
            asked += 1
            found = {}
            for one in rows:
                found[one["employee"]] = found.get(one["employee"], 0) + one["n"]
            assert found[w.BEN] == found[w.CLEO] == 36, found
            assert found.get(w.DORA, 36) == 36, found
            for name, n in before.items():
                assert name == w.DORA or found[name] >= n, (name, n, found)
            assert all(n % 2 == 0 for n in found.values()), found
            before = found
print(json.dumps(asked))
"""
)


def operations(lake: Lake, clock: Callable[[], datetime], place: Path) -> None:
    """Everything that an operator does, once."""
    keys = KeyKeeping(lake.home, lake.actor)
    keys.rotate_roots(ROOT_NAMES)
    keys.rotate_buckets(keys.places(KeyScope()))
    keys.rotate_keks(KeyScope())
    rekey.Rekey(lake.home, lake.actor).run(FileScope())
    keys.shred([DORA], place)
    keys.rotate_keks(KeyScope(sensitivities=frozenset({4})), compromised=True)
    keys.rotate_roots(["root-dss4", "root-control"], place)
    rekey.Rekey(lake.home, lake.actor).run(FileScope(sensitivities=frozenset({4})))


def ended(process: subprocess.Popen[str]) -> int:
    """What a child counted; any error of its is this test's."""
    out, err = process.communicate(timeout=240)
    assert process.returncode == 0, err
    return int(json.loads(out.splitlines()[-1]))


@pytest.mark.parametrize(("writers", "readers", "turns"), [(2, 2, 1), pytest.param(4, 4, 4, marks=pytest.mark.soak)])
def test_nobody_else_notices(world: World, tmp_path: Path, writers: int, readers: int, turns: int) -> None:
    """Those that land and those that read never fail while every key is replaced under them, and one person goes."""
    start = datetime.now(UTC)

    def clock() -> datetime:
        return w.NOW + (datetime.now(UTC) - start)

    stop = tmp_path / "stop"
    others = [
        child(world, source, "", 1, stop, f"{kind}{number}", start.isoformat())
        for kind, source, count in (("W", INGEST, writers), ("R", READ, readers))
        for number in range(count)
    ]
    try:
        for process in others:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        with world.open(clock=clock) as lake:
            for turn in range(turns):
                if turn:
                    KeyKeeping(lake.home, lake.actor).rotate_keks(KeyScope())
                    rekey.Rekey(lake.home, lake.actor).run(FileScope())
                else:
                    operations(lake, clock, tmp_path / "backups")
    finally:
        stop.touch()
        counted = [ended(process) for process in others]
    batches, queries = counted[:writers], counted[writers:]
    assert all(batches)
    assert all(queries)
    with world.connect(clock=clock) as connection:
        rows = connection.sql("SELECT employee, count(*) AS n FROM events GROUP BY ALL").arrow().to_pylist()
    found = {one["employee"]: one["n"] for one in rows}
    assert DORA not in found
    assert found[ADA] == 36 + 2 * sum(batches)
    assert sum(found.values()) == 3 * 36 + 4 * sum(batches)
    with world.open(clock=clock) as lake:
        keys = KeyKeeping(lake.home, lake.actor)
        assert keys.verify()["keks"] > 0
        assert keys.verify_deks()["deks"] == lake.home.catalog.counts()["files"]
        assert not [one for one in Doctor(lake.home).examine_lake() if one.state == DAMAGE]
        assert reconcile(lake.home, lake.actor).differences == []
        assert keys.verify_shred([tmp_path / "backups"]).clean
